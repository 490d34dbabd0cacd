//! The resolver settings of a pod by its policy, and reading those of the node.

use k8s_openapi::api::core::v1::Pod;

use crate::limits::{DNS_SEARCH_CHARACTERS_MAX, DNS_SEARCHES_MAX, DNS_SERVERS_MAX};
use crate::pod;

/// What the cluster and the node offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsFacts {
    /// Addresses of the cluster's DNS service.
    pub cluster_servers: Vec<String>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// The node's own settings.
    pub host: cri::DnsConfig,
}

/// Reads a `resolv.conf`.
pub fn parse_resolv_conf(text: &str) -> cri::DnsConfig {
    let mut config = cri::DnsConfig::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                config.searches = words.map(|word| trimmed_domain(word).to_owned()).collect();
            }
            Some("options") => config.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    config
}

fn trimmed_domain(word: &str) -> &str {
    if word == "." { word } else { word.strip_suffix('.').unwrap_or(word) }
}

/// The settings of a pod.
pub fn config(pod: &Pod, facts: &DnsFacts) -> cri::DnsConfig {
    let spec = pod::spec(pod);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let in_cluster = match policy {
        "ClusterFirst" => !pod::host_network(pod),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut config = match policy {
        "None" => cri::DnsConfig::default(),
        _ if in_cluster && !facts.cluster_servers.is_empty() => cluster(pod, facts),
        _ => facts.host.clone(),
    };
    if let Some(own) = &spec.dns_config {
        config.servers.extend(own.nameservers.iter().flatten().cloned());
        config.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            config.options.retain(|have| have.split(':').next() != Some(name));
            config.options.push(match &option.value {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name.clone(),
            });
        }
    }
    within_limits(config)
}

fn cluster(pod: &Pod, facts: &DnsFacts) -> cri::DnsConfig {
    let mut searches = Vec::new();
    if !facts.cluster_domain.is_empty() {
        let domain = &facts.cluster_domain;
        searches.push(format!("{}.svc.{domain}", pod::namespace(pod)));
        searches.push(format!("svc.{domain}"));
        searches.push(domain.clone());
    }
    searches.extend(facts.host.searches.iter().cloned());
    cri::DnsConfig {
        servers: facts.cluster_servers.clone(),
        searches,
        options: vec!["ndots:5".to_owned()],
    }
}

fn without_repeats(list: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(list.len());
    for item in list {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    out
}

fn within_limits(config: cri::DnsConfig) -> cri::DnsConfig {
    let mut servers = without_repeats(config.servers);
    servers.truncate(DNS_SERVERS_MAX);
    let mut searches = without_repeats(config.searches);
    searches.truncate(DNS_SEARCHES_MAX);
    while searches.iter().map(|search| search.len() + 1).sum::<usize>() > DNS_SEARCH_CHARACTERS_MAX
    {
        searches.pop();
    }
    cri::DnsConfig { servers, searches, options: config.options }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts() -> DnsFacts {
        let text = "# c\nnameserver 9.9.9.9\nnameserver 8.8.8.8 # x\nsearch example.org. lan\noptions rotate\n";
        DnsFacts {
            cluster_servers: vec!["10.43.0.10".into()],
            cluster_domain: "cluster.local".into(),
            host: parse_resolv_conf(text),
        }
    }

    #[test]
    fn policies() {
        let cluster = "10.43.0.10 | ns.svc.cluster.local svc.cluster.local cluster.local example.org lan | ndots:5";
        let host = "9.9.9.9 8.8.8.8 | example.org lan | rotate";
        for (spec, expected) in [
            (json!({}), cluster),
            (json!({"hostNetwork": true}), host),
            (json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}), cluster),
            (json!({"dnsPolicy": "Default"}), host),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1", "1.1.1.1"],
                    "searches": ["a"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
                "1.1.1.1 | a | ndots:2 edns0",
            ),
            (
                json!({"dnsPolicy": "Default", "dnsConfig": {"options": [{"name": "rotate"}],
                    "nameservers": ["1.1.1.1", "2.2.2.2"]}}),
                "9.9.9.9 8.8.8.8 1.1.1.1 | example.org lan | rotate",
            ),
        ] {
            let mut full = spec.clone();
            full["containers"] = json!([]);
            let config = config(&crate::testing::pod(full), &facts());
            let text = [config.servers, config.searches, config.options].map(|list| list.join(" "));
            assert_eq!(text.join(" | "), expected, "{spec}");
        }
    }
}
