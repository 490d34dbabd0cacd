//! The scheduler: watches pods and nodes, decides with the `scheduling` crate, binds through the API.
//!
//! One task owns all state ([`state`]) and is the only one that decides; what has to be written is
//! carried out by short tasks beside it ([`act`]). Whoever runs several schedulers takes care that only
//! the leader calls [`run`].
//!
//! Not here, though upstream has it: extenders, dynamic resource allocation, metrics.

mod act;
mod condition;
pub mod config;
mod inbox;
mod informers;
pub mod limits;
mod queue;
mod run;
mod state;
mod volumes;

pub use config::{Config, ConfigError};
pub use run::run;
