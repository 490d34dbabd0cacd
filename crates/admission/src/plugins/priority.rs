//! `Priority`: a pod's class becomes its number; there is at most one default class.

use std::sync::Arc;

use api::status::Status;
use serde_json::{Value, json};

use crate::{Lookup, Operation, Plugin, Request, tree};

/// See the module's text.
#[derive(Debug)]
pub struct Priority;

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "priorityclasses";

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        if !request.is("", "pods") {
            return Ok(());
        }
        match request.operation {
            Operation::Create => set_priority(request, cluster),
            Operation::Update => {
                keep_priority(request);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn validate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if !writes || !request.is(GROUP, CLASSES) {
            return Ok(());
        }
        if tree::flag(&request.object, "/globalDefault") != Some(true) {
            return Ok(());
        }
        match default_class(cluster) {
            Some(class)
                if request.operation == Operation::Create
                    || api::meta::name(&class) != api::meta::name(&request.object) =>
            {
                Err(request.forbid(format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    api::meta::name(&class)
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Of several default classes (made at the same time) the one with the lowest value.
fn default_class(cluster: &dyn Lookup) -> Option<Arc<Value>> {
    let classes = cluster.list(GROUP, CLASSES, "");
    let defaults = classes
        .iter()
        .map(|class| class.tree())
        .filter(|class| tree::flag(class, "/globalDefault") == Some(true));
    defaults.min_by_key(|class| tree::int(class, "/value").unwrap_or_default())
}

fn set_priority(request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
    let name = tree::text(&request.object, "/spec/priorityClassName").to_owned();
    let class = if name.is_empty() {
        default_class(cluster)
    } else {
        let class = cluster.get(GROUP, CLASSES, "", &name);
        let missing = || request.forbid(format!("no PriorityClass with name {name} was found"));
        Some(class.ok_or_else(missing)?.tree())
    };
    let value = class.as_ref().and_then(|class| tree::int(class, "/value")).unwrap_or_default();
    let policy = match &class {
        Some(class) => tree::text(class, "/preemptionPolicy"),
        None => "PreemptLowerPriority",
    };
    if let Some(own) = tree::int(&request.object, "/spec/priority").filter(|own| *own != value) {
        return Err(request.forbid(format!("the integer value of priority ({own}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name")));
    }
    let own = tree::text(&request.object, "/spec/preemptionPolicy");
    if !policy.is_empty() && !own.is_empty() && own != policy {
        return Err(request.forbid(format!("the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name")));
    }
    let spec = tree::make(&mut request.object, "spec");
    spec["priority"] = json!(value);
    if !policy.is_empty() {
        spec["preemptionPolicy"] = json!(policy);
    }
    if let (Some(class), true) = (&class, name.is_empty()) {
        spec["priorityClassName"] = json!(api::meta::name(class));
    }
    Ok(())
}

/// Clients that do not know what was computed do not take it back.
fn keep_priority(request: &mut Request<'_>) {
    let Some(old) = request.old else { return };
    for field in ["priority", "preemptionPolicy"] {
        let pointer = format!("/spec/{field}");
        if let (None, Some(value)) = (tree::at(&request.object, &pointer), tree::at(old, &pointer))
        {
            tree::make(&mut request.object, "spec")[field] = value.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, Cluster};

    fn class(name: &str, value: i64, default: bool) -> Value {
        json!({"metadata": {"name": name}, "value": value, "globalDefault": default,
            "preemptionPolicy": "Never"})
    }

    #[test]
    fn classes_become_numbers() {
        let cluster = Cluster::default().with(CLASSES, class("high", 7, false));
        let spec = |spec: Value| {
            let pod = json!({"metadata": {"name": "p"}, "spec": spec});
            Case::create("pods", pod)
                .run(&Priority, &cluster)
                .map(|done| done.object["spec"].clone())
        };
        assert_eq!(
            spec(json!({})).unwrap(),
            json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"})
        );
        assert_eq!(
            spec(json!({"priorityClassName": "high"})).unwrap(),
            json!({"priorityClassName": "high", "priority": 7, "preemptionPolicy": "Never"})
        );
        let refusals = [
            (
                json!({"priorityClassName": "x"}),
                "pods \"p\" is forbidden: no PriorityClass with name x was found",
            ),
            (
                json!({"priorityClassName": "high", "priority": 8}),
                "pods \"p\" is forbidden: the integer value of priority (8) must not be provided in pod spec; priority admission controller computed 7 from the given PriorityClass name",
            ),
            (
                json!({"preemptionPolicy": "Never"}),
                "pods \"p\" is forbidden: the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission controller computed PreemptLowerPriority from the given PriorityClass name",
            ),
        ];
        for (given, expected) in refusals {
            assert_eq!(spec(given).unwrap_err().message, expected);
        }
    }

    #[test]
    fn there_is_one_default() {
        let cluster = Cluster::default().with(CLASSES, class("a", 3, true));
        let pod = Case::create("pods", json!({"spec": {}})).admitted(&Priority, &cluster);
        assert_eq!(pod["spec"]["priorityClassName"], "a");
        let expected = "priorityclasses.scheduling.k8s.io \"b\" is forbidden: PriorityClass a is already marked as default. Only one default can exist";
        assert_eq!(
            Case::create(CLASSES, class("b", 1, true)).refusal(&Priority, &cluster),
            expected
        );
        assert_eq!(Case::create(CLASSES, class("b", 1, false)).refusal(&Priority, &cluster), "");
        let same = Case::update(CLASSES, class("a", 3, true), class("a", 3, true));
        assert_eq!(same.refusal(&Priority, &cluster), "");
    }

    #[test]
    fn updates_keep_what_was_computed() {
        let old = json!({"spec": {"priority": 5}});
        let pod =
            Case::update("pods", old, json!({"spec": {}})).admitted(&Priority, &Cluster::default());
        assert_eq!(pod["spec"]["priority"], 5);
    }
}
