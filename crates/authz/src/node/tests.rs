//! What nodes may and may not, question by question.

use serde_json::{Value, json};

use super::*;

struct Small;

fn read<K: serde::de::DeserializeOwned>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn pod(namespace: &str, name: &str) -> Option<Arc<Pod>> {
    match (namespace, name) {
        ("a", "p") => Some(read(json!({"metadata": {"name": "p", "namespace": "a"}, "spec": {
            "nodeName": "n", "serviceAccountName": "sa",
            "containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "map"}}]}],
            "volumes": [
                {"name": "s", "secret": {"secretName": "secret"}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}},
                {"name": "e", "ephemeral": {}},
            ],
            "resourceClaims": [{"name": "g", "resourceClaimName": "gpu"}],
        }}))),
        ("a", "mirror") => Some(read(json!({"metadata": {"name": "mirror", "namespace": "a",
            "annotations": {MIRROR: "h"}}, "spec": {"nodeName": "n", "containers": [],
            "imagePullSecrets": [{"name": "stolen"}]}}))),
        _ => None,
    }
}

impl Cluster for Small {
    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        pod(namespace, name)
    }

    fn pods_of(&self, node: &str, namespace: &str) -> Vec<Arc<Pod>> {
        let here = node == "n" && matches!(namespace, "" | "a");
        if here {
            [pod("a", "p"), pod("a", "mirror")].into_iter().flatten().collect()
        } else {
            Vec::new()
        }
    }

    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        let found = (namespace, name) == ("a", "claim");
        found
            .then(|| read(json!({"metadata": {"name": "claim"}, "spec": {"volumeName": "volume"}})))
    }

    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        (name == "volume").then(|| {
            read(json!({"metadata": {"name": "volume"}, "spec": {
                "claimRef": {"namespace": "a", "name": "claim"},
                "csi": {"driver": "d", "volumeHandle": "h",
                    "nodeStageSecretRef": {"namespace": "storage", "name": "key"}}}}))
        })
    }

    fn attachment_node(&self, name: &str) -> Option<String> {
        (name == "attached").then(|| "n".to_owned())
    }

    fn slice_node(&self, name: &str) -> Option<String> {
        (name == "slice").then(|| "n".to_owned())
    }
}

/// `verb group/resource/subresource namespace/name ?selector`, as the node `n`.
fn ask(line: &str) -> Decision {
    let mut words = line.split(' ');
    let verb = words.next().unwrap();
    let mut what = words.next().unwrap().split('/');
    let (namespace, name) = words.next().unwrap().split_once('/').unwrap();
    let groups = [NODES.to_owned()];
    let asked = Attributes {
        user: "system:node:n",
        groups: &groups,
        verb,
        is_resource: true,
        group: what.next().unwrap(),
        resource: what.next().unwrap(),
        subresource: what.next().unwrap_or_default(),
        namespace,
        name,
        field_selector: words.next().unwrap_or_default(),
        ..Attributes::default()
    };
    decide(&asked, &Small)
}

#[test]
fn what_pods_refer_to_may_be_read() {
    for line in [
        "get /secrets a/secret",
        "watch /secrets a/secret",
        "get /secrets storage/key",
        "get /configmaps a/map",
        "get /persistentvolumeclaims a/claim",
        "get /persistentvolumeclaims a/p-e",
        "patch /persistentvolumeclaims/status a/claim",
        "get /persistentvolumes /volume",
        "get resource.k8s.io/resourceclaims a/gpu",
        "get storage.k8s.io/volumeattachments /attached",
        "create /serviceaccounts/token a/sa",
        "get /pods a/p",
        "list /pods / spec.nodeName=n",
        "get /nodes /n",
        "patch /nodes/status /n",
        "update coordination.k8s.io/leases kube-node-lease/n",
        "get storage.k8s.io/csinodes /n",
        "delete resource.k8s.io/resourceslices /slice",
        "watch resource.k8s.io/resourceslices / spec.nodeName=n",
        "list /services /",
        "create /events a/",
    ] {
        assert!(matches!(ask(line), Decision::Allow(_)), "{line}");
    }
}

#[test]
fn nothing_else_may() {
    let stranger = "no relationship found between node 'n' and this object";
    for (line, why) in [
        ("get /secrets a/other", stranger),
        ("get /secrets a/stolen", stranger),
        ("get /secrets b/secret", stranger),
        ("list /secrets a/", "No Object name found"),
        ("list /secrets /secret", "can only read namespaced object of this type"),
        ("update /secrets a/secret", "can only read resources of this type"),
        ("list /persistentvolumes /", "can only get individual resources of this type"),
        ("get /persistentvolumes /x", stranger),
        ("create /serviceaccounts/token a/other", stranger),
        ("get /serviceaccounts a/sa", "can only create tokens for individual service accounts"),
        ("get /pods a/x", stranger),
        ("list /pods /", "can only list/watch pods with spec.nodeName field selector"),
        (
            "list /pods / spec.nodeName=m",
            "can only list/watch pods with spec.nodeName field selector",
        ),
        ("get /nodes /m", "node 'n' cannot read 'm', only its own Node object"),
        ("list /nodes /", "node 'n' cannot read all nodes, only its own Node object"),
        (
            "get coordination.k8s.io/leases kube-node-lease/m",
            "can only access node lease with the same name as the requesting node",
        ),
        (
            "get coordination.k8s.io/leases a/n",
            "can only access leases in the \"kube-node-lease\" system namespace",
        ),
        (
            "list resource.k8s.io/resourceslices /",
            "can only list/watch/deletecollection resourceslices with nodeName field selector",
        ),
        ("delete apps/deployments a/x", ""),
    ] {
        assert_eq!(ask(line), Decision::NoOpinion(why.to_owned()), "{line}");
    }
}

#[test]
fn others_are_not_judged() {
    let asked = Attributes { user: "system:node:n", is_resource: true, ..Attributes::default() };
    assert_eq!(decide(&asked, &Small), Decision::NoOpinion(String::new()));
}
