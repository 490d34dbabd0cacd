//! Resources of a pod: what its containers ask for together, and its quality of service.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::tree::{at, entries, list, text};
use crate::quantity::Quantity;

/// Amounts by resource name.
pub(in super::super) type Amounts = BTreeMap<String, Quantity>;

/// Whether a pod as a whole may ask for the resource.
pub(in super::super) fn fits_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Whether an init container keeps running beside the others.
pub(in super::super) fn is_sidecar(init_container: &Value) -> bool {
    text(init_container, "/restartPolicy") == "Always"
}

fn amounts(container: &Value, which: &str) -> Amounts {
    entries(container, &format!("/resources/{which}"))
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount).ok()?)))
        .collect()
}

fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = total.entry(name.clone()).or_default();
        *sum = *sum + *amount;
    }
}

fn raise(total: &mut Amounts, to: &Amounts) {
    for (name, amount) in to {
        let have = total.entry(name.clone()).or_default();
        *have = (*have).max(*amount);
    }
}

/// What the containers need at once at most: `which` is `requests` or `limits`.
pub(in super::super) fn aggregate(spec: &Value, which: &str) -> Amounts {
    let mut total = Amounts::new();
    for container in list(spec, "/containers") {
        add(&mut total, &amounts(container, which));
    }
    let mut sidecars = Amounts::new();
    let mut starting = Amounts::new();
    for container in list(spec, "/initContainers") {
        let mut own = amounts(container, which);
        if is_sidecar(container) {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            own.clone_from(&sidecars);
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut starting, &own);
    }
    raise(&mut total, &starting);
    total
}

/// The sums of cpu and memory that count for the quality of service, and whether every container has both.
fn sums<'a>(parts: impl Iterator<Item = &'a Value>, which: &str) -> (Amounts, bool) {
    let mut total = Amounts::new();
    let mut is_complete = true;
    for part in parts {
        let mut own = amounts(part, which);
        own.retain(|name, amount| {
            matches!(name.as_str(), "cpu" | "memory") && *amount > Quantity::ZERO
        });
        is_complete &= own.len() == 2;
        add(&mut total, &own);
    }
    (total, is_complete)
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(in super::super) fn quality_of_service(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = if at(spec, "/resources").is_some() {
        vec![spec]
    } else {
        list(spec, "/containers").iter().chain(list(spec, "/initContainers")).collect()
    };
    let (requests, _) = sums(containers.iter().copied(), "requests");
    let (limits, is_complete) = sums(containers.iter().copied(), "limits");
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if is_complete && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quality_follows_requests_and_limits() {
        let with = |resources: Value| json!({"containers": [{"resources": resources}]});
        let full = json!({"cpu": "1", "memory": "1Gi"});
        let cases = [
            (with(json!({})), "BestEffort"),
            (with(json!({"limits": full, "requests": full})), "Guaranteed"),
            (
                with(json!({"limits": full, "requests": {"cpu": "1000m", "memory": "1024Mi"}})),
                "Guaranteed",
            ),
            (with(json!({"limits": full, "requests": {"cpu": "1", "memory": "1"}})), "Burstable"),
            (with(json!({"requests": {"cpu": "1"}})), "Burstable"),
            (with(json!({"requests": {"x/y": "1"}})), "BestEffort"),
            (
                json!({"containers": [{"resources": {"limits": full, "requests": full}}, {}]}),
                "Burstable",
            ),
        ];
        for (spec, class) in cases {
            assert_eq!(quality_of_service(&spec), class, "{spec}");
        }
    }

    #[test]
    fn init_containers_count_at_their_peak() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        let spec = json!({
            "containers": [{"resources": cpu("1")}, {"resources": cpu("500m")}],
            "initContainers": [{"resources": cpu("1"), "restartPolicy": "Always"}, {"resources": cpu("3")}],
        });
        assert_eq!(aggregate(&spec, "requests")["cpu"].to_string(), "4");
    }
}
