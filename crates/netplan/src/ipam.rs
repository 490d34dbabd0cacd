//! Addresses of one node's pods: who has which, out of the node's share of the pod network.
//!
//! Pure: what is saved and when is the caller's business; [`Saved`] is the form for it. Not here: which share
//! a node gets, which a controller decides.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::limits::POD_ADDRESSES_MAX;

/// No address could be handed out, or what was saved makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// Every address is taken.
    #[error("all addresses of the pod network {0} are taken")]
    Exhausted(IpNet),
    /// There is no room for a gateway and a pod.
    #[error("the pod network {0} is too small")]
    TooSmall(IpNet),
    /// What was saved names an address outside the network.
    #[error("the saved address {address} of {owner} is not one of the pod network {network}")]
    Foreign {
        /// The address.
        address: IpAddr,
        /// Who has it.
        owner: String,
        /// The network.
        network: IpNet,
    },
    /// What was saved gives two addresses to one owner.
    #[error("two saved addresses belong to {0}")]
    Twice(String),
}

/// What an [`Allocator`] has to remember across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The address that was handed out last; the search for the next begins behind it.
    pub last: Option<IpAddr>,
    /// Who has which address.
    pub owners: BTreeMap<IpAddr, String>,
}

/// Hands out the addresses of one network. The first host address is the gateway's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocator {
    network: IpNet,
    first: u128,
    count: u128,
    last: Option<u128>,
    owners: BTreeMap<u128, String>,
    addresses: HashMap<String, u128>,
}

impl Allocator {
    /// An allocator of `network` with nothing taken.
    pub fn new(network: IpNet) -> Result<Self, IpamError> {
        let network = network.trunc();
        let size = 1_u128 << u32::from(network.max_prefix_len() - network.prefix_len()).min(127);
        // The network's own address, the gateway, and in IPv4 the broadcast address are nobody's.
        let reserved = if network.network().is_ipv4() { 3 } else { 2 };
        let count = size.checked_sub(reserved).filter(|count| *count > 0);
        let count = count.ok_or(IpamError::TooSmall(network))?.min(POD_ADDRESSES_MAX as u128);
        let first = number_of(network.network()) + 2;
        let (owners, addresses) = (BTreeMap::new(), HashMap::new());
        Ok(Self { network, first, count, last: None, owners, addresses })
    }

    /// An allocator of `network` that goes on where another stopped.
    pub fn restore(network: IpNet, saved: &Saved) -> Result<Self, IpamError> {
        let mut allocator = Self::new(network)?;
        allocator.last = saved.last.filter(|last| allocator.offset(*last).is_some()).map(number_of);
        for (address, owner) in &saved.owners {
            if allocator.offset(*address).is_none() {
                let (address, owner) = (*address, owner.clone());
                return Err(IpamError::Foreign { address, owner, network: allocator.network });
            }
            if allocator.addresses.contains_key(owner) {
                return Err(IpamError::Twice(owner.clone()));
            }
            allocator.take(number_of(*address), owner);
        }
        Ok(allocator)
    }

    /// What to remember.
    pub fn save(&self) -> Saved {
        let owners = self.owners.iter();
        Saved {
            last: self.last.map(|last| self.address(last)),
            owners: owners.map(|(number, owner)| (self.address(*number), owner.clone())).collect(),
        }
    }

    /// The network that is handed out.
    pub fn network(&self) -> IpNet {
        self.network
    }

    /// The node's own address in the network.
    pub fn gateway(&self) -> IpAddr {
        self.address(self.first - 1)
    }

    /// The address of `owner`: the one it has, or a free one. A released address is the last to be handed
    /// out again, so that nobody takes its new owner for its old one.
    pub fn allocate(&mut self, owner: &str) -> Result<IpAddr, IpamError> {
        if let Some(address) = self.address_of(owner) {
            return Ok(address);
        }
        let start = self.last.map_or(0, |last| last - self.first + 1);
        let free = (0..self.count)
            .map(|step| self.first + (start + step) % self.count)
            .find(|number| !self.owners.contains_key(number))
            .ok_or(IpamError::Exhausted(self.network))?;
        self.take(free, owner);
        self.last = Some(free);
        Ok(self.address(free))
    }

    /// Takes the address of `owner` back.
    pub fn release(&mut self, owner: &str) -> Option<IpAddr> {
        let number = self.addresses.remove(owner)?;
        self.owners.remove(&number);
        Some(self.address(number))
    }

    /// The address of `owner`.
    pub fn address_of(&self, owner: &str) -> Option<IpAddr> {
        self.addresses.get(owner).map(|number| self.address(*number))
    }

    /// Everybody who has an address.
    pub fn owners(&self) -> impl Iterator<Item = &str> {
        self.owners.values().map(String::as_str)
    }

