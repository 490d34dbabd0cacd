//! Field paths and field errors, with upstream's texts.

use std::fmt;

use serde_json::Value;
use smallvec::SmallVec;

/// Length of the paths that need no memory of their own.
const SHORT: usize = 56;

/// Where in an object a fault is, e.g. `spec.containers[0].image`.
///
/// Validation makes a path for every field that it looks at, nearly always in vain.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Path(SmallVec<[u8; SHORT]>);

impl Path {
    /// The path of a top-level field.
    pub fn new(name: &str) -> Self {
        Self(SmallVec::from_slice(name.as_bytes()))
    }

    /// The object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// A field of this object.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { self.joined(&[".", name]) }
    }

    /// An item of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.joined(&["[", &index.to_string(), "]"])
    }

    /// A value of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.joined(&["[", key, "]"])
    }

    fn joined(&self, parts: &[&str]) -> Self {
        let length = self.0.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        let parts = parts.iter().map(|part| part.as_bytes());
        if length > SHORT {
            let mut path = SmallVec::with_capacity(length);
            path.extend_from_slice(&self.0);
            parts.for_each(|part| path.extend_from_slice(part));
            return Self(path);
        }
        let mut path = [0; SHORT];
        path[..self.0.len()].copy_from_slice(&self.0);
        let mut at = self.0.len();
        parts.for_each(|part| {
            path[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        });
        Self(SmallVec::from_buf_and_len(path, length))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            if self.0.is_empty() { "<nil>".into() } else { String::from_utf8_lossy(&self.0) };
        f.write_str(&text)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What kind of fault a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// A value that must be there is not.
    Required,
    /// The value is malformed or contradicts another.
    Invalid,
    /// The value is none of a closed set.
    NotSupported,
    /// The value may not be set (here, or now).
    Forbidden,
    /// The value must be unique and is not.
    Duplicate,
    /// The value names something that does not exist.
    NotFound,
    /// A string has too many bytes.
    TooLong,
    /// A list has too many items.
    TooMany,
    /// The value has the wrong JSON type.
    TypeInvalid,
    /// Something of ours went wrong while checking.
    Internal,
}

/// One fault of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// The kind of fault.
    pub kind: ErrorType,
    /// The path, as text.
    pub field: String,
    /// The offending value, where upstream shows it.
    pub value: Option<Value>,
    /// What is wrong, for people.
    pub detail: String,
}

impl Error {
    fn new(kind: ErrorType, path: &Path, value: Option<Value>, detail: impl Into<String>) -> Self {
        Self { kind, field: path.to_string(), value, detail: detail.into() }
    }

    /// The field must be set.
    pub fn required(path: &Path, detail: &str) -> Self {
        Self::new(ErrorType::Required, path, None, detail)
    }

    /// The value is wrong.
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, path, Some(value.into()), detail)
    }

    /// The value is none of `supported`.
    pub fn not_supported(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let mut sorted = supported.to_vec();
        sorted.sort_unstable();
        let quoted: Vec<String> = sorted.iter().map(|s| format!("\"{s}\"")).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(ErrorType::NotSupported, path, Some(value.into()), detail)
    }

    /// The field may not be set or changed.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Forbidden, path, None, detail)
    }

    /// The value occurs twice.
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::Duplicate, path, Some(value.into()), "")
    }

    /// The value names nothing.
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::NotFound, path, Some(value.into()), "")
    }

    /// More than `max` bytes.
    pub fn too_long(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(ErrorType::TooLong, path, None, format!("may not be more than {max} {unit}"))
    }

    /// More than `max` items.
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {unit}");
        Self::new(ErrorType::TooMany, path, Some(actual.into()), detail)
    }

    /// The wrong JSON type.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::TypeInvalid, path, Some(value.into()), detail)
    }

    /// The machine-readable reason of the cause.
    pub fn reason(&self) -> &'static str {
        match self.kind {
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::TypeInvalid => "FieldValueTypeInvalid",
            ErrorType::Internal => "InternalError",
        }
    }

    /// The message without the field's path.
    pub fn body(&self) -> String {
        let title = match self.kind {
            ErrorType::Required => "Required value",
            ErrorType::Invalid | ErrorType::TypeInvalid => "Invalid value",
            ErrorType::NotSupported => "Unsupported value",
            ErrorType::Forbidden => "Forbidden",
            ErrorType::Duplicate => "Duplicate value",
            ErrorType::NotFound => "Not found",
            ErrorType::TooLong => "Too long",
            ErrorType::TooMany => "Too many",
            ErrorType::Internal => "Internal error",
        };
        let mut body = title.to_owned();
        if let Some(value) = &self.value {
            body.push_str(": ");
            body.push_str(&show(value));
        }
        if !self.detail.is_empty() {
            body.push_str(": ");
            body.push_str(&self.detail);
        }
        body
    }
}

/// Strings are quoted; null is `null`; everything else is compact JSON.
fn show(value: &Value) -> String {
    value.to_string()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_upstreams() {
        let path = Path::new("spec").child("ports").index(1).child("protocol");
        let cases = [
            (
                Error::not_supported(&path, "FOO", &["UDP", "TCP"]),
                r#"spec.ports[1].protocol: Unsupported value: "FOO": supported values: "TCP", "UDP""#,
            ),
            (Error::required(&path, "name it"), "spec.ports[1].protocol: Required value: name it"),
            (
                Error::invalid(&path, 7, "too big"),
                "spec.ports[1].protocol: Invalid value: 7: too big",
            ),
            (Error::duplicate(&path, "a"), r#"spec.ports[1].protocol: Duplicate value: "a""#),
            (
                Error::too_long(&path, 63),
                "spec.ports[1].protocol: Too long: may not be more than 63 bytes",
            ),
            (
                Error::too_many(&path, 5, 3),
                "spec.ports[1].protocol: Too many: 5: must have at most 3 items",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }
}
