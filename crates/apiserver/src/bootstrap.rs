//! What every cluster has from its first moment on, made at start where it is missing.

use std::net::IpAddr;
use std::sync::Arc;

use admission::User;
use api::status::Status;
use serde_json::{Value, json};

use crate::call::{Call, WriteOptions};
use crate::request::{Query, RequestInfo};
use crate::server::Server;

/// The namespaces that cannot be deleted, and `default`.
const NAMESPACES: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];

impl Server {
    /// A call of the server's own on one object.
    pub fn own_call(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Call, Status> {
        let resource = self.registry.table().find(group, version, plural).cloned();
        let resource = resource.ok_or_else(Status::no_such_path)?;
        let info = RequestInfo {
            is_resource: true,
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: namespace.to_owned(),
            resource: plural.to_owned(),
            name: name.to_owned(),
            ..RequestInfo::default()
        };
        Ok(Call {
            info,
            query: Query::default(),
            headers: http::HeaderMap::new(),
            user: User {
                name: "system:apiserver".to_owned(),
                groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
                ..User::default()
            },
            resource,
            warnings: parking_lot::Mutex::default(),
            record: None,
        })
    }

    /// Creates an object unless it exists; `body` has kind and version.
    pub async fn ensure(&self, plural: &str, body: Value) -> Result<(), Status> {
        let api_version = body["apiVersion"].as_str().unwrap_or("v1").to_owned();
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let (namespace, name) = (api::meta::namespace(&body), api::meta::name(&body));
        let call = self.own_call(group, version, plural, namespace, name)?;
        let namespace = if call.resource.is_namespaced() { namespace } else { "" };
        if self.cache_of(&call.resource).get(namespace, name).is_some() {
            return Ok(());
        }
        let options =
            WriteOptions { manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
        match self.create(&call, body, &options).await {
            Err(status) if status.reason != "AlreadyExists" => Err(status),
            _ => Ok(()),
        }
    }

    pub(crate) async fn bootstrap(self: &Arc<Self>) {
        self.start_custom_resources().await;
        self.start_policy_status();
        for name in NAMESPACES {
            self.ensure_logged(
                "namespaces",
                json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}),
            )
            .await;
        }
        self.bootstrap_policy().await;
        for (name, value, description) in [
            (
                "system-cluster-critical",
                2_000_000_000,
                "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
            ),
            (
                "system-node-critical",
                2_000_001_000,
                "Used for system critical pods that must not be moved from their current node.",
            ),
        ] {
            self.ensure_logged(
                "priorityclasses",
                json!({
                    "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                    "metadata": {"name": name}, "value": value, "description": description,
                }),
            )
            .await;
        }
        self.publish_self().await;
        self.start_masters().await;
        self.start_aggregation();
        self.start_fairness();
    }

    async fn ensure_logged(&self, plural: &str, body: Value) {
        let name = api::meta::name(&body).to_owned();
        if let Err(status) = self.ensure(plural, body).await {
            tracing::error!(plural, name, error = %status.message, "cannot make a bootstrap object");
        }
    }

    /// The Service `kubernetes`; where it leads is told in `masters.rs`.
    async fn publish_self(&self) {
        let address = first_address(&self.config.service_cidr);
        self.ensure_logged(
            "services",
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "kubernetes", "namespace": "default",
                    "labels": {"component": "apiserver", "provider": "kubernetes"}},
                "spec": {"clusterIP": address.to_string(), "type": "ClusterIP",
                    "ports": [{"name": "https", "port": 443, "protocol": "TCP",
                        "targetPort": self.config.advertise.port()}]},
            }),
        )
        .await;
    }

    /// Sets fields of an object that an earlier run, at another address, may have left.
    pub(crate) async fn renew(
        &self,
        plural: &str,
        body: &Value,
        fields: &[&str],
    ) -> Result<(), Status> {
        let api_version = body["apiVersion"].as_str().unwrap_or("v1").to_owned();
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let (namespace, name) = (api::meta::namespace(body), api::meta::name(body));
        let call = self.own_call(group, version, plural, namespace, name)?;
        let options =
            WriteOptions { manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
        let change = |old: &Value| {
            let mut new = old.clone();
            for field in fields {
                new[*field] = body[*field].clone();
            }
            Ok(new)
        };
        self.update(&call, crate::write::Part::Main, &options, change).await.map(|_| ())
    }
}

/// The first address of the service range: always the API server's.
pub fn first_address(range: &ipnet::IpNet) -> IpAddr {
    match range.network() {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) + 1).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) + 1).into()),
    }
}
