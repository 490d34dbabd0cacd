//! What is given out, as keys in the store, and what one request claims of it.
//!
//! A key exists as long as a Service has the address or port. It is made and removed in the Service's own
//! transaction; [`repair`] makes what older clusters lack and removes what nobody has.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::meta;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use store::{
    Compare, KeyRange, KeyValue, Operation, RangeRequest, Revision, Store, StoreError, Transaction,
};

use super::{Holder, Used, from_number, held};
use crate::cache::{Caches, NOTES};
use crate::limits::REPAIR_BATCH;
use crate::server::Config;

/// Something that may exist only once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Taken {
    Address(u128),
    Port(u16, String),
}

impl Taken {
    /// Its key in the store. Addresses of both families are written as IPv6 addresses are.
    fn key(&self) -> Bytes {
        match self {
            Self::Address(number) => {
                let address = match u32::try_from(*number) {
                    Ok(v4) => IpAddr::V4(v4.into()),
                    Err(_) => IpAddr::V6((*number).into()),
                };
                format!("{NOTES}service-addresses/{address}").into()
            }
            Self::Port(port, protocol) => format!("{NOTES}node-ports/{port}-{protocol}").into(),
        }
    }
}

/// What one request has taken; given back unless settled well.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    used: Option<Arc<Mutex<Used>>>,
    owner: String,
    pub(super) taken: Vec<Taken>,
    pub(super) freed: Vec<Taken>,
    /// What somebody else has, as the store says: the claimed thing and its holder.
    refused: Mutex<Vec<(Taken, String)>>,
}

impl Holder {
    pub(super) fn claiming(service: &str) -> Self {
        Self { service: service.to_owned(), is_claim: true }
    }
}

impl Used {
    pub(super) fn insert(&mut self, taken: &Taken, holder: Holder) {
        match taken {
            Taken::Address(address) => self.addresses.insert(*address, holder),
            Taken::Port(port, protocol) => self.ports.insert((*port, protocol.clone()), holder),
        };
    }

    pub(super) fn give_back(&mut self, taken: &Taken) {
        match taken {
            Taken::Address(address) => self.addresses.remove(address),
            Taken::Port(port, protocol) => self.ports.remove(&(*port, protocol.clone())),
        };
    }
}

impl Claims {
    /// Claims for a Service, none yet.
    pub(super) fn of(used: &Arc<Mutex<Used>>, service: &Value) -> Self {
        let owner = format!("{}/{}", meta::namespace(service), meta::name(service));
        Self { used: Some(Arc::clone(used)), owner, ..Self::default() }
    }

    /// Claims that give back all that a removed Service had.
    pub(crate) fn release(service: &Value) -> Self {
        Self { freed: held(service), ..Self::default() }
    }

    /// Adds what the store must check and write together with the Service. [`Claims::judge`] understands
    /// the answer when these comparisons are the last ones.
    pub(crate) fn extend(&self, transaction: &mut Transaction) {
        let taken: HashSet<&Taken> = self.taken.iter().collect();
        for taken in &taken {
            let (key, value) = (taken.key(), Bytes::from(self.owner.clone()));
            transaction.compares.push(Compare { key: key.clone(), mod_revision: Revision(0) });
            transaction.operations.push(Operation::Put { key, value, lease: None });
        }
        let freed: HashSet<&Taken> = self.freed.iter().collect();
        let freed = freed.difference(&taken).map(|freed| Operation::Delete { key: freed.key() });
        transaction.operations.extend(freed);
    }

    /// Notes which claims a conflict says somebody else has.
    pub(crate) fn judge(&self, present: &[Option<KeyValue>]) {
        let holders: HashMap<&Bytes, &Bytes> =
            present.iter().flatten().map(|item| (&item.key, &item.value)).collect();
        let refused = self.taken.iter().filter_map(|taken| {
            let holder = holders.get(&taken.key())?;
            Some((taken.clone(), String::from_utf8_lossy(holder).into_owned()))
        });
        *self.refused.lock() = refused.collect();
    }

    /// Whether somebody else has what was claimed, so that other claims may do better.
    pub(crate) fn are_refused(&self) -> bool {
        !self.refused.lock().is_empty()
    }

