//! From the text of a manifest file to the objects in it. Not here: whether the API takes them.

use std::fmt;

use codec::Mode;
use schema::Schema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most objects that one file may hold.
pub(crate) const DOCUMENTS_MAX: usize = 1000;

/// Which object: what must not change between two versions of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    /// `v1`, `apps/v1`, …
    pub(crate) api_version: String,
    pub(crate) kind: String,
    /// Empty where the manifest names none.
    #[serde(default)]
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Identity {
    /// The group, empty for core.
    pub(crate) fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The version within the group.
    pub(crate) fn version(&self) -> &str {
        self.api_version.split_once('/').map_or(&*self.api_version, |(_, version)| version)
    }

    /// Whether the two are one object; its versions are several faces of it.
    pub(crate) fn is_same_object(&self, other: &Self) -> bool {
        self.group() == other.group()
            && self.kind == other.kind
            && self.name == other.name
            && self.namespace_or_default() == other.namespace_or_default()
    }

    /// The namespace that a manifest without one means.
    pub(crate) fn namespace_or_default(&self) -> &str {
        if self.namespace.is_empty() { "default" } else { &self.namespace }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = (&self.kind, &self.name);
        match self.namespace.as_str() {
            "" => write!(f, "{kind} {name}"),
            namespace => write!(f, "{kind} {namespace}/{name}"),
        }
    }
}

/// One object of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    /// Its place in the file, from 1.
    pub(crate) number: usize,
    pub(crate) identity: Identity,
    pub(crate) value: Value,
}

/// What is wrong with a part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Which document, from 1; 0 for the whole file.
    pub(crate) document: usize,
    /// Path of the field at fault; empty when no single one is.
    pub(crate) field: String,
    pub(crate) message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.document > 0 {
            write!(f, "document {}: ", self.document)?;
        }
        // Most of upstream's messages name their field themselves.
        if !self.field.is_empty() && !self.message.contains(&self.field) {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// The objects of a file, and what could not be understood.
pub(crate) fn read(is_json: bool, text: &str) -> (Vec<Document>, Vec<Fault>) {
    let (mut documents, mut faults) = (Vec::new(), Vec::new());
    for (index, value) in values(is_json, text).into_iter().enumerate() {
        let number = index + 1;
        let taken = value.and_then(|value| take(number, value, &mut documents));
        faults.extend(taken.err().map(|fault| Fault { document: number, ..fault }));
        if documents.len() > DOCUMENTS_MAX {
            documents.truncate(DOCUMENTS_MAX);
            faults.push(fault("", format!("more than {DOCUMENTS_MAX} objects in one file")));
            break;
        }
    }
    (documents, faults)
}

fn fault(field: &str, message: impl Into<String>) -> Fault {
    Fault { document: 0, field: field.to_owned(), message: message.into() }
}

fn values(is_json: bool, text: &str) -> Vec<Result<Value, Fault>> {
    let refused = |error: codec::DecodeError| fault("", error.to_string());
    if is_json {
        let stream = serde_json::Deserializer::from_str(text).into_iter();
        let raw = stream.map(|raw: Result<Box<serde_json::value::RawValue>, _>| {
            let raw = raw.map_err(|error| fault("", error.to_string()))?;
            codec::json::decode(raw.get().as_bytes(), &Schema::any(), Mode::Strict)
                .map(|decoded| decoded.value)
                .map_err(refused)
        });
        return raw.take(DOCUMENTS_MAX + 1).collect();
    }
    let decode = |piece: String| {
        codec::yaml::decode(piece.as_bytes(), &Schema::any(), Mode::Strict)
            .map(|decoded| decoded.value)
            .map_err(refused)
    };
    pieces(text).into_iter().take(DOCUMENTS_MAX + 1).map(decode).collect()
}

/// The documents of a YAML stream. A line that begins with `---` starts one wherever it stands: no scalar
/// may hold it.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for line in text.lines() {
        let starts = line.strip_prefix("---").is_some_and(|rest| {
            rest.is_empty() || rest.starts_with(|next: char| next.is_ascii_whitespace())
        });
        if starts {
            pieces.push(String::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push_str(line);
            piece.push('\n');
        }
    }
    let is_content = |line: &str| {
        let line = line.trim_start_matches("---").trim();
        !(line.is_empty() || line.starts_with(['#', '%']) || line == "...")
    };
    pieces.retain(|piece| piece.lines().any(is_content));
    pieces
}

