//! Policies judge requests: what they refuse, audit and warn of, and with which words.

use serde_json::Value;

use super::*;

fn policy(spec: Value) -> Validating {
    Validating::of(&json!({"metadata": {"name": "p"}, "spec": spec}))
}

fn object() -> Operand {
    Operand::from_json(&json!({"metadata": {"name": "web"}, "spec": {"replicas": 1}}))
}

fn judged(spec: Value) -> Judgement {
    let policy = policy(spec);
    judge(&policy, &mut Activation::new().with("object", object()).with("params", Operand::Null))
}

fn message_of(validation: Value) -> String {
    match judged(json!({"validations": [validation]})).decisions.as_slice() {
        [Decision::Deny { message, reason }] => format!("{reason}: {message}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn messages_are_made_given_or_the_rule_itself() {
    let rule = "object.spec.replicas > 1";
    let cases = [
        (json!({"expression": rule}), "Invalid: failed expression: object.spec.replicas > 1"),
        (json!({"expression": rule, "message": " too few "}), "Invalid: too few"),
        (
            json!({"expression": rule, "message": "m", "messageExpression": "'got ' + string(object.spec.replicas)"}),
            "Invalid: got 1",
        ),
        (json!({"expression": rule, "message": "m", "messageExpression": "'a\\nb'"}), "Invalid: m"),
        (
            json!({"expression": rule, "message": "m", "messageExpression": "string(object.none)"}),
            "Invalid: m",
        ),
        (
            json!({"expression": rule, "reason": "Forbidden"}),
            "Forbidden: failed expression: object.spec.replicas > 1",
        ),
        (
            json!({"expression": "object.spec.none == 1"}),
            "Invalid: expression 'object.spec.none == 1' resulted in error: no such key: none",
        ),
        (json!({"expression": "true"}), "[Admit]"),
    ];
    for (validation, expected) in cases {
        assert_eq!(message_of(validation.clone()), expected, "{validation}");
    }
}

#[test]
fn conditions_come_first_and_failures_are_ignored_on_request() {
    let rules = json!([{"expression": "false"}]);
    let with = |condition: &str, policy: &str| {
        judged(json!({"validations": rules, "failurePolicy": policy,
            "matchConditions": [{"name": "c", "expression": condition}]}))
    };
    assert_eq!(with("object.spec.replicas == 2", "Fail"), Judgement::default());
    assert_eq!(with("object.none", "Ignore").decisions, [Decision::Admit]);
    let failed = with("object.none == 1", "Fail").decisions;
    let message = "expression 'object.none == 1' resulted in error: no such key: none".to_owned();
    assert_eq!(failed, [Decision::Deny { message, reason: "Invalid" }]);
}

#[test]
fn variables_are_composed_and_lazy() {
    let spec = json!({
        "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "isOdd", "expression": "variables.replicas % 2 == 1"},
            {"name": "broken", "expression": "object.none"},
        ],
        "validations": [{"expression": "variables.isOdd"}],
    });
    assert_eq!(judged(spec).decisions, [Decision::Admit]);
    let spec = json!({
        "variables": [{"name": "broken", "expression": "object.none"}],
        "validations": [{"expression": "variables.broken == 1"}],
    });
    let [Decision::Deny { message, .. }] = &judged(spec).decisions[..] else { panic!("admitted") };
    assert_eq!(
        message,
        "expression 'variables.broken == 1' resulted in error: composited variable \"broken\" fails to evaluate: no such key: none"
    );
}

#[test]
fn annotations_are_published_unless_they_are_empty() {
    let with = |value: &str| {
        judged(json!({"auditAnnotations": [{"key": "k", "valueExpression": value}]})).annotations
    };
    let published = Annotation::Publish { key: "k".to_owned(), value: "got 1".to_owned() };
    assert_eq!(with("'got ' + string(object.spec.replicas)"), [published]);
    assert_eq!(with("null"), []);
    assert_eq!(with("' '"), []);
    let why = "expression 'string(object.none)' resulted in error: no such key: none";
    assert_eq!(with("string(object.none)"), [Annotation::Fail(why.to_owned())]);
}

#[test]
fn refusals_name_policy_and_binding() {
    let rows = api::kinds::all();
    let resource = rows.iter().find(|row| row.plural == "deployments").unwrap();
    let user = admission::User::default();
    let null = Value::Null;
    let request = Request {
        operation: admission::Operation::Create,
        resource,
        subresource: "",
        namespace: "n",
        name: "",
        user: &user,
        dry_run: false,
        object: json!({"metadata": {"generateName": "web-"}}),
        old: None,
        options: &null,
        now: jiff::Timestamp::UNIX_EPOCH,
        random: 0,
        warnings: Vec::new(),
        annotations: Vec::new(),
    };
    let cases = [
        (
            Some("b"),
            "Invalid",
            422,
            "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: m",
        ),
        (None, "Forbidden", 403, "ValidatingAdmissionPolicy 'p' denied request: m"),
        (None, "Unauthorized", 401, "ValidatingAdmissionPolicy 'p' denied request: m"),
        (None, "RequestEntityTooLarge", 413, "ValidatingAdmissionPolicy 'p' denied request: m"),
    ];
    for (binding, reason, code, message) in cases {
        let status = Denial::new("p", binding, "m", reason).into_status(&request);
        assert_eq!((status.code, status.reason), (code, reason));
        assert_eq!(status.message, format!("deployments.apps \"web-\" is forbidden: {message}"));
        assert_eq!(status.details.causes[0].message, message);
    }
}

#[test]
fn long_annotations_are_cut_between_characters() {
    assert_eq!(cut("aé", 2), "a");
    assert_eq!(cut("aé", 3), "aé");
}
