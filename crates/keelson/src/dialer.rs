//! How the API server reaches kubelets: that of its own process directly, others over TLS.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use apiserver::dial::{DialResult, NodeDialer, NodeStream};
use client::Informer;
use k8s_openapi::api::core::v1::Node;
use kubelet::Kubelet;
use parking_lot::RwLock;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Bytes that may wait between the API server and the kubelet of the same process.
const STREAM_BYTES: usize = 64 * 1024;
/// The port of a kubelet that tells none.
const KUBELET_PORT: u16 = 10250;

/// See the module's text; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Dialer {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    local: RwLock<Option<(String, Kubelet)>>,
    others: RwLock<Option<Others>>,
}

#[derive(Clone)]
struct Others {
    nodes: Informer<Node>,
    tls: TlsConnector,
}

impl Dialer {
    /// Tells of the kubelet of this process.
    pub(crate) fn set_local(&self, node: String, kubelet: Kubelet) {
        *self.inner.local.write() = Some((node, kubelet));
    }

    /// Tells where other nodes are, and what to show them.
    pub(crate) fn set_others(&self, nodes: Informer<Node>, tls: Arc<rustls::ClientConfig>) {
        *self.inner.others.write() = Some(Others { nodes, tls: TlsConnector::from(tls) });
    }
}

impl NodeDialer for Dialer {
    fn dial<'a>(&'a self, node: &'a str) -> Pin<Box<dyn Future<Output = DialResult> + Send + 'a>> {
        let local = self.inner.local.read().clone().filter(|(name, _)| name == node);
        let others = self.inner.others.read().clone();
        Box::pin(async move {
            if let Some((_, kubelet)) = local {
                let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
                // Ends when either side closes its half.
                tokio::spawn(async move { kubelet.serve_connection(theirs).await });
                let stream: Box<dyn NodeStream> = Box::new(ours);
                return Ok(stream);
            }
            let others = others.ok_or_else(|| unknown(node))?;
            let found = others.nodes.get("", node).ok_or_else(|| unknown(node))?;
            let address = address(&found)
                .ok_or_else(|| std::io::Error::other(format!("node {node} has no address")))?;
            let name = ServerName::try_from(node.to_owned()).map_err(std::io::Error::other)?;
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            // The certificate must be that node's, whoever has its address.
            let stream: Box<dyn NodeStream> = Box::new(others.tls.connect(name, stream).await?);
            Ok(stream)
        })
    }
}

fn unknown(node: &str) -> std::io::Error {
    std::io::Error::other(format!("node {node} is not connected"))
}

/// Where a node's kubelet listens.
fn address(node: &Node) -> Option<SocketAddr> {
    let status = node.status.as_ref()?;
    let endpoints = status.daemon_endpoints.as_ref();
    let port = endpoints.and_then(|it| it.kubelet_endpoint.as_ref()).map(|it| it.port);
    // Clients that write a status whole, with what they do not know left at zero, make it 0.
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let port = port.unwrap_or(KUBELET_PORT);
    let addresses = status.addresses.as_deref().unwrap_or_default();
    let of = |kind: &str| {
        let found = addresses.iter().find(|address| address.type_ == kind)?;
        found.address.parse::<IpAddr>().ok()
    };
    Some(SocketAddr::new(of("InternalIP").or_else(|| of("ExternalIP"))?, port))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kubelets_are_where_their_node_says() {
        let node = |status| serde_json::from_value(json!({"metadata": {}, "status": status}));
        let cases = [
            (json!({}), None),
            (
                json!({"addresses": [{"type": "Hostname", "address": "a"},
                    {"type": "InternalIP", "address": "10.0.0.1"}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": 1234}}}),
                Some("10.0.0.1:1234"),
            ),
            (
                json!({"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}}),
                Some("10.0.0.1:10250"),
            ),
            (
                json!({"addresses": [{"type": "ExternalIP", "address": "fd00::1"}]}),
                Some("[fd00::1]:10250"),
            ),
        ];
        for (status, wanted) in cases {
            let node: Node = node(status).unwrap();
            let shown = address(&node).map(|address| address.to_string());
            assert_eq!(shown.as_deref(), wanted);
        }
    }
}
