//! The numbers that bound a scheduling cycle; each is upstream's default.

/// A cluster smaller than this is always searched whole.
pub const FEASIBLE_NODES_MIN: usize = 100;
/// The adaptive share of nodes to search never falls below this.
pub const FEASIBLE_PERCENT_MIN: usize = 5;
/// The adaptive share starts here and shrinks by one per [`ADAPTIVE_NODES_PER_PERCENT`] nodes.
pub const FEASIBLE_PERCENT_START: usize = 50;
/// Nodes per percent that the adaptive share shrinks by.
pub const ADAPTIVE_NODES_PER_PERCENT: usize = 125;
/// The best score that a plugin may give a node.
pub const NODE_SCORE_MAX: i64 = 100;
/// The best score of a point in a `requestedToCapacityRatio` shape.
pub const SHAPE_SCORE_MAX: i64 = 10;
/// Share of the nodes, in percent, that a preemption looks at.
pub const PREEMPTION_CANDIDATES_PERCENT: usize = 10;
/// Fewest nodes that a preemption looks at.
pub const PREEMPTION_CANDIDATES_MIN: usize = 100;
/// CPU that a container without a request is scored with.
pub const UNREQUESTED_MILLI_CPU: i64 = 100;
/// Memory that a container without a request is scored with.
pub const UNREQUESTED_MEMORY_BYTES: i64 = 200 * 1024 * 1024;
/// Images below this size do not count for locality.
pub const IMAGE_BYTES_MIN: i64 = 23 * 1024 * 1024;
/// Image bytes per container above which locality is as good as it gets.
pub const IMAGE_BYTES_PER_CONTAINER_MAX: i64 = 1000 * 1024 * 1024;

/// Topology keys that columns are kept for; columns of further keys are built anew for each pod.
pub const TOPOLOGY_COLUMNS_MAX: usize = 64;

const _: () = assert!(FEASIBLE_PERCENT_MIN <= FEASIBLE_PERCENT_START);
const _: () = assert!(IMAGE_BYTES_MIN < IMAGE_BYTES_PER_CONTAINER_MAX);
