//! Schemas, old and new objects in; faults out.

use serde_json::{Value, json};

use super::Rules;

fn faults(open_api: &Value, new: &Value, old: Option<&Value>) -> Vec<String> {
    let schema = schema::Schema::custom_resource(open_api).expect("readable");
    let found = Rules::new(open_api, &schema).check(new, old);
    found.errors.iter().map(ToString::to_string).collect()
}

fn with_rules(rules: Value) -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object",
    "x-kubernetes-validations": rules,
    "properties": {
        "x": {"type": "integer"}, "name": {"type": "string"},
        "port": {"x-kubernetes-int-or-string": true},
        "a-b": {"type": "object", "properties": {"c": {"type": "integer"}}},
        "list": {"type": "array", "items": {"type": "integer"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    }}}})
}

#[test]
fn faults_read_as_upstreams() {
    for (rule, spec, expected) in [
        (json!({"rule": "self.x > 0"}), json!({"x": 1}), None),
        (
            json!({"rule": "self.x > 0"}),
            json!({"x": 0}),
            Some("spec: Invalid value: \"object\": failed rule: self.x > 0"),
        ),
        (
            json!({"rule": "self.x > 0", "message": " must grow "}),
            json!({"x": 0}),
            Some("spec: Invalid value: \"object\": must grow"),
        ),
        (
            json!({"rule": "self.x > 0", "messageExpression": "'x is ' + string(self.x)"}),
            json!({"x": 0}),
            Some("spec: Invalid value: \"object\": x is 0"),
        ),
        (
            json!({"rule": "self.x > 0", "message": "plain", "messageExpression": "self.map['no']"}),
            json!({"x": 0, "map": {}}),
            Some("spec: Invalid value: \"object\": plain"),
        ),
        (
            json!({"rule": "self.x > 0", "reason": "FieldValueForbidden", "fieldPath": ".x"}),
            json!({"x": 0}),
            Some("spec.x: Forbidden: failed rule: self.x > 0"),
        ),
        (
            json!({"rule": "self.x > 0", "reason": "FieldValueRequired", "fieldPath": "['a-b'].c"}),
            json!({"x": 0}),
            Some("spec.a-b.c: Required value: failed rule: self.x > 0"),
        ),
        (
            json!({"rule": "self.x > 0", "reason": "FieldValueDuplicate"}),
            json!({"x": 0}),
            Some("spec: Duplicate value: \"object\""),
        ),
        (
            json!({"rule": "self.x > 0"}),
            json!({}),
            Some("spec: Invalid value: \"object\": no such key: x evaluating rule: self.x > 0"),
        ),
        (
            json!({"rule": "self.port > 5"}),
            json!({"port": "80%"}),
            Some(
                "spec: Invalid value: \"object\": 'no such overload': call arguments did not match a \
                 supported operator, function or macro signature for rule: self.port > 5",
            ),
        ),
        (json!({"rule": "self.a__dash__b.c == 1"}), json!({"a-b": {"c": 1}}), None),
        (
            json!({"rule": "self.nothing"}),
            json!({}),
            Some(
                "spec: Invalid value: \"object\": rule compile error: compilation failed: ERROR: \
                 <input>:1:5: undefined field 'nothing'\n | self.nothing\n | ....^",
            ),
        ),
    ] {
        let shown = faults(&with_rules(json!([rule])), &json!({"spec": spec}), None);
        assert_eq!(shown.first().map(String::as_str), expected, "{rule}");
        assert!(shown.len() <= 1);
    }
}

#[test]
fn costs_end_the_check() {
    let schema = with_rules(json!([
        {"rule": "self.list.all(x, self.list.all(y, x == y))"},
        {"rule": "self.x > 0"},
    ]));
    let list = vec![20; 725];
    let shown = faults(&schema, &json!({"spec": {"list": list, "x": 0}}), None);
    assert_eq!(shown.len(), 1);
    assert!(shown[0].contains(
        "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to \
         call cost exceeds limit for rule: self.list.all"
    ));
}

