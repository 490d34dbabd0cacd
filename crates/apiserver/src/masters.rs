//! Where the servers on one store are: what the Service `kubernetes` leads to.
//!
//! Each server keeps a note with its address in the store, on a lease that ends soon after the server
//! does. All publish the same list, so it does not matter who is first. On a store of its own a server
//! keeps its lease alive in memory; an idle cluster writes nothing for it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use store::{KeyRange, LeaseId, Operation, RangeRequest, Revision, StoreError, Transaction};

use crate::cache::NOTES;
use crate::limits::{MASTER_LEASE_SECONDS, MASTER_PERIOD};
use crate::server::Server;

/// What is published: `subsets` of the Endpoints, `endpoints` and `ports` of the EndpointSlice.
#[derive(Debug, PartialEq)]
struct Published {
    subsets: Value,
    endpoints: Value,
    ports: Value,
}

impl Published {
    /// The list for these servers; `own` where the store knows none.
    fn of(masters: &BTreeSet<SocketAddr>, own: SocketAddr) -> Self {
        let port = masters.first().unwrap_or(&own).port();
        let with = |port: u16| masters.iter().filter(move |master| master.port() == port);
        let ports = |port: u16| json!([{"name": "https", "port": port, "protocol": "TCP"}]);
        let all: BTreeSet<u16> = masters.iter().map(SocketAddr::port).collect();
        let subsets = all.into_iter().map(|port| {
            let addresses = with(port).map(|master| json!({"ip": master.ip().to_string()}));
            json!({"addresses": addresses.collect::<Vec<_>>(), "ports": ports(port)})
        });
        let endpoints = with(port).map(
            |master| json!({"addresses": [master.ip().to_string()], "conditions": {"ready": true}}),
        );
        Self { subsets: subsets.collect(), endpoints: endpoints.collect(), ports: ports(port) }
    }
}

impl Server {
    /// Publishes where the servers are, now and for as long as this one runs.
    pub(crate) async fn start_masters(self: &Arc<Self>) {
        let mut keeper = Keeper { server: Arc::clone(self), lease: None, published: None };
        keeper.round().await;
        self.scope.spawn_until_cancelled("masters", async move {
            loop {
                keeper.server.clock.sleep(MASTER_PERIOD).await;
                keeper.round().await;
            }
        });
    }
}

struct Keeper {
    server: Arc<Server>,
    lease: Option<LeaseId>,
    published: Option<Published>,
}

impl Keeper {
    async fn round(&mut self) {
        if let Err(error) = self.announce().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot announce this server");
        }
        match self.masters().await {
            Ok(masters) => self.publish(&masters).await,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "cannot learn where the servers are");
            }
        }
    }

    async fn announce(&mut self) -> Result<(), StoreError> {
        let store = &self.server.store;
        if let Some(lease) = self.lease {
            match store.keep_alive(lease).await {
                Ok(_) => return Ok(()),
                Err(StoreError::LeaseNotFound(_)) => self.lease = None,
                Err(error) => return Err(error),
            }
        }
        let lease = store.grant_lease(MASTER_LEASE_SECONDS).await?;
        let key = format!("{NOTES}masters/{}", self.server.config.advertise).into();
        let put = Operation::Put { key, value: "".into(), lease: Some(lease) };
        store.transact(Transaction { compares: Vec::new(), operations: vec![put] }).await?;
        self.lease = Some(lease);
        Ok(())
    }

    async fn masters(&self) -> Result<BTreeSet<SocketAddr>, StoreError> {
        let prefix = format!("{NOTES}masters/");
        let range = KeyRange::prefix(prefix.clone());
        let request = RangeRequest { range, revision: Revision(0), limit: 0 };
        let found = self.server.store.range(request).await?;
        let address = |key: &[u8]| std::str::from_utf8(key.get(prefix.len()..)?).ok()?.parse().ok();
        Ok(found.items.iter().filter_map(|item| address(&item.key)).collect())
    }

    async fn publish(&mut self, masters: &BTreeSet<SocketAddr>) {
        let published = Published::of(masters, self.server.config.advertise);
        if self.published.as_ref() == Some(&published) || masters.is_empty() {
            return;
        }
        let family = if self.server.config.advertise.is_ipv4() { "IPv4" } else { "IPv6" };
        let endpoints = json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": "kubernetes", "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": published.subsets,
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "kubernetes", "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": family,
            "endpoints": published.endpoints,
            "ports": published.ports,
        });
        for (plural, body, fields) in [
            ("endpoints", endpoints, &["subsets"][..]),
            ("endpointslices", slice, &["endpoints", "ports"]),
        ] {
            let ensured = self.server.ensure(plural, body.clone()).await;
            let renewed = match ensured {
                Ok(()) => self.server.renew(plural, &body, fields).await,
                refused => refused,
            };
            if let Err(status) = renewed {
                tracing::error!(plural, error = %status.message, "cannot publish the API servers");
                if status.reason != "Invalid" {
                    return;
                }
                // It would be refused again, until the list is another one.
            }
        }
        self.published = Some(published);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_listed_by_port() {
        let own: SocketAddr = "10.0.0.1:6443".parse().unwrap();
        let masters: BTreeSet<SocketAddr> = ["10.0.0.2:6443", "10.0.0.1:6443", "10.0.0.3:7443"]
            .map(|at| at.parse().unwrap())
            .into();
        let published = Published::of(&masters, own);
        let shown = published.subsets.as_array().unwrap();
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[0]["addresses"], json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]));
        assert_eq!(shown[1]["ports"][0]["port"], json!(7443));
        let addresses: Vec<_> = published
            .endpoints
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["addresses"][0].clone())
            .collect();
        assert_eq!(addresses, [json!("10.0.0.1"), json!("10.0.0.2")]);
        assert_eq!(published.ports[0]["port"], json!(6443));
    }
}
