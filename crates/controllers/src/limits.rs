//! The bounds of this crate.

use std::time::Duration;

/// Keys worked on at once by controllers whose work is mostly waiting for the API server.
pub(crate) const WORKERS: usize = 8;
/// Endpoints in one slice, as upstream's default.
pub(crate) const ENDPOINTS_PER_SLICE_MAX: usize = 100;
/// Endpoints in one `Endpoints` object.
pub(crate) const ENDPOINTS_MAX: usize = 1000;
/// A node that has not renewed its lease for this long is unreachable.
pub(crate) const NODE_GRACE: Duration = Duration::from_secs(50);
/// How often a namespace whose content waits for others is looked at again.
pub(crate) const NAMESPACE_RETRY: Duration = Duration::from_secs(1);
