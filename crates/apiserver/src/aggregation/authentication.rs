//! What other servers need to know to check who asks: the ConfigMap
//! `extension-apiserver-authentication` in `kube-system`.

use std::sync::Arc;

use serde_json::json;

use crate::authenticate::headers;
use crate::server::Server;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

impl Server {
    /// Makes the ConfigMap, or brings an older one up to date.
    pub(super) async fn publish_authentication(self: &Arc<Self>) {
        let mut data = json!({"client-ca-file": self.config.client_ca_pem});
        if let Some(front_proxy) = &self.config.front_proxy {
            data["requestheader-client-ca-file"] = front_proxy.ca_pem.as_str().into();
            let lists = [
                ("allowed-names", json!([front_proxy.name])),
                ("username-headers", json!([headers::USER])),
                ("uid-headers", json!([headers::UID])),
                ("group-headers", json!([headers::GROUP])),
                ("extra-headers-prefix", json!([headers::EXTRA])),
            ];
            for (name, list) in lists {
                data[format!("requestheader-{name}")] = list.to_string().into();
            }
        }
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data});
        let made = self.ensure("configmaps", body.clone()).await;
        let renewed = match made {
            Ok(()) => self.renew("configmaps", &body, &["data"]).await,
            Err(status) => Err(status),
        };
        if let Err(status) = renewed {
            tracing::error!(name = NAME, error = %status.message, "cannot publish how clients are checked");
        }
    }
}
