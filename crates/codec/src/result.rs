//! What decoding gives back: the value and warnings, or why not.

use serde_json::Value;
use thiserror::Error;

use crate::limits::BODY_BYTES_MAX;

/// What to do about unknown and duplicate fields (the request option `fieldValidation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in a warning each; the default of the API.
    #[default]
    Warn,
    /// Refuse the body and name all of them.
    Strict,
}

/// A decoded body.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object, without the fields that its schema does not know.
    pub value: Value,
    /// One text per unknown or duplicate field, for `Warning` headers. Only in [`Mode::Warn`].
    pub warnings: Vec<String>,
}

/// `apiVersion` and `kind` of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TypeMeta {
    /// Group and version, such as `apps/v1`; empty if absent.
    pub api_version: String,
    /// Kind; empty if absent.
    pub kind: String,
}

impl TypeMeta {
    /// The two halves of `apiVersion`; the core group is empty.
    pub fn group_version(&self) -> (&str, &str) {
        self.api_version.split_once('/').unwrap_or(("", &self.api_version))
    }
}

/// A value that does not fit the type of its field, in the words of Go's decoder.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("json: cannot unmarshal {value} into Go {}{target}", of_field(field.as_ref()))]
pub struct WrongType {
    /// What Go calls the value: `string`, `number`, `number 1.5`, `bool`, `array` or `object`.
    pub value: String,
    /// The Go type.
    pub target: String,
    /// Name of the struct, and path to the field.
    pub field: Option<(String, String)>,
}

fn of_field(field: Option<&(String, String)>) -> String {
    match field {
        Some((name, path)) => format!("struct field {name}.{path} of type "),
        None => "value of type ".to_owned(),
    }
}

impl WrongType {
    /// The same in the words of upstream's converter of trees, which typed objects go through after a strategic
    /// merge.
    pub fn restored(&self) -> String {
        let target = self.target.as_str();
        let found = match self.value.as_str() {
            "array" => "slice",
            "object" => "map",
            "number" => "int64",
            number if number.starts_with("number ") => "float64",
            other => other,
        };
        match (found, target) {
            (_, map) if map.starts_with("map[") => format!("cannot restore map from {found}"),
            (_, list) if list.starts_with("[]") => format!("cannot restore slice from {found}"),
            (_, structure) if structure.contains('.') => {
                format!("cannot restore struct from: {found}")
            }
            // Go has conversions between these, which JSON has not.
            ("int64", "string") | ("float64", "int32" | "int64") => {
                format!("cannot convert {found} to {target}")
            }
            _ => format!("unrecognized type: {target}"),
        }
    }
}

/// Why a body cannot be decoded. The texts are those of upstream's decoder.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The text is not well-formed JSON.
    #[error("{0}")]
    Syntax(String),
    /// The text is not well-formed YAML, or has what JSON cannot hold.
    #[error("error converting YAML to JSON: {0}")]
    Yaml(String),
    /// The bytes are no well-formed CBOR, or hold what JSON cannot hold.
    #[error("{0}")]
    Cbor(String),
    /// A value does not fit the type of its field.
    #[error(transparent)]
    Type(#[from] WrongType),
    /// A text is of the right type, but not what its field takes: a time, a quantity.
    #[error("{0}")]
    Value(String),
    /// Unknown or duplicate fields in [`Mode::Strict`].
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
    /// The bytes are no protobuf message of the expected kind.
    #[error("{0}")]
    Protobuf(String),
    /// The body does not say its kind.
    #[error("Object 'Kind' is missing in '{0}'")]
    MissingKind(String),
    /// The body does not say its version.
    #[error("Object 'apiVersion' is missing in '{0}'")]
    MissingVersion(String),
    /// There are no field numbers for this kind: it has no protobuf form.
    #[error("no kind \"{kind}\" is registered for protobuf in version \"{api_version}\"")]
    UnknownKind {
        /// Group and version.
        api_version: String,
        /// Kind.
        kind: String,
    },
    /// The body is larger than any object may be.
    #[error("Request entity too large: limit is {BODY_BYTES_MAX}")]
    TooLarge,
}
