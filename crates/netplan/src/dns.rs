//! What names stand for: the cluster's zone as a pure function of Services, EndpointSlices and Namespaces.
//!
//! Follows the Kubernetes DNS specification 1.1.0, and where that is silent the behaviour that clusters are
//! used to: pod records without looking at pods, endpoint names for every Service, negative answers with the
//! zone's SOA. Not here: messages, sockets, forwarding (the name server component).

mod answer;
mod build;
mod record;

pub use answer::Answer;
pub use build::{Zone, ZoneConfig};
pub use record::{Data, Kind, Record};

#[cfg(test)]
mod tests;
