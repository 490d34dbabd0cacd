//! What an expression works on and comes to.
//!
//! Values are immutable and cheap to clone. Reading them from JSON lives in [`json`], comparing them in
//! `compare`.

mod compare;
pub(crate) mod json;

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use api::quantity::Quantity;
use jiff::Timestamp;

use crate::authorizer::{AuthorizationDecision, Question};
use crate::functions::format::NamedFormat;
use crate::functions::url::Url;
use crate::types::Type;

pub(crate) use compare::{Members, identity};
pub use json::ToJsonError;

/// Characters that are walked as quickly as one value.
const CHARACTERS_PER_STEP: u64 = 64;

/// The zero time: the beginning of the year 1.
const ZERO_TIME_NANOSECOND: i128 = -62_135_596_800_000_000_000;

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number without a sign.
    Uint(u64),
    /// A floating point number.
    Double(f64),
    /// Text.
    String(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A point in time.
    Timestamp(Timestamp),
    /// A span of time in nanoseconds.
    Duration(i64),
    /// A list.
    List(Arc<List>),
    /// A map, or an object.
    Map(Arc<Map>),
    /// A value that may be absent.
    Optional(Option<Arc<Self>>),
    /// A type.
    Type(Type),
    /// What `url()` makes.
    Url(Arc<Url>),
    /// What `ip()` makes.
    Ip(IpAddr),
    /// What `cidr()` makes: the address as written, and the length of the prefix.
    Cidr(IpAddr, u8),
    /// What `quantity()` makes.
    Quantity(Quantity),
    /// What `semver()` makes.
    Semver(Arc<semver::Version>),
    /// A named format.
    Format(NamedFormat),
    /// The authorizer, or a question to it that is being put together.
    Authorizer(Arc<Question>),
    /// What the authorizer said.
    Decision(Arc<AuthorizationDecision>),
}

/// How the items of a list are told apart, after `x-kubernetes-list-type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// By their place.
    #[default]
    Plain,
    /// By their value: the order does not matter.
    Set,
    /// By some of their fields: the order does not matter.
    Map(Arc<[String]>),
}

/// The items of a list.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub(crate) items: Vec<Value>,
    pub(crate) kind: ListKind,
    weight: u64,
}

impl List {
    /// A list whose items are told apart as `kind` says.
    pub fn new(items: Vec<Value>, kind: ListKind) -> Self {
        let weight = items.iter().map(Value::weight).fold(1, u64::saturating_add);
        Self { items, kind, weight }
    }

    /// The items, in order.
    pub fn items(&self) -> &[Value] {
        &self.items
    }

    pub(crate) fn push(&mut self, item: Value) {
        self.weight = self.weight.saturating_add(item.weight());
        self.items.push(item);
    }
}

/// The entries of a map, sorted by key.
#[derive(Clone, Debug, Default)]
pub struct Map {
    pub(crate) entries: Vec<(Value, Value)>,
    /// The type of an object; maps have none.
    pub(crate) name: Option<Arc<str>>,
    weight: u64,
}

impl Map {
    /// A map from entries in any order; of two with one key the later counts.
    pub fn from_entries(mut entries: Vec<(Value, Value)>) -> Self {
        entries.sort_by(|(a, _), (b, _)| compare::keys(a, b));
        entries.reverse();
        entries.dedup_by(|(a, _), (b, _)| compare::keys(a, b) == Ordering::Equal);
        entries.reverse();
        let weigh = |(key, value): &(Value, Value)| key.weight().saturating_add(value.weight());
        let weight = entries.iter().map(weigh).fold(1, u64::saturating_add);
        Self { entries, name: None, weight }
    }

    /// An object of a type, without fields.
    pub(crate) fn named(name: &Arc<str>) -> Self {
        Self { name: Some(Arc::clone(name)), ..Self::default() }
    }

