//! `LimitRanger`: the bounds and defaults of a namespace for what its pods and claims ask for.

use std::sync::Arc;

use api::quantity::Quantity;
use api::status::Status;
use serde_json::{Value, json};

use crate::pods::{self, Amounts};
use crate::{Lookup, Operation, Plugin, Request, tree};

/// See the module's text.
#[derive(Debug)]
pub struct LimitRanger;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Above this many units upstream compares units, below thousandths.
const MILLI_COMPARED_MAX: i64 = i64::MAX / 1000;

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        if applies(request) && request.about("", "pods") {
            for range in ranges(request, cluster) {
                set_defaults(&mut request.object, &range);
            }
        }
        Ok(())
    }

    fn validate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        if !applies(request) {
            return Ok(());
        }
        for range in ranges(request, cluster) {
            let mut faults = Vec::new();
            for limit in tree::list(&range, "/spec/limits") {
                check(request, limit, &mut faults);
            }
            if let Some(why) = aggregate(&faults) {
                return Err(request.forbid(why));
            }
        }
        Ok(())
    }
}

fn applies(request: &Request<'_>) -> bool {
    if api::meta::is_deleting(request.old_object()) {
        return false;
    }
    match (request.operation, request.subresource) {
        (Operation::Update, "resize") => request.about("", "pods"),
        (Operation::Create, "") => {
            request.about("", "pods") || request.about("", "persistentvolumeclaims")
        }
        (Operation::Update, "") => request.about("", "persistentvolumeclaims"),
        _ => false,
    }
}

fn ranges(request: &Request<'_>, cluster: &dyn Lookup) -> Vec<Arc<Value>> {
    let ranges = cluster.list("", "limitranges", request.namespace);
    ranges.iter().map(|range| range.tree()).collect()
}