#[test]
fn transition_rules_need_an_old_value() {
    let items = json!({"type": "object", "properties": {"k": {"type": "string"},
        "v": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}});
    let schema = json!({"type": "object", "properties": {
        "pairs": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": items},
        "optional": {"type": "integer", "x-kubernetes-validations":
            [{"rule": "oldSelf.hasValue() ? self >= oldSelf.value() : self == 1", "optionalOldSelf": true}]},
    }});
    let check = |new: Value, old: Option<Value>| faults(&schema, &new, old.as_ref());
    let none: Vec<String> = Vec::new();
    assert_eq!(check(json!({"pairs": [{"k": "a", "v": 1}]}), None), none);
    let old = json!({"pairs": [{"k": "b", "v": 2}, {"k": "a", "v": 5}]});
    assert_eq!(
        check(json!({"pairs": [{"k": "a", "v": 1}, {"k": "b", "v": 3}]}), Some(old.clone())),
        ["pairs[0].v: Invalid value: \"integer\": failed rule: self >= oldSelf"]
    );
    assert_eq!(check(json!({"pairs": [{"k": "new", "v": 0}]}), Some(old)), none);
    assert_eq!(check(json!({"optional": 1}), None), none);
    assert_eq!(check(json!({"optional": 2}), None).len(), 1);
    assert_eq!(check(json!({"optional": 2}), Some(json!({"optional": 1}))), none);
    assert_eq!(check(json!({"optional": 0}), Some(json!({"optional": 1}))).len(), 1);
}

#[test]
fn what_did_not_change_is_tolerated() {
    let rule = json!([{"rule": "self.size() < 3"}]);
    let text = json!({"type": "string", "x-kubernetes-validations": rule});
    let schema = json!({"type": "object", "properties": {
        "a": text, "b": text, "list": {"type": "array", "items": text},
        "map": {"type": "object", "additionalProperties": text},
    }});
    let old = json!({"a": "long", "b": "ok", "list": ["long"], "map": {"k": "long"}});
    let check = |new: Value| faults(&schema, &new, Some(&old)).len();
    let mut new = old.clone();
    assert_eq!(check(new.clone()), 0);
    let parsed = schema::Schema::custom_resource(&schema).expect("readable");
    let tolerated = Rules::new(&schema, &parsed).check(&new, Some(&old)).tolerated;
    let tolerated: Vec<String> = tolerated.iter().map(ToString::to_string).collect();
    let said = "Invalid value: \"string\": failed rule: self.size() < 3";
    assert_eq!(tolerated, ["a", "list[0]", "map[k]"].map(|path| format!("{path}: {said}")));
    new["b"] = json!("no");
    assert_eq!(check(new.clone()), 0, "what is around changed only");
    new["b"] = json!("nono");
    assert_eq!(check(new.clone()), 1);
    new["map"] = json!({"k": "long", "l": "x"});
    assert_eq!(check(new.clone()), 1);
    new["list"] = json!(["long", "x"]);
    assert_eq!(check(new), 2, "items of an atomic list cannot be told to be the same");
}

#[test]
fn roots_and_embedded_objects_show_their_names() {
    let schema = json!({"type": "object",
        "x-kubernetes-validations": [{"rule": "self.metadata.name.startsWith('a') && self.kind == 'Foo'"}],
        "properties": {"pod": {"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-validations": [{"rule": "self.metadata.name == 'p' && self.apiVersion == 'v1'"}]}},
        "allOf": [{"x-kubernetes-validations": [{"rule": "self.metadata.generateName == ''"}]}]});
    let object = json!({"apiVersion": "e.com/v1", "kind": "Foo",
        "metadata": {"name": "abc", "generateName": "", "labels": {"x": "y"}},
        "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}}});
    assert_eq!(faults(&schema, &object, None), Vec::<String>::new());
    let mut other = object.clone();
    other["metadata"]["name"] = json!("b");
    assert_eq!(
        faults(&schema, &other, None),
        [
            "<nil>: Invalid value: \"object\": failed rule: self.metadata.name.startsWith('a') && self.kind == 'Foo'"
        ]
    );
}

#[test]
fn nulls_are_not_checked() {
    let text = json!({"type": "string", "nullable": true,
        "x-kubernetes-validations": [{"rule": "self == 'a'"}]});
    let schema = json!({"type": "object", "properties": {"t": text}});
    assert_eq!(faults(&schema, &json!({"t": null}), None), Vec::<String>::new());
    assert_eq!(faults(&schema, &json!({"t": "b"}), None).len(), 1);
}
