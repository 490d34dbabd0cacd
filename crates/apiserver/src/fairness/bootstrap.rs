//! The FlowSchemas and PriorityLevelConfigurations that every cluster has, with upstream's figures.
//!
//! The mandatory ones are kept as they are here. The suggested ones are made where they are missing, and kept as
//! long as their annotation says so: an administrator turns that off to change them.

use api::meta;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Says whether an object's spec is kept as it is here.
pub(super) const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
/// The objects that cannot be done without.
pub(super) const MANDATORY: [&str; 2] = ["exempt", "catch-all"];
const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
const EVERYBODY: &[&str] = &["g system:unauthenticated", "g system:authenticated"];
const ACCOUNTS: &str = "s kube-system *";
const MANAGER: &str = "u system:kube-controller-manager";
const SCHEDULER: &str = "u system:kube-scheduler";
const NODES: &[&str] = &["g system:nodes"];

/// Name, shares, percent that is lent, queues, hand.
const LEVELS: &[(&str, u32, u32, u32, u32)] = &[
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
];
const QUEUE_LENGTH: u32 = 50;

/// What a schema takes of the requests of its subjects.
enum Takes {
    Everything,
    /// Paths that are read.
    Paths(&'static [&'static str]),
    /// Verbs, group, resources, whether those without a namespace too.
    Resources(&'static [(&'static [&'static str], &'static str, &'static [&'static str], bool)]),
}

struct Row {
    name: &'static str,
    level: &'static str,
    precedence: u32,
    by: &'static str,
    subjects: &'static [&'static str],
    takes: Takes,
}

const LOCKING: &[&str] = &["get", "create", "update"];
const LEASES: &str = "coordination.k8s.io";

const SCHEMAS: &[Row] = &[
    Row {
        name: "exempt",
        level: "exempt",
        precedence: 1,
        by: "",
        subjects: &["g system:masters"],
        takes: Takes::Everything,
    },
    Row {
        name: "probes",
        level: "exempt",
        precedence: 2,
        by: "",
        subjects: EVERYBODY,
        takes: Takes::Paths(&["/healthz", "/readyz", "/livez"]),
    },
    Row {
        name: "system-leader-election",
        level: "leader-election",
        precedence: 100,
        by: "ByUser",
        subjects: &[MANAGER, SCHEDULER, ACCOUNTS],
        takes: Takes::Resources(&[(LOCKING, LEASES, &["leases"], false)]),
    },
    Row {
        name: "endpoint-controller",
        level: "workload-high",
        precedence: 150,
        by: "ByUser",
        subjects: &[
            MANAGER,
            "s kube-system endpoint-controller",
            "s kube-system endpointslicemirroring-controller",
        ],
        takes: Takes::Resources(&[(LOCKING, "", &["endpoints"], false)]),
    },
    Row {
        name: "workload-leader-election",
        level: "leader-election",
        precedence: 200,
        by: "ByUser",
        subjects: &[ACCOUNTS],
        takes: Takes::Resources(&[
            (LOCKING, "", &["endpoints", "configmaps"], false),
            (LOCKING, LEASES, &["leases"], false),
        ]),
    },
    Row {
        name: "system-node-high",
        level: "node-high",
        precedence: 400,
        by: "ByUser",
        subjects: NODES,
        takes: Takes::Resources(&[
            (&["*"], "", &["nodes", "nodes/status"], true),
            (&["*"], LEASES, &["leases"], false),
        ]),
    },
    Row {
        name: "system-nodes",
        level: "system",
        precedence: 500,
        by: "ByUser",
        subjects: NODES,
        takes: Takes::Everything,
    },
    Row {
        name: "kube-controller-manager",
        level: "workload-high",
        precedence: 800,
        by: "ByNamespace",
        subjects: &[MANAGER],
        takes: Takes::Everything,
    },
    Row {
        name: "kube-scheduler",
        level: "workload-high",
        precedence: 800,
        by: "ByNamespace",
        subjects: &[SCHEDULER],
        takes: Takes::Everything,
    },
    Row {
        name: "kube-system-service-accounts",
        level: "workload-high",
        precedence: 900,
        by: "ByNamespace",
        subjects: &[ACCOUNTS],
        takes: Takes::Everything,
    },
    Row {
        name: "service-accounts",
        level: "workload-low",
        precedence: 9000,
        by: "ByUser",
        subjects: &["g system:serviceaccounts"],
        takes: Takes::Everything,
    },
    Row {
        name: "global-default",
        level: "global-default",
        precedence: 9900,
        by: "ByUser",
        subjects: EVERYBODY,
        takes: Takes::Everything,
    },
    Row {
        name: "catch-all",
        level: "catch-all",
        precedence: 10_000,
        by: "ByUser",
        subjects: EVERYBODY,
        takes: Takes::Everything,
    },
];

