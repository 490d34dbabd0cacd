//! The values that built-in fields may have, where they are a closed set.
//!
//! OpenAPI documents show them, and with them `kubectl explain`. What the server refuses is another matter and
//! lives with the kinds (`api`).

use std::sync::LazyLock;

/// A line is a definition, a field, and the values with commas between them.
const TABLE: &str = include_str!("builtin/enums.txt");

/// Definition, field, values; sorted.
static LINES: LazyLock<Vec<(&str, &str, &str)>> = LazyLock::new(|| {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let parts = |line: &'static str| {
        let (definition, rest) = line.split_once(' ')?;
        let (field, values) = rest.split_once(' ')?;
        Some((definition, field, values))
    };
    lines.filter_map(parts).collect()
});

/// The values of a built-in field, or of the items of one that is a list.
pub(crate) fn values_of(
    definition: &str,
    field: &str,
) -> Option<impl Iterator<Item = &'static str> + use<>> {
    let key = (definition, field);
    let index = LINES.binary_search_by(|(name, field, _)| (*name, *field).cmp(&key)).ok()?;
    Some(LINES[index].2.split(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_fields_that_there_are() {
        assert!(LINES.is_sorted());
        for (definition, field, values) in LINES.iter() {
            let schema = crate::builtin(definition).unwrap_or_else(|| panic!("{definition}"));
            let property = schema.property(field).unwrap_or_else(|| panic!("{definition}.{field}"));
            let holder = property.items().unwrap_or(property);
            assert_eq!(
                holder.enum_values().len(),
                values.split(',').count(),
                "{definition}.{field}"
            );
        }
    }
}
