//! The host name of a pod.

use k8s_openapi::api::core::v1::Pod;

use crate::limits::{FQDN_CHARACTERS_MAX, HOSTNAME_CHARACTERS_MAX};
use crate::pod;

/// A fully qualified name that the kernel does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "failed to construct FQDN from pod hostname and cluster domain, FQDN {0} is too long \
     (64 characters is the max, {1} characters requested)"
)]
pub struct FqdnTooLong(String, usize);

/// The parts of a pod's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostname {
    /// The first label.
    pub host: String,
    /// The domain below which the pod has a DNS record; empty when it has none.
    pub domain: String,
    /// What the kernel of the sandbox is told; empty on the host's network.
    pub kernel: String,
}

/// Finds the parts.
///
/// # Errors
/// The pod wants its fully qualified name as host name, and that is too long.
pub fn of(pod: &Pod, cluster_domain: &str) -> Result<Hostname, FqdnTooLong> {
    let spec = pod::spec(pod);
    if let Some(own) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        let (host, domain) = own.split_once('.').unwrap_or((own, ""));
        return Ok(Hostname { host: host.into(), domain: domain.into(), kernel: own.into() });
    }
    let chosen = spec.hostname.as_deref().filter(|name| !name.is_empty());
    let host = chosen.map_or_else(|| truncated(pod::name(pod)), str::to_owned);
    let domain = match spec.subdomain.as_deref() {
        Some(subdomain) if !subdomain.is_empty() => {
            format!("{subdomain}.{}.svc.{cluster_domain}", pod::namespace(pod))
        }
        _ => String::new(),
    };
    let mut kernel = host.clone();
    if spec.set_hostname_as_fqdn.unwrap_or(false) && !domain.is_empty() {
        kernel = format!("{host}.{domain}");
        if kernel.len() > FQDN_CHARACTERS_MAX {
            let length = kernel.len();
            return Err(FqdnTooLong(kernel, length));
        }
    }
    if pod::host_network(pod) {
        kernel.clear();
    }
    Ok(Hostname { host, domain, kernel })
}

fn truncated(name: &str) -> String {
    let end = name.len().min(HOSTNAME_CHARACTERS_MAX);
    name[..end].trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of_spec(mut spec: Value) -> Result<Hostname, FqdnTooLong> {
        spec["containers"] = json!([]);
        of(&crate::testing::pod(spec), "cluster.local")
    }

    #[test]
    fn names() {
        assert_eq!(of_spec(json!({})).unwrap().kernel, "p");
        assert_eq!(of_spec(json!({"hostNetwork": true})).unwrap().kernel, "");
        let both = of_spec(json!({"hostname": "h", "subdomain": "s"})).unwrap();
        assert_eq!((both.kernel.as_str(), both.domain.as_str()), ("h", "s.ns.svc.cluster.local"));
        let fqdn = json!({"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true});
        assert_eq!(of_spec(fqdn).unwrap().kernel, "h.s.ns.svc.cluster.local");
        let long = json!({"hostname": "h".repeat(50), "subdomain": "s", "setHostnameAsFQDN": true});
        assert!(of_spec(long).is_err());
        assert_eq!(truncated(&format!("{}-x", "a".repeat(62))), "a".repeat(62));
    }
}
