//! What the server does so that agents can join: the token, the roles of those that join, and the settings
//! that every node must know.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use apiserver::{Server, User};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use crate::agent::token::JoinToken;
use crate::config::ServerConfig;
use crate::pki::{Pki, read, write_private};

/// Where in the data folder the token for agents is.
pub(crate) const TOKEN_FILE: &str = "join-token";
/// Where the secret is kept that the server made itself.
const SECRET_FILE: &str = "pki/join-secret";
/// The namespace of [`FACTS`].
pub(crate) const NAMESPACE: &str = "kube-system";
/// The ConfigMap with the settings that every node must know.
pub(crate) const FACTS: &str = "keelson-cluster";
/// The group of those that hold the token.
const BOOTSTRAPPERS: &str = "system:bootstrappers";
const NODES: &str = "system:nodes";

/// The secret that agents join with: the user's, or one of the server's own making. Writes the whole token
/// for agents to the data folder.
///
/// # Errors
/// The disk refuses.
pub(crate) fn secret(config: &ServerConfig, pki: &Pki) -> anyhow::Result<String> {
    let secret = match &config.token {
        Some(text) => JoinToken::parse(text).context("token")?.secret,
        None => own_secret(&config.data_dir.join(SECRET_FILE))?,
    };
    let token = JoinToken { digest: Some(pki.server.digest()), secret: secret.clone() };
    write_private(&config.data_dir.join(TOKEN_FILE), &format!("{}\n", token.text()))?;
    Ok(secret)
}

fn own_secret(path: &Path) -> anyhow::Result<String> {
    if let Some(secret) = read(path)? {
        return Ok(secret.trim().to_owned());
    }
    let secret = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    write_private(path, &secret)?;
    Ok(secret)
}

/// Who the secret stands for.
pub(crate) fn bootstrap_user() -> User {
    User {
        name: "system:bootstrap:agent".to_owned(),
        groups: vec![BOOTSTRAPPERS.to_owned(), "system:authenticated".to_owned()],
        ..User::default()
    }
}

/// The settings that every node of a cluster must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterFacts {
    pub(crate) cluster_cidr: IpNet,
    pub(crate) service_cidr: IpNet,
    pub(crate) cluster_dns: IpAddr,
    pub(crate) cluster_domain: String,
    /// Checks the certificate of the API server when it calls kubelets.
    pub(crate) client_ca_pem: String,
}

impl ClusterFacts {
    /// Those of a server's own cluster.
    pub(crate) fn of_server(config: &ServerConfig, pki: &Pki) -> Self {
        Self {
            cluster_cidr: config.cluster_cidr,
            service_cidr: config.service_cidr,
            cluster_dns: config.cluster_dns,
            cluster_domain: config.cluster_domain.clone(),
            client_ca_pem: pki.client.certificate_pem.clone(),
        }
    }

    /// Reads what [`publish`] wrote.
    ///
    /// # Errors
    /// A setting is missing or malformed.
    pub(crate) fn read(map: &ConfigMap) -> anyhow::Result<Self> {
        let empty = BTreeMap::new();
        let data = map.data.as_ref().unwrap_or(&empty);
        let text = |key: &str| {
            data.get(key).with_context(|| format!("ConfigMap {NAMESPACE}/{FACTS} has no {key}"))
        };
        Ok(Self {
            cluster_cidr: text("cluster-cidr")?.parse().context("cluster-cidr")?,
            service_cidr: text("service-cidr")?.parse().context("service-cidr")?,
            cluster_dns: text("cluster-dns")?.parse().context("cluster-dns")?,
            cluster_domain: text("cluster-domain")?.clone(),
            client_ca_pem: text("client-ca.crt")?.clone(),
        })
    }

    fn data(&self) -> Value {
        json!({
            "cluster-cidr": self.cluster_cidr.to_string(),
            "service-cidr": self.service_cidr.to_string(),
            "cluster-dns": self.cluster_dns.to_string(),
            "cluster-domain": self.cluster_domain,
            "client-ca.crt": self.client_ca_pem,
        })
    }
}

/// Publishes what agents need and gives them the rights to join.
///
/// # Errors
/// The API server refuses.
pub(crate) async fn publish(server: &Arc<Server>, facts: &ClusterFacts) -> anyhow::Result<()> {
    for (plural, object) in objects(facts) {
        let name = object["metadata"]["name"].to_string();
        server.ensure(plural, object).await.with_context(|| format!("make {plural} {name}"))?;
    }
    Ok(())
}

fn objects(facts: &ClusterFacts) -> Vec<(&'static str, Value)> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    let version = format!("{RBAC}/v1");
    let bound =
        |kind: &str, namespace: Option<&str>, name: &str, role: (&str, &str), group: &str| {
            json!({
                "apiVersion": version, "kind": kind,
                "metadata": {"name": name, "namespace": namespace},
                "roleRef": {"apiGroup": RBAC, "kind": role.0, "name": role.1},
                "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": group}],
            })
        };
    let everywhere = |name: &str, role: &str, group: &str| {
        (
            "clusterrolebindings",
            bound("ClusterRoleBinding", None, name, ("ClusterRole", role), group),
        )
    };
    let requests = "system:certificates.k8s.io:certificatesigningrequests";
    let facts_role = "keelson:cluster-facts";
    let certificates = "keelson:node-certificates";
    vec![
        (
            "configmaps",
            json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": FACTS, "namespace": NAMESPACE}, "data": facts.data()}),
        ),
        (
            "roles",
            json!({"apiVersion": version, "kind": "Role",
                "metadata": {"name": facts_role, "namespace": NAMESPACE},
                "rules": [{"apiGroups": [""], "resources": ["configmaps"],
                    "resourceNames": [FACTS], "verbs": ["get"]}]}),
        ),
        (
            "rolebindings",
            bound("RoleBinding", Some(NAMESPACE), facts_role, ("Role", facts_role), NODES),
        ),
        (
            "clusterroles",
            json!({"apiVersion": version, "kind": "ClusterRole",
                "metadata": {"name": certificates},
                "rules": [{"apiGroups": ["certificates.k8s.io"], "verbs": ["create"],
                    "resources": ["certificatesigningrequests/selfnodeserver",
                        "certificatesigningrequests/nodecomponent"]}]}),
        ),
        everywhere(certificates, certificates, NODES),
        everywhere("keelson:node-bootstrapper", "system:node-bootstrapper", BOOTSTRAPPERS),
        everywhere("keelson:approve-bootstrap", &format!("{requests}:nodeclient"), BOOTSTRAPPERS),
        everywhere("keelson:approve-renewal", &format!("{requests}:selfnodeclient"), NODES),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_can_be_read() {
        let facts = ClusterFacts {
            cluster_cidr: "10.42.0.0/16".parse().unwrap(),
            service_cidr: "10.43.0.0/16".parse().unwrap(),
            cluster_dns: "10.43.0.10".parse().unwrap(),
            cluster_domain: "cluster.local".into(),
            client_ca_pem: "pem".into(),
        };
        let all = objects(&facts);
        let map: ConfigMap = serde_json::from_value(all[0].1.clone()).unwrap();
        assert_eq!(ClusterFacts::read(&map).unwrap(), facts);
        assert!(ClusterFacts::read(&ConfigMap::default()).is_err());
    }
}
