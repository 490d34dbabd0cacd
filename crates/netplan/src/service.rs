//! Services: from the API's Services and EndpointSlices to front ends and where each one's traffic goes.
//!
//! The meaning is that of upstream's node proxy: ready endpoints only, terminating ones as a last resort,
//! traffic policies, zone and node hints, session affinity, refusal when nobody is there. Not here: how a
//! kernel is told (the proxy component renders a [`Plan`] into nf_tables).

mod decide;
mod diff;
mod endpoints;
mod listing;
mod plan;

pub use decide::decide;
pub use diff::{FamilyChange, diff};
pub use plan::{
    Action, FamilyPlan, FrontEnd, Handling, HealthCheck, NodeInfo, Plan, Protocol, StickyGroup,
};

#[cfg(test)]
mod tests;
