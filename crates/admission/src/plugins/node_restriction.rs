//! `NodeRestriction`: a kubelet writes only about itself and the pods it runs.

use std::collections::BTreeSet;

use api::status::Status;
use serde_json::Value;

use super::certificates::subject_of;
use crate::{Lookup, Operation, Plugin, Request, User, pods, tree};

/// See the module's text.
#[derive(Debug)]
pub struct NodeRestriction;

const NODE_PREFIX: &str = "system:node:";
const LEASE_NAMESPACE: &str = "kube-node-lease";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Labels under Kubernetes' own domains that a kubelet may set on its node.
const KUBELET_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
const KUBELET_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// The node that a user is: empty when it says that it is one but not which, `None` for all others.
fn node_of(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix(NODE_PREFIX)?;
    user.groups.iter().any(|group| group == "system:nodes").then_some(name)
}

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        let user = request.user;
        let Some(node) = node_of(user) else { return Ok(()) };
        if node.is_empty() {
            return Err(
                request.forbid(format!("could not determine node from user \"{}\"", user.name))
            );
        }
        if request.operation == Operation::Connect {
            return Ok(());
        }
        let verdict = match (&*request.resource.group, &*request.resource.plural) {
            ("", "pods") => check_pod(node, request, cluster),
            ("", "nodes") => check_node(node, request),
            ("", "persistentvolumeclaims") => check_claim(node, request),
            ("", "serviceaccounts") => check_token(node, request, cluster),
            ("coordination.k8s.io", "leases") => check_lease(node, request),
            ("storage.k8s.io", "csinodes") => check_csi_node(node, request),
            ("resource.k8s.io", "resourceslices") => check_slice(node, request),
            ("certificates.k8s.io", "certificatesigningrequests") => check_signing(node, request),
            _ => Ok(()),
        };
        verdict.map_err(|refusal| match refusal {
            Refusal::Why(why) => request.forbid(why),
            Refusal::Answer(status) => *status,
        })
    }
}

/// Why a node may not.
enum Refusal {
    Why(String),
    Answer(Box<Status>),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Why(why)
    }
}

type Verdict = Result<(), Refusal>;

fn refuse(why: impl Into<String>) -> Verdict {
    Err(Refusal::Why(why.into()))
}

fn check_pod(node: &str, request: &Request<'_>, cluster: &dyn Lookup) -> Verdict {
    match (request.subresource, request.operation) {
        ("", Operation::Create) => check_mirror_pod(node, request, cluster),
        ("", Operation::Delete) => {
            if tree::text(request.old_object(), "/spec/nodeName") == node {
                return Ok(());
            }
            refuse(format!("node \"{node}\" can only delete pods with spec.nodeName set to itself"))
        }
        ("", operation) => refuse(format!(
            "unexpected operation \"{}\", node \"{node}\" can only create and delete mirror pods",
            operation.text()
        )),
        ("status", Operation::Update) => check_pod_status(node, request),
        ("status", operation) => refuse(format!("unexpected operation \"{}\"", operation.text())),
        // The API server marks and deletes the pod on behalf of the same request.
        ("eviction", _) => {
            let found = cluster.get("", "pods", request.namespace, request.object_name());
            let Some(found) = found else {
                let status = Status::not_found("", "pods", request.object_name());
                return Err(Refusal::Answer(Box::new(status)));
            };
            if tree::text(&found.to_value(), "/spec/nodeName") == node {
                return Ok(());
            }
            refuse(format!("node {node} can only evict pods with spec.nodeName set to itself"))
        }
        (other, _) => refuse(format!(
            "unexpected pod subresource \"{other}\", only 'status' and 'eviction' are allowed"
        )),
    }
}

fn check_mirror_pod(node: &str, request: &Request<'_>, cluster: &dyn Lookup) -> Verdict {
    let pod = &request.object;
    let only = |what: &str| refuse(format!("node \"{node}\" can only create pods with {what}"));
    if !pods::is_mirror(pod) {
        return refuse(format!(
            "pod does not have \"{MIRROR}\" annotation, node \"{node}\" can only create mirror pods"
        ));
    }
    if tree::text(pod, "/spec/nodeName") != node {
        return only("spec.nodeName set to itself");
    }
    let owner = match tree::list(pod, "/metadata/ownerReferences") {
        [] => return only("an owner reference set to itself"),
        [owner] => owner,
        _ => return only("a single owner reference set to itself"),
    };
    let is_node = tree::text(owner, "/apiVersion") == "v1"
        && tree::text(owner, "/kind") == "Node"
        && tree::text(owner, "/name") == node;
    if !is_node {
        return only("an owner reference set to itself");
    }
    if tree::flag(owner, "/controller") != Some(true) {
        return only("a controller owner reference set to itself");
    }
    if tree::flag(owner, "/blockOwnerDeletion") == Some(true) {
        return refuse(format!(
            "node \"{node}\" must not set blockOwnerDeletion on an owner reference"
        ));
    }
    let Some(found) = cluster.get("", "nodes", "", node) else {
        return Err(Refusal::Answer(Box::new(Status::not_found("", "nodes", node))));
    };
    let uid = tree::text(owner, "/uid");
    if uid != &*found.uid {
        return refuse(format!("node {node} UID mismatch: expected {uid} got {}", found.uid));
    }
    check_references(node, pod.get("spec").unwrap_or(&Value::Null))
}

