//! The decisions of the scheduler: which node a pod goes to, and who has to leave for it.
//!
//! Everything here is a pure function of a [`Snapshot`]: no clock, no I/O, no tasks. The loop that feeds
//! the snapshot from the API and carries decisions out is the `scheduler` crate.

pub mod affinity;
pub mod build;
pub mod config;
pub mod event;
mod fit_error;
pub mod framework;
mod groups;
pub mod labels;
pub mod limits;
mod node;
mod objects;
pub mod plugins;
mod pod;
mod ports;
mod preemption;
mod profile;
pub mod quantity;
mod resources;
mod schedule;
mod snapshot;
mod taints;
mod topology;

pub use fit_error::{Diagnosis, FitError};
pub use node::{NodeInfo, Slot};
pub use objects::Objects;
pub use pod::{PodInfo, controller_of};
pub use ports::HostPort;
pub use preemption::{Nomination, Preemption};
pub use profile::{Profile, ProfileError};
pub use resources::Resources;
pub use schedule::{Cursor, Decision, Placement, schedule};
pub use snapshot::Snapshot;
