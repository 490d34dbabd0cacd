//! What is measured: a store of one of the two kinds, started for one figure.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use store::Store;
use store::embedded::{EmbeddedOptions, EmbeddedStore};
use store::etcd::EtcdStore;

use crate::etcd::Member;

/// Connections to etcd: one for each store, which clients share.
const CONNECTIONS: usize = 8;

/// Which store.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Embedded,
    Etcd(PathBuf),
}

/// The kinds to measure.
pub(crate) fn kinds(etcd: Option<&Path>) -> Vec<Kind> {
    [Kind::Embedded].into_iter().chain(etcd.map(|program| Kind::Etcd(program.to_owned()))).collect()
}

/// See the module's documentation.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) stores: Vec<Arc<dyn Store>>,
    embedded: Option<EmbeddedStore>,
    etcd: Option<(Member, Vec<EtcdStore>)>,
}

impl Subject {
    /// Starts a store that keeps its data in `place`.
    pub(crate) async fn start(kind: &Kind, place: &Path) -> Result<Self> {
        match kind {
            Kind::Embedded => {
                let store = EmbeddedStore::open(EmbeddedOptions::new(place)).await?;
                let stores: Vec<Arc<dyn Store>> = vec![Arc::new(store.clone())];
                Ok(Self { name: "embedded", stores, embedded: Some(store), etcd: None })
            }
            Kind::Etcd(program) => {
                let member = Member::start(program, place)?;
                let mut opened = Vec::new();
                for _ in 0..CONNECTIONS {
                    opened.push(member.store().await?);
                }
                let stores =
                    opened.iter().map(|store| Arc::new(store.clone()) as Arc<dyn Store>).collect();
                Ok(Self { name: "etcd", stores, embedded: None, etcd: Some((member, opened)) })
            }
        }
    }

    /// The store for client `number`.
    pub(crate) fn store(&self, number: usize) -> Arc<dyn Store> {
        Arc::clone(&self.stores[number % self.stores.len()])
    }

    /// The process that the data is in.
    pub(crate) fn process(&self) -> u32 {
        self.etcd.as_ref().map_or_else(std::process::id, |(member, _)| member.id())
    }

    /// Ends the store.
    pub(crate) async fn end(self) -> Result<()> {
        if let Some(store) = self.embedded {
            store.close().await;
        }
        if let Some((member, stores)) = self.etcd {
            stores.iter().for_each(EtcdStore::close);
            member.end()?;
        }
        Ok(())
    }
}
