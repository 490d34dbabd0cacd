//! Types of values, as the checker knows them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The type of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Known at run time only.
    Dyn,
    /// The type of `null`.
    Null,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A whole number without a sign.
    Uint,
    /// A floating point number.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A point in time.
    Timestamp,
    /// A span of time.
    Duration,
    /// A list of values of one type.
    List(Arc<Self>),
    /// A map of keys and values of two types.
    Map(Arc<(Self, Self)>),
    /// A value that may be absent.
    Optional(Arc<Self>),
    /// A type as a value.
    Type(Arc<Self>),
    /// An object with named fields.
    Object(Arc<ObjectType>),
    /// A type of a library, known by its name.
    Opaque(&'static str),
    /// A type variable of a function's signature, or one that stands for what is not known yet.
    Parameter(usize),
    /// What an expression with a fault has.
    Error,
}

/// The fields of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectType {
    /// The name, which a constructor uses.
    pub name: Arc<str>,
    /// The fields by the names that expressions use.
    pub fields: BTreeMap<Arc<str>, Type>,
    /// Whether fields that are not listed may be there, with any type.
    pub open: bool,
}

impl Type {
    /// A list type.
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    /// A map type.
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    /// An optional type.
    pub fn optional(inner: Self) -> Self {
        Self::Optional(Arc::new(inner))
    }

    /// An object type with no fields of its own that takes any.
    pub fn named(name: &str) -> Self {
        Self::Object(Arc::new(ObjectType {
            name: name.into(),
            fields: BTreeMap::new(),
            open: true,
        }))
    }

    /// An object type.
    pub fn object(
        name: &str,
        fields: impl IntoIterator<Item = (impl Into<Arc<str>>, Self)>,
    ) -> Self {
        let fields = fields.into_iter().map(|(name, field)| (name.into(), field)).collect();
        Self::Object(Arc::new(ObjectType { name: name.into(), fields, open: false }))
    }

    /// The name that `type()` goes by: parameters do not matter.
    pub(crate) fn runtime_name(&self) -> String {
        match self {
            Self::List(_) => "list".to_owned(),
            Self::Map(_) => "map".to_owned(),
            Self::Optional(_) => "optional_type".to_owned(),
            Self::Type(_) => "type".to_owned(),
            Self::Null => "null_type".to_owned(),
            Self::Timestamp => "google.protobuf.Timestamp".to_owned(),
            Self::Duration => "google.protobuf.Duration".to_owned(),
            other => other.to_string(),
        }
    }

    /// Whether nothing is known of values of this type.
    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Map(both) => write!(f, "map({}, {})", both.0, both.1),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::Type(inner) => write!(f, "type({inner})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Opaque(name) => f.write_str(name),
            Self::Parameter(index) => write!(f, "_var{index}"),
            Self::Error => f.write_str("!error!"),
        }
    }
}
