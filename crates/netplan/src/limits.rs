//! The bounds of this crate.

/// Endpoints behind one front end that are balanced over; the kernel's map would take more, but nobody
/// notices the 4097th.
pub const ENDPOINTS_PER_FRONT_END_MAX: usize = 4096;
/// Seconds that a client is kept with an endpoint when a Service does not say (API default).
pub const AFFINITY_SECONDS_DEFAULT: u32 = 10_800;
/// Addresses in one answer of the name server; more would not fit a TCP message of 64 KiB.
pub const RECORDS_PER_ANSWER_MAX: usize = 1000;
/// Addresses of one pod network that are handed out before it counts as full.
pub const POD_ADDRESSES_MAX: usize = 65_536;

/// Nodes that one node has routes to.
pub const NODES_MAX: usize = 5000;