/// Several faults as upstream shows them: each once, in brackets when there is more than one.
fn aggregate(faults: &[String]) -> Option<String> {
    let mut unique: Vec<&str> = Vec::new();
    for fault in faults {
        if !unique.contains(&fault.as_str()) {
            unique.push(fault);
        }
    }
    match unique.as_slice() {
        [] => None,
        [one] => Some((*one).to_owned()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

fn set_defaults(pod: &mut Value, range: &Value) {
    let gather = |field: &str| {
        let limits = tree::list(range, "/spec/limits").iter();
        let limits = limits.filter(|limit| tree::text(limit, "/type") == "Container");
        let mut all = serde_json::Map::new();
        for (name, amount) in limits.flat_map(|limit| tree::entries(limit, field)) {
            all.insert(name.clone(), amount.clone());
        }
        all
    };
    let (requests, limits) = (gather("/defaultRequest"), gather("/default"));
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = tree::text(container, "/name").to_owned();
            let resources = tree::make(container, "resources");
            for (field, word, defaults) in
                [("requests", "request", &requests), ("limits", "limit", &limits)]
            {
                let set = fill(resources, field, defaults);
                if !set.is_empty() {
                    notes.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let annotations = api::meta::map_mut(pod).entry("annotations").or_insert_with(|| json!({}));
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        api::meta::object_mut(annotations).insert(ANNOTATION.to_owned(), json!(note));
    }
}

/// Adds the amounts that are missing; their names, sorted.
fn fill(
    resources: &mut Value,
    field: &str,
    defaults: &serde_json::Map<String, Value>,
) -> Vec<String> {
    let mut set = Vec::new();
    if defaults.is_empty() {
        return set;
    }
    let amounts = api::meta::object_mut(tree::make(resources, field));
    for (name, amount) in defaults {
        if !amounts.contains_key(name) {
            amounts.insert(name.clone(), amount.clone());
            set.push(name.clone());
        }
    }
    set.sort();
    set
}

/// What is asked for somewhere, and what bounds it.
struct Asked {
    requests: Amounts,
    limits: Amounts,
}

fn asked(resources: Option<&Value>) -> Asked {
    let list = |field| pods::amounts(resources.and_then(|resources| resources.get(field)));
    Asked { requests: list("requests"), limits: list("limits") }
}

fn check(request: &Request<'_>, limit: &Value, faults: &mut Vec<String>) {
    let kind = tree::text(limit, "/type");
    let spec = request.object.get("spec").unwrap_or(&Value::Null);
    match (&*request.resource.plural, kind) {
        ("pods", "Container") => {
            let lists = ["/containers", "/initContainers"];
            for container in lists.iter().flat_map(|list| tree::list(spec, list)) {
                check_all(limit, &asked(container.get("resources")), faults);
            }
        }
        ("pods", "Pod") => {
            let (requests, limits) = (pods::total(spec, "requests"), pods::total(spec, "limits"));
            check_all(limit, &Asked { requests, limits }, faults);
        }
        ("persistentvolumeclaims", "PersistentVolumeClaim") => {
            let mut asked = asked(spec.get("resources"));
            asked.limits.clear();
            for (name, bound) in pods::amounts(limit.get("min")) {
                faults.extend(below(kind, &name, bound, &asked));
            }
            for (name, bound) in pods::amounts(limit.get("max")) {
                faults.extend(claim_above(kind, &name, bound, &asked));
            }
        }
        _ => {}
    }
}

fn check_all(limit: &Value, asked: &Asked, faults: &mut Vec<String>) {
    let kind = tree::text(limit, "/type");
    for (name, bound) in pods::amounts(limit.get("min")) {
        faults.extend(below(kind, &name, bound, asked));
    }
    for (name, bound) in pods::amounts(limit.get("max")) {
        faults.extend(above(kind, &name, bound, asked));
    }
    for (name, bound) in pods::amounts(limit.get("maxLimitRequestRatio")) {
        faults.extend(stretched(kind, &name, bound, asked));
    }
}

/// Request, limit and bound at one precision.
fn comparable(request: Quantity, limit: Quantity, bound: Quantity) -> (i64, i64, i64) {
    let all = [request, limit, bound];
    if all.iter().all(|amount| amount.units() <= MILLI_COMPARED_MAX) {
        (request.millis(), limit.millis(), bound.millis())
    } else {
        (request.units(), limit.units(), bound.units())
    }
}

fn below(kind: &str, name: &str, bound: Quantity, asked: &Asked) -> Option<String> {
    let (request, limit) = (asked.requests.get(name), asked.limits.get(name));
    let zero = Quantity::ZERO;
    let values = comparable(*request.unwrap_or(&zero), *limit.unwrap_or(&zero), bound);
    let head = format!("minimum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (None, _) => Some(format!("{head}.  No request is specified")),
        (Some(request), _) if values.0 < values.2 => {
            Some(format!("{head}, but request is {request}"))
        }
        (_, Some(limit)) if values.1 < values.2 => Some(format!("{head}, but limit is {limit}")),
        _ => None,
    }
}

fn above(kind: &str, name: &str, bound: Quantity, asked: &Asked) -> Option<String> {
    let (request, limit) = (asked.requests.get(name), asked.limits.get(name));
    let zero = Quantity::ZERO;
    let values = comparable(*request.unwrap_or(&zero), *limit.unwrap_or(&zero), bound);
    let head = format!("maximum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (_, None) => Some(format!("{head}.  No limit is specified")),
        (_, Some(limit)) if values.1 > values.2 => Some(format!("{head}, but limit is {limit}")),
        (Some(request), _) if values.0 > values.2 => {
            Some(format!("{head}, but request is {request}"))
        }
        _ => None,
    }
}

/// Claims have no limits, only requests.
fn claim_above(kind: &str, name: &str, bound: Quantity, asked: &Asked) -> Option<String> {
    let head = format!("maximum {name} usage per {kind} is {bound}");
    let Some(request) = asked.requests.get(name) else {
        return Some(format!("{head}.  No request is specified"));
    };
    let values = comparable(*request, Quantity::ZERO, bound);
    (values.0 > values.2).then(|| format!("{head}, but request is {request}"))
}

#[expect(clippy::cast_precision_loss, reason = "the ratio is shown with six digits")]
fn stretched(kind: &str, name: &str, bound: Quantity, asked: &Asked) -> Option<String> {
    let zero = Quantity::ZERO;
    let request = *asked.requests.get(name).unwrap_or(&zero);
    let limit = *asked.limits.get(name).unwrap_or(&zero);
    let (request, limit, _) = comparable(request, limit, bound);
    let head = format!("{name} max limit to request ratio per {kind} is {bound}, but");
    if request == 0 {
        return Some(format!("{head} no request is specified or request is 0"));
    }
    if limit == 0 {
        return Some(format!("{head} no limit is specified or limit is 0"));
    }
    let ratio = limit as f64 / request as f64;
    (ratio * 1000.0 > bound.millis() as f64).then(|| format!("{head} provided ratio is {ratio:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, Cluster};

    fn cluster(limits: Value) -> Cluster {
        Cluster::default().with(
            "limitranges",
            json!({"metadata": {"name": "l", "namespace": "n"}, "spec": {"limits": limits}}),
        )
    }

    fn pod(resources: Value) -> Case {
        Case::create(
            "pods",
            json!({"metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [{"name": "c", "resources": resources}]}}),
        )
    }

    #[test]
    fn defaults_fill_what_is_missing_and_say_so() {
        let cluster =
            cluster(json!([{"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"},
            "defaultRequest": {"cpu": "100m"}}]));
        let pod = pod(json!({"limits": {"cpu": "1"}})).admitted(&LimitRanger, &cluster);
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}})
        );
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container c; memory limit for container c"
        );
    }

    #[test]
    fn bounds_are_enforced_with_upstreams_words() {
        let small = json!({"requests": {"cpu": "10m"}, "limits": {"cpu": "1"}});
        let bound =
            |field: &str, amount: &str| json!([{"type": "Container", field: {"cpu": amount}}]);
        let whole = |field: &str, amount: &str| json!([{"type": "Pod", field: {"cpu": amount}}]);
        let cases = [
            (
                bound("min", "20m"),
                &small,
                "minimum cpu usage per Container is 20m, but request is 10m",
            ),
            (bound("min", "10m"), &small, ""),
            (
                bound("min", "10m"),
                &json!({}),
                "minimum cpu usage per Container is 10m.  No request is specified",
            ),
            (
                bound("max", "500m"),
                &small,
                "maximum cpu usage per Container is 500m, but limit is 1",
            ),
            (
                bound("max", "500m"),
                &json!({}),
                "maximum cpu usage per Container is 500m.  No limit is specified",
            ),
            (whole("max", "500m"), &small, "maximum cpu usage per Pod is 500m, but limit is 1"),
            (
                bound("maxLimitRequestRatio", "2"),
                &small,
                "cpu max limit to request ratio per Container is 2, but provided ratio is 100.000000",
            ),
            (
                bound("maxLimitRequestRatio", "2"),
                &json!({}),
                "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
            ),
        ];
        for (limits, resources, why) in cases {
            let refusal = pod(resources.clone()).refusal(&LimitRanger, &cluster(limits));
            let expected = if why.is_empty() {
                String::new()
            } else {
                format!("pods \"p\" is forbidden: {why}")
            };
            assert_eq!(refusal, expected);
        }
        let two = json!([{"type": "Container", "min": {"cpu": "20m"}, "max": {"cpu": "500m"}}]);
        assert_eq!(
            pod(small.clone()).refusal(&LimitRanger, &cluster(two)),
            "pods \"p\" is forbidden: [minimum cpu usage per Container is 20m, but request is 10m, maximum cpu usage per Container is 500m, but limit is 1]"
        );
    }

    #[test]
    fn claims_are_bounded_too() {
        let cluster = cluster(
            json!([{"type": "PersistentVolumeClaim", "max": {"storage": "2Gi"}, "min": {"storage": "1Gi"}}]),
        );
        for (size, why) in [
            ("1Gi", ""),
            (
                "3Gi",
                "persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi",
            ),
            (
                "1Mi",
                "persistentvolumeclaims \"c\" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi",
            ),
        ] {
            let claim = json!({"metadata": {"name": "c", "namespace": "n"}, "spec": {"resources": {"requests": {"storage": size}}}});
            assert_eq!(
                Case::create("persistentvolumeclaims", claim).refusal(&LimitRanger, &cluster),
                why
            );
        }
    }
}
