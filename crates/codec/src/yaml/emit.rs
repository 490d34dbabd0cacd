//! JSON values as YAML text: block style, keys sorted, lists at the level of their key, as go-yaml writes.

use serde_json::{Map, Value};

use super::resolve::{Scalar, resolve};

/// Appends a value at a level of indentation. Collections begin on a line of their own.
pub(super) fn write(out: &mut String, value: &Value, level: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => mapping(out, map, level),
        Value::Array(items) if !items.is_empty() => sequence(out, items, level),
        other => {
            inline(out, other, level);
            out.push('\n');
        }
    }
}

fn mapping(out: &mut String, map: &Map<String, Value>, level: usize) {
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 {
            indent(out, level);
        }
        entry(out, key, value, level);
    }
}

fn entry(out: &mut String, key: &str, value: &Value, level: usize) {
    if is_plain(key) {
        out.push_str(key)
    } else {
        quoted(out, key)
    }
    out.push(':');
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            indent(out, level + 1);
            mapping(out, map, level + 1);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            indent(out, level);
            sequence(out, items, level);
        }
        other => {
            out.push(' ');
            inline(out, other, level + 1);
            out.push('\n');
        }
    }
}

fn sequence(out: &mut String, items: &[Value], level: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            indent(out, level);
        }
        out.push_str("- ");
        write(out, item, level + 1);
    }
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n("  ", level));
}

fn inline(out: &mut String, value: &Value, level: usize) {
    match value {
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(text) if is_plain(text) => out.push_str(text),
        Value::String(text) if is_literal(text) => literal(out, text, level),
        Value::String(text) => quoted(out, text),
        other => out.push_str(&other.to_string()),
    }
}

/// Whether a text can stand without quotes and is read back as that text.
fn is_plain(text: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte);
    let bytes = text.as_bytes();
    let starts_well =
        bytes.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_./".contains(byte));
    let inside = |(index, byte): (usize, &u8)| {
        let next = bytes.get(index + 1);
        safe(*byte)
            || b"@%+=~$()|\\,;*?<>^'\"[]{}&!".contains(byte)
            || (*byte == b':' && next.is_some_and(|next| *next != b' '))
            || (*byte == b' ' && next.is_some_and(|next| *next != b'#' && *next != b' '))
    };
    starts_well
        && !text.ends_with(' ')
        && bytes.iter().enumerate().all(inside)
        && !text.starts_with("...")
        && matches!(resolve(text, true, None), Ok(Scalar::Text(_)))
        && !is_of_other_readers(text)
}

/// Whether readers of YAML 1.1 other than go-yaml take a text without quotes for a number to the base of 60
/// (`1:30`) or for a date, as PyYAML does.
fn is_of_other_readers(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let is_base_60 = whole.contains(':')
        && whole.split(':').all(|part| digits(&part.replace('_', "")))
        && fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let mut date = text.splitn(3, '-');
    let is_date = date.next().is_some_and(|year| year.len() == 4 && digits(year))
        && date.next().is_some_and(|month| month.len() <= 2 && digits(month))
        && date.next().is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    is_base_60 || is_date
}

/// Whether a text is best written as lines.
fn is_literal(text: &str) -> bool {
    let printable =
        |c: char| c == '\n' || (c >= ' ' && c != '\u{7f}' && !('\u{80}'..'\u{a0}').contains(&c));
    let odd = ['\u{feff}', '\u{2028}', '\u{2029}', '\r', '\u{85}'];
    text.contains('\n')
        && !text.starts_with([' ', '\n'])
        && text.chars().all(printable)
        && !text.contains(odd)
        && text.lines().all(|line| !line.ends_with(' '))
}

fn literal(out: &mut String, text: &str, level: usize) {
    let body = text.trim_end_matches('\n');
    let ends = text.len() - body.len();
    out.push_str(match ends {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, level.max(1));
            out.push_str(line);
        }
    }
    out.extend(std::iter::repeat_n('\n', ends.saturating_sub(1)));
}

/// Double quotes with the escapes that JSON and YAML share.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::yaml::{encode, to_value};

    #[test]
    fn an_object_reads_as_from_upstream() {
        let value = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "labels": {"on": "yes", "version": "1.0", "empty": ""}, "x": {}},
            "data": {"file": "one\n  two\n\nthree\n", "no-end": "a\nb", "colon": "a: b", "url": "http://x:80/"},
            "list": [{"a": 1, "b": [true, null]}, "x", [[1]], []]
        });
        let text = encode(&value);
        assert_eq!(
            text,
            "apiVersion: v1\n\
             data:\n  colon: \"a: b\"\n  file: |\n    one\n      two\n\n    three\n  no-end: |-\n    a\n    b\n  \
             url: http://x:80/\n\
             kind: ConfigMap\n\
             list:\n- a: 1\n  b:\n  - true\n  - null\n- x\n- - - 1\n- []\n\
             metadata:\n  labels:\n    empty: \"\"\n    \"on\": \"yes\"\n    version: \"1.0\"\n  name: a\n  x: {}\n"
        );
        assert_eq!(to_value(text.as_bytes()), Ok(value));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            "[ -~\n]{0,24}".prop_map(Value::from),
            "[a-z0-9:#'\"{}&*!|>%@, \\-\n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-z0-9 :#~.\\-]{0,6}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn what_is_written_is_read_back(value in any_value()) {
            let text = encode(&value);
            prop_assert_eq!(to_value(text.as_bytes()), Ok(value), "{}", text);
        }
    }
}
