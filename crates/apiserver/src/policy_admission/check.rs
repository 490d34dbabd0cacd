//! Refuses expressions that do not compile, when a policy or a webhook configuration is written.
//!
//! What else can be wrong with these kinds is in their files in `api::kinds`.

use api::field::{Error, Path};
use expression::{Environment, Program};
use serde_json::Value;

use super::GROUP;
use super::environment::{Extras, Returns, compile, for_conditions, with};
use crate::handle::text;

/// The faults of the expressions in an object of one of the kinds of admission; none in others.
pub(super) fn expressions(
    group: &str,
    plural: &str,
    new: &Value,
    old: Option<&Value>,
) -> Vec<Error> {
    if group != GROUP {
        return Vec::new();
    }
    let mut faults = Vec::new();
    match plural {
        "validatingadmissionpolicies" => validating(new, old, &mut faults),
        "mutatingadmissionpolicies" => mutating(new, old, &mut faults),
        "validatingwebhookconfigurations" | "mutatingwebhookconfigurations" => {
            webhooks(new, old, &mut faults);
        }
        _ => {}
    }
    faults
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten().enumerate()
}

/// Checks one expression; one that is not there is the kind's own business.
fn check(
    environment: &Environment,
    source: &str,
    returns: Returns,
    path: &Path,
    faults: &mut Vec<Error>,
) -> Option<Program> {
    if source.trim().is_empty() {
        return None;
    }
    compile(environment, source, returns)
        .map_err(|why| faults.push(Error::invalid(path, source, why)))
        .ok()
}

/// Conditions that did not change stay as they are, whatever they say.
fn conditions(at: &Value, params: bool, path: &Path, faults: &mut Vec<Error>) {
    let environment = for_conditions(params);
    for (index, condition) in items(at, "/matchConditions") {
        let path = path.child("matchConditions").index(index).child("expression");
        let source = text(condition, "/expression").trim();
        check(&environment, source, Returns::Bool, &path, faults);
    }
}

fn webhooks(new: &Value, old: Option<&Value>, faults: &mut Vec<Error>) {
    let conditions_of = |object: &Value| -> Vec<Value> {
        items(object, "/webhooks")
            .map(|(_, hook)| hook.get("matchConditions").cloned().unwrap_or_default())
            .collect()
    };
    if old.is_some_and(|old| conditions_of(old) == conditions_of(new)) {
        return;
    }
    for (index, hook) in items(new, "/webhooks") {
        conditions(hook, false, &Path::new("webhooks").index(index), faults);
    }
}

/// Checks what both kinds of policies have; the environment for the rest.
fn policy(
    new: &Value,
    old: Option<&Value>,
    extras: Extras,
    faults: &mut Vec<Error>,
) -> Environment {
    let spec = new.get("spec").unwrap_or(&Value::Null);
    let path = Path::new("spec");
    let same = |old: &Value| {
        ["/spec/paramKind", "/spec/matchConditions"]
            .iter()
            .all(|part| old.pointer(part) == new.pointer(part))
    };
    if !old.is_some_and(same) {
        conditions(spec, extras.params, &path, faults);
    }
    let mut environment = with(extras);
    for (index, variable) in items(spec, "/variables") {
        let path = path.child("variables").index(index).child("expression");
        let source = text(variable, "/expression");
        let program = check(&environment, source, Returns::Anything, &path, faults);
        if let Some(program) = program.or_else(anything) {
            environment.add_variable(text(variable, "/name"), &program);
        }
    }
    environment
}

/// Stands for a variable that does not compile: what uses it is not at fault for that.
pub(super) fn anything() -> Option<Program> {
    Program::compile(&Environment::new(), "dyn(null)").ok()
}

fn extras_of(new: &Value) -> Extras {
    Extras {
        params: new.pointer("/spec/paramKind").is_some_and(Value::is_object),
        authorizer: true,
        variables: items(new, "/spec/variables").next().is_some(),
        patches: false,
    }
}

fn validating(new: &Value, old: Option<&Value>, faults: &mut Vec<Error>) {
    let extras = extras_of(new);
    let environment = policy(new, old, extras, faults);
    let mut for_messages = with(Extras { authorizer: false, ..extras });
    for (_, variable) in items(new, "/spec/variables") {
        let source = text(variable, "/expression");
        let program = compile(&environment, source, Returns::Anything).ok();
        if let Some(program) = program.or_else(anything) {
            for_messages.add_variable(text(variable, "/name"), &program);
        }
    }
    let path = Path::new("spec");
    for (index, validation) in items(new, "/spec/validations") {
        let path = path.child("validations").index(index);
        for (field, environment, returns) in [
            ("expression", &environment, Returns::Bool),
            ("messageExpression", &for_messages, Returns::Text),
        ] {
            let source = validation.get(field).and_then(Value::as_str).unwrap_or_default();
            check(environment, source, returns, &path.child(field), faults);
        }
    }
    for (index, annotation) in items(new, "/spec/auditAnnotations") {
        let path = path.child("auditAnnotations").index(index).child("valueExpression");
        let source = text(annotation, "/valueExpression");
        if source.trim().is_empty() {
            continue;
        }
        if let Err(why) = compile(&environment, source.trim(), Returns::TextOrNull) {
            faults.push(Error::invalid(&path, source, why));
        }
    }
}

