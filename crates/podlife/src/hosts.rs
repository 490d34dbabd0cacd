//! The content of `/etc/hosts` in a pod.

use k8s_openapi::api::core::v1::Pod;

use crate::pod;

const HEADER: &str = "# Kubernetes-managed hosts file.\n";
const HEADER_HOST_NETWORK: &str = "# Kubernetes-managed hosts file (host network).\n";
const LOCAL: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    fe00::0\tip6-mcastprefix\n\
    fe00::1\tip6-allnodes\n\
    fe00::2\tip6-allrouters\n";

/// The file; `of_node` is the node's own, which a pod on its network starts from.
pub fn file(pod: &Pod, ips: &[String], hostname: &str, domain: &str, of_node: &str) -> String {
    let mut text = if pod::host_network(pod) {
        format!("{HEADER_HOST_NETWORK}{of_node}")
    } else {
        let mut text = format!("{HEADER}{LOCAL}");
        for ip in ips {
            text.push_str(&match domain {
                "" => format!("{ip}\t{hostname}\n"),
                _ => format!("{ip}\t{hostname}.{domain}\t{hostname}\n"),
            });
        }
        text
    };
    let mut aliases = pod::spec(pod).host_aliases.iter().flatten().peekable();
    if aliases.peek().is_some() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files() {
        let ips = ["10.0.0.9".to_owned()];
        let alias = json!([{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]);
        let pod = crate::testing::pod(json!({"containers": [], "hostAliases": alias}));
        let text = file(&pod, &ips, "p", "sub.ns.svc.cluster.local", "");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.contains("\n10.0.0.9\tp.sub.ns.svc.cluster.local\tp\n"));
        assert!(text.ends_with("\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
        let pod = crate::testing::pod(json!({"containers": [], "hostNetwork": true}));
        let text = file(&pod, &ips, "p", "", "127.0.0.1 localhost\n");
        assert_eq!(text, "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n");
    }
}
