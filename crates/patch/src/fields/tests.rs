//! Sets of fields, case by case.

use proptest::prelude::*;
use schema::Schema;
use serde_json::{Value, json};

use super::{Element, FieldSet, compare, of_object, validate};

fn deployment() -> Schema {
    schema::for_kind("apps", "v1", "Deployment").unwrap()
}

fn set(value: Value) -> FieldSet {
    FieldSet::from_json(&value).unwrap()
}

fn custom() -> Schema {
    Schema::custom_resource(&json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
                "items": {"type": "object", "properties": {"a": {"type": "string"},
                    "b": {"type": "integer", "default": 7}, "c": {"type": "string"}}}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "atomic": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}))
    .unwrap()
}

#[test]
fn an_object_owns_its_leaves() {
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "strategy": {},
            "template": {"spec": {"containers": [{"name": "c", "image": "i", "args": ["x"],
                "ports": [{"containerPort": 80}]}]}}}});
    assert_eq!(
        of_object(&object, &deployment()).to_json(),
        json!({"f:apiVersion": {}, "f:kind": {},
            "f:metadata": {"f:name": {}, "f:labels": {"f:app": {}}},
            "f:spec": {"f:replicas": {}, "f:selector": {}, "f:strategy": {}, "f:template": {"f:spec": {"f:containers": {
                "k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}, "f:args": {}, "f:ports": {
                    "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}})
    );
}

#[test]
fn custom_lists_and_maps_follow_their_schema() {
    let object = json!({"spec": {"list": [{"a": "x", "c": "y"}], "set": ["p", "q"], "atomic": {"k": "v"},
        "map": {"k": "v"}, "open": {"deep": {"list": [1], "x": 1}}}});
    assert_eq!(
        of_object(&object, &custom()).to_json(),
        json!({"f:spec": {
            "f:list": {"k:{\"a\":\"x\",\"b\":7}": {".": {}, "f:a": {}, "f:c": {}}},
            "f:set": {"v:\"p\"": {}, "v:\"q\"": {}},
            "f:atomic": {}, "f:map": {"f:k": {}},
            "f:open": {"f:deep": {".": {}, "f:list": {}, "f:x": {}}}}})
    );
}

#[test]
fn changes_are_told_apart() {
    let old = json!({"metadata": {"name": "a", "uid": "1", "labels": {"a": "1", "b": "1"}},
        "spec": {"replicas": 1, "paused": true, "template": {"spec": {"containers": [
            {"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}}}});
    let new = json!({"metadata": {"name": "a", "uid": "2", "labels": {"a": "2", "c": "1"}},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [
            {"name": "c", "image": "1"}, {"name": "a", "image": "2"}]}}}});
    let changes = compare(&old, &new, &deployment());
    let at = |inner: Value| json!({"f:template": {"f:spec": {"f:containers": inner}}});
    assert_eq!(
        changes.added.to_json(),
        json!({"f:metadata": {"f:labels": {"f:c": {}}},
            "f:spec": at(json!({"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}}}))})
    );
    assert_eq!(
        changes.modified.to_json(),
        json!({"f:metadata": {"f:labels": {"f:a": {}}},
            "f:spec": at(json!({"k:{\"name\":\"a\"}": {"f:image": {}}}))})
    );
    assert_eq!(
        changes.removed.to_json(),
        json!({"f:metadata": {"f:labels": {"f:b": {}}}, "f:spec": {"f:paused": {},
            "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"b\"}": {".": {}, "f:image": {}, "f:name": {}}}}}}})
    );
}

#[test]
fn order_and_notation_are_no_change() {
    let old = json!({"spec": {"set": ["a", "b"], "list": [{"a": "1", "b": 7}, {"a": "2", "b": 1}], "open": {"n": 1}}});
    let new = json!({"spec": {"set": ["b", "a"], "list": [{"a": "2", "b": 1}, {"a": "1", "b": 7}], "open": {"n": 1.0}}});
    assert!(compare(&old, &new, &custom()).is_empty());
}

#[test]
fn what_may_not_be_applied_is_named() {
    let cases = [
        (json!({"spec": {"foo": 1}}), ".spec.foo: field not declared in schema"),
        (
            json!({"spec": {"replicas": "two"}}),
            ".spec.replicas: expected numeric (int or float), got string",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}}),
            ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"image": "a"}]}}}}),
            ".spec.template.spec.containers: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            ".metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
    ];
    for (object, fault) in cases {
        assert_eq!(validate(&object, &deployment()), [fault]);
    }
}

#[test]
fn set_operations() {
    let a = set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
    let b = set(json!({"f:a": {"f:b": {}, "f:d": {}}, "f:e": {}}));
    assert_eq!(
        a.union(&b),
        set(json!({"f:a": {".": {}, "f:b": {}, "f:d": {}}, "f:c": {}, "f:e": {}}))
    );
    assert_eq!(a.intersection(&b), set(json!({"f:a": {"f:b": {}}})));
    assert_eq!(a.difference(&b), set(json!({"f:a": {}, "f:c": {}})));
    assert_eq!(a.leaves(), set(json!({"f:a": {"f:b": {}}, "f:c": {}})));
    let top = set(json!({"f:a": {}}));
    assert_eq!(a.difference_with_descendants(&top), set(json!({"f:c": {}})));
    let texts: Vec<String> = a.paths().iter().map(ToString::to_string).collect();
    assert_eq!(texts, [".a", ".c", ".a.b"]);
}

#[test]
fn malformed_sets_are_refused() {
    for value in [
        json!([]),
        json!({"x:a": {}}),
        json!({"f:a": 1}),
        json!({"k:[]": {}}),
        json!({"i:x": {}}),
        json!({"a": {}}),
    ] {
        assert!(FieldSet::from_json(&value).is_err(), "{value}");
    }
}

fn elements() -> impl Strategy<Value = Element> {
    prop_oneof![
        "[a-d]".prop_map(|name| Element::field(&name)),
        (0i64..3).prop_map(|n| Element::Key(vec![("k".into(), json!(n))])),
        "[a-c]".prop_map(|value| Element::Value(json!(value))),
        (0i64..3).prop_map(Element::Index),
    ]
}

fn sets() -> impl Strategy<Value = FieldSet> {
    let paths = proptest::collection::vec(proptest::collection::vec(elements(), 1..4), 0..12);
    paths.prop_map(|paths| {
        let mut set = FieldSet::new();
        paths.iter().for_each(|path| set.insert(path));
        set
    })
}

proptest! {
    #[test]
    fn the_json_form_is_lossless(set in sets()) {
        prop_assert_eq!(FieldSet::from_json(&set.to_json()).unwrap(), set);
    }

    #[test]
    fn operations_are_those_of_sets(a in sets(), b in sets()) {
        let (union, both, rest) = (a.union(&b), a.intersection(&b), a.difference(&b));
        for path in a.paths().iter().chain(&b.paths()) {
            let (in_a, in_b) = (a.has(&path.0), b.has(&path.0));
            prop_assert!(union.has(&path.0));
            prop_assert_eq!(both.has(&path.0), in_a && in_b);
            prop_assert_eq!(rest.has(&path.0), in_a && !in_b);
        }
        prop_assert_eq!(rest.union(&both), a.clone());
        prop_assert_eq!(union.len(), a.len() + b.len() - both.len());
        prop_assert_eq!(union, b.union(&a));
    }

    #[test]
    fn any_text_as_a_set_does_not_panic(key in ".{0,20}", inner in "[fkvi]:.{0,20}") {
        let _ = FieldSet::from_json(&json!({key: {inner: {}}}));
    }
}
