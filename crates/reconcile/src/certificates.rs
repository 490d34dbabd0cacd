//! Which requests for certificates are approved without a person, what those may hold, and when requests are
//! cleared away. Not here: reading the request's bytes and signing (the controller does).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;

/// The signer of kubelets' client certificates.
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// The signer of kubelets' serving certificates.
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// The signer of all other client certificates.
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";
/// The components of a node beside its kubelet, by user name.
const NODE_COMPONENTS: [&str; 2] = ["system:kube-proxy", "system:coredns"];
/// How long a request is kept that has been decided; upstream's hour.
const DECIDED_KEPT: Duration = Duration::from_secs(3600);
/// How long a request is kept that nobody decides; upstream's day.
const PENDING_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What a request's bytes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requested {
    /// Common name.
    pub common_name: String,
    /// Organizations.
    pub organizations: Vec<String>,
    /// Alternative names that are host names.
    pub dns_names: Vec<String>,
    /// Alternative names that are addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether there are other alternative names: mail addresses, URIs.
    pub has_other_names: bool,
}

/// What the requestor must be allowed to do for its request to be approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Subresource of `certificatesigningrequests` that it must be able to create.
    pub subresource: &'static str,
    /// What the approval says.
    pub message: &'static str,
}

/// Why a signer does not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignerFault {
    /// Not every usage may be asked of this signer.
    #[error("usages did not match {0}")]
    Usages(String),
    /// The organization is another.
    #[error("organization does not match [system:nodes]")]
    Organization,
    /// The name is not a node's.
    #[error("subject common name does not begin with system:node:")]
    CommonName,
    /// Alternative names that this signer does not sign.
    #[error("{0} subjectAltNames are not allowed")]
    Names(&'static str),
    /// A server without a name.
    #[error("DNS or IP subjectAltName is required")]
    NoNames,
}

fn usages(request: &CertificateSigningRequest) -> BTreeSet<&str> {
    request.spec.usages.iter().flatten().map(String::as_str).collect()
}

fn has_usages(request: &CertificateSigningRequest, purpose: &str) -> bool {
    let have = usages(request);
    let needed = BTreeSet::from([purpose, "digital signature"]);
    // Only keys of RSA encipher keys.
    let most = BTreeSet::from([purpose, "digital signature", "key encipherment"]);
    have.is_superset(&needed) && have.is_subset(&most)
}

/// What the requestor of a recognized request must be allowed to do; `None`: a person decides. `node` is the
/// one that the requestor is, if it is one.
pub fn recognize(
    request: &CertificateSigningRequest,
    requested: &Requested,
    node: Option<&Node>,
) -> Option<Permission> {
    let spec = &request.spec;
    let user = spec.username.as_deref().unwrap_or_default();
    let is_self = user == requested.common_name;
    let is_node =
        spec.groups.iter().flatten().any(|group| group == NODES) && user.starts_with(NODE_PREFIX);
    match spec.signer_name.as_str() {
        KUBELET_CLIENT if check(request, requested).is_ok() && is_self => Some(Permission {
            subresource: "selfnodeclient",
            message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
        }),
        KUBELET_CLIENT if check(request, requested).is_ok() => Some(Permission {
            subresource: "nodeclient",
            message: "Auto approving kubelet client certificate after SubjectAccessReview.",
        }),
        KUBELET_SERVING => {
            let good = is_node && is_self && check(request, requested).is_ok();
            (good && node.is_some_and(|node| is_nodes_own(requested, node))).then_some(Permission {
                subresource: "selfnodeserver",
                message: "Auto approving self kubelet serving certificate after SubjectAccessReview.",
            })
        }
        CLIENT => {
            let good = is_node
                && NODE_COMPONENTS.contains(&&*requested.common_name)
                && requested.organizations.is_empty()
                && has_no_names(requested)
                && has_usages(request, "client auth");
            good.then_some(Permission {
                subresource: "nodecomponent",
                message: "Auto approving client certificate of a node's component after SubjectAccessReview.",
            })
        }
        _ => None,
    }
}

fn has_no_names(requested: &Requested) -> bool {
    requested.dns_names.is_empty() && requested.addresses.is_empty() && !requested.has_other_names
}

/// Whether a serving certificate names nothing but its node.
fn is_nodes_own(requested: &Requested, node: &Node) -> bool {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let status = node.status.as_ref();
    let known: BTreeSet<&str> = status
        .and_then(|status| status.addresses.as_ref())
        .into_iter()
        .flatten()
        .map(|address| address.address.as_str())
        .chain([name])
        .collect();
    requested.common_name.strip_prefix(NODE_PREFIX) == Some(name)
        && requested.dns_names.iter().all(|name| known.contains(name.as_str()))
        && requested.addresses.iter().all(|address| known.contains(address.to_string().as_str()))
}

/// Whether a signer may sign what is requested.
///
/// # Errors
/// Why not, as upstream's signers say it.
pub fn check(
    request: &CertificateSigningRequest,
    requested: &Requested,
) -> Result<(), SignerFault> {
    let signer = request.spec.signer_name.as_str();
    let purpose = if signer == KUBELET_SERVING { "server auth" } else { "client auth" };
    let fitting = match signer {
        CLIENT => usages(request).contains(purpose),
        _ => has_usages(request, purpose),
    };
    if !fitting {
        let listed: Vec<&str> = usages(request).into_iter().collect();
        return Err(SignerFault::Usages(listed.join(", ")));
    }
    if signer == CLIENT {
        return Ok(());
    }
    if requested.organizations != [NODES] {
        return Err(SignerFault::Organization);
    }
    let node = requested.common_name.strip_prefix(NODE_PREFIX).unwrap_or_default();
    if node.is_empty() {
        return Err(SignerFault::CommonName);
    }
    if requested.has_other_names {
        return Err(SignerFault::Names("URI and email"));
    }
    if signer == KUBELET_SERVING {
        let named = !requested.dns_names.is_empty() || !requested.addresses.is_empty();
        return if named { Ok(()) } else { Err(SignerFault::NoNames) };
    }
    match (requested.dns_names.is_empty(), requested.addresses.is_empty()) {
        (false, _) => Err(SignerFault::Names("DNS")),
        (_, false) => Err(SignerFault::Names("IP")),
        _ => Ok(()),
    }
}

