//! Strategic merge patch: lists merge by key where the schema says so, with directives for deletion,
//! replacement and order.
//!
//! Directives: `$patch: merge|replace|delete` in a map, `$retainKeys`, `$deleteFromPrimitiveList/F` and
//! `$setElementOrder/F` beside a field `F`.

use std::collections::{HashMap, HashSet};

use schema::Schema;
use serde_json::{Map, Value};

use crate::GoText;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Why a strategic merge patch was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategicError {
    /// A directive is not understood where it stands.
    #[error("invalid value for patch directive: {0}")]
    BadDirective(String),
    /// An item of a list that merges by key lacks the key.
    #[error("map: {item} does not contain declared merge key: {key}")]
    MissingKey {
        /// The item, as Go prints it.
        item: String,
        /// The key.
        key: String,
    },
    /// The patch has another type than the field.
    #[error("cannot merge {patch} into {field}")]
    TypeMismatch {
        /// JSON type of the patch.
        patch: &'static str,
        /// The field.
        field: String,
    },
}

/// Applies a strategic merge patch to an object of the given schema.
///
/// # Errors
/// See [`StrategicError`]; the object may then be half changed.
pub fn apply(object: &mut Value, patch: &Value, schema: &Schema) -> Result<(), StrategicError> {
    let Value::Object(patch) = patch else {
        return Err(StrategicError::TypeMismatch {
            patch: type_name(patch),
            field: "the object".into(),
        });
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(target) = object else { unreachable!("just made an object") };
    merge_map(target, patch, schema)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn merge_map(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    schema: &Schema,
) -> Result<(), StrategicError> {
    match patch.get(PATCH).map(|directive| directive.as_str().unwrap_or("?")) {
        None | Some("merge") => {}
        Some("replace") => {
            *target = patch.iter().filter(|(key, _)| *key != PATCH).map(owned).collect();
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(StrategicError::BadDirective(other.to_owned())),
    }
    retain_keys(target, patch)?;
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix(DELETE_FROM) {
            delete_primitives(target, field, value);
        } else if key.starts_with('$') {
            continue;
        } else {
            merge_field(target, key, value, schema)?;
        }
    }
    for (key, order) in patch {
        if let Some(field) = key.strip_prefix(SET_ORDER) {
            set_order(target, field, order, schema);
        }
    }
    Ok(())
}

fn owned((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

fn retain_keys(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), StrategicError> {
    let Some(keep) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let keep =
        keep.as_array().ok_or_else(|| StrategicError::BadDirective(RETAIN_KEYS.to_owned()))?;
    let keep: HashSet<&str> = keep.iter().filter_map(Value::as_str).collect();
    let kept = |key: &str| keep.contains(key);
    if let Some(stray) = patch.keys().find(|key| !key.starts_with('$') && !kept(key)) {
        return Err(StrategicError::BadDirective(format!(
            "{RETAIN_KEYS} does not list {stray}, which the patch sets"
        )));
    }
    target.retain(|key, _| kept(key));
    Ok(())
}

fn delete_primitives(target: &mut Map<String, Value>, field: &str, gone: &Value) {
    let gone: HashSet<&Value> = gone.as_array().into_iter().flatten().collect();
    if let Some(list) = target.get_mut(field).and_then(Value::as_array_mut) {
        list.retain(|item| !gone.contains(item));
    }
}

fn merge_field(
    target: &mut Map<String, Value>,
    key: &str,
    patch: &Value,
    schema: &Schema,
) -> Result<(), StrategicError> {
    let field = schema.child(key).unwrap_or_else(Schema::any);
    match patch {
        Value::Null => {
            target.remove(key);
        }
        Value::Object(map) if !replaces(&field) => {
            let slot = target.entry(key.to_owned()).or_insert(Value::Null);
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            if let Value::Object(inner) = slot {
                merge_map(inner, map, &field)?;
            }
            if map.get(PATCH).and_then(Value::as_str) == Some("delete") {
                target.remove(key);
            }
        }
        Value::Array(items) if merges(&field) => {
            let slot = target.entry(key.to_owned()).or_insert(Value::Array(Vec::new()));
            if !slot.is_array() {
                *slot = Value::Array(Vec::new());
            }
            if let Value::Array(list) = slot {
                merge_list(list, items, &field)?;
            }
        }
        other => {
            target.insert(key.to_owned(), without_directives(other));
        }
    }
    Ok(())
}

fn replaces(schema: &Schema) -> bool {
    schema.patch_strategy().replace
}

fn merges(schema: &Schema) -> bool {
    schema.patch_strategy().merge
}

/// What is taken over whole must not carry directives into the object.
fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, _)| !key.starts_with('$'))
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_directives(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_directives).collect()),
        other => other.clone(),
    }
}

