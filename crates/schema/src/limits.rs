//! The bounds of this crate.

/// Deepest nesting of a schema given by a user. Upstream has none of its own but cannot reach deeper
/// than its JSON decoder's; a schema nested more deeply than this is refused.
pub(crate) const SCHEMA_DEPTH_MAX: usize = 128;

/// Most nodes in one schema given by a user. A custom resource definition of 1.5 MiB (the largest
/// object a store takes) cannot hold more than about this many fields.
pub(crate) const SCHEMA_NODES_MAX: usize = 100_000;