/// All objects, levels first, with their plurals.
pub(super) fn objects() -> Vec<(&'static str, Value)> {
    let levels = MANDATORY.iter().copied().chain(LEVELS.iter().map(|(name, ..)| *name));
    let levels = levels.map(|name| ("prioritylevelconfigurations", level(name)));
    levels.chain(SCHEMAS.iter().map(|row| ("flowschemas", of_row(row)))).collect()
}

/// A PriorityLevelConfiguration by its name; null when there is none.
pub(super) fn level(name: &str) -> Value {
    let spec = match name {
        "exempt" => {
            let exempt = json!({"nominalConcurrencyShares": 0, "lendablePercent": 0});
            json!({"type": "Exempt", "exempt": exempt})
        }
        "catch-all" => json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": 5, "lendablePercent": 0,
            "limitResponse": {"type": "Reject"}}}),
        name => {
            let row = LEVELS.iter().find(|(known, ..)| *known == name);
            let Some((_, shares, lendable, queues, hand)) = row else { return Value::Null };
            json!({"type": "Limited", "limited": {
                "nominalConcurrencyShares": shares, "lendablePercent": lendable,
                "limitResponse": {"type": "Queue", "queuing": {
                    "queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH}}}})
        }
    };
    object("PriorityLevelConfiguration", name, spec)
}

/// A FlowSchema by its name; null when there is none.
pub(super) fn schema(name: &str) -> Value {
    SCHEMAS.iter().find(|row| row.name == name).map_or(Value::Null, of_row)
}

/// An object as its type.
pub(super) fn typed<K: DeserializeOwned>(object: Value) -> Option<K> {
    serde_json::from_value(object)
        .inspect_err(|error| tracing::error!(%error, "a bootstrap object is not of its kind"))
        .ok()
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": kind,
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec})
}

fn of_row(row: &Row) -> Value {
    let resources = |verbs: &[&str], group: &str, resources: &[&str], cluster: bool| {
        let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources,
            "namespaces": ["*"]});
        if cluster {
            rule["clusterScope"] = json!(true);
        }
        rule
    };
    let mut rule =
        json!({"subjects": row.subjects.iter().map(|text| subject(text)).collect::<Vec<_>>()});
    match &row.takes {
        Takes::Everything => {
            rule["resourceRules"] = json!([resources(&["*"], "*", &["*"], true)]);
            rule["nonResourceRules"] = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
        }
        Takes::Paths(paths) => {
            rule["nonResourceRules"] = json!([{"verbs": ["get"], "nonResourceURLs": paths}]);
        }
        Takes::Resources(rows) => {
            let rows = rows
                .iter()
                .map(|(verbs, group, names, cluster)| resources(verbs, group, names, *cluster));
            rule["resourceRules"] = rows.collect();
        }
    }
    let mut spec = json!({"priorityLevelConfiguration": {"name": row.level},
        "matchingPrecedence": row.precedence, "rules": [rule]});
    if !row.by.is_empty() {
        spec["distinguisherMethod"] = json!({"type": row.by});
    }
    object("FlowSchema", row.name, spec)
}