fn merge_list(
    list: &mut Vec<Value>,
    patch: &[Value],
    schema: &Schema,
) -> Result<(), StrategicError> {
    let Some(key) = schema.patch_merge_key() else {
        let mut present: HashSet<Value> = list.iter().cloned().collect();
        let added = patch.iter().filter(|item| present.insert((*item).clone()));
        list.extend(added.cloned());
        return Ok(());
    };
    let replaces_all = |item: &&Value| {
        item.get(PATCH).and_then(Value::as_str) == Some("replace") && item.get(key).is_none()
    };
    if patch.iter().any(|item| replaces_all(&item)) {
        *list = patch.iter().filter(|item| !replaces_all(item)).map(without_directives).collect();
        return Ok(());
    }
    let item_schema = schema.items().unwrap_or_else(Schema::any);
    let before: Vec<Value> = list.iter().filter_map(|item| item.get(key).cloned()).collect();
    let mut items = Items::new(std::mem::take(list), key);
    for item in patch {
        merge_item(&mut items, item, key, &item_schema)?;
    }
    list.extend(items.list.into_iter().flatten());
    let named: Vec<Value> = patch.iter().filter_map(|item| item.get(key).cloned()).collect();
    *list = in_order(std::mem::take(list), key, &before, &named);
    Ok(())
}

/// Where each value comes first.
fn places<'a>(order: impl IntoIterator<Item = &'a Value>) -> HashMap<&'a Value, usize> {
    let mut places = HashMap::new();
    for (place, value) in order.into_iter().enumerate() {
        places.entry(value).or_insert(place);
    }
    places
}

/// A list that is being merged, with the places of each key's items: a list may be as long as a request allows.
struct Items {
    list: Vec<Option<Value>>,
    places: HashMap<Value, Vec<usize>>,
}

impl Items {
    fn new(list: Vec<Value>, key: &str) -> Self {
        let mut items = Self { list: Vec::with_capacity(list.len()), places: HashMap::new() };
        for item in list {
            let value = item.get(key).cloned();
            items.push(value, item);
        }
        items
    }

    fn push(&mut self, value: Option<Value>, item: Value) {
        if let Some(value) = value {
            self.places.entry(value).or_default().push(self.list.len());
        }
        self.list.push(Some(item));
    }

    fn remove(&mut self, value: &Value) {
        for place in self.places.remove(value).into_iter().flatten() {
            self.list[place] = None;
        }
    }

    /// The first item of a key. One that a patch took the key from is no longer found.
    fn find(&mut self, key: &str, value: &Value) -> Option<&mut Value> {
        let place = self.places.get(value)?.iter().copied().find(|place| {
            self.list[*place].as_ref().is_some_and(|item| item.get(key) == Some(value))
        })?;
        self.list[place].as_mut()
    }
}

/// The order of a merged list: what the patch names comes in the patch's order and, unless both were there
/// before in another order, ahead of what it does not name.
fn in_order(list: Vec<Value>, key: &str, before: &[Value], named: &[Value]) -> Vec<Value> {
    let (before, named) = (places(before), places(named));
    let place = |order: &HashMap<&Value, usize>, item: &Value| {
        item.get(key).and_then(|value| order.get(value).copied())
    };
    let (mut patched, rest): (Vec<Value>, Vec<Value>) =
        list.into_iter().partition(|item| place(&named, item).is_some());
    patched.sort_by_key(|item| place(&named, item));
    let (mut patched, mut rest) = (patched.into_iter().peekable(), rest.into_iter().peekable());
    let mut out = Vec::new();
    loop {
        let rest_first = match (rest.peek(), patched.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(left), Some(right)) => {
                matches!((place(&before, left), place(&before, right)), (Some(l), Some(r)) if l <= r)
            }
        };
        out.extend(if rest_first { rest.next() } else { patched.next() });
    }
}

fn merge_item(
    items: &mut Items,
    item: &Value,
    key: &str,
    schema: &Schema,
) -> Result<(), StrategicError> {
    let missing =
        || StrategicError::MissingKey { item: GoText(item).to_string(), key: key.to_owned() };
    let map = item.as_object().ok_or_else(missing)?;
    let value = map.get(key).ok_or_else(missing)?;
    match map.get(PATCH).and_then(Value::as_str) {
        Some("delete") => items.remove(value),
        Some("replace") => {
            let fresh = without_directives(item);
            match items.find(key, value) {
                Some(have) => *have = fresh,
                None => items.push(fresh.get(key).cloned(), fresh),
            }
        }
        _ => match items.find(key, value) {
            Some(Value::Object(have)) => merge_map(have, map, schema)?,
            Some(have) => *have = without_directives(item),
            None => {
                let mut fresh = Map::new();
                merge_map(&mut fresh, map, schema)?;
                let fresh = Value::Object(fresh);
                items.push(fresh.get(key).cloned(), fresh);
            }
        },
    }
    Ok(())
}

