//! `RuntimeClass`: what a runtime costs and where it runs becomes part of the pod.

use std::sync::Arc;

use api::status::Status;
use serde_json::{Value, json};

use crate::{Lookup, Operation, Plugin, Request, tree};

/// See the module's text.
#[derive(Debug)]
pub struct RuntimeClass;

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.is("", "pods") {
            return Ok(());
        }
        let Some(class) = class_of(request, cluster)? else { return Ok(()) };
        set_overhead(request, &class)?;
        set_scheduling(request, &class)
    }

    fn validate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.is("", "pods") {
            return Ok(());
        }
        let class = class_of(request, cluster)?;
        let wanted = class.as_ref().and_then(|class| tree::at(class, "/overhead/podFixed"));
        let own = tree::at(&request.object, "/spec/overhead");
        match (wanted, own) {
            (Some(wanted), own) if !tree::same_amounts(wanted, own.unwrap_or(&Value::Null)) => {
                Err(request.forbid(MISMATCH))
            }
            (None, Some(_)) => Err(request.forbid(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            )),
            _ => Ok(()),
        }
    }
}

fn class_of(request: &Request<'_>, cluster: &dyn Lookup) -> Result<Option<Arc<Value>>, Status> {
    let Some(name) = tree::at(&request.object, "/spec/runtimeClassName").and_then(Value::as_str)
    else {
        return Ok(None);
    };
    let class = cluster.get("node.k8s.io", "runtimeclasses", "", name);
    let class = class.ok_or_else(|| {
        request.forbid(format!("pod rejected: RuntimeClass \"{name}\" not found"))
    })?;
    Ok(Some(class.tree()))
}

fn set_overhead(request: &mut Request<'_>, class: &Value) -> Result<(), Status> {
    let Some(fixed) = tree::at(class, "/overhead/podFixed") else { return Ok(()) };
    let own = tree::at(&request.object, "/spec/overhead");
    let differs = own.is_some_and(|own| {
        own.as_object().is_some_and(|map| !map.is_empty()) && !tree::same_amounts(own, fixed)
    });
    if differs {
        return Err(request.forbid(MISMATCH));
    }
    tree::make(&mut request.object, "spec")["overhead"] = fixed.clone();
    Ok(())
}

fn set_scheduling(request: &mut Request<'_>, class: &Value) -> Result<(), Status> {
    for (key, wanted) in tree::entries(class, "/scheduling/nodeSelector") {
        let own =
            tree::at(&request.object, "/spec/nodeSelector").and_then(|selector| selector.get(key));
        if let Some(own) = own.filter(|own| *own != wanted) {
            return Err(request.forbid(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                wanted.as_str().unwrap_or_default(),
                own.as_str().unwrap_or_default()
            )));
        }
        tree::make(tree::make(&mut request.object, "spec"), "nodeSelector")[key.as_str()] =
            wanted.clone();
    }
    let more = tree::list(class, "/scheduling/tolerations");
    if !more.is_empty() {
        let all = [tree::list(&request.object, "/spec/tolerations"), more].concat();
        tree::make(&mut request.object, "spec")["tolerations"] = json!(merge(&all));
    }
    Ok(())
}

/// Tolerations without those that another one includes.
fn merge(all: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for (i, toleration) in all.iter().enumerate() {
        let had = merged.iter().any(|have| includes(have, toleration));
        // Of equal ones the first stays.
        let comes =
            all[i + 1..].iter().any(|next| next != toleration && includes(next, toleration));
        if !had && !comes {
            merged.push(toleration.clone());
        }
    }
    merged
}

fn includes(wide: &Value, narrow: &Value) -> bool {
    if tree::same(wide, narrow) {
        return true;
    }
    let field = |toleration, name| tree::text(toleration, name);
    let operator = field(wide, "/operator");
    let any_key = field(wide, "/key").is_empty() && operator == "Exists";
    let same = |name| field(wide, name) == field(narrow, name);
    if !(same("/key") || any_key) || !(same("/effect") || field(wide, "/effect").is_empty()) {
        return false;
    }
    let seconds = |toleration| tree::int(toleration, "/tolerationSeconds");
    if field(wide, "/effect") == "NoExecute"
        && let Some(most) = seconds(wide)
        && seconds(narrow).is_none_or(|have| have > most)
    {
        return false;
    }
    match operator {
        "Exists" => true,
        "Equal" | "" => field(narrow, "/operator") == "Equal" && same("/value"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, Cluster};

    fn cluster() -> Cluster {
        Cluster::default().with("runtimeclasses", json!({
            "metadata": {"name": "vm"},
            "overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]},
        }))
    }

    fn run(spec: Value) -> Result<Value, String> {
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        let done = Case::create("pods", pod).run(&RuntimeClass, &cluster());
        done.map(|done| done.object["spec"].clone()).map_err(|status| status.message)
    }

    #[test]
    fn a_class_adds_its_overhead_and_its_place() {
        let spec = run(json!({"runtimeClassName": "vm", "nodeSelector": {"a": "b"},
            "tolerations": [{"key": "vm", "operator": "Equal", "value": "x"}]}))
        .unwrap();
        assert_eq!(spec["overhead"], json!({"cpu": "250m"}));
        assert_eq!(spec["nodeSelector"], json!({"a": "b", "vm": "yes"}));
        assert_eq!(spec["tolerations"], json!([{"key": "vm", "operator": "Exists"}]));
    }

    #[test]
    fn contradictions_are_refused() {
        let cases = [
            (json!({"runtimeClassName": "no"}), "pod rejected: RuntimeClass \"no\" not found"),
            (
                json!({"overhead": {"cpu": "1"}}),
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            ),
            (json!({"runtimeClassName": "vm", "overhead": {"cpu": "1"}}), MISMATCH),
            (
                json!({"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}}),
                "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no",
            ),
        ];
        for (spec, why) in cases {
            assert_eq!(run(spec).unwrap_err(), format!("pods \"p\" is forbidden: {why}"));
        }
        assert!(run(json!({"runtimeClassName": "vm", "overhead": {"cpu": "0.25"}})).is_ok());
    }
}
