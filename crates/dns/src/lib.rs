//! The name server of a node: answers for the cluster's zone from memory, asks the host's name servers for
//! everything else.
//!
//! [`run`] keeps the zone in step with the API and serves UDP and TCP. Not here: what a name stands for
//! (`netplan::dns`), the address to listen on (the pod network gives it to the node).

mod cache;
mod config;
mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod host_servers;
pub mod limits;
mod message;
mod metrics;
mod resolve;
mod server;
mod zone_keeper;

pub use config::Config;
pub use metrics::Metrics;
pub use server::{ServeError, Server};
pub use zone_keeper::{RunError, SharedZone, run};
