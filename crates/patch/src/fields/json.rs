//! The JSON form of a set: `{"f:spec": {"f:ports": {".": {}, "k:{\"port\":80}": {...}}}}`.

use serde_json::{Map, Value};

use super::{Element, FieldSet};

/// The deepest set that is read.
const DEPTH_MAX: usize = 128;

/// Why a `fieldsV1` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// Something that must be an object is none.
    #[error("a set of fields must be an object")]
    NoObject,
    /// A key starts with no known letter.
    #[error("unknown kind of path element: {0:?}")]
    UnknownElement(String),
    /// What follows the letter is malformed.
    #[error("malformed path element {element:?}: {why}")]
    Malformed {
        /// The key.
        element: String,
        /// What is wrong.
        why: String,
    },
    /// It is nested beyond reason.
    #[error("a set of fields may not have more than {DEPTH_MAX} levels")]
    TooDeep,
}

impl FieldSet {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// See [`FieldsError`].
    pub fn from_json(value: &Value) -> Result<Self, FieldsError> {
        read(value, 0).map(|(_, set)| set)
    }

    /// Writes the JSON form.
    pub fn to_json(&self) -> Value {
        Value::Object(self.write(false))
    }

    fn write(&self, member: bool) -> Map<String, Value> {
        let mut map = Map::new();
        if member && !self.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for node in &self.nodes {
            map.insert(node.element.to_key(), Value::Object(node.below.write(node.member)));
        }
        map
    }
}

/// The set at a node, and whether the node itself is a member.
fn read(value: &Value, depth: usize) -> Result<(bool, FieldSet), FieldsError> {
    if depth > DEPTH_MAX {
        return Err(FieldsError::TooDeep);
    }
    let map = value.as_object().ok_or(FieldsError::NoObject)?;
    let mut set = FieldSet::new();
    let mut member = map.is_empty();
    for (key, value) in map {
        if key == "." {
            member = true;
            continue;
        }
        let (is_member, below) = read(value, depth + 1)?;
        set.attach(Element::from_key(key)?, is_member, below);
    }
    Ok((member, set))
}

impl Element {
    /// The key of this element in the JSON form.
    pub fn to_key(&self) -> String {
        match self {
            Self::Field(name) => ["f:", name].concat(),
            Self::Key(fields) => {
                let map: Map<String, Value> =
                    fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
                format!("k:{}", Value::Object(map))
            }
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads a key of the JSON form.
    ///
    /// # Errors
    /// The key is malformed.
    pub fn from_key(key: &str) -> Result<Self, FieldsError> {
        let unknown = || FieldsError::UnknownElement(key.to_owned());
        let malformed = |why: String| FieldsError::Malformed { element: key.to_owned(), why };
        let (letter, rest) = key.split_once(':').ok_or_else(unknown)?;
        match letter {
            "f" => Ok(Self::Field(rest.into())),
            "v" => {
                let value = serde_json::from_str(rest).map_err(|e| malformed(e.to_string()))?;
                Ok(Self::Value(value))
            }
            "i" => rest.parse().map(Self::Index).map_err(|_| malformed("no number".to_owned())),
            "k" => {
                let map: Map<String, Value> =
                    serde_json::from_str(rest).map_err(|e| malformed(e.to_string()))?;
                let mut fields: Vec<(Box<str>, Value)> =
                    map.into_iter().map(|(name, value)| (name.into(), value)).collect();
                fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                Ok(Self::Key(fields))
            }
            _ => Err(unknown()),
        }
    }
}