/// Takes what a document holds: one object, or the items of a `List`.
fn take(number: usize, value: Value, into: &mut Vec<Document>) -> Result<(), Fault> {
    if value.is_null() {
        return Ok(());
    }
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match value.get("items").and_then(Value::as_array) {
        Some(items) if is_list => {
            for (index, item) in items.iter().enumerate() {
                let document = one(number, item.clone()).map_err(|fault| Fault {
                    field: format!("items[{index}].{}", fault.field),
                    ..fault
                })?;
                into.push(document);
            }
            Ok(())
        }
        _ => one(number, value).map(|document| into.push(document)),
    }
}

fn one(number: usize, value: Value) -> Result<Document, Fault> {
    if !value.is_object() {
        return Err(fault("", "expected an object with apiVersion, kind and metadata"));
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let required = |pointer: &str, field: &str| match text(pointer) {
        "" => Err(fault(field, "Required value")),
        text => Ok(text.to_owned()),
    };
    let identity = Identity {
        api_version: required("/apiVersion", "apiVersion")?,
        kind: required("/kind", "kind")?,
        name: required("/metadata/name", "metadata.name")?,
        namespace: text("/metadata/namespace").to_owned(),
    };
    Ok(Document { number, identity, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(documents: &[Document]) -> Vec<String> {
        documents.iter().map(|it| format!("{} {}", it.number, it.identity)).collect()
    }

    #[test]
    fn documents_are_told_apart() {
        let text = "# head\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: web}\ndata: {t: \"x\"}\n\
                    --- # second\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: b}}\n\
                    - {apiVersion: v1, kind: Namespace, metadata: {name: c}}\n---\n\n---\n# nothing\n";
        let (documents, faults) = read(false, text);
        assert_eq!(names(&documents), ["1 ConfigMap web/a", "2 Namespace b", "2 Namespace c"]);
        assert_eq!(faults, []);
    }

    #[test]
    fn json_files_may_hold_several_objects() {
        let one = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}"#;
        let (documents, faults) = read(true, &format!("{one}\n{}", one.replace("\"a\"", "\"b\"")));
        assert_eq!(names(&documents), ["1 Namespace a", "2 Namespace b"]);
        assert_eq!(faults, []);
    }

    #[test]
    fn faults_name_document_and_field_and_stop_nothing_else() {
        let good = "apiVersion: v1\nkind: Namespace\nmetadata: {name: good}\n";
        let cases = [
            ("kind: Pod\nmetadata: {name: x}\n", "document 2: apiVersion: Required value"),
            ("apiVersion: v1\nmetadata: {name: x}\n", "document 2: kind: Required value"),
            ("apiVersion: v1\nkind: Pod\n", "document 2: metadata.name: Required value"),
            ("- a\n", "document 2: expected an object with apiVersion, kind and metadata"),
            (
                "kind: List\napiVersion: v1\nitems: [{kind: Pod}]\n",
                "document 2: items[0].apiVersion: Required value",
            ),
        ];
        for (bad, wanted) in cases {
            let (documents, faults) = read(false, &format!("{good}---\n{bad}---\n{good}"));
            assert_eq!(names(&documents), ["1 Namespace good", "3 Namespace good"], "{bad}");
            assert_eq!(faults.iter().map(ToString::to_string).collect::<Vec<_>>(), [wanted]);
        }
        for (bad, word) in [("a: [\n", "line"), ("kind: A\nkind: B\n", "kind")] {
            let (_, faults) = read(false, bad);
            assert_eq!(faults.len(), 1, "{bad}");
            assert!(faults[0].to_string().contains(word), "{}", faults[0]);
        }
        let (documents, faults) = read(true, "{\"kind\": ");
        assert!(documents.is_empty() && faults[0].document == 1, "{faults:?}");
    }

    #[test]
    fn empty_files_hold_nothing() {
        for text in ["", "\n\n", "---\n---\n", "# only\n"] {
            assert_eq!(read(false, text), (Vec::new(), Vec::new()), "{text:?}");
        }
        assert_eq!(read(true, " \n"), (Vec::new(), Vec::new()));
    }

    #[test]
    fn versions_are_faces_of_one_object() {
        let of = |version: &str, namespace: &str| Identity {
            api_version: version.into(),
            kind: "Deployment".into(),
            namespace: namespace.into(),
            name: "a".into(),
        };
        assert!(of("apps/v1", "").is_same_object(&of("apps/v1beta1", "default")));
        assert!(!of("apps/v1", "").is_same_object(&of("v1", "")));
        assert!(!of("apps/v1", "x").is_same_object(&of("apps/v1", "")));
    }
}
