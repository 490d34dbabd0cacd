//! A laboratory for whole clusters: the release binary in a network namespace of its own, driven by upstream's
//! kubectl. The tests beside it talk to the running cluster through its public face only.
//!
//! [`Cluster`] is one running server with its folder and namespace; dropping it stops the server, resets the node
//! and removes the namespace. [`wait_until`] is the only way to wait: for a fact, with a bound.

pub mod agent;
pub mod busybox;
pub mod cluster;
pub mod control_plane;
pub mod kubectl;
pub mod network;
pub mod pods;
pub mod registry;
pub mod usage;
pub mod wait;

pub use cluster::{Cluster, Options};
pub use kubectl::Kubectl;
pub use network::Namespace;
pub use wait::wait_until;
