//! The node authorizer: a kubelet reads what the pods on its node refer to, and nothing else.
//!
//! Upstream keeps a graph; here the same paths are walked on demand, from the node over its pods to what is
//! asked for, over objects that are in memory anyway. What a node may write is narrowed further by the
//! admission plugin `NodeRestriction`.

mod references;
mod rules;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};

use self::references::{claims, config_maps, resource_claims, secrets, volume_secrets};
use crate::{Attributes, Decision, rbac};

/// The group of all nodes.
pub const NODES: &str = "system:nodes";
/// What the names of node users start with.
pub const USER_PREFIX: &str = "system:node:";
const LEASE_NAMESPACE: &str = "kube-node-lease";
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The objects on the way from a node to what it asks for.
pub trait Cluster {
    /// A pod.
    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>>;
    /// The pods bound to a node in a namespace, or in all when it is empty.
    fn pods_of(&self, node: &str, namespace: &str) -> Vec<Arc<Pod>>;
    /// A claim.
    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>>;
    /// A volume.
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>>;
    /// The node that a VolumeAttachment names.
    fn attachment_node(&self, name: &str) -> Option<String>;
    /// The node that a ResourceSlice names.
    fn slice_node(&self, name: &str) -> Option<String>;
}

/// The node that a user is: empty when it says that it is one but not which, `None` for all others.
pub fn node_of<'a>(user: &'a str, groups: &[String]) -> Option<&'a str> {
    let name = user.strip_prefix(USER_PREFIX)?;
    groups.iter().any(|group| group == NODES).then_some(name)
}

/// Answers a question about a node's rights; no opinion on anyone else.
pub fn decide(asked: &Attributes<'_>, cluster: &dyn Cluster) -> Decision {
    let Some(node) = node_of(asked.user, asked.groups) else {
        return Decision::NoOpinion(String::new());
    };
    if node.is_empty() {
        return no(format!("unknown node for user \"{}\"", asked.user));
    }
    if !asked.is_resource {
        return by_rules(asked);
    }
    let ask = Ask { node, asked, cluster };
    match (asked.group, asked.resource) {
        ("", "secrets") => ask.read_of_namespace(|ask| ask.reaches_secret()),
        ("", "configmaps") => ask
            .read_of_namespace(|ask| ask.some_pod(|pod| config_maps(pod).contains(ask.asked.name))),
        ("", "persistentvolumeclaims") if asked.subresource == "status" => ask.claim_status(),
        ("", "persistentvolumeclaims") => ask.get(Ask::reaches_claim),
        ("", "persistentvolumes") => ask.get(Ask::reaches_volume),
        ("resource.k8s.io", "resourceclaims") => {
            ask.get(|ask| ask.some_pod(|pod| resource_claims(pod).contains(ask.asked.name)))
        }
        ("storage.k8s.io", "volumeattachments") => {
            ask.get(|ask| ask.cluster.attachment_node(ask.asked.name).as_deref() == Some(ask.node))
        }
        ("", "serviceaccounts") => ask.token(),
        ("coordination.k8s.io", "leases") => ask.lease(),
        ("storage.k8s.io", "csinodes") => ask.csi_node(),
        ("resource.k8s.io", "resourceslices") => ask.slice(),
        ("", "nodes") => ask.node_object(),
        ("", "pods") => ask.pod(),
        _ => by_rules(asked),
    }
}

fn yes() -> Decision {
    Decision::Allow(String::new())
}

fn no(why: impl Into<String>) -> Decision {
    Decision::NoOpinion(why.into())
}

fn by_rules(asked: &Attributes<'_>) -> Decision {
    if rules::node_rules().iter().any(|rule| rbac::allows(rule, asked)) { yes() } else { no("") }
}

struct Ask<'a> {
    node: &'a str,
    asked: &'a Attributes<'a>,
    cluster: &'a dyn Cluster,
}

