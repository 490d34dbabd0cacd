//! Two answers to one request: what is not the same, but for what never is.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

/// What a server said; code 0 when it said nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) body: Value,
    pub(super) warnings: Vec<String>,
}

/// A place where they differ.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) path: String,
    pub(super) ours: Value,
    pub(super) theirs: Value,
}

/// Fields that say when and which, and who wrote what.
const OWN: [&str; 7] = [
    "creationTimestamp",
    "generation",
    "lastTransitionTime",
    "managedFields",
    "resourceVersion",
    "time",
    "uid",
];
/// Of v1.37, or of Go: what is written otherwise, and with what it is replaced before texts are compared.
const REPLACED: [(&str, &str); 6] = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
    (r"kube-api-access-[a-z0-9]{5}", "kube-api-access"),
    (" characters", " bytes"),
    // Values that are no texts are shown as JSON here, and as Go prints them there.
    (
        r#"(Invalid|Unsupported|Duplicate) value: (?:[^":][^:]*?)(?:\{.*?\}|\(nil\)|\[.*?\]|null|nil|\d|<nil>)+: "#,
        "$1 value: V: ",
    ),
    (
        r#"(Invalid|Unsupported|Duplicate) value: (?:\{.*?\}|\[.*?\]|null|-?\d+)+: "#,
        "$1 value: V: ",
    ),
    (" of type .*$", " of type T"),
];

/// Keys that newer servers do not write any more, by what is in them.
const OLD_KEY: &str = "container.apparmor.security.beta.kubernetes.io";
/// Warnings of newer servers, and one that v1.32 gives of every path in a projected volume, by what is in them.
const KNOWN_WARNINGS: [&str; 2] = ["v1 Endpoints is deprecated", "overlapping paths"];

static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let compiled = |(pattern, with): (&str, &'static str)| Some((Regex::new(pattern).ok()?, with));
    REPLACED.into_iter().filter_map(compiled).collect()
});
static SUPPORTED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"supported values: (("[^"]*"(, )?)+)"#).ok());

/// All places where the answers differ.
pub(super) fn differences(ours: &Answer, theirs: &Answer) -> Vec<Difference> {
    let mut found = Vec::new();
    if ours.code != theirs.code {
        found.push(Difference {
            path: "code".to_owned(),
            ours: ours.code.into(),
            theirs: theirs.code.into(),
        });
    }
    compare("", &ours.body, &theirs.body, &mut found);
    let warnings = |answer: &Answer| {
        let is_known = |text: &&String| KNOWN_WARNINGS.iter().any(|known| text.contains(known));
        let others = answer.warnings.iter().filter(|text| !is_known(text));
        let mut texts: Vec<String> = others.map(|text| settled(text)).collect();
        texts.sort();
        Value::from(texts)
    };
    compare("warnings", &warnings(ours), &warnings(theirs), &mut found);
    found
}

fn compare(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<Difference>) {
    match (ours, theirs) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<&String> =
                one.keys().chain(other.keys()).collect();
            let is_shared = |key: &&String| !OWN.contains(&key.as_str()) && !key.contains(OLD_KEY);
            for key in keys.into_iter().filter(is_shared) {
                let of = |map: &serde_json::Map<String, Value>| {
                    let value = map.get(key).cloned().unwrap_or_default();
                    if key == "causes" { once(value) } else { value }
                };
                compare(&format!("{path}.{key}"), &of(one), &of(other), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{path}[{index}]"), one, other, found);
            }
        }
        (Value::String(one), Value::String(other)) if settled(one) == settled(other) => {}
        // What says nothing may be left out.
        (Value::Null, Value::Array(items)) | (Value::Array(items), Value::Null)
            if items.is_empty() => {}
        _ if ours == theirs => {}
        _ => found.push(Difference {
            path: path.to_owned(),
            ours: ours.clone(),
            theirs: theirs.clone(),
        }),
    }
}

/// A list without what it says again: upstream tells some faults of an update two times.
fn once(list: Value) -> Value {
    let Value::Array(items) = list else { return list };
    let mut kept: Vec<Value> = Vec::with_capacity(items.len());
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    Value::Array(kept)
}

/// A text without what differs by nature, and without the Go values that upstream shows below some.
fn settled(text: &str) -> String {
    let first = text.split('\n').next().unwrap_or_default();
    let mut text = first.trim_end_matches(']').to_owned();
    for (pattern, with) in PATTERNS.iter() {
        text = pattern.replace_all(&text, *with).into_owned();
    }
    let Some(supported) = SUPPORTED.as_ref() else { return text };
    let sorted = |captures: &Captures<'_>| {
        let mut values: Vec<&str> = captures[1].split(", ").collect();
        values.sort_unstable();
        format!("supported values: {}", values.join(", "))
    };
    supported.replace_all(&text, sorted).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn same(one: &str, other: &str) -> bool {
        settled(one) == settled(other)
    }

    #[test]
    fn texts_differ_in_what_they_say() {
        for (one, other) in [
            (
                r#"spec: Invalid value: core.Foo{A:"b"}: field is immutable"#,
                r#"spec: Invalid value: {"a":"b"}: field is immutable"#,
            ),
            (
                r#"x: Unsupported value: "q": supported values: "b", "a""#,
                r#"x: Unsupported value: "q": supported values: "a", "b""#,
            ),
            ("must be no more than 63 characters", "must be no more than 63 bytes"),
        ] {
            assert!(same(one, other), "{one} and {other}");
        }
        for (one, other) in [
            (r#"a: Invalid value: "b": no"#, r#"a: Invalid value: "c": no"#),
            (r#"a: Invalid value: {"a":1}: no"#, r#"b: Invalid value: {"a":1}: no"#),
            ("a: Required value", "a: Required value: b"),
        ] {
            assert!(!same(one, other), "{one} and {other}");
        }
    }

    #[test]
    fn objects_differ_in_what_they_hold() {
        let answer = |body: Value| Answer { code: 201, body, warnings: Vec::new() };
        let ours = answer(json!({"metadata": {"uid": "1"}, "a": null, "b": [1, 2], "c": []}));
        let theirs = answer(json!({"metadata": {"uid": "2"}, "b": [1, 3], "c": null}));
        assert_eq!(
            differences(&ours, &theirs),
            [Difference { path: ".b[1]".to_owned(), ours: json!(2), theirs: json!(3) }]
        );
        let refused = Answer { code: 422, ..theirs };
        assert_eq!(differences(&ours, &refused)[0].path, "code");
    }
}
