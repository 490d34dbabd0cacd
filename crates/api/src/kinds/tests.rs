//! The table as a whole: held against what v1.32 serves, and against itself.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::resource::Names;

/// One line per resource: group, version, plural, singular, kind, scope, verbs, short names, categories, and
/// the subresources as `name=kind=verbs`.
const DISCOVERY: &str = include_str!("testdata/discovery-v1.32.txt");

fn joined(names: &Names) -> String {
    let text: Vec<&str> = names.iter().collect();
    if text.is_empty() { "-".to_owned() } else { text.join(",") }
}

fn sorted(names: impl Iterator<Item = String>) -> String {
    names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}

fn describe_subresources(row: &Resource) -> BTreeSet<String> {
    let line = |sub: &crate::resource::Subresource| {
        let kind = if sub.kind.is_empty() { &row.kind } else { sub.kind };
        let prefix = if sub.version.is_empty() {
            String::new()
        } else {
            format!("{}/{}/", sub.group, sub.version)
        };
        let verbs = sorted(sub.verbs.iter().map(|&verb| verb.to_owned()));
        format!("{}={prefix}{kind}={verbs}", sub.name)
    };
    row.subresources.iter().map(line).collect()
}

fn describe(row: &Resource) -> (String, BTreeSet<String>) {
    let mut verbs = sorted(row.verbs.iter().map(str::to_owned));
    if verbs == "create,delete,deletecollection,get,list,patch,update,watch" {
        "all".clone_into(&mut verbs);
    }
    let head = format!(
        "{} {} {} {} {} {:?} {verbs} {} {}",
        if row.group.is_empty() { "core" } else { &row.group },
        row.version,
        row.plural,
        row.singular,
        row.kind,
        row.scope,
        joined(&row.short_names),
        joined(&row.categories),
    );
    (head, describe_subresources(row))
}

#[test]
fn everything_that_upstream_serves_is_in_the_table() {
    let have: Vec<_> = all().iter().map(|row| describe(row)).collect();
    for line in DISCOVERY.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let head = words[..9].join(" ");
        let subresources: BTreeSet<String> = words[9..].iter().map(|&s| s.to_owned()).collect();
        let found = have.iter().find(|(text, _)| *text == head);
        let near: Vec<_> = have.iter().filter(|(text, _)| text.contains(words[2])).collect();
        let (_, described) = found.unwrap_or_else(|| panic!("no row {head:?}, but {near:?}"));
        assert_eq!(*described, subresources, "subresources of {head}");
    }
}

#[test]
fn rows_are_unique_and_their_storage_form_is_a_row() {
    let key = |row: &Resource| format!("{}/{}", row.api_version(), row.plural);
    let keys: BTreeSet<String> = all().iter().map(|row| key(row)).collect();
    assert_eq!(keys.len(), all().len());
    for row in all() {
        let storage = format!("{}/{}", row.storage_api_version(), row.storage_plural);
        assert!(keys.contains(&storage), "{} is stored as {storage}", key(row));
        assert!(
            version_place(&row.group, &row.version).1 < usize::MAX,
            "{} has no place",
            key(row)
        );
    }
}

/// Rich objects, one of each shape that strategies look into, by `version/plural`.
const SAMPLES: &str = include_str!("testdata/samples.json");

fn samples() -> Vec<(Arc<Resource>, Value)> {
    let all: serde_json::Map<String, Value> = serde_json::from_str(SAMPLES).unwrap();
    let row = |key: &str| {
        let found = all_rows().find(|row| format!("{}/{}", row.api_version(), row.plural) == *key);
        Arc::clone(found.unwrap_or_else(|| panic!("no row {key}")))
    };
    all.into_iter().map(|(key, value)| (row(&key), value)).collect()
}

fn all_rows() -> impl Iterator<Item = &'static Arc<Resource>> {
    all().iter()
}

/// Everything that a server does with an object, in its order; the faults of creation.
fn exercise(row: &Resource, object: &Value) -> Vec<crate::field::Error> {
    let mut new = object.clone();
    row.strategy.default(&mut new);
    row.strategy.prepare_for_create(&mut new);
    let faults = row.strategy.validate(&new);
    let mut changed = object.clone();
    row.strategy.default(&mut changed);
    row.strategy.prepare_for_update(&mut changed, &new);
    row.strategy.validate_update(&changed, &new);
    row.strategy.validate_update(&new, object);
    row.strategy.prepare_for_status_update(&mut changed, &new);
    row.strategy.validate_status_update(object, &new);
    row.strategy.validate_status_update(&new, object);
    for subresource in &row.subresources {
        let mut part = object.clone();
        row.strategy.prepare_for_subresource_update(subresource.name, &mut part, &new);
        row.strategy.validate_subresource_update(subresource.name, &part, &new);
        row.strategy.validate_subresource_update(subresource.name, object, &new);
    }
    row.strategy.warnings(object, None);
    row.strategy.selectable_fields(object);
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    for column in row.table_columns() {
        if let crate::resource::Cell::Compute(compute) = column.cell {
            compute(object, now);
        }
    }
    row.strategy.to_storage(&mut new);
    row.strategy.from_storage(&mut new);
    faults
}

#[test]
fn good_objects_have_no_faults() {
    for (row, object) in samples() {
        let faults = check::show(&exercise(&row, &object));
        assert_eq!(faults, "", "{row:?}");
    }
}

#[test]
fn defaults_are_stable_and_storage_forms_round_trip() {
    for (row, object) in samples() {
        let mut once = object.clone();
        row.strategy.default(&mut once);
        let mut twice = once.clone();
        row.strategy.default(&mut twice);
        assert_eq!(once, twice, "{row:?}");
        row.strategy.to_storage(&mut twice);
        row.strategy.from_storage(&mut twice);
        assert_eq!(once, twice, "{row:?}");
    }
}

#[test]
fn every_row_bears_an_empty_object() {
    for row in all_rows() {
        for object in [Value::Null, serde_json::json!({}), serde_json::json!([1])] {
            exercise(row, &object);
        }
    }
}

/// All places in an object.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            pointers(inner, &format!("{at}/{key}"), found);
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, inner)| pointers(inner, &format!("{at}/{index}"), found)),
        _ => {}
    }
}

fn junk() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[-a-z0-9./:%*ä ]{0,12}".prop_map(Value::from),
        Just(serde_json::json!({})),
        Just(serde_json::json!([])),
        Just(serde_json::json!([{}, null, "x", 1])),
        Just(serde_json::json!({"name": 1, "": null})),
    ]
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    #[test]
    fn no_object_panics(
        which in proptest::prelude::any::<proptest::sample::Index>(),
        changes in proptest::collection::vec(
            (proptest::prelude::any::<proptest::sample::Index>(), junk()), 1..6),
    ) {
        let samples = samples();
        let (row, object) = &samples[which.index(samples.len())];
        let mut object = object.clone();
        for (place, value) in changes {
            let mut found = Vec::new();
            pointers(&object, "", &mut found);
            let place = place.get(&found);
            if let Some(target) = object.pointer_mut(place) {
                *target = value;
            }
        }
        exercise(row, &object);
    }
}
