//! The node agent: it takes the pods that the API assigns to its node, runs them through a container
//! runtime, and reports what becomes of them.
//!
//! Every pod has a [`worker`] that looks, plans (crate `podlife`) and acts; it is woken by changes in the
//! API and by events of the runtime, never by a clock that ticks. Not here: running containers (crate
//! `runtime`, or any other behind the traits of the crate `cri`), and the network of pods and services.

mod cgroups;
pub mod config;
mod events;
mod eviction;
mod hooks;
mod image_gc;
mod kubelet;
pub mod limits;
mod logs;
mod messages;
mod node;
mod pods;
mod probes;
mod pulls;
mod references;
pub mod server;
mod shared;
mod status_writer;
mod sweep;
mod tokens;
mod usage;
mod volumes;
mod worker;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use kubelet::{Kubelet, StartError};