fn mutating(new: &Value, old: Option<&Value>, faults: &mut Vec<Error>) {
    let extras = Extras { variables: true, patches: true, ..extras_of(new) };
    let environment = policy(new, old, extras, faults);
    for (index, mutation) in items(new, "/spec/mutations") {
        let (field, returns) = match text(mutation, "/patchType") {
            "JSONPatch" => ("jsonPatch", Returns::Patches),
            "ApplyConfiguration" => ("applyConfiguration", Returns::Object),
            _ => continue,
        };
        let path = Path::new("spec").child("mutations").index(index).child(field);
        let source = text(mutation, &format!("/{field}/expression")).trim();
        check(&environment, source, returns, &path.child("expression"), faults);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(plural: &str, new: &Value, old: Option<&Value>) -> Vec<String> {
        let faults = expressions(GROUP, plural, new, old);
        faults.iter().map(|fault| fault.to_string().replace('\n', "~")).collect()
    }

    #[test]
    fn conditions_of_webhooks_are_compiled_unless_they_are_old() {
        let object = json!({"webhooks": [{"matchConditions": [
            {"name": "a", "expression": "object.metadata.name == 'a'"},
            {"name": "b", "expression": " ... [] bad expression"},
            {"name": "c", "expression": "params.a"},
            {"name": "d", "expression": "object.metadata.name"},
        ]}]});
        let found = faults("validatingwebhookconfigurations", &object, None);
        assert_eq!(found.len(), 3);
        assert!(found[0].starts_with("webhooks[0].matchConditions[1].expression: Invalid value: \"... [] bad expression\": compilation failed: ERROR: <input>:1:"), "{}", found[0]);
        assert_eq!(
            found[1],
            "webhooks[0].matchConditions[2].expression: Invalid value: \"params.a\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')~ | params.a~ | ^"
        );
        assert_eq!(
            found[2],
            "webhooks[0].matchConditions[3].expression: Invalid value: \"object.metadata.name\": must evaluate to bool but got dyn"
        );
        assert!(faults("validatingwebhookconfigurations", &object, Some(&object)).is_empty());
        assert!(expressions("apps", "deployments", &object, None).is_empty());
    }

    #[test]
    fn policies_are_compiled_part_by_part() {
        let object = json!({"spec": {
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConditions": [{"name": "a", "expression": "variables.a"}],
            "variables": [
                {"name": "a", "expression": "object.spec.replicas"},
                {"name": "b", "expression": "wrong"},
            ],
            "validations": [
                {"expression": "variables.a > 1 && params.data.a == 'b' && variables.b"},
                {"expression": "variables.c", "messageExpression": "1"},
                {"expression": "authorizer.path('/x').check('get').allowed()",
                 "messageExpression": "string(authorizer.path('/x').check('get').allowed())"},
            ],
            "auditAnnotations": [{"key": "a", "valueExpression": " 1 "}],
        }});
        let found = faults("validatingadmissionpolicies", &object, None);
        let starts = [
            "spec.matchConditions[0].expression: Invalid value: \"variables.a\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'variables' (in container '')",
            "spec.variables[1].expression: Invalid value: \"wrong\": compilation failed: ",
            "spec.validations[1].expression: Invalid value: \"variables.c\": compilation failed: ERROR: <input>:1:10: undefined field 'c'",
            "spec.validations[1].messageExpression: Invalid value: \"1\": must evaluate to string but got int",
            "spec.validations[2].messageExpression: Invalid value: \"string(authorizer.path('/x').check('get').allowed())\": compilation failed: ",
            "spec.auditAnnotations[0].valueExpression: Invalid value: \" 1 \": must evaluate to one of [string null_type] but got int",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}\n{start}");
        }
        let found = faults("validatingadmissionpolicies", &object, Some(&object));
        assert_eq!(found.len(), starts.len() - 1);
    }

    #[test]
    fn mutations_have_to_make_patches() {
        let object = json!({"spec": {"mutations": [
            {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/a'}]"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression": " 'a' "}},
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}},
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "{}"}},
        ]}});
        let found = faults("mutatingadmissionpolicies", &object, None);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert_eq!(
            found[0],
            "spec.mutations[1].jsonPatch.expression: Invalid value: \"'a'\": must evaluate to list(JSONPatch) but got string"
        );
        assert!(found[1].starts_with("spec.mutations[3].applyConfiguration.expression: Invalid value: \"{}\": must evaluate to Object but got map("), "{}", found[1]);
    }
}
