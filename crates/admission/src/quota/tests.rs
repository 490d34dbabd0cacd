//! What quotas count, and what they say when it is too much.

use serde_json::json;

use super::*;
use crate::User;
use crate::testing::row;

fn quota(hard: Value, used: Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
}

fn ask(
    plural: &str,
    operation: Operation,
    object: Value,
    old: Option<&Value>,
    quotas: &[Value],
) -> Result<Vec<Charge>, String> {
    let (row, user, null) = (row(plural), User::default(), json!(null));
    let request = Request {
        operation,
        resource: &row,
        subresource: "",
        namespace: "n",
        name: "",
        user: &user,
        dry_run: false,
        object,
        old,
        options: &null,
        now: "2026-01-01T00:00:00Z".parse().unwrap(),
        random: 0,
        warnings: Vec::new(),
        annotations: Vec::new(),
    };
    assert!(applies(&request));
    charges(&request, quotas).map_err(|status| status.message)
}

fn pod(resources: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
}

fn create(plural: &str, object: Value, quota: Value) -> Result<Value, String> {
    let charges = ask(plural, Operation::Create, object, None, &[quota])?;
    Ok(charges.into_iter().next().map_or(Value::Null, |charge| charge.used))
}

#[test]
fn pods_use_what_they_ask_for() {
    let full = json!({"requests": {"cpu": "500m", "memory": "1Gi", "example.com/gpu": "1"}, "limits": {"cpu": "1", "example.com/gpu": "1"}});
    let cases = [
        (json!({"pods": "2"}), json!({"pods": "1"}), Ok(json!({"pods": "2"}))),
        (
            json!({"pods": "1"}),
            json!({"pods": "1"}),
            Err("exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"),
        ),
        (json!({"count/pods": "1"}), json!({"count/pods": "0"}), Ok(json!({"count/pods": "1"}))),
        (
            json!({"requests.cpu": "1", "limits.cpu": "1"}),
            json!({"requests.cpu": "600m", "limits.cpu": "500m"}),
            Err(
                "exceeded quota: q, requested: limits.cpu=1,requests.cpu=500m, used: limits.cpu=500m,requests.cpu=600m, limited: limits.cpu=1,requests.cpu=1",
            ),
        ),
        (json!({"memory": "2Gi"}), json!({"memory": "0"}), Ok(json!({"memory": "1Gi"}))),
        (
            json!({"requests.example.com/gpu": "0"}),
            json!({"requests.example.com/gpu": "0"}),
            Err(
                "exceeded quota: q, requested: requests.example.com/gpu=1, used: requests.example.com/gpu=0, limited: requests.example.com/gpu=0",
            ),
        ),
        (
            json!({"limits.memory": "1Gi"}),
            json!({"limits.memory": "0"}),
            Err("failed quota: q: must specify limits.memory for: c"),
        ),
        (json!({"pods": "1"}), json!({}), Err("status unknown for quota: q, resources: pods")),
        (json!({"services": "1"}), json!({}), Ok(Value::Null)),
    ];
    for (hard, used, expected) in cases {
        let expected = expected.map_err(|why| format!("pods \"p\" is forbidden: {why}"));
        assert_eq!(create("pods", pod(full.clone()), quota(hard, used)), expected);
    }
}

#[test]
fn missing_amounts_are_named_by_container() {
    let hard = json!({"limits.cpu": "1", "requests.memory": "1Gi"});
    let used = json!({"limits.cpu": "0", "requests.memory": "0"});
    let mut two = pod(json!({"limits": {"cpu": "1"}}));
    two["spec"]["initContainers"] = json!([{"name": "i"}]);
    assert_eq!(
        create("pods", two, quota(hard, used)).unwrap_err(),
        "pods \"p\" is forbidden: failed quota: q: must specify limits.cpu for: i; requests.memory for: c,i"
    );
}