/// When a request may be cleared away; `None` while it has no time.
pub fn kept_until(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let created = request.metadata.creation_timestamp.as_ref()?.0;
    let conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let decided = conditions
        .filter_map(|condition| condition.last_update_time.as_ref().map(|time| time.0))
        .max();
    Some(decided.map_or(created + PENDING_KEPT, |decided| decided + DECIDED_KEPT))
}

/// Whether a request has a condition.
pub fn has_condition(request: &CertificateSigningRequest, kind: &str) -> bool {
    let conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(
        signer: &str,
        user: &str,
        group: &str,
        usages: &[&str],
    ) -> CertificateSigningRequest {
        serde_json::from_value(json!({
            "metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"request": "", "signerName": signer, "username": user, "groups": [group],
                "usages": usages},
        }))
        .unwrap()
    }

    fn requested(common_name: &str, organizations: &[&str]) -> Requested {
        Requested {
            common_name: common_name.to_owned(),
            organizations: organizations.iter().map(|it| (*it).to_owned()).collect(),
            ..Requested::default()
        }
    }

    const USAGES: &[&str] = &["client auth", "digital signature"];
    const SERVER: &[&str] = &["server auth", "digital signature", "key encipherment"];

    fn permission(
        request: &CertificateSigningRequest,
        requested: &Requested,
    ) -> Option<&'static str> {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "a"},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
        }))
        .unwrap();
        recognize(request, requested, Some(&node)).map(|permission| permission.subresource)
    }

    #[test]
    fn nodes_join_and_renew() {
        let kubelet = requested("system:node:a", &["system:nodes"]);
        let joins = request(KUBELET_CLIENT, "system:bootstrap:x", "system:bootstrappers", USAGES);
        assert_eq!(permission(&joins, &kubelet), Some("nodeclient"));
        let renews = request(KUBELET_CLIENT, "system:node:a", "system:nodes", USAGES);
        assert_eq!(permission(&renews, &kubelet), Some("selfnodeclient"));
    }

    #[test]
    fn what_is_not_a_kubelets_is_left_to_people() {
        let joins = request(KUBELET_CLIENT, "system:bootstrap:x", "system:bootstrappers", USAGES);
        let other_usages = request(KUBELET_CLIENT, "u", "g", &["client auth", "cert sign"]);
        let kubelet = requested("system:node:a", &["system:nodes"]);
        let named = Requested { dns_names: vec!["a".into()], ..kubelet.clone() };
        let cases = [
            (&joins, requested("system:node:", &["system:nodes"])),
            (&joins, requested("admin", &["system:nodes"])),
            (&joins, requested("system:node:a", &["system:nodes", "system:masters"])),
            (&joins, requested("system:node:a", &[])),
            (&joins, named),
            (&other_usages, kubelet),
        ];
        for (request, requested) in cases {
            assert_eq!(permission(request, &requested), None, "{requested:?}");
            assert!(check(request, &requested).is_err(), "{requested:?}");
        }
    }

    #[test]
    fn a_node_serves_under_its_own_names_only() {
        let serving = |user: &str| request(KUBELET_SERVING, user, "system:nodes", SERVER);
        let of = |name: &str, address: &str| Requested {
            dns_names: vec![name.to_owned()],
            addresses: vec![address.parse().unwrap()],
            ..requested("system:node:a", &["system:nodes"])
        };
        let own = of("a", "10.0.0.1");
        assert_eq!(permission(&serving("system:node:a"), &own), Some("selfnodeserver"));
        assert_eq!(permission(&serving("system:node:b"), &own), None);
        assert_eq!(permission(&serving("system:node:a"), &of("b", "10.0.0.1")), None);
        assert_eq!(permission(&serving("system:node:a"), &of("a", "10.0.0.2")), None);
        let nameless = requested("system:node:a", &["system:nodes"]);
        assert_eq!(check(&serving("system:node:a"), &nameless), Err(SignerFault::NoNames));
    }

    #[test]
    fn components_get_their_own_names_from_their_node() {
        let by_node = request(CLIENT, "system:node:a", "system:nodes", USAGES);
        let by_other = request(CLIENT, "someone", "system:authenticated", USAGES);
        assert_eq!(
            permission(&by_node, &requested("system:kube-proxy", &[])),
            Some("nodecomponent")
        );
        assert_eq!(permission(&by_other, &requested("system:kube-proxy", &[])), None);
        assert_eq!(permission(&by_node, &requested("system:kube-proxy", &["g"])), None);
        assert_eq!(permission(&by_node, &requested("system:admin", &[])), None);
    }

    #[test]
    fn old_requests_go() {
        let mut request = request(CLIENT, "u", "g", USAGES);
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        assert_eq!(kept_until(&request), at("2026-01-02T00:00:00Z"));
        request.status = serde_json::from_value(json!({"conditions": [
            {"type": "Approved", "status": "True", "lastUpdateTime": "2026-01-01T05:00:00Z"}]}))
        .unwrap();
        assert_eq!(kept_until(&request), at("2026-01-01T06:00:00Z"));
        assert!(has_condition(&request, "Approved") && !has_condition(&request, "Denied"));
    }
}
