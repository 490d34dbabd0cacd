//! How names of fields are written in expressions.

use std::borrow::Cow;

use api::name::EXPRESSION_WORDS;

/// The escaped form of a word of the language, which as a field's name may also be written as it is.
pub(crate) fn escaped_word(name: &str) -> Option<String> {
    EXPRESSION_WORDS.contains(&name).then(|| format!("__{name}__"))
}

/// The name under which an expression finds a field: `a-b` is `a__dash__b`. None for names that cannot
/// be written.
pub fn escape(name: &str) -> Option<Cow<'_, str>> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if EXPRESSION_WORDS.contains(&name) {
        return Some(Cow::Owned(format!("__{name}__")));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.chars().all(|c| plain(c) || matches!(c, '.' | '-' | '/')) {
        return None;
    }
    if name.chars().all(plain) && !name.contains("__") {
        return Some(Cow::Borrowed(name));
    }
    let escaped = name.replace("__", "__underscores__");
    let escaped =
        escaped.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__");
    Some(Cow::Owned(escaped))
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn names_are_escaped_as_upstream_does() {
        for (name, expected) in [
            ("a", Some("a")),
            ("a-b", Some("a__dash__b")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("__a", Some("__underscores__a")),
            ("namespace", Some("__namespace__")),
            ("Namespace", Some("Namespace")),
            ("a b", None),
            ("1a", None),
            ("", None),
        ] {
            assert_eq!(escape(name).as_deref(), expected, "{name}");
        }
    }
}