#[test]
fn scopes_choose_pods() {
    let scoped = |scope: Value| {
        let mut quota = quota(json!({"pods": "0"}), json!({"pods": "0"}));
        quota["spec"]["scopeSelector"] = json!({"matchExpressions": [scope]});
        quota
    };
    let exists = |name: &str| json!({"scopeName": name, "operator": "Exists"});
    let mut high = pod(json!({"requests": {"cpu": "1"}}));
    high["spec"]["priorityClassName"] = json!("high");
    let cases = [
        (exists("BestEffort"), false),
        (exists("NotBestEffort"), true),
        (exists("Terminating"), false),
        (exists("NotTerminating"), true),
        (exists("PriorityClass"), true),
        (json!({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}), true),
        (json!({"scopeName": "PriorityClass", "operator": "NotIn", "values": ["high"]}), false),
        (json!({"scopeName": "PriorityClass", "operator": "In", "values": ["low"]}), false),
        (exists("CrossNamespacePodAffinity"), false),
    ];
    for (scope, counts) in cases {
        assert_eq!(create("pods", high.clone(), scoped(scope.clone())).is_err(), counts, "{scope}");
    }
}

#[test]
fn other_kinds_are_counted() {
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]}});
    let hard = json!({"services": "5", "services.nodeports": "5", "services.loadbalancers": "5"});
    let none = json!({"services": "0", "services.nodeports": "0", "services.loadbalancers": "0"});
    assert_eq!(
        create("services", service, quota(hard, none)).unwrap(),
        json!({"services": "1", "services.nodeports": "2", "services.loadbalancers": "1"})
    );
    let claim = json!({"metadata": {"name": "c"}, "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "3Gi"}}}});
    let hard = json!({"requests.storage": "5Gi", "fast.storageclass.storage.k8s.io/requests.storage": "1Gi"});
    let none =
        json!({"requests.storage": "0", "fast.storageclass.storage.k8s.io/requests.storage": "0"});
    assert!(
        create("persistentvolumeclaims", claim, quota(hard, none))
            .unwrap_err()
            .contains("requested: fast.storageclass.storage.k8s.io/requests.storage=3Gi")
    );
    for (plural, name) in [("secrets", "secrets"), ("deployments", "count/deployments.apps")] {
        let object = json!({"metadata": {"name": "o"}});
        let refusal =
            create(plural, object, quota(json!({name: "0"}), json!({name: "0"}))).unwrap_err();
        assert!(refusal.contains(&format!("exceeded quota: q, requested: {name}=1")), "{refusal}");
    }
}

#[test]
fn updates_pay_the_difference() {
    let claim = |size: &str| json!({"metadata": {"name": "c"}, "spec": {"resources": {"requests": {"storage": size}}}});
    let limits = || [quota(json!({"requests.storage": "3Gi"}), json!({"requests.storage": "2Gi"}))];
    let update = |from: &str, to: &str| {
        ask("persistentvolumeclaims", Operation::Update, claim(to), Some(&claim(from)), &limits())
    };
    assert_eq!(update("1Gi", "2Gi").unwrap()[0].used, json!({"requests.storage": "3Gi"}));
    assert_eq!(update("2Gi", "1Gi").unwrap(), []);
    assert!(update("1Gi", "3Gi").is_err());
}

#[test]
fn recounting_leaves_out_what_has_ended() {
    let quota = quota(
        json!({"pods": "9", "count/pods": "9", "requests.cpu": "9", "secrets": "9"}),
        json!({}),
    );
    let live = pod(json!({"requests": {"cpu": "1"}}));
    let mut done = live.clone();
    done["status"] = json!({"phase": "Succeeded"});
    let pods = row("pods");
    let used = recount(
        &quota,
        [(&*pods, &live), (&*pods, &done)],
        "2026-01-01T00:00:00Z".parse().unwrap(),
    );
    assert_eq!(
        to_json(&used),
        json!({"pods": "1", "count/pods": "2", "requests.cpu": "1", "secrets": "0"})
    );
}
