//! What several plugins must know of a pod: its containers, what they want, what they refer to.
//!
//! Resources are upstream's sums: containers together, against each init container, with sidecars running
//! on; where the pod names an amount of its own, that one counts.

use std::collections::{BTreeMap, BTreeSet};

use api::quantity::Quantity;
use serde_json::Value;

use crate::tree;

/// Amounts by resource name.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// Lists of containers in a pod's spec.
pub(crate) const CONTAINER_LISTS: [&str; 3] =
    ["/initContainers", "/containers", "/ephemeralContainers"];
/// Marks a pod that mirrors a file of the kubelet's.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Whether a pod only shows what a kubelet runs by itself.
pub(crate) fn is_mirror(pod: &Value) -> bool {
    api::meta::annotation(pod, MIRROR).is_some()
}

/// All containers of a pod's spec: init, main, ephemeral.
pub(crate) fn all_containers(spec: &Value) -> impl Iterator<Item = &Value> {
    CONTAINER_LISTS.iter().flat_map(|list| tree::list(spec, list))
}

/// A list of quantities; what is no quantity is left out (validation has refused it).
pub(crate) fn amounts(value: Option<&Value>) -> Amounts {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount).ok()?)))
        .collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let have = to.entry(name.clone()).or_insert(Quantity::ZERO);
        *have = *have + *amount;
    }
}

fn raise(to: &mut Amounts, at_least: &Amounts) {
    for (name, amount) in at_least {
        let have = to.entry(name.clone()).or_insert(*amount);
        *have = (*have).max(*amount);
    }
}

/// What a pod's spec asks for (`requests`) or is bounded by (`limits`), without overhead.
pub(crate) fn total(spec: &Value, which: &str) -> Amounts {
    let of = |container: &Value| {
        amounts(tree::at(container, "/resources").and_then(|have| have.get(which)))
    };
    let mut sum = Amounts::new();
    for container in tree::list(spec, "/containers") {
        add(&mut sum, &of(container));
    }
    let mut sidecars = Amounts::new();
    let mut init = Amounts::new();
    for container in tree::list(spec, "/initContainers") {
        let mut own = of(container);
        if tree::text(container, "/restartPolicy") == "Always" {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut init, &own);
    }
    raise(&mut sum, &init);
    for (name, amount) in amounts(tree::at(spec, "/resources").and_then(|have| have.get(which))) {
        if matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-") {
            sum.insert(name, amount);
        }
    }
    sum
}

/// The same with the overhead of the pod's runtime, as quota counts it.
pub(crate) fn total_with_overhead(spec: &Value, which: &str) -> Amounts {
    let mut sum = total(spec, which);
    let overhead = amounts(spec.get("overhead"));
    if which == "requests" {
        add(&mut sum, &overhead);
    } else {
        // Overhead widens a limit; it does not make one.
        for (name, amount) in &overhead {
            if let Some(limit) = sum.get_mut(name).filter(|limit| !limit.is_zero()) {
                *limit = *limit + *amount;
            }
        }
    }
    sum
}

/// Names of the secrets that a pod's spec refers to in its own namespace.
pub(crate) fn secret_names(spec: &Value) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for container in all_containers(spec) {
        for variable in tree::list(container, "/env") {
            names.insert(tree::text(variable, "/valueFrom/secretKeyRef/name"));
        }
        for source in tree::list(container, "/envFrom") {
            names.insert(tree::text(source, "/secretRef/name"));
        }
    }
    names.extend(tree::list(spec, "/imagePullSecrets").iter().map(|one| tree::text(one, "/name")));
    for volume in tree::list(spec, "/volumes") {
        names.insert(tree::text(volume, "/secret/secretName"));
        for source in tree::list(volume, "/projected/sources") {
            names.insert(tree::text(source, "/secret/name"));
        }
        for pointer in SECRETS_OF_VOLUMES {
            names.insert(tree::text(volume, pointer));
        }
    }
    names.remove("");
    names
}

/// Where volumes of pods name a secret.
const SECRETS_OF_VOLUMES: [&str; 10] = [
    "/azureFile/secretName",
    "/cephfs/secretRef/name",
    "/cinder/secretRef/name",
    "/flexVolume/secretRef/name",
    "/rbd/secretRef/name",
    "/scaleIO/secretRef/name",
    "/iscsi/secretRef/name",
    "/storageos/secretRef/name",
    "/csi/nodePublishSecretRef/name",
    "/glusterfs/secretRef/name",
];

/// Names of the config maps that a pod's spec refers to.
pub(crate) fn config_map_names(spec: &Value) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for container in all_containers(spec) {
        for variable in tree::list(container, "/env") {
            names.insert(tree::text(variable, "/valueFrom/configMapKeyRef/name"));
        }
        for source in tree::list(container, "/envFrom") {
            names.insert(tree::text(source, "/configMapRef/name"));
        }
    }
    for volume in tree::list(spec, "/volumes") {
        names.insert(tree::text(volume, "/configMap/name"));
        for source in tree::list(volume, "/projected/sources") {
            names.insert(tree::text(source, "/configMap/name"));
        }
    }
    names.remove("");
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sidecars_run_on_and_init_containers_run_alone() {
        let want = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let mut spec = json!({
            "initContainers": [
                {"restartPolicy": "Always", "resources": want("100m")},
                {"resources": want("1")},
            ],
            "containers": [{"resources": want("200m")}, {"resources": want("300m")}],
            "overhead": {"cpu": "50m"},
        });
        assert_eq!(total(&spec, "requests")["cpu"].to_string(), "1100m");
        assert_eq!(total_with_overhead(&spec, "requests")["cpu"].to_string(), "1150m");
        assert!(total_with_overhead(&spec, "limits").is_empty());
        spec["resources"] = json!({"requests": {"cpu": "2", "example.com/x": "1"}});
        assert_eq!(total(&spec, "requests")["cpu"].to_string(), "2");
        assert_eq!(total(&spec, "requests").len(), 1);
    }

    #[test]
    fn references_are_found_wherever_they_are() {
        let spec = json!({
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "a"}}},
                {"valueFrom": {"configMapKeyRef": {"name": "m"}}}],
                "envFrom": [{"secretRef": {"name": "b"}}]}],
            "volumes": [{"secret": {"secretName": "c"}},
                {"projected": {"sources": [{"secret": {"name": "d"}}, {"configMap": {"name": "n"}}]}}],
        });
        assert_eq!(Vec::from_iter(secret_names(&spec)), ["a", "b", "c", "d", "pull"]);
        assert_eq!(Vec::from_iter(config_map_names(&spec)), ["m", "n"]);
    }
}
