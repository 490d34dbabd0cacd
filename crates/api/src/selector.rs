//! Label and field selectors as clients write them in a query.

use std::fmt;

use crate::name;
use crate::object::Object;

/// Longest selector text that is read.
const TEXT_MAX: usize = 64 * 1024;

/// How a requirement relates a key to its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Has one of the values.
    In,
    /// Has none of the values, or no such key.
    NotIn,
    /// Has the key.
    Exists,
    /// Lacks the key.
    DoesNotExist,
    /// Is an integer above the value.
    GreaterThan,
    /// Is an integer below the value.
    LessThan,
}

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// Relation.
    pub operator: Operator,
    /// Values, empty for existence.
    pub values: Vec<String>,
}

impl Requirement {
    /// Whether a label with this value (or its absence) fits.
    pub fn matches(&self, have: Option<&str>) -> bool {
        let among = || have.is_some_and(|have| self.values.iter().any(|value| value == have));
        let number = |text: &str| text.parse::<i64>().ok();
        let compare = |test: fn(i64, i64) -> bool| {
            let bound = self.values.first().and_then(|value| number(value));
            have.and_then(number).zip(bound).is_some_and(|(have, bound)| test(have, bound))
        };
        match self.operator {
            Operator::In => among(),
            Operator::NotIn => !among(),
            Operator::Exists => have.is_some(),
            Operator::DoesNotExist => have.is_none(),
            Operator::GreaterThan => compare(|have, bound| have > bound),
            Operator::LessThan => compare(|have, bound| have < bound),
        }
    }
}

/// A conjunction of requirements; empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// All must hold.
    pub requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether labels, looked up by `label`, fit.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(label(&requirement.key)))
    }
}

/// A selector that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError(pub String);

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseError {}

fn fault<T>(text: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError(text.into()))
}

/// Reads a label selector: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
///
/// # Errors
/// What could not be understood.
pub fn parse_labels(text: &str) -> Result<LabelSelector, ParseError> {
    if text.len() > TEXT_MAX {
        return fault(format!("selector is longer than {TEXT_MAX} bytes"));
    }
    let mut requirements = Vec::new();
    for part in split_outside_parentheses(text)? {
        let part = part.trim();
        if !part.is_empty() {
            requirements.push(parse_requirement(part)?);
        }
    }
    requirements.sort_by(|a: &Requirement, b| a.key.cmp(&b.key));
    Ok(LabelSelector { requirements })
}

fn split_outside_parentheses(text: &str) -> Result<Vec<&str>, ParseError> {
    let mut parts = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, character) in text.char_indices() {
        match character {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return fault(format!("unable to parse requirement: found '{character}'")),
            ',' if !inside => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return fault("unable to parse requirement: expected ')'");
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn parse_requirement(text: &str) -> Result<Requirement, ParseError> {
    if let Some(key) = text.strip_prefix('!') {
        return requirement(key.trim(), Operator::DoesNotExist, Vec::new());
    }
    for (sign, operator) in [
        ("!=", Operator::NotIn),
        ("==", Operator::In),
        ("=", Operator::In),
        (">", Operator::GreaterThan),
        ("<", Operator::LessThan),
    ] {
        if let Some((key, value)) = text.split_once(sign) {
            return requirement(key.trim(), operator, vec![value.trim().to_owned()]);
        }
    }
    if let Some((head, tail)) = text.split_once('(') {
        return parse_set(head.trim(), tail);
    }
    requirement(text, Operator::Exists, Vec::new())
}

fn parse_set(head: &str, tail: &str) -> Result<Requirement, ParseError> {
    let mut words = head.split_whitespace();
    let (Some(key), Some(word), None) = (words.next(), words.next(), words.next()) else {
        return fault(format!("unable to parse requirement: found '{head}'"));
    };
    let operator = match word {
        "in" => Operator::In,
        "notin" => Operator::NotIn,
        _ => {
            return fault(format!(
                "unable to parse requirement: found '{word}', expected: in, notin, =, ==, !=, gt, lt"
            ));
        }
    };
    let Some((inner, "")) = tail.split_once(')').map(|(inner, rest)| (inner, rest.trim())) else {
        return fault(format!("unable to parse requirement: found '{tail}'"));
    };
    requirement(key, operator, inner.split(',').map(|value| value.trim().to_owned()).collect())
}

fn requirement(
    key: &str,
    operator: Operator,
    values: Vec<String>,
) -> Result<Requirement, ParseError> {
    name::qualified(key).map_err(|texts| {
        let text = texts.join("; ");
        ParseError(format!("unable to parse requirement: <nil>: Invalid value: \"{key}\": {text}"))
    })?;
    let numeric = matches!(operator, Operator::GreaterThan | Operator::LessThan);
    for value in &values {
        if numeric && value.parse::<i64>().is_err() {
            return fault(format!(
                "unable to parse requirement: <nil>: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
            ));
        }
        name::label_value(value).map_err(|text| {
            ParseError(format!(
                "unable to parse requirement: values[0][{key}]: Invalid value: \"{value}\": {text}"
            ))
        })?;
    }
    Ok(Requirement { key: key.to_owned(), operator, values })
}

/// One requirement of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// Field path, e.g. `spec.nodeName`.
    pub path: String,
    /// Value to have, or not to have.
    pub value: String,
    /// Whether equality is wanted.
    pub equal: bool,
}

/// A conjunction of field requirements; empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// All must hold.
    pub requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The name that it fixes by `metadata.name=…`.
    pub fn exact_name(&self) -> Option<&str> {
        let exact = self.requirements.iter().find(|r| r.equal && r.path == "metadata.name");
        exact.map(|r| r.value.as_str())
    }

    /// Whether an object fits.
    pub fn matches(&self, object: &Object) -> bool {
        self.requirements.iter().all(|requirement| {
            let have = object.field(&requirement.path).unwrap_or_default();
            (have == requirement.value) == requirement.equal
        })
    }
}

