//! What a node is refused, case by case.

use serde_json::json;

use super::super::certificates::tests::signing_request;
use super::*;
use crate::testing::{Case, Cluster};

fn cluster() -> Cluster {
    Cluster::default()
        .with("nodes", json!({"metadata": {"name": "n", "uid": "u"}}))
        .with("pods", json!({"metadata": {"name": "mine", "namespace": "x", "uid": "m"}, "spec": {
            "nodeName": "n", "volumes": [{"projected": {"sources": [
                {"serviceAccountToken": {"audience": "vault"}}]}}]}}))
        .with("pods", json!({"metadata": {"name": "other", "namespace": "x", "uid": "o"}, "spec": {"nodeName": "m"}}))
}

fn check(cases: Vec<(Case, &str)>) {
    for (case, why) in cases {
        let refusal = case.by_node("n").refusal(&NodeRestriction, &cluster());
        assert!(
            refusal.ends_with(why) && refusal.is_empty() == why.is_empty(),
            "{refusal} / {why}"
        );
    }
}

fn mirror(change: impl FnOnce(&mut Value)) -> Case {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "x", "annotations": {MIRROR: "h"}, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}]},
        "spec": {"nodeName": "n"},
    });
    change(&mut pod);
    Case::create("pods", pod)
}

#[test]
fn only_mirror_pods_of_its_own_are_made() {
    check(vec![
        (mirror(|_| ()), ""),
        (
            mirror(|pod| pod["metadata"]["annotations"] = json!({})),
            "annotation, node \"n\" can only create mirror pods",
        ),
        (
            mirror(|pod| pod["spec"]["nodeName"] = json!("m")),
            "can only create pods with spec.nodeName set to itself",
        ),
        (
            mirror(|pod| pod["metadata"]["ownerReferences"] = json!([])),
            "can only create pods with an owner reference set to itself",
        ),
        (
            mirror(|pod| pod["metadata"]["ownerReferences"][0]["uid"] = json!("v")),
            "node n UID mismatch: expected v got u",
        ),
        (
            mirror(|pod| pod["spec"]["serviceAccountName"] = json!("s")),
            "can not create pods that reference a service account",
        ),
        (
            mirror(|pod| pod["spec"]["volumes"] = json!([{"configMap": {"name": "c"}}])),
            "can not create pods that reference configmaps",
        ),
        (
            mirror(|pod| {
                pod["spec"]["volumes"] = json!([{"persistentVolumeClaim": {"claimName": "c"}}])
            }),
            "can not create pods that reference persistentvolumeclaims",
        ),
    ]);
}

#[test]
fn only_its_own_pods_are_reported_and_removed() {
    let pod = |node: &str| json!({"metadata": {"name": "p", "namespace": "x"}, "spec": {"nodeName": node}});
    let labelled = json!({"metadata": {"name": "p", "namespace": "x", "labels": {"a": "b"}}, "spec": {"nodeName": "n"}});
    check(vec![
        (Case::delete("pods", pod("n")), ""),
        (
            Case::delete("pods", pod("m")),
            "node \"n\" can only delete pods with spec.nodeName set to itself",
        ),
        (
            Case::update("pods", pod("n"), pod("n")),
            "unexpected operation \"UPDATE\", node \"n\" can only create and delete mirror pods",
        ),
        (Case::update("pods", pod("n"), pod("n")).at("status"), ""),
        (
            Case::update("pods", pod("m"), pod("m")).at("status"),
            "can only update pod status for pods with spec.nodeName set to itself",
        ),
        (
            Case::update("pods", pod("n"), labelled).at("status"),
            "node \"n\" cannot update labels through pod status",
        ),
        (
            Case::update("pods", pod("n"), pod("n")).at("binding"),
            "unexpected pod subresource \"binding\", only 'status' and 'eviction' are allowed",
        ),
    ]);
}

#[test]
fn only_its_own_node_and_harmless_labels() {
    let node = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
    let tainted = json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "a"}]}});
    check(vec![
        (Case::create("nodes", node("n", json!({"kubernetes.io/os": "linux", "a": "b"}))), ""),
        (Case::create("nodes", node("n", json!({"x.node.kubernetes.io/y": "z"}))), ""),
        (
            Case::create("nodes", node("m", json!({}))),
            "node \"n\" is not allowed to modify node \"m\"",
        ),
        (
            Case::create(
                "nodes",
                node("n", json!({"node-restriction.kubernetes.io/a": "b", "foo.k8s.io/c": "d"})),
            ),
            "node \"n\" is not allowed to set the following labels: foo.k8s.io/c, node-restriction.kubernetes.io/a",
        ),
        (
            Case::update("nodes", node("n", json!({})), node("n", json!({"kubernetes.io/x": "y"}))),
            "is not allowed to modify labels: kubernetes.io/x",
        ),
        (
            Case::update("nodes", node("n", json!({})), tainted),
            "node \"n\" is not allowed to modify taints",
        ),
    ]);
}

#[test]
fn tokens_are_for_its_own_pods() {
    let token = |name: &str, uid: &str, audience: &str| {
        Case::create(
            "serviceaccounts",
            json!({"metadata": {"name": "s", "namespace": "x"}, "spec": {
            "audiences": [audience],
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}}}),
        )
        .at("token")
    };
    check(vec![
        (token("mine", "m", "vault"), ""),
        (token("mine", "m", "bank"), "audience \"bank\" not found in pod spec volume"),
        (token("mine", "", "vault"), "node requested token with a pod binding without a uid"),
        (
            token("other", "o", "vault"),
            "node requested token bound to a pod scheduled on a different node",
        ),
        (token("none", "o", "vault"), "pods \"none\" not found"),
    ]);
}

#[test]
fn leases_and_requests_are_its_own() {
    let lease = |namespace: &str, name: &str| {
        Case::create("leases", json!({"metadata": {"name": name, "namespace": namespace}}))
    };
    let signing = |name: &str| {
        Case::create(
            "certificatesigningrequests",
            signing_request("system:nodes", name, "kubernetes.io/kubelet-serving"),
        )
    };
    check(vec![
        (lease(LEASE_NAMESPACE, "n"), ""),
        (
            lease(LEASE_NAMESPACE, "m"),
            "can only access node lease with the same name as the requesting node",
        ),
        (lease("x", "n"), "can only access leases in the \"kube-node-lease\" system namespace"),
        (
            Case::create("csinodes", json!({"metadata": {"name": "m"}})),
            "can only access CSINode with the same name as the requesting node",
        ),
        (signing("system:node:n"), ""),
        (signing("system:node:m"), "can only create a node CSR with CN=system:node:n"),
    ]);
}

#[test]
fn others_are_not_restricted() {
    let node = json!({"metadata": {"name": "m"}});
    assert_eq!(Case::create("nodes", node).refusal(&NodeRestriction, &cluster()), "");
}
