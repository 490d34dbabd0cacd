//! Who is connected and with which addresses, on disk, so that a restart changes nobody's address.
//!
//! Written before a pod is connected and after it is disconnected: an address is never handed out twice,
//! whenever the program dies. Not flushed to the platter: when the machine dies, so do its pods.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use netplan::ipam::{Allocator, Saved};
use serde::{Deserialize, Serialize};

use crate::error::PodNetworkError;

/// A connected sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// `namespace/name` of the pod.
    pub(crate) pod: String,
    /// Its addresses, the primary one first.
    pub(crate) addresses: Vec<IpAddr>,
    /// The near end of its link.
    pub(crate) link: String,
    /// Ports of the host that lead to it.
    pub(crate) ports: Vec<HostPort>,
}

/// A port of the host that leads to a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostPort {
    /// The transport protocol's number.
    pub(crate) protocol: u8,
    /// The host's address; all when there is none.
    pub(crate) address: Option<IpAddr>,
    /// The host's port.
    pub(crate) port: u16,
    /// The pod's port.
    pub(crate) container_port: u16,
}

/// The form on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    version: u32,
    /// By network.
    addresses: BTreeMap<IpNet, Saved>,
    /// By sandbox.
    attachments: BTreeMap<String, Attachment>,
}

const VERSION: u32 = 1;

/// Who is connected, and what addresses are left.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) allocators: Vec<Allocator>,
    pub(crate) attachments: BTreeMap<String, Attachment>,
    saved: BTreeMap<IpNet, Saved>,
}

impl State {
    /// Reads what was remembered; a file that cannot be understood is put aside, and its pods are learned
    /// again when their runtime asks about them.
    pub(crate) fn load(path: &Path) -> Result<Self, PodNetworkError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(failed("read", path, source)),
        };
        match serde_json::from_slice::<File>(&bytes) {
            Ok(file) if file.version == VERSION => Ok(Self {
                allocators: Vec::new(),
                attachments: file.attachments,
                saved: file.addresses,
            }),
            outcome => {
                let why = outcome.map_or_else(|error| error.to_string(), |_| "version".to_owned());
                let aside = path.with_extension("unreadable");
                tracing::error!(file = %path.display(), why, "the pod addresses are unreadable");
                std::fs::rename(path, &aside)
                    .map_err(|source| failed("put aside", path, source))?;
                Ok(Self::default())
            }
        }
    }

    /// Hands addresses of `networks` out from now on.
    pub(crate) fn set_networks(&mut self, networks: &[IpNet]) -> Result<(), PodNetworkError> {
        self.remember_allocators();
        let restore = |network: &IpNet| {
            let network = network.trunc();
            let saved = self.saved.get(&network).cloned().unwrap_or_default();
            Allocator::restore(network, &saved).map_err(PodNetworkError::Restore)
        };
        self.allocators = networks.iter().map(restore).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// An address of each network for the sandbox.
    pub(crate) fn allocate(&mut self, sandbox: &str) -> Result<Vec<IpAddr>, PodNetworkError> {
        let mut addresses = Vec::new();
        for allocator in &mut self.allocators {
            match allocator.allocate(sandbox) {
                Ok(address) => addresses.push(address),
                Err(source) => {
                    self.release(sandbox);
                    let sandbox = sandbox.to_owned();
                    return Err(PodNetworkError::Address { sandbox, source });
                }
            }
        }
        Ok(addresses)
    }

    /// Takes the sandbox's addresses back.
    pub(crate) fn release(&mut self, sandbox: &str) {
        for allocator in &mut self.allocators {
            allocator.release(sandbox);
        }
        for saved in self.saved.values_mut() {
            saved.owners.retain(|_, owner| owner != sandbox);
        }
    }

    /// Learns that the sandbox has these addresses; `false` when one is somebody else's or of no network.
    pub(crate) fn adopt(&mut self, sandbox: &str, addresses: &[IpAddr]) -> bool {
        let mut adopted = Vec::new();
        for allocator in &self.allocators {
            let mut saved = allocator.save();
            for address in addresses.iter().filter(|address| allocator.network().contains(*address))
            {
                let owner = saved.owners.entry(*address).or_insert_with(|| sandbox.to_owned());
                if owner != sandbox {
                    return false;
                }
            }
            match Allocator::restore(allocator.network(), &saved) {
                Ok(allocator) => adopted.push(allocator),
                Err(_) => return false,
            }
        }
        let known = |address: &IpAddr| adopted.iter().any(|a| a.network().contains(address));
        if !addresses.iter().all(known) {
            return false;
        }
        self.allocators = adopted;
        true
    }

    /// Writes everything down.
    pub(crate) fn save(&mut self, path: &Path) -> Result<(), PodNetworkError> {
        self.remember_allocators();
        let file = File {
            version: VERSION,
            addresses: self.saved.clone(),
            attachments: self.attachments.clone(),
        };
        let bytes =
            serde_json::to_vec(&file).map_err(|error| failed("encode", path, error.into()))?;
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, bytes).map_err(|source| failed("write", &fresh, source))?;
        std::fs::rename(&fresh, path).map_err(|source| failed("replace", path, source))
    }

    fn remember_allocators(&mut self) {
        for allocator in &self.allocators {
            self.saved.insert(allocator.network(), allocator.save());
        }
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> PodNetworkError {
    PodNetworkError::State { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> IpNet {
        "10.42.0.0/24".parse().unwrap()
    }

    fn attachment(addresses: Vec<IpAddr>) -> Attachment {
        Attachment { pod: "default/web".into(), addresses, link: "ke1".into(), ports: Vec::new() }
    }

    #[test]
    fn a_restart_keeps_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pods.json");
        let mut state = State::load(&path).unwrap();
        state.set_networks(&[network(), "fd42::/64".parse().unwrap()]).unwrap();
        let addresses = state.allocate("a").unwrap();
        assert_eq!(addresses.len(), 2);
        state.attachments.insert("a".into(), attachment(addresses.clone()));
        state.save(&path).unwrap();

        let mut again = State::load(&path).unwrap();
        assert_eq!(again.attachments, state.attachments);
        again.set_networks(&[network(), "fd42::/64".parse().unwrap()]).unwrap();
        assert_eq!(again.allocate("a").unwrap(), addresses);
        assert_ne!(again.allocate("b").unwrap(), addresses);
    }

    #[test]
    fn an_unreadable_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pods.json");
        for nonsense in ["{", "{\"version\": 9, \"addresses\": {}, \"attachments\": {}}", ""] {
            std::fs::write(&path, nonsense).unwrap();
            assert!(State::load(&path).unwrap().attachments.is_empty());
            assert!(!path.exists() && path.with_extension("unreadable").exists());
        }
    }

    #[test]
    fn a_known_address_is_adopted_once() {
        let mut state = State::default();
        state.set_networks(&[network()]).unwrap();
        let address: IpAddr = "10.42.0.7".parse().unwrap();
        assert!(state.adopt("a", &[address]));
        assert!(state.adopt("a", &[address]));
        assert!(!state.adopt("b", &[address]));
        assert!(!state.adopt("b", &["10.43.0.7".parse().unwrap()]));
        assert_eq!(state.allocate("a").unwrap(), [address]);
    }
}
