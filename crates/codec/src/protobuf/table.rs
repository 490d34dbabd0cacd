//! The messages of the built-in kinds, read lazily from the checked-in table.

use std::sync::{LazyLock, OnceLock};

use crate::result::{DecodeError, TypeMeta};

static TABLE: &str = include_str!("messages.txt");
static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(scan);

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

struct Entry {
    name: &'static str,
    body: &'static str,
    message: OnceLock<Message>,
}

/// A message: its fields in the order of their numbers.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: &'static str,
    pub(crate) fields: Box<[Field]>,
    /// Places of the fields in the order of their JSON names.
    by_name: Box<[u16]>,
    /// Places of the fields that are in JSON even when they are unset, and of those that are inlined.
    when_absent: Box<[u16]>,
    /// Set for messages whose JSON form is not an object of their fields.
    pub(crate) special: Option<Special>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    /// The name in JSON.
    pub(crate) name: &'static str,
    pub(crate) repeat: Repeat,
    pub(crate) shape: Shape,
    pub(crate) presence: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    One,
    List,
    /// Keys are strings.
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    String,
    Bytes,
    Bool,
    Int32,
    Int64,
    Double,
    Message(u16),
}

/// What an absent or zero field means; `messages.txt` says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Scalars: zero is absent in JSON. Messages: a pointer.
    Plain,
    Pointer,
    Always,
    Value,
    OmitZero,
    Inline,
}

/// Messages with a JSON form of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    Duration,
    /// Raw bytes that are JSON text.
    Json,
    /// Raw bytes that are JSON text or another object's envelope.
    RawExtension,
    /// A list of strings.
    Strings,
    SchemaOrArray,
    SchemaOrBool,
    SchemaOrStrings,
}

impl Special {
    fn of(name: &str) -> Option<Self> {
        Some(match name.rsplit('.').next()? {
            "Time" => Self::Time,
            "MicroTime" => Self::MicroTime,
            "Quantity" => Self::Quantity,
            "IntOrString" => Self::IntOrString,
            "Duration" => Self::Duration,
            "JSON" | "FieldsV1" => Self::Json,
            "RawExtension" => Self::RawExtension,
            "Verbs" | "ExtraValue" | "AttestationValue" => Self::Strings,
            "JSONSchemaPropsOrArray" => Self::SchemaOrArray,
            "JSONSchemaPropsOrBool" => Self::SchemaOrBool,
            "JSONSchemaPropsOrStringArray" => Self::SchemaOrStrings,
            _ => return None,
        })
    }
}

/// What names are found by: most differ in length already.
fn name_order(name: &str) -> (usize, &str) {
    (name.len(), name)
}

impl Message {
    /// The field with a number.
    pub(crate) fn field(&self, number: u32) -> Option<&Field> {
        let index = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        Some(&self.fields[index])
    }

    /// The field with a JSON name.
    pub(crate) fn field_named(&self, name: &str) -> Option<&Field> {
        let field = |place: &u16| &self.fields[usize::from(*place)];
        let wanted = name_order(name);
        let found = self.by_name.binary_search_by(|at| name_order(field(at).name).cmp(&wanted));
        Some(field(&self.by_name[found.ok()?]))
    }

    /// The fields that are in JSON even when they are unset, and those that are inlined.
    pub(crate) fn fields_when_absent(&self) -> impl Iterator<Item = &Field> {
        self.when_absent.iter().map(|place| &self.fields[usize::from(*place)])
    }

    fn new(entry: &Entry) -> Self {
        let lines = entry.body.lines();
        let fields: Box<[Field]> =
            lines.map(|line| field(line).expect("the table is well formed")).collect();
        let places = || (0u16..).zip(&fields);
        let mut by_name: Vec<u16> = places().map(|(place, _)| place).collect();
        by_name.sort_unstable_by_key(|place| name_order(fields[usize::from(*place)].name));
        let when_absent = places().filter(|(_, field)| match field.presence {
            Presence::Inline => true,
            Presence::Always | Presence::Value => field.repeat == Repeat::One,
            Presence::Plain | Presence::Pointer | Presence::OmitZero => false,
        });
        let when_absent = when_absent.map(|(place, _)| place).collect();
        let by_name = by_name.into();
        Self { name: entry.name, fields, by_name, when_absent, special: Special::of(entry.name) }
    }
}

/// The message of a kind.
pub(crate) fn for_kind(meta: &TypeMeta) -> Result<&'static Message, DecodeError> {
    let (group, version) = meta.group_version();
    let named = schema::definition_for_kind(group, version, &meta.kind).and_then(by_name);
    named.or_else(|| without_schema(group, version, &meta.kind)).ok_or_else(|| {
        DecodeError::UnknownKind { api_version: meta.api_version.clone(), kind: meta.kind.clone() }
    })
}

/// Kinds that no schema names.
fn without_schema(group: &str, version: &str, kind: &str) -> Option<&'static Message> {
    match (group, version) {
        ("apidiscovery.k8s.io", version) => {
            by_name(&format!("io.k8s.api.apidiscovery.{version}.{kind}"))
        }
        ("metrics.k8s.io", version) => {
            by_name(&format!("io.k8s.metrics.pkg.apis.metrics.{version}.{kind}"))
        }
        ("", "v1") if kind == "List" => by_name("io.k8s.api.core.v1.List"),
        ("" | "meta.k8s.io", "v1") => by_name(&format!("{META}.{kind}")),
        _ => None,
    }
}

/// The message with an OpenAPI name.
pub(crate) fn by_name(name: &str) -> Option<&'static Message> {
    index(name).map(message)
}

fn index(name: &str) -> Option<u16> {
    let position = ENTRIES.binary_search_by(|entry| entry.name.cmp(name)).ok()?;
    u16::try_from(position).ok()
}

/// The message that a field's shape points to.
pub(crate) fn message(index: u16) -> &'static Message {
    let entry = &ENTRIES[usize::from(index)];
    entry.message.get_or_init(|| Message::new(entry))
}

fn scan() -> Vec<Entry> {
    let blocks = TABLE.split("\n\n").filter(|block| !block.starts_with('#'));
    blocks
        .map(|block| {
            let (name, body) = block.split_once('\n').unwrap_or((block, ""));
            Entry { name, body, message: OnceLock::new() }
        })
        .filter(|entry| !entry.name.is_empty())
        .collect()
}

fn field(line: &'static str) -> Option<Field> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let name = words.next()?;
    let shape = words.next()?;
    let (repeat, shape) = match shape.as_bytes().first()? {
        b'[' => (Repeat::List, &shape[1..]),
        b'{' => (Repeat::Map, &shape[1..]),
        _ => (Repeat::One, shape),
    };
    let shape = match shape {
        "string" => Shape::String,
        "bytes" => Shape::Bytes,
        "bool" => Shape::Bool,
        "int32" => Shape::Int32,
        "int64" => Shape::Int64,
        "double" => Shape::Double,
        message => Shape::Message(index(message.strip_prefix('&')?)?),
    };
    let presence = match words.next() {
        None => Presence::Plain,
        Some("pointer") => Presence::Pointer,
        Some("always") => Presence::Always,
        Some("value") => Presence::Value,
        Some("omitzero") => Presence::OmitZero,
        Some("inline") => Presence::Inline,
        Some(_) => return None,
    };
    Some(Field { number, name, repeat, shape, presence })
}

#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = &'static Message> {
    (0..ENTRIES.len()).filter_map(|position| u16::try_from(position).ok()).map(message)
}