fn subject(text: &str) -> Value {
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["s", namespace, name] => json!({"kind": "ServiceAccount",
            "serviceAccount": {"namespace": namespace, "name": name}}),
        ["g", name] => json!({"kind": "Group", "group": {"name": name}}),
        [_, name] => json!({"kind": "User", "user": {"name": name}}),
        _ => Value::Null,
    }
}

/// An object brought up to date, unless it is already or an administrator looks after it.
pub(super) fn revised(present: &Value, wanted: &Value) -> Option<Value> {
    let noted = match meta::annotation(present, AUTO_UPDATE) {
        Some("true" | "True" | "TRUE" | "t" | "T" | "1") => Some(true),
        Some("false" | "False" | "FALSE" | "f" | "F" | "0") => Some(false),
        _ => None,
    };
    let is_mandatory = MANDATORY.contains(&meta::name(wanted));
    let follows = is_mandatory || noted.unwrap_or_else(|| meta::generation(present) == 1);
    let differs = follows && present["spec"] != wanted["spec"];
    if !differs && noted == Some(follows) {
        return None;
    }
    let mut new = present.clone();
    if differs {
        new["spec"] = wanted["spec"].clone();
    }
    new["metadata"]["annotations"][AUTO_UPDATE] = follows.to_string().into();
    Some(new)
}

/// Whether an object is one of an older release's that is no longer wanted.
pub(super) fn is_left_over(present: &Value) -> bool {
    let name = meta::name(present);
    let known = level(name) != Value::Null && present["kind"] == "PriorityLevelConfiguration"
        || schema(name) != Value::Null && present["kind"] == "FlowSchema";
    !known && meta::annotation(present, AUTO_UPDATE) == Some("true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_has_its_level() {
        for row in SCHEMAS {
            assert_ne!(level(row.level), Value::Null, "{}", row.name);
        }
        assert_eq!(objects().len(), 8 + 13);
        assert_eq!(schema("nothing"), Value::Null);
    }

    #[test]
    fn objects_are_valid_and_complete_by_the_defaults() {
        let registry = crate::registry::Registry::default();
        let table = registry.table();
        for (plural, object) in objects() {
            let row = table.find("flowcontrol.apiserver.k8s.io", "v1", plural).unwrap();
            let mut defaulted = object.clone();
            row.strategy.default(&mut defaulted);
            assert_eq!(defaulted, object);
            let faults = row.strategy.validate(&object);
            assert!(faults.is_empty(), "{}: {faults:?}", meta::name(&object));
        }
    }

    #[test]
    fn administrators_keep_what_they_changed_but_not_what_is_mandatory() {
        let changed = |name: &str, note: Value, generation: i64| {
            let mut object = level(name);
            object["metadata"]["annotations"][AUTO_UPDATE] = note;
            object["metadata"]["generation"] = json!(generation);
            object["spec"]["limited"]["nominalConcurrencyShares"] = json!(77);
            object
        };
        // What there is, whether the spec is put back, what the annotation becomes.
        let cases = [
            (changed("system", json!("true"), 5), true, "true"),
            (changed("system", json!("false"), 5), false, "false"),
            (changed("system", Value::Null, 2), false, "false"),
            (changed("system", Value::Null, 1), true, "true"),
            (changed("catch-all", json!("false"), 5), true, "true"),
        ];
        for (present, put_back, note) in cases {
            let wanted = level(meta::name(&present));
            let new = revised(&present, &wanted).unwrap_or_else(|| present.clone());
            assert_eq!(new["spec"] == wanted["spec"], put_back, "{present}");
            assert_eq!(meta::annotation(&new, AUTO_UPDATE), Some(note), "{present}");
            assert_eq!(revised(&new, &wanted), None, "{present}");
        }
    }

    #[test]
    fn what_nobody_wants_any_more_is_told_by_its_annotation() {
        assert!(!is_left_over(&level("system")));
        assert!(is_left_over(&object("FlowSchema", "old", json!({}))));
        let mut own = object("FlowSchema", "own", json!({}));
        own["metadata"]["annotations"] = json!({});
        assert!(!is_left_over(&own));
    }
}
