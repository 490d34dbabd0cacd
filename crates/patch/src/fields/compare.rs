//! What a write changed: the fields that were added, modified and removed between two objects.

use schema::{Kind, ListType, Schema};
use serde_json::{Map, Value};

use super::element::{Shape, any, compare_values, field_schema, shape};
use super::{Element, FieldSet, item_element};

/// Fields of every object that only the server sets and nobody owns.
const METADATA_UNTRACKED: [&str; 9] = [
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What differs between two objects. No field is in more than one of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Only the new object has them.
    pub added: FieldSet,
    /// Both have them, with different values.
    pub modified: FieldSet,
    /// Only the old object has them.
    pub removed: FieldSet,
}

impl Changes {
    /// Whether the objects are the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Keeps or drops whole top-level fields.
    pub(crate) fn retain_top(&mut self, keep: impl Fn(&str) -> bool) {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            set.retain_top(&keep);
        }
    }

    fn attach(&mut self, element: &Element, at: Option<Change>, below: Self) {
        let sets = [
            (&mut self.added, Change::Added, below.added),
            (&mut self.modified, Change::Modified, below.modified),
            (&mut self.removed, Change::Removed, below.removed),
        ];
        for (set, change, below) in sets {
            if at == Some(change) || !below.is_empty() {
                set.attach(element.clone(), at == Some(change), below);
            }
        }
    }
}

/// What happened to one field itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Added,
    Modified,
    Removed,
}

/// Compares two objects. Identity and bookkeeping of the metadata are not looked at: nobody owns them.
pub fn compare(old: &Value, new: &Value, schema: &Schema) -> Changes {
    let (empty, mut changes) = (Map::new(), Changes::default());
    let old = old.as_object().unwrap_or(&empty);
    let new = new.as_object().unwrap_or(&empty);
    each_key(old, new, |key, old, new| match key {
        "apiVersion" | "kind" => {}
        "metadata" => {
            let child = schema.property(key).unwrap_or_else(any);
            let below = metadata(old, new, &child);
            changes.attach(&Element::field(key), None, below);
        }
        _ => field(&mut changes, key, old, new, schema),
    });
    changes
}

fn metadata(old: Option<&Value>, new: Option<&Value>, schema: &Schema) -> Changes {
    let (empty, mut changes) = (Map::new(), Changes::default());
    let old = old.and_then(Value::as_object).unwrap_or(&empty);
    let new = new.and_then(Value::as_object).unwrap_or(&empty);
    each_key(old, new, |key, old, new| {
        if !METADATA_UNTRACKED.contains(&key) {
            field(&mut changes, key, old, new, schema);
        }
    });
    changes
}

/// Walks the keys of two maps, each key once, in their order.
fn each_key<'a>(
    old: &'a Map<String, Value>,
    new: &'a Map<String, Value>,
    mut visit: impl FnMut(&'a str, Option<&'a Value>, Option<&'a Value>),
) {
    let mut fresh = new.iter().peekable();
    for (key, value) in old {
        while let Some((other, added)) = fresh.next_if(|(other, _)| *other < key) {
            if !old.contains_key(other) {
                visit(other, None, Some(added));
            }
        }
        let present = new.get(key);
        let _ = fresh.next_if(|(other, _)| *other == key);
        visit(key, Some(value), present);
    }
    for (key, value) in fresh {
        if !old.contains_key(key) {
            visit(key, None, Some(value));
        }
    }
}

fn field(
    changes: &mut Changes,
    key: &str,
    old: Option<&Value>,
    new: Option<&Value>,
    schema: &Schema,
) {
    if let (Some(old), Some(new)) = (old, new)
        && old == new
    {
        return;
    }
    let (child, _) = field_schema(schema, key).unwrap_or_else(|| (any(), false));
    let null = Value::Null;
    // Upstream's type always has these, as null when they are unset.
    let always = |other: Option<&Value>| {
        matches!(child.kind(), Kind::Array | Kind::Map)
            && schema.definition_name().is_some()
            && other.is_some_and(|other| shape(&child, other) != Shape::Leaf)
            && schema.required().iter().any(|name| name == key)
    };
    let (old, new) = match (old, new) {
        (None, other) if always(other) => (Some(&null), other),
        (other, None) if always(other) => (other, Some(&null)),
        both => both,
    };
    let (at, below) = values(old, new, &child);
    changes.attach(&Element::field(key), at, below);
}