/// Orders a merged list as the client wants it; items that the client does not know keep their place
/// relative to the known item before them.
fn set_order(target: &mut Map<String, Value>, field: &str, order: &Value, schema: &Schema) {
    let field_schema = schema.child(field).unwrap_or_else(Schema::any);
    let key = field_schema.patch_merge_key().map(str::to_owned);
    let Some(order) = order.as_array() else { return };
    let Some(list) = target.get_mut(field).and_then(Value::as_array_mut) else { return };
    let identity = |item: &Value| match &key {
        Some(key) => item.get(key).cloned().unwrap_or_default(),
        None => item.clone(),
    };
    let order: Vec<Value> = order.iter().map(identity).collect();
    let ranks = places(&order);
    let rank = |item: &Value| ranks.get(&identity(item)).copied();
    let mut known: Vec<Value> = list.iter().filter(|item| rank(item).is_some()).cloned().collect();
    known.sort_by_key(|item| rank(item));
    let mut known = known.into_iter();
    // The known items fill, in the wanted order, the places that known items had.
    for slot in list.iter_mut() {
        if rank(slot).is_some()
            && let Some(next) = known.next()
        {
            *slot = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Schema {
        schema::for_kind("", "v1", "Pod").unwrap()
    }

    fn patched(object: Value, patch: Value) -> Value {
        let mut object = object;
        apply(&mut object, &patch, &pod()).unwrap();
        object
    }

    #[test]
    fn containers_merge_by_name() {
        let object = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}});
        let patch = json!({"spec": {"containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "3"}]}});
        assert_eq!(
            patched(object, patch),
            json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"},
                {"name": "c", "image": "3"}]}})
        );
    }

    #[test]
    fn directives_delete_replace_and_order() {
        let object = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]},
            "metadata": {"finalizers": ["x", "y"], "labels": {"k": "v"}}});
        let patch = json!({"spec": {"containers": [{"name": "b", "$patch": "delete"}],
                "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]},
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "labels": {"k": null}}});
        assert_eq!(
            patched(object, patch),
            json!({"spec": {"containers": [{"name": "c"}, {"name": "a"}]},
                "metadata": {"finalizers": ["y"], "labels": {}}})
        );
        let replaced = patched(
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}}}),
        );
        assert_eq!(replaced, json!({"metadata": {"labels": {"b": "2"}}}));
    }

    #[test]
    fn a_list_without_strategy_is_replaced() {
        let object = json!({"spec": {"containers": [{"name": "a", "args": ["1", "2"]}]}});
        let patch = json!({"spec": {"containers": [{"name": "a", "args": ["3"]}]}});
        assert_eq!(
            patched(object, patch),
            json!({"spec": {"containers": [{"name": "a", "args": ["3"]}]}})
        );
    }

    #[test]
    fn an_item_without_its_key_is_refused() {
        let mut object = json!({});
        let patch = json!({"spec": {"containers": [{"image": "1"}]}});
        let error = apply(&mut object, &patch, &pod()).unwrap_err();
        let text = "map: map[image:1] does not contain declared merge key: name";
        assert_eq!(error.to_string(), text);
    }

    fn any_tree() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let key = prop::sample::select(vec![
            "metadata",
            "spec",
            "containers",
            "ports",
            "finalizers",
            "labels",
            "name",
            "$patch",
            "$retainKeys",
            "$setElementOrder/containers",
            "$deleteFromPrimitiveList/finalizers",
        ]);
        let leaf = prop::sample::select(vec![
            json!(null),
            json!("a"),
            json!("b"),
            json!("delete"),
            json!("replace"),
            json!(1),
        ]);
        leaf.prop_recursive(6, 64, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(key.clone(), inner, 0..4)
                    .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn any_patch_of_any_object_does_not_panic(mut object in any_tree(), patch in any_tree()) {
            let _either = apply(&mut object, &patch, &pod()).is_ok();
        }
    }

    /// As many as fit into a request: a look at all others for each would take a minute.
    #[test]
    fn long_lists_are_merged_in_time() {
        let list = |image: &str| -> Vec<Value> {
            (0..5000).map(|n| json!({"name": format!("c{n}"), "image": image})).collect()
        };
        let names: Vec<Value> = (0..5000).map(|n| json!(format!("c{n}"))).collect();
        let order: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        let object = json!({"metadata": {"finalizers": names}, "spec": {"containers": list("a")}});
        let patch = json!({
            "metadata": {"finalizers": names, "$setElementOrder/finalizers": names},
            "spec": {"containers": list("b"), "$setElementOrder/containers": order}});
        let merged = json!({"metadata": {"finalizers": names}, "spec": {"containers": list("b")}});
        assert_eq!(patched(object.clone(), patch), merged);
        let delete = |name: &Value| json!({"name": name, "$patch": "delete"});
        let gone: Vec<Value> = names.iter().map(delete).collect();
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": names}, "spec": {"containers": gone}});
        let bare = json!({"metadata": {"finalizers": []}, "spec": {"containers": []}});
        assert_eq!(patched(object, patch), bare);
    }
}
