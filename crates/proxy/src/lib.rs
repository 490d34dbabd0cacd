//! The service proxy: makes a node's kernel carry out what the cluster's Services say.
//!
//! [`run`] watches Services, EndpointSlices and the node, has `netplan` decide, and hands the difference to
//! nf_tables; [`Proxy`] is the part that owns the kernel's state. Not here: what Services mean
//! (`netplan::service`), how nf_tables is spoken to (`linux::nft`), how pods are connected (`podnet`).

mod config;
mod health;
mod kernel;
pub mod limits;
mod rules;
mod run;
mod stale;

pub use config::{Config, NodePortAddresses};
pub use health::{HealthServers, Healthz};
pub use kernel::{Proxy, ProxyError};
pub use run::{RunError, run};