/// What happened to a value itself and below it; at least one side is there.
fn values(old: Option<&Value>, new: Option<&Value>, schema: &Schema) -> (Option<Change>, Changes) {
    let missing = match (old, new) {
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        _ => None,
    };
    let shape_of = |value: Option<&Value>| match value {
        None | Some(Value::Null) => None,
        Some(value) => Some(shape(schema, value)),
    };
    let kind = match (shape_of(old), shape_of(new)) {
        (Some(a), Some(b)) if a != b => Shape::Leaf,
        (a, b) => b.or(a).unwrap_or(Shape::Leaf),
    };
    let empty = |value: Option<&Value>| match value {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    };
    if kind == Shape::Leaf || empty(old) && empty(new) {
        let same = old.is_some() && new.is_some_and(|new| old.is_some_and(|old| same(old, new)));
        let change = missing.or_else(|| (!same).then_some(Change::Modified));
        return (change, Changes::default());
    }
    let below = match kind {
        Shape::Map => Some(maps(old, new, schema)),
        _ => lists(items_of(old), items_of(new), schema),
    };
    match below {
        Some(below) => (missing, below),
        None => (missing.or(Some(Change::Modified)), Changes::default()),
    }
}

/// Whether two values are equal; numbers are by worth, not by notation.
fn same(old: &Value, new: &Value) -> bool {
    old == new || compare_values(old, new).is_eq()
}

fn items_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn maps(old: Option<&Value>, new: Option<&Value>, schema: &Schema) -> Changes {
    let (empty, mut changes) = (Map::new(), Changes::default());
    let old = old.and_then(Value::as_object).unwrap_or(&empty);
    let new = new.and_then(Value::as_object).unwrap_or(&empty);
    each_key(old, new, |key, old, new| field(&mut changes, key, old, new, schema));
    changes
}

/// The items of a list, by identity; those that occur twice are kept together.
type Grouped<'a> = Vec<(Element, Vec<&'a Value>)>;

fn grouped<'a>(items: &'a [Value], schema: &Schema) -> Option<Grouped<'a>> {
    let mut keyed = Vec::with_capacity(items.len());
    for item in items {
        keyed.push((item_element(schema, item).ok()?, item));
    }
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut groups: Grouped<'a> = Vec::with_capacity(keyed.len());
    for (element, item) in keyed {
        match groups.last_mut() {
            Some((last, group)) if *last == element => group.push(item),
            _ => groups.push((element, vec![item])),
        }
    }
    Some(groups)
}

/// `None` when items have no identity: then the list is one value.
fn lists<'a>(old: &'a [Value], new: &'a [Value], schema: &Schema) -> Option<Changes> {
    debug_assert!(schema.list_type() != ListType::Atomic);
    let (old, new) = (grouped(old, schema)?, grouped(new, schema)?);
    let item_schema = schema.items().unwrap_or_else(any);
    let mut changes = Changes::default();
    let (mut left, mut right) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return Some(changes),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let one = if order.is_le() { left.next() } else { None };
        let other = if order.is_ge() { right.next() } else { None };
        if let Some((element, _)) = one.or(other) {
            let items = |side: Option<&(Element, Vec<&'a Value>)>| {
                side.map(|(_, items)| items.clone()).unwrap_or_default()
            };
            item(&mut changes, element, &items(one), &items(other), &item_schema);
        }
    }
}

/// What happened to the items of one identity.
fn item(changes: &mut Changes, element: &Element, old: &[&Value], new: &[&Value], schema: &Schema) {
    let mut one = |old: Option<&&Value>, new: Option<&&Value>| {
        if old.is_some() || new.is_some() {
            let (at, below) = values(old.copied(), new.copied(), schema);
            changes.attach(element, at, below);
        }
    };
    // Items that occur twice, before or after, are one value together.
    let marker = match (old.len() > 1, new.len() > 1) {
        (false, false) => {
            one(old.first(), new.first());
            None
        }
        (true, true) => (old != new).then_some(Change::Modified),
        (true, false) => {
            one(None, new.first());
            Some(Change::Removed)
        }
        (false, true) => {
            one(old.first(), None);
            Some(Change::Added)
        }
    };
    changes.attach(element, marker, Changes::default());
}
