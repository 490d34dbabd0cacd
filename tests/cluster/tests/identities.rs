//! Components have no more rights than upstream's: a node reads what its pods use, and nothing else.

use std::time::Duration;

use cluster_tests::pods::{shell_pod, wait_ready};
use cluster_tests::{Cluster, wait_until};

const NODE: [&str; 3] =
    ["--as=system:node:node1", "--as-group=system:nodes", "--as-group=system:authenticated"];

#[test]
fn a_node_reads_only_the_secrets_of_its_pods() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    for name in ["used", "other"] {
        kubectl.run(&["create", "secret", "generic", name, "--from-literal=key=value"]);
    }
    let as_node = |arguments: &[&str]| {
        let all: Vec<&str> = arguments.iter().chain(&NODE).copied().collect();
        kubectl.try_run(&all)
    };
    let refused = as_node(&["get", "secret", "used"]).unwrap_err();
    assert!(
        refused.contains("no relationship found between node 'node1' and this object"),
        "{refused}"
    );
    let pod = shell_pod("reader", "sleep 10000")
        + "    env: [{name: KEY, valueFrom: {secretKeyRef: {name: used, key: key}}}]\n";
    kubectl.apply(&pod);
    wait_ready(&kubectl, "reader");
    assert_eq!(kubectl.run(&["exec", "reader", "--", "sh", "-c", "echo $KEY"]).trim(), "value");
    assert!(as_node(&["get", "secret", "used"]).is_ok());
    for arguments in [
        &["get", "secret", "other"][..],
        &["get", "secrets"],
        &["get", "secrets", "--all-namespaces"],
        &["get", "nodes"],
        &["label", "node", "node1", "node-role.kubernetes.io/control-plane-"],
        &["delete", "namespace", "default"],
    ] {
        let refused = as_node(arguments).unwrap_err();
        assert!(refused.contains("orbidden"), "{arguments:?}: {refused}");
    }
    // With the pod goes the right.
    kubectl.run(&["delete", "pod", "reader", "--timeout=30s"]);
    wait_until("the right is gone", Duration::from_secs(10), || {
        match as_node(&["get", "secret", "used"]) {
            Err(refused) if refused.contains("no relationship") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn no_component_of_the_node_is_a_superuser() {
    let cluster = Cluster::new();
    let kubectl = cluster.kubectl();
    for (user, group) in [
        ("system:node:node1", "system:nodes"),
        ("system:kube-proxy", "system:authenticated"),
        ("system:coredns", "system:authenticated"),
    ] {
        let (user_flag, group_flag) = (format!("--as={user}"), format!("--as-group={group}"));
        for (verb, resource) in [("create", "deployments"), ("delete", "nodes"), ("get", "secrets")]
        {
            let answer =
                kubectl.output(&["auth", "can-i", verb, resource, &user_flag, &group_flag]);
            let said = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
            assert!(said.starts_with("no"), "{user} {verb} {resource}: {said}");
        }
    }
    // What they are refused in their daily work would be in the log.
    let log = cluster.log_text();
    assert!(!log.contains("may not watch") && !log.contains("forbidden"), "{log}");
}