    /// Ends the claim: keeps what was taken when the write `happened`, else what was freed.
    pub(crate) fn settle(self, happened: bool) {
        let Some(used) = self.used else { return };
        let mut used = used.lock();
        for taken in if happened { &self.freed } else { &self.taken } {
            used.give_back(taken);
        }
        if happened {
            for taken in &self.taken {
                let service = self.owner.clone();
                used.insert(taken, Holder { service, is_claim: false });
            }
        }
        for (taken, service) in self.refused.into_inner() {
            used.insert(&taken, Holder { service, is_claim: false });
        }
    }
}

/// Makes keys for everything that Services have, and removes those that no Service has.
///
/// # Errors
/// The store failed.
pub(crate) async fn repair(
    config: &Config,
    caches: &Caches,
    store: &dyn Store,
) -> Result<(), StoreError> {
    // As of the moment at which the Services were read, so that nothing falls between.
    let revision = Revision(caches.loaded_at());
    let range = KeyRange::prefix(NOTES);
    let found = store.range(RangeRequest { range, revision, limit: 0 }).await?;
    let mut surplus: HashMap<Bytes, Revision> = found
        .items
        .into_iter()
        .filter(|item| {
            [&b"service-addresses/"[..], b"node-ports/"]
                .iter()
                .any(|kind| item.key[NOTES.len()..].starts_with(kind))
        })
        .map(|item| (item.key, item.mod_revision))
        .collect();
    let mut missing = Vec::new();
    for service in caches.place("", "services").list("", |_| true) {
        let owner = format!("{}/{}", service.namespace, service.name);
        for taken in held(&service.to_value()) {
            if let Taken::Address(number) = taken
                && !config.service_cidr.contains(&from_number(&config.service_cidr, number))
            {
                continue;
            }
            if surplus.remove(&taken.key()).is_none() {
                missing.push((taken.key(), Bytes::from(owner.clone())));
            }
        }
    }
    let put = |(key, value): (Bytes, Bytes)| {
        let absent = Compare { key: key.clone(), mod_revision: Revision(0) };
        (absent, Operation::Put { key, value, lease: None })
    };
    let delete = |(key, mod_revision): (Bytes, Revision)| {
        (Compare { key: key.clone(), mod_revision }, Operation::Delete { key })
    };
    let steps: Vec<_> =
        missing.into_iter().map(put).chain(surplus.into_iter().map(delete)).collect();
    for steps in steps.chunks(REPAIR_BATCH) {
        let (compares, operations) = steps.iter().cloned().unzip();
        // Another server that repairs the same is as good.
        store.transact(Transaction { compares, operations }).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(text: &str) -> Bytes {
        Bytes::from(text.to_owned())
    }

    #[test]
    fn a_claim_is_checked_and_written_with_its_service() {
        let used = Arc::<Mutex<Used>>::default();
        let service = json!({"metadata": {"namespace": "n", "name": "s"}});
        let mut claims = Claims::of(&used, &service);
        claims.taken.push(Taken::Address(0x0a2b_0001));
        claims.freed.push(Taken::Port(30000, "TCP".to_owned()));
        let mut transaction = Transaction::default();
        claims.extend(&mut transaction);
        let address = key("/registry/.keelson/service-addresses/10.43.0.1");
        assert_eq!(
            transaction.compares,
            [Compare { key: address.clone(), mod_revision: Revision(0) }]
        );
        let port = key("/registry/.keelson/node-ports/30000-TCP");
        let put = Operation::Put { key: address.clone(), value: key("n/s"), lease: None };
        assert_eq!(transaction.operations, [put, Operation::Delete { key: port }]);
        let holder = KeyValue {
            key: address,
            value: key("m/t"),
            create_revision: Revision(1),
            mod_revision: Revision(1),
            version: 1,
            lease: None,
        };
        claims.judge(&[None, Some(holder)]);
        assert!(claims.are_refused());
        claims.settle(false);
        assert_eq!(used.lock().addresses[&0x0a2b_0001].service, "m/t");
    }
}