/// What a node's own pod may not refer to: reading it is a right that comes with the reference.
fn check_references(node: &str, spec: &Value) -> Verdict {
    let volumes = || tree::list(spec, "/volumes").iter();
    let mut sources = volumes().flat_map(|volume| tree::list(volume, "/projected/sources"));
    let what = if !tree::text(spec, "/serviceAccountName").is_empty() {
        "a service account"
    } else if !pods::secret_names(spec).is_empty() {
        "secrets"
    } else if !pods::config_map_names(spec).is_empty() {
        "configmaps"
    } else if sources.any(|source| tree::at(source, "/clusterTrustBundle").is_some()) {
        "clustertrustbundles"
    } else if volumes().any(|volume| tree::at(volume, "/persistentVolumeClaim").is_some()) {
        "persistentvolumeclaims"
    } else {
        return Ok(());
    };
    refuse(format!("node \"{node}\" can not create pods that reference {what}"))
}

fn check_pod_status(node: &str, request: &Request<'_>) -> Verdict {
    let (new, old) = (&request.object, request.old_object());
    if tree::text(old, "/spec/nodeName") != node {
        return refuse(format!(
            "node \"{node}\" can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if !tree::same_at(new, old, "/metadata/labels") {
        return refuse(format!("node \"{node}\" cannot update labels through pod status"));
    }
    if !tree::same_at(new, old, "/status/resourceClaimStatuses") {
        return refuse(format!("node \"{node}\" cannot update resource claim statues"));
    }
    Ok(())
}

fn check_claim(node: &str, request: &Request<'_>) -> Verdict {
    if request.subresource != "status" {
        return refuse("may only update PVC status");
    }
    if request.operation != Operation::Update {
        return refuse(format!("unexpected operation \"{}\"", request.operation.text()));
    }
    let strip = |claim: &Value| {
        let mut claim = claim.clone();
        api::meta::remove(&mut claim, "resourceVersion");
        api::meta::remove(&mut claim, "managedFields");
        if let Some(status) = claim.get_mut("status").and_then(Value::as_object_mut) {
            for field in
                ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"]
            {
                status.remove(field);
            }
        }
        claim
    };
    if tree::same(&strip(&request.object), &strip(request.old_object())) {
        return Ok(());
    }
    refuse(format!(
        "node \"{node}\" is not allowed to update fields other than status.quantity and status.conditions"
    ))
}

fn check_node(node: &str, request: &Request<'_>) -> Verdict {
    let name = request.object_name();
    if name != node {
        return refuse(format!("node \"{node}\" is not allowed to modify node \"{name}\""));
    }
    let (new, old) = (&request.object, request.old_object());
    let config = tree::at(new, "/spec/configSource").is_some();
    match request.operation {
        Operation::Create if config => refuse(format!(
            "node \"{node}\" is not allowed to create pods with a non-nil configSource"
        )),
        Operation::Create => match forbidden_labels(new, &Value::Null) {
            labels if labels.is_empty() => Ok(()),
            labels => refuse(format!(
                "node \"{node}\" is not allowed to set the following labels: {labels}"
            )),
        },
        Operation::Update if config && !tree::same_at(new, old, "/spec/configSource") => {
            refuse(format!(
                "node \"{node}\" is not allowed to update configSource to a new non-nil configSource"
            ))
        }
        Operation::Update if !tree::same_at(new, old, "/spec/taints") => {
            refuse(format!("node \"{node}\" is not allowed to modify taints"))
        }
        Operation::Update => match forbidden_labels(new, old) {
            labels if labels.is_empty() => Ok(()),
            labels => refuse(format!("is not allowed to modify labels: {labels}")),
        },
        _ => Ok(()),
    }
}

/// The labels that differ and are none of a kubelet's business, joined.
fn forbidden_labels(new: &Value, old: &Value) -> String {
    let labels = |object: &Value| -> Vec<(String, Value)> {
        let entries = tree::entries(object, "/metadata/labels");
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let (new, old) = (labels(new), labels(old));
    let changed = new.iter().filter(|label| !old.contains(label));
    let changed = changed.chain(old.iter().filter(|label| !new.contains(label)));
    let forbidden: BTreeSet<&str> =
        changed.map(|(key, _)| key.as_str()).filter(|key| is_forbidden_label(key)).collect();
    Vec::from_iter(forbidden).join(", ")
}

fn is_forbidden_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within = |suffix: &str| {
        domain == suffix || domain.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'))
    };
    let ours = within("kubernetes.io") || within("k8s.io");
    let kubelets =
        KUBELET_LABELS.contains(&key) || KUBELET_DOMAINS.iter().any(|suffix| within(suffix));
    within("node-restriction.kubernetes.io") || (ours && !kubelets)
}

fn check_token(node: &str, request: &Request<'_>, cluster: &dyn Lookup) -> Verdict {
    if request.operation != Operation::Create || request.subresource != "token" {
        return Ok(());
    }
    let bound = tree::at(&request.object, "/spec/boundObjectRef").unwrap_or(&Value::Null);
    let (name, uid) = (tree::text(bound, "/name"), tree::text(bound, "/uid"));
    let to_pod = tree::text(bound, "/apiVersion") == "v1" && tree::text(bound, "/kind") == "Pod";
    if !to_pod || name.is_empty() {
        return refuse("node requested token not bound to a pod");
    }
    if uid.is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let Some(pod) = cluster.get("", "pods", request.namespace, name) else {
        return Err(Refusal::Answer(Box::new(Status::not_found("", "pods", name))));
    };
    if uid != &*pod.uid {
        return refuse(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    let pod = pod.to_value();
    if tree::text(&pod, "/spec/nodeName") != node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    let audiences: Vec<&str> = tree::texts(&request.object, "/spec/audiences").collect();
    let audience = match audiences.as_slice() {
        [] => "",
        [one] => one,
        _ => return refuse("node may only request 0 or 1 audiences"),
    };
    if !refers_to_audience(&pod, audience, cluster) {
        return refuse(format!("audience \"{audience}\" not found in pod spec volume"));
    }
    Ok(())
}

fn refers_to_audience(pod: &Value, audience: &str, cluster: &dyn Lookup) -> bool {
    tree::list(pod, "/spec/volumes").iter().any(|volume| {
        let tokens = tree::list(volume, "/projected/sources");
        let tokens = tokens.iter().filter_map(|source| tree::at(source, "/serviceAccountToken"));
        tokens.into_iter().any(|token| tree::text(token, "/audience") == audience)
            || csi_driver(pod, volume, cluster).is_some_and(|driver| {
                let found = cluster.get("storage.k8s.io", "csidrivers", "", &driver);
                found.is_some_and(|driver| {
                    let driver = driver.to_value();
                    let wanted = tree::list(&driver, "/spec/tokenRequests");
                    wanted.iter().any(|token| tree::text(token, "/audience") == audience)
                })
            })
    })
}

/// The driver behind a volume: its own, or that of the volume its claim is bound to.
fn csi_driver(pod: &Value, volume: &Value, cluster: &dyn Lookup) -> Option<String> {
    if let Some(csi) = tree::at(volume, "/csi") {
        return Some(tree::text(csi, "/driver").to_owned());
    }
    let claim = if tree::at(volume, "/ephemeral/volumeClaimTemplate").is_some() {
        format!("{}-{}", api::meta::name(pod), tree::text(volume, "/name"))
    } else {
        tree::at(volume, "/persistentVolumeClaim/claimName")?.as_str()?.to_owned()
    };
    let namespace = api::meta::namespace(pod);
    let claim = cluster.get("", "persistentvolumeclaims", namespace, &claim)?.to_value();
    let bound = tree::text(&claim, "/spec/volumeName");
    let volume = cluster.get("", "persistentvolumes", "", bound)?.to_value();
    Some(tree::at(&volume, "/spec/csi/driver")?.as_str()?.to_owned())
}

fn check_lease(node: &str, request: &Request<'_>) -> Verdict {
    if request.namespace != LEASE_NAMESPACE {
        return refuse(format!(
            "can only access leases in the \"{LEASE_NAMESPACE}\" system namespace"
        ));
    }
    if request.object_name() != node {
        return refuse("can only access node lease with the same name as the requesting node");
    }
    Ok(())
}

fn check_csi_node(node: &str, request: &Request<'_>) -> Verdict {
    if request.object_name() != node {
        return refuse("can only access CSINode with the same name as the requesting node");
    }
    Ok(())
}

fn check_slice(node: &str, request: &Request<'_>) -> Verdict {
    let (object, act) = match request.operation {
        Operation::Create => (&request.object, "create"),
        Operation::Delete => (request.old_object(), "delete"),
        _ => return Ok(()),
    };
    if tree::text(object, "/spec/nodeName") != node {
        return refuse(format!(
            "can only {act} ResourceSlice with the same NodeName as the requesting node"
        ));
    }
    Ok(())
}

fn check_signing(node: &str, request: &Request<'_>) -> Verdict {
    let signer = tree::text(&request.object, "/spec/signerName");
    let for_kubelets =
        ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    if request.operation != Operation::Create || !for_kubelets.contains(&signer) {
        return Ok(());
    }
    let subject = subject_of(&request.object)
        .map_err(|why| Refusal::Why(format!("unable to parse csr: {why}")))?;
    if subject.common_name != format!("{NODE_PREFIX}{node}") {
        return refuse(format!("can only create a node CSR with CN={NODE_PREFIX}{node}"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "node_restriction_tests.rs"]
mod tests;