    /// The entries, sorted by key.
    pub fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    /// The type of the object, if it has been made with one in an expression.
    pub fn type_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The value under a name.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let order = |(key, _): &(Value, Value)| match key {
            Value::String(key) => (**key).cmp(name),
            _ => Ordering::Less,
        };
        let index = self.entries.binary_search_by(order).ok()?;
        Some(&self.entries[index].1)
    }

    /// The value under a key; numbers of all types that are the same number are the same key.
    pub fn get(&self, key: &Value) -> Option<&Value> {
        let index = self.entries.binary_search_by(|(own, _)| compare::keys(own, key)).ok()?;
        Some(&self.entries[index].1)
    }

    /// Puts an entry in; whether the key is new.
    pub(crate) fn insert(&mut self, key: Value, value: Value) -> bool {
        match self.entries.binary_search_by(|(own, _)| compare::keys(own, &key)) {
            Ok(_) => false,
            Err(index) => {
                let more = key.weight().saturating_add(value.weight());
                self.weight = self.weight.saturating_add(more);
                self.entries.insert(index, (key, value));
                true
            }
        }
    }
}

impl Value {
    /// A string.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    /// A plain list.
    pub fn list(items: Vec<Self>) -> Self {
        Self::List(Arc::new(List::new(items, ListKind::Plain)))
    }

    /// A map from entries in any order.
    pub fn map(entries: Vec<(Self, Self)>) -> Self {
        Self::Map(Arc::new(Map::from_entries(entries)))
    }

    /// An optional value that is there.
    pub(crate) fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is true, if it is a Boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The type at run time; lists and maps hold anything.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(map) => match &map.name {
                Some(name) => Type::named(name),
                None => Type::map(Type::Dyn, Type::Dyn),
            },
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Type(_) => Type::Type(Arc::new(Type::Dyn)),
            Self::Url(_) => Type::Opaque("kubernetes.URL"),
            Self::Ip(_) => Type::Opaque("net.IP"),
            Self::Cidr(..) => Type::Opaque("net.CIDR"),
            Self::Quantity(_) => Type::Opaque("kubernetes.Quantity"),
            Self::Semver(_) => Type::Opaque("kubernetes.Semver"),
            Self::Format(_) => Type::Opaque("kubernetes.NamedFormat"),
            Self::Authorizer(question) => Type::Opaque(question.type_name()),
            Self::Decision(_) => Type::Opaque("kubernetes.authorization.Decision"),
        }
    }

    /// Equality as CEL has it: numbers compare across types, sets without order; different types differ.
    pub fn equals(&self, other: &Self) -> bool {
        compare::equal(self, other, 0)
    }

    /// The order of two values, if they have one.
    pub(crate) fn order(&self, other: &Self) -> Option<Ordering> {
        compare::order(self, other)
    }

    /// What `size()` says, for values that have a size.
    pub(crate) fn size(&self) -> Option<usize> {
        match self {
            Self::String(text) => Some(text.chars().count()),
            Self::Bytes(bytes) => Some(bytes.len()),
            Self::List(list) => Some(list.items.len()),
            Self::Map(map) => Some(map.entries.len()),
            _ => None,
        }
    }

    /// How many values it is made of, itself included. What is shared counts as often as it occurs, so
    /// that this bounds the steps of every walk.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::List(list) => list.weight,
            Self::Map(map) => map.weight,
            Self::Optional(Some(value)) => value.weight().saturating_add(1),
            Self::String(text) => 1 + text.len() as u64 / CHARACTERS_PER_STEP,
            Self::Bytes(bytes) => 1 + bytes.len() as u64 / CHARACTERS_PER_STEP,
            _ => 1,
        }
    }

    /// Whether a value is the zero value of its type.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(number) => *number == 0,
            Self::Uint(number) => *number == 0,
            Self::Double(number) => *number == 0.0,
            Self::Duration(span) => *span == 0,
            Self::Timestamp(time) => time.as_nanosecond() == ZERO_TIME_NANOSECOND,
            Self::Optional(value) => value.as_ref().is_none_or(|value| value.is_zero()),
            other => other.size() == Some(0),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::string(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::string(value)
    }
}
