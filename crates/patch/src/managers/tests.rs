//! Who owns which field after a change, case by case.

use schema::Schema;
use serde_json::{Value, json};

use super::{OneVersion, Write, decode, encode, is_reset, update};

fn config_map() -> Schema {
    schema::for_kind("", "v1", "ConfigMap").unwrap()
}

fn written(
    manager: &str,
    time: &str,
    old: Option<&Value>,
    new: &Value,
    list: Option<&Value>,
) -> Option<Value> {
    let schema = config_map();
    let write = Write {
        manager,
        time,
        api_version: "v1",
        subresource: "",
        schema: &schema,
        ignored: &[],
        versions: &OneVersion,
    };
    let nothing = json!({"apiVersion": "v1"});
    update(old.unwrap_or(&nothing), new, list, old.is_none(), &write)
}

fn object(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "uid": "u"}, "data": data})
}

fn entry(manager: &str, time: &str, fields: Value) -> Value {
    json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "time": time,
        "fieldsType": "FieldsV1", "fieldsV1": fields})
}

#[test]
fn fields_move_to_who_changes_them() {
    let first = object(json!({"a": "1", "b": "1"}));
    let list = written("one", "2026-01-01T00:00:00Z", None, &first, None).unwrap();
    assert_eq!(
        list,
        json!([entry(
            "one",
            "2026-01-01T00:00:00Z",
            json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}})
        )])
    );
    let second = object(json!({"a": "2", "b": "1"}));
    let list = written("two", "2026-01-02T00:00:00Z", Some(&first), &second, Some(&list)).unwrap();
    assert_eq!(
        list,
        json!([
            entry("one", "2026-01-01T00:00:00Z", json!({"f:data": {".": {}, "f:b": {}}})),
            entry("two", "2026-01-02T00:00:00Z", json!({"f:data": {"f:a": {}}})),
        ])
    );
    // What is removed leaves all sets, and the time of the remover stays.
    let third = object(json!({"a": "2"}));
    let list = written("two", "2026-01-03T00:00:00Z", Some(&second), &third, Some(&list)).unwrap();
    assert_eq!(
        list,
        json!([
            entry("one", "2026-01-01T00:00:00Z", json!({"f:data": {}})),
            entry("two", "2026-01-02T00:00:00Z", json!({"f:data": {"f:a": {}}})),
        ])
    );
    // No change, no new time.
    let same = written("three", "2026-01-04T00:00:00Z", Some(&third), &third, Some(&list)).unwrap();
    assert_eq!(same, list);
}

#[test]
fn an_object_without_record_is_not_tracked() {
    let (old, new) = (object(json!({"a": "1"})), object(json!({"a": "2"})));
    assert_eq!(written("one", "t", Some(&old), &new, None), None);
}

#[test]
fn old_writers_become_one() {
    let mut old = object(json!({"a": "0"}));
    let mut list = None;
    for index in 0..14 {
        let mut new = old.clone();
        new["data"][format!("k{index}")] = json!("v");
        let time = format!("2026-01-01T00:00:{index:02}Z");
        let past = (index > 0).then_some(&old);
        list = written(&format!("m{index}"), &time, past, &new, list.as_ref());
        old = new;
    }
    let list = list.unwrap();
    let names: Vec<&str> =
        list.as_array().unwrap().iter().map(|e| e["manager"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["ancient-changes", "m5", "m6", "m7", "m8", "m9", "m10", "m11", "m12", "m13"]
    );
    assert_eq!(list[0]["time"], "2026-01-01T00:00:04Z");
    assert_eq!(list[0]["fieldsV1"]["f:data"]["f:k4"], json!({}));
}

#[test]
fn entries_are_sorted_and_survive() {
    let list = json!([
        entry("b", "2026-01-02T00:00:00Z", json!({"f:data": {}})),
        entry("a", "2026-01-02T00:00:00Z", json!({"f:data": {}})),
        {"manager": "z", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-03T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {}}, "subresource": "status"},
    ]);
    let sorted = encode(decode(&list).unwrap()).unwrap();
    let names: Vec<&str> =
        sorted.as_array().unwrap().iter().map(|e| e["manager"].as_str().unwrap()).collect();
    assert_eq!(names, ["z", "a", "b"]);
    assert_eq!(encode(decode(&sorted).unwrap()).unwrap(), sorted);
}

#[test]
fn bad_entries_are_named() {
    let cases = [
        (json!([{"operation": "X"}]), "operation must be `Apply` or `Update`"),
        (json!([{"operation": "Apply"}]), "apiVersion must not be empty"),
        (
            json!([{"operation": "Apply", "apiVersion": "v1"}]),
            "missing fieldsType in managed fields entry 0",
        ),
        (
            json!([{"operation": "Apply", "apiVersion": "v1", "fieldsType": "F"}]),
            "invalid fieldsType \"F\" in managed fields entry 0",
        ),
    ];
    for (list, text) in cases {
        assert_eq!(decode(&list).unwrap_err().to_string(), text);
    }
}

#[test]
fn resets() {
    for (list, expected) in [
        (json!([]), true),
        (json!([{}]), true),
        (json!([{"manager": ""}]), true),
        (json!([{"manager": "a"}]), false),
        (json!([{}, {}]), false),
        (Value::Null, false),
    ] {
        assert_eq!(is_reset(Some(&list)), expected, "{list}");
    }
    assert!(!is_reset(None));
}

#[test]
fn a_status_write_owns_no_spec() {
    let schema = schema::for_kind("apps", "v1", "Deployment").unwrap();
    let write = Write {
        manager: "m",
        time: "2026-01-01T00:00:00Z",
        api_version: "apps/v1",
        subresource: "status",
        schema: &schema,
        ignored: &["spec"],
        versions: &OneVersion,
    };
    let old = json!({"apiVersion": "apps/v1", "spec": {"replicas": 1}, "status": {}});
    let new = json!({"apiVersion": "apps/v1", "spec": {"replicas": 2}, "status": {"replicas": 1,
        "conditions": [{"type": "Available", "status": "True"}]}});
    let list = json!([{"manager": "o", "operation": "Update", "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    let list = update(&old, &new, Some(&list), false, &write).unwrap();
    assert_eq!(list[0]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(list[1]["subresource"], "status");
    assert_eq!(
        list[1]["fieldsV1"],
        json!({"f:status": {"f:replicas": {}, "f:conditions": {".": {},
            "k:{\"type\":\"Available\"}": {".": {}, "f:status": {}, "f:type": {}}}}})
    );
}
