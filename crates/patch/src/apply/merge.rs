//! Merging an applied object into the live one, and taking fields out of an object, by schema.

use std::collections::{BTreeMap, BTreeSet};

use schema::Schema;
use serde_json::{Map, Value};

use crate::fields::{Element, FieldSet, Shape, any, field_schema, item_element, shape};

/// The live object with what is applied laid over it.
pub(crate) fn merge(live: &Value, applied: &Value, schema: &Schema) -> Value {
    both(Some(live), Some(applied), schema).unwrap_or_else(|| applied.clone())
}

fn both(live: Option<&Value>, applied: Option<&Value>, schema: &Schema) -> Option<Value> {
    let Some(applied) = applied else { return live.cloned() };
    let Some(live) = live else { return Some(applied.clone()) };
    let parts = |value: &Value| match value {
        Value::Object(map) => map.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    match (live, applied, shape(schema, live)) {
        (Value::Object(live), Value::Object(applied), Shape::Map) => {
            Some(maps(live, applied, schema))
        }
        (Value::Array(live), Value::Array(applied), Shape::List) => {
            Some(lists(live, applied, schema))
        }
        // Null says nothing about what has parts.
        (live, Value::Null, Shape::Map | Shape::List) if parts(live) > 0 => Some(live.clone()),
        _ => Some(applied.clone()),
    }
}

fn maps(live: &Map<String, Value>, applied: &Map<String, Value>, schema: &Schema) -> Value {
    let mut out = live.clone();
    for (key, value) in applied {
        let (child, _) = field_schema(schema, key).unwrap_or_else(|| (any(), false));
        if let Some(merged) = both(live.get(key), Some(value), &child) {
            out.insert(key.clone(), merged);
        }
    }
    Value::Object(out)
}

fn identities(items: &[Value], schema: &Schema) -> Option<Vec<Element>> {
    items.iter().map(|item| item_element(schema, item).ok()).collect()
}

/// Where items of one identity are in a list.
struct Places {
    first: usize,
    count: usize,
}

fn places_of(identities: &[Element]) -> BTreeMap<&Element, Places> {
    let mut places: BTreeMap<&Element, Places> = BTreeMap::new();
    for (index, identity) in identities.iter().enumerate() {
        places.entry(identity).or_insert(Places { first: index, count: 0 }).count += 1;
    }
    places
}

/// Applied items come in the applied order, those of others keep their place between them.
fn lists(live: &[Value], applied: &[Value], schema: &Schema) -> Value {
    let (Some(live_ids), Some(applied_ids)) =
        (identities(live, schema), identities(applied, schema))
    else {
        return Value::Array(applied.to_vec());
    };
    let item_schema = schema.items().unwrap_or_else(any);
    let (live_places, applied_places) = (places_of(&live_ids), places_of(&applied_ids));
    let merged_item = |index: usize| {
        let only = live_places.get(&applied_ids[index]).filter(|places| places.count == 1);
        both(only.map(|only| &live[only.first]), Some(&applied[index]), &item_schema)
    };
    let first_of = |id| applied_places.get(id).map(|places: &Places| places.first);
    let places: Vec<Option<usize>> = live_ids.iter().map(first_of).collect();
    // Applied items that are live already, in the applied order.
    let is_live: BTreeSet<usize> = places.iter().flatten().copied().collect();
    let mut shared = is_live.into_iter().peekable();
    let mut placed = vec![false; applied.len()];
    let mut out = Vec::with_capacity(live.len().max(applied.len()));
    let (mut left, mut right) = (0, 0);
    while left < live.len() || right < applied.len() {
        if left < live.len() {
            match places[left] {
                None => {
                    out.push(live[left].clone());
                    left += 1;
                    continue;
                }
                Some(place) if right < applied.len() && place == right => {
                    placed[place] = true;
                    out.extend(merged_item(place));
                    left += 1;
                    right += 1;
                    shared.next();
                    continue;
                }
                // A shared item whose turn comes later: it is put where the applied order has it.
                Some(place)
                    if right < applied.len()
                        && shared.peek().is_some_and(|next| *next != place) =>
                {
                    left += 1;
                    continue;
                }
                Some(place) => left += usize::from(placed[place]),
            }
        }
        if right < applied.len() {
            placed[right] = true;
            out.extend(merged_item(right));
            if shared.peek() == Some(&right) {
                shared.next();
            }
            right += 1;
        }
    }
    Value::Array(out)
}

/// The value without the members of a set; nothing when nothing is left of it.
pub(crate) fn without(value: &Value, gone: &FieldSet, schema: &Schema) -> Option<Value> {
    match (shape(schema, value), value) {
        (Shape::Map, Value::Object(map)) if !map.is_empty() => {
            let mut out = Map::new();
            for (key, value) in map {
                let element = Element::field(key);
                let (child, _) = field_schema(schema, key).unwrap_or_else(|| (any(), false));
                if let Some(kept) = kept(value, &element, gone, &child) {
                    out.insert(key.clone(), kept);
                }
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        (Shape::List, Value::Array(items)) if !items.is_empty() => {
            let child = schema.items().unwrap_or_else(any);
            let keep = |item: &Value| match item_element(schema, item) {
                Ok(element) => kept(item, &element, gone, &child),
                Err(_) => Some(item.clone()),
            };
            let out: Vec<Value> = items.iter().filter_map(keep).collect();
            (!out.is_empty()).then_some(Value::Array(out))
        }
        _ => Some(value.clone()),
    }
}

fn kept(value: &Value, element: &Element, gone: &FieldSet, schema: &Schema) -> Option<Value> {
    if gone.has_member(element) {
        return None;
    }
    match gone.below(element) {
        Some(below) => without(value, below, schema),
        None => Some(value.clone()),
    }
}