    fn take(&mut self, number: u128, owner: &str) {
        self.owners.insert(number, owner.to_owned());
        self.addresses.insert(owner.to_owned(), number);
    }

    /// The place of `address` among those that are handed out.
    fn offset(&self, address: IpAddr) -> Option<u128> {
        let offset = number_of(address).checked_sub(self.first)?;
        let same_family = address.is_ipv4() == self.network.network().is_ipv4();
        (same_family && offset < self.count).then_some(offset)
    }

    fn address(&self, number: u128) -> IpAddr {
        if self.network.network().is_ipv4() {
            IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into())
        } else {
            IpAddr::V6(number.into())
        }
    }
}

fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allocator(network: &str) -> Allocator {
        Allocator::new(network.parse().unwrap()).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_pod_follows_the_gateway() {
        let mut pods = allocator("10.42.3.77/24");
        assert_eq!(pods.gateway(), ip("10.42.3.1"));
        assert_eq!(pods.allocate("a").unwrap(), ip("10.42.3.2"));
        assert_eq!(pods.allocate("b").unwrap(), ip("10.42.3.3"));
        assert_eq!(pods.allocate("a").unwrap(), ip("10.42.3.2"));
        let mut six = allocator("fd42:0:0:3::/64");
        assert_eq!(
            (six.gateway(), six.allocate("a").unwrap()),
            (ip("fd42:0:0:3::1"), ip("fd42:0:0:3::2"))
        );
    }

    #[test]
    fn a_released_address_is_the_last_to_return() {
        let mut pods = allocator("10.42.0.0/29");
        let addresses: Vec<IpAddr> =
            (0..5).map(|n| pods.allocate(&n.to_string()).unwrap()).collect();
        assert_eq!(addresses.last(), Some(&ip("10.42.0.6")));
        assert_eq!(pods.allocate("5"), Err(IpamError::Exhausted("10.42.0.0/29".parse().unwrap())));
        assert_eq!(pods.release("1"), Some(ip("10.42.0.3")));
        assert_eq!(pods.release("1"), None);
        assert_eq!(pods.release("0"), Some(ip("10.42.0.2")));
        assert_eq!(pods.allocate("6").unwrap(), ip("10.42.0.2"));
    }

    #[test]
    fn networks_without_room_are_refused() {
        for network in ["10.0.0.0/31", "10.0.0.1/32", "10.0.0.0/30", "fd00::1/128", "fd00::/127"] {
            let fits = Allocator::new(network.parse().unwrap()).is_ok();
            assert_eq!(fits, network == "10.0.0.0/30", "{network}");
        }
        assert!(Allocator::new("::/0".parse().unwrap()).is_ok());
    }

    #[test]
    fn nonsense_is_not_restored() {
        let network: IpNet = "10.42.0.0/24".parse().unwrap();
        let saved = |pairs: &[(&str, &str)]| Saved {
            last: None,
            owners: pairs
                .iter()
                .map(|(address, owner)| (ip(address), (*owner).to_owned()))
                .collect(),
        };
        for outside in ["10.42.0.1", "10.42.0.255", "10.42.1.2", "fd00::2"] {
            let restored = Allocator::restore(network, &saved(&[(outside, "a")]));
            assert!(matches!(restored, Err(IpamError::Foreign { .. })), "{outside}");
        }
        let twice = saved(&[("10.42.0.2", "a"), ("10.42.0.3", "a")]);
        assert_eq!(Allocator::restore(network, &twice), Err(IpamError::Twice("a".into())));
    }

    proptest! {
        /// Whatever happens, nobody shares an address, and saving loses nothing.
        #[test]
        fn addresses_are_unique_and_survive(
            steps in proptest::collection::vec((any::<bool>(), 0_u8..12), 0..120),
        ) {
            let mut pods = allocator("10.42.0.0/29");
            let mut model: BTreeMap<String, IpAddr> = BTreeMap::new();
            for (allocate, owner) in steps {
                let owner = owner.to_string();
                if allocate {
                    match pods.allocate(&owner) {
                        Ok(address) => {
                            let before = model.insert(owner, address);
                            prop_assert!(before.is_none_or(|before| before == address));
                        }
                        Err(_) => prop_assert_eq!(model.len(), 5),
                    }
                } else {
                    prop_assert_eq!(pods.release(&owner), model.remove(&owner));
                }
                let unique: std::collections::BTreeSet<_> = model.values().collect();
                prop_assert_eq!(unique.len(), model.len());
                let json = serde_json::to_string(&pods.save()).unwrap();
                let saved: Saved = serde_json::from_str(&json).unwrap();
                prop_assert_eq!(Allocator::restore(pods.network(), &saved).unwrap(), pods.clone());
            }
        }
    }
}
