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
/// Writes of one key that are under way at once.
pub(crate) const WRITES_IN_FLIGHT_MAX: usize = 64;
/// After this time a controller acts on what it sees, whatever it expected to see; upstream's five minutes.
pub(crate) const EXPECTATION_MAX: Duration = Duration::from_secs(300);
/// How long a writer of slices waits to see what it wrote.
pub(crate) const VIEW_LATE_MAX: Duration = Duration::from_secs(5);
/// Hashes of one template that may be found taken in one round.
pub(crate) const HASH_COLLISIONS_MAX: u32 = 10;
/// First pause before a failed daemon pod is replaced on its node, as upstream.
pub(crate) const DAEMON_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause before a failed daemon pod is replaced on its node, as upstream.
pub(crate) const DAEMON_PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// How often pods that nobody else removes are looked for, as upstream.
pub(crate) const POD_GC_PERIOD: Duration = Duration::from_secs(20);
/// Ended pods that are kept in the whole cluster, as upstream's default.
pub(crate) const TERMINATED_PODS_MAX: usize = 12_500;
/// How often quotas are recounted without a cause, for kinds that are not watched; upstream's five minutes.
pub(crate) const QUOTA_PERIOD: Duration = Duration::from_secs(300);
/// How long the certificates are good that are signed on request, unless a shorter time is asked for; upstream's
/// year.
pub(crate) const CERTIFICATE_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The shortest life that can be asked for; upstream's ten minutes.
pub(crate) const CERTIFICATE_LIFE_MIN: Duration = Duration::from_secs(600);
/// Clocks may be behind by this much; upstream's five minutes.
pub(crate) const CERTIFICATE_BACKDATED: Duration = Duration::from_secs(300);