/// Reads a field selector: `a=b,c!=d`, with `\` before `,`, `=` and itself.
///
/// # Errors
/// What could not be understood.
pub fn parse_fields(text: &str) -> Result<FieldSelector, ParseError> {
    if text.len() > TEXT_MAX {
        return fault(format!("selector is longer than {TEXT_MAX} bytes"));
    }
    let mut requirements = Vec::new();
    for term in split_escaped(text) {
        if term.is_empty() {
            continue;
        }
        requirements.push(parse_field(term)?);
    }
    Ok(FieldSelector { requirements })
}

fn split_escaped(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_field(term: &str) -> Result<FieldRequirement, ParseError> {
    for (sign, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((path, value)) = term.split_once(sign) {
            return Ok(FieldRequirement { path: path.to_owned(), value: unescape(value)?, equal });
        }
    }
    fault(format!("invalid selector: '{term}'; can't understand '{term}'"))
}

fn unescape(text: &str) -> Result<String, ParseError> {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, characters.as_str().chars().next()) {
            ('\\', Some(next @ ('\\' | ',' | '='))) => {
                characters.next();
                out.push(next);
            }
            ('\\', _) => {
                return fault(format!("invalid field selector: invalid escape sequence: {text}"));
            }
            (',' | '=', _) => {
                return fault(format!(
                    "invalid field selector: invalid unescaped character in value {text}"
                ));
            }
            _ => out.push(character),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_selectors_select() {
        let labels = |key: &str| match key {
            "app" => Some("web"),
            "tier" => Some("3"),
            "example.com/x" => Some(""),
            _ => None,
        };
        let cases = [
            ("", true),
            ("app=web", true),
            ("app == web", true),
            ("app!=web", false),
            ("none!=web", true),
            ("app in (web, db)", true),
            ("app notin (web)", false),
            ("app", true),
            ("!app", false),
            ("!none,app=web", true),
            ("tier>2,tier<4", true),
            ("tier>3", false),
            ("example.com/x=", true),
        ];
        for (text, fits) in cases {
            assert_eq!(parse_labels(text).unwrap().matches(labels), fits, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["a in b", "a in (b", "a)b", "a on (b)", "-a=b", "a=b c", "a>x", "=b"] {
            assert!(parse_labels(text).is_err(), "{text}");
        }
        for text in ["a", "a=b=c", r"a=\b"] {
            assert!(parse_fields(text).is_err(), "{text}");
        }
    }

    #[test]
    fn field_selectors_unescape() {
        let selector = parse_fields(r"metadata.name=a\,b,spec.x!=c").unwrap();
        assert_eq!(selector.exact_name(), Some("a,b"));
        assert!(!selector.requirements[1].equal);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(text in ".{0,80}") {
            let _either = (parse_labels(&text).is_ok(), parse_fields(&text).is_ok());
        }

        #[test]
        fn what_looks_like_a_selector_does_not_panic(text in r"[a(),=!<>\\ in\.\-é]{0,40}") {
            if let Ok(selector) = parse_labels(&text) {
                selector.matches(|_| Some("a"));
            }
            let _either = parse_fields(&text).is_ok();
        }
    }
}