impl Ask<'_> {
    /// Yes where there is a path from the node to the object.
    fn reach(&self, reaches: impl FnOnce(&Self) -> bool) -> Decision {
        if self.asked.name.is_empty() {
            return no("No Object name found");
        }
        if reaches(self) {
            return yes();
        }
        no(format!("no relationship found between node '{}' and this object", self.node))
    }

    fn get(&self, reaches: impl FnOnce(&Self) -> bool) -> Decision {
        if self.asked.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !self.asked.subresource.is_empty() {
            return no("cannot get subresource");
        }
        self.reach(reaches)
    }

    fn read_of_namespace(&self, reaches: impl FnOnce(&Self) -> bool) -> Decision {
        if !matches!(self.asked.verb, "get" | "list" | "watch") {
            return no("can only read resources of this type");
        }
        if !self.asked.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if self.asked.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.reach(reaches)
    }

    /// Whether some pod of the node, in the namespace asked about, has something.
    fn some_pod(&self, has: impl Fn(&Pod) -> bool) -> bool {
        let pods = self.cluster.pods_of(self.node, self.asked.namespace);
        pods.iter().any(|pod| !is_mirror(pod) && has(pod))
    }

    fn uses_claim(&self, namespace: &str, name: &str) -> bool {
        let pods = self.cluster.pods_of(self.node, namespace);
        pods.iter().any(|pod| !is_mirror(pod) && claims(pod).contains(name))
    }

    fn reaches_claim(&self) -> bool {
        self.uses_claim(self.asked.namespace, self.asked.name)
    }

    fn reaches_volume(&self) -> bool {
        let volume = self.cluster.volume(self.asked.name);
        let claim = volume.as_ref().and_then(|volume| volume.spec.as_ref()?.claim_ref.as_ref());
        claim.is_some_and(|claim| {
            let namespace = claim.namespace.as_deref().unwrap_or_default();
            !namespace.is_empty()
                && self.uses_claim(namespace, claim.name.as_deref().unwrap_or_default())
        })
    }

    /// A secret of a pod's own, or one that a volume under a pod's claim needs, whose namespace may be
    /// another.
    fn reaches_secret(&self) -> bool {
        let wanted = (self.asked.namespace.to_owned(), self.asked.name.to_owned());
        self.some_pod(|pod| secrets(pod).contains(self.asked.name)) || {
            let pods = self.cluster.pods_of(self.node, "");
            pods.iter().filter(|pod| !is_mirror(pod)).any(|pod| self.volumes_need(pod, &wanted))
        }
    }

    fn volumes_need(&self, pod: &Pod, wanted: &(String, String)) -> bool {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        claims(pod).iter().any(|claim| {
            let claim = self.cluster.claim(namespace, claim);
            let volume =
                claim.as_ref().and_then(|claim| claim.spec.as_ref()?.volume_name.as_deref());
            let volume = volume.and_then(|volume| self.cluster.volume(volume));
            volume.is_some_and(|volume| volume_secrets(&volume).contains(wanted))
        })
    }

    fn claim_status(&self) -> Decision {
        if !matches!(self.asked.verb, "update" | "patch") {
            return no("can only get/update/patch this type");
        }
        self.reach(Self::reaches_claim)
    }

    fn token(&self) -> Decision {
        if self.asked.verb != "create" || self.asked.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if self.asked.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.reach(|ask| {
            ask.some_pod(|pod| {
                let account =
                    pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
                account == Some(ask.asked.name)
            })
        })
    }

    fn lease(&self) -> Decision {
        if !matches!(self.asked.verb, "get" | "create" | "update" | "patch" | "delete") {
            return no("can only get, create, update, patch, or delete a node lease");
        }
        if self.asked.namespace != LEASE_NAMESPACE {
            return no(format!(
                "can only access leases in the \"{LEASE_NAMESPACE}\" system namespace"
            ));
        }
        if self.asked.verb != "create" && self.asked.name != self.node {
            return no("can only access node lease with the same name as the requesting node");
        }
        yes()
    }

    fn csi_node(&self) -> Decision {
        if !matches!(self.asked.verb, "get" | "create" | "update" | "patch" | "delete") {
            return no("can only get, create, update, patch, or delete a CSINode");
        }
        if !self.asked.subresource.is_empty() {
            return no("cannot authorize CSINode subresources");
        }
        if self.asked.verb != "create" && self.asked.name != self.node {
            return no("can only access CSINode with the same name as the requesting node");
        }
        yes()
    }

    fn slice(&self) -> Decision {
        if !self.asked.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match self.asked.verb {
            "create" => yes(),
            "get" | "update" | "patch" | "delete" => self
                .reach(|ask| ask.cluster.slice_node(ask.asked.name).as_deref() == Some(ask.node)),
            "watch" | "list" | "deletecollection" if self.selects("spec.nodeName") => yes(),
            "watch" | "list" | "deletecollection" => no(
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
        }
    }

    /// Whether the request's field selector asks for this node only.
    fn selects(&self, field: &str) -> bool {
        self.asked.selected(field) == Some(self.node)
    }

    fn node_object(&self) -> Decision {
        let (node, name) = (self.node, self.asked.name);
        match (self.asked.subresource, self.asked.verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => yes(),
            ("", "get" | "list" | "watch") if name == node => yes(),
            ("", "get" | "list" | "watch") if name.is_empty() => {
                no(format!("node '{node}' cannot read all nodes, only its own Node object"))
            }
            ("", "get" | "list" | "watch") => {
                no(format!("node '{node}' cannot read '{name}', only its own Node object"))
            }
            _ => no(""),
        }
    }

    fn pod(&self) -> Decision {
        let on_node = |ask: &Self| {
            let pod = ask.cluster.pod(ask.asked.namespace, ask.asked.name);
            let node = pod.as_ref().and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
            node == Some(ask.node)
        };
        match (self.asked.subresource, self.asked.verb) {
            ("", "get") => self.get(on_node),
            ("", "list" | "watch") if self.selects("spec.nodeName") => yes(),
            ("", "list" | "watch") if !self.asked.name.is_empty() => self.reach(on_node),
            ("", "list" | "watch") => {
                no("can only list/watch pods with spec.nodeName field selector")
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                yes()
            }
            _ => no(""),
        }
    }
}

/// Mirror pods are made by nodes: what they refer to gives no rights.
fn is_mirror(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.is_some_and(|annotations| annotations.contains_key(MIRROR))
}

#[cfg(test)]
mod tests;
