//! What the kubelet decides, as pure functions: from a pod and what the runtime shows of it to what has
//! to be done ([`actions`]) and to the status that users read ([`status`]), with the smaller decisions
//! beside them, one file per concern.
//!
//! No I/O, no clock, no runtime: time comes in as an argument, and what has to be looked up (config
//! maps, services, host facts) is handed in. The crate `kubelet` observes, asks here, and acts.

pub mod actions;
pub mod admit;
pub mod backoff;
pub mod cgroup;
pub mod container;
pub mod dns;
pub mod downward;
pub mod env;
pub mod eviction;
pub mod grace;
pub mod hash;
pub mod hostname;
pub mod hosts;
pub mod image;
pub mod keyring;
pub mod limits;
pub mod names;
pub mod node;
pub mod observed;
pub mod pod;
pub mod probe;
pub mod projection;
pub mod qos;
pub mod quantity;
pub mod resources;
pub mod security;
pub mod status;
pub mod sysctl;

#[cfg(test)]
mod testing;
