//! Certificates that are renewed while the program runs: what is shown is swapped for every new connection,
//! those there are go on. Not here: who signs ([`crate::pki`], or the cluster for an agent).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use clock::Clock;
use jiff::Timestamp;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::pki::Leaf;

/// The share of its life after which a certificate is renewed: a third is left for what may go wrong.
const RENEWAL_SHARE: (i64, i64) = (2, 3);
/// A machine that slept must notice soon: the kernel's timers did not run meanwhile.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(3600);
/// First pause after a renewal that failed.
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(5);
/// Longest pause after renewals that failed.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(600);

/// From when until when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

impl Validity {
    /// When to renew.
    fn renewal(self) -> Timestamp {
        let life = self.until.as_second() - self.from.as_second();
        let (share, whole) = RENEWAL_SHARE;
        let seconds = self.from.as_second() + life / whole * share;
        Timestamp::from_second(seconds).unwrap_or(self.from)
    }
}

/// The certificate that a server or client shows now; none at first where it must be asked for.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    current: ArcSwapOption<CertifiedKey>,
}

impl Shown {
    /// Shows nothing yet: connections are refused.
    pub(crate) fn nothing() -> Arc<Self> {
        Arc::default()
    }

    /// Shows a certificate.
    ///
    /// # Errors
    /// Its key is of no use.
    #[cfg(test)]
    pub(crate) fn of(leaf: &Leaf) -> anyhow::Result<Arc<Self>> {
        let shown = Self::nothing();
        shown.show(leaf)?;
        Ok(shown)
    }

    /// Shows another certificate from now on.
    ///
    /// # Errors
    /// Its key is of no use; what was shown stays.
    pub(crate) fn show(&self, leaf: &Leaf) -> anyhow::Result<()> {
        let (chain, key) = leaf.chain();
        let key = rustls::crypto::ring::sign::any_supported_type(&key)
            .context("use the key of a certificate")?;
        self.current.store(Some(Arc::new(CertifiedKey::new(chain, key))));
        Ok(())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }

    fn has_certs(&self) -> bool {
        self.current.load().is_some()
    }
}

/// Calls `renew` in time, forever; it answers how long what it made is good.
pub(crate) async fn keep<R, F>(clock: Clock, what: &'static str, first: Validity, mut renew: R)
where
    R: FnMut() -> F,
    F: Future<Output = anyhow::Result<Validity>>,
{
    let mut validity = first;
    let mut pause = RETRY_PAUSE_MIN;
    loop {
        let due = validity.renewal();
        while clock.now() < due {
            let left = Duration::try_from(due.duration_since(clock.now())).unwrap_or_default();
            clock.sleep(left.min(LOOK_PAUSE_MAX)).await;
        }
        match renew().await {
            Ok(renewed) => {
                tracing::info!(what, until = %renewed.until, "renewed a certificate");
                validity = renewed;
                pause = RETRY_PAUSE_MIN;
            }
            Err(error) => {
                let until = validity.until;
                tracing::error!(what, %until, "cannot renew a certificate: {error:#}");
                clock.sleep(pause).await;
                pause = (pause * 2).min(RETRY_PAUSE_MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::pki::{Authority, LEAF_LIFE};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn certificates_are_renewed_after_two_thirds_of_their_life() {
        let cases = [
            ("2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z", "2026-01-03T00:00:00Z"),
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z", "2026-01-01T02:00:00Z"),
        ];
        for (from, until, wanted) in cases {
            let validity = Validity { from: at(from), until: at(until) };
            assert_eq!(validity.renewal(), at(wanted), "{from} {until}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_shown_is_good_at_every_time() {
        let clock = Clock::simulated(at("2026-01-01T00:00:00Z"));
        let authority = Arc::new(Authority::for_tests("test", clock.now()));
        let issue = {
            let (authority, clock) = (Arc::clone(&authority), clock.clone());
            move || authority.client("someone", &[], clock.now())
        };
        let first = issue().unwrap();
        let shown = Shown::of(&first).unwrap();
        let made = Arc::new(AtomicU32::new(1));
        let last = Arc::new(parking_lot::Mutex::new(first.validity()));
        let scope = task::Scope::new();
        let keeping = {
            let (shown, made, last) = (Arc::clone(&shown), Arc::clone(&made), Arc::clone(&last));
            keep(clock.clone(), "test", first.validity(), move || {
                let count = made.fetch_add(1, Ordering::SeqCst);
                // Every second attempt fails: there is time enough for the next.
                let leaf = if count % 2 == 1 { issue() } else { Err(anyhow::anyhow!("no")) };
                let renewed = leaf.and_then(|leaf| {
                    shown.show(&leaf)?;
                    *last.lock() = leaf.validity();
                    Ok(leaf.validity())
                });
                std::future::ready(renewed)
            })
        };
        scope.spawn_until_cancelled("keep", keeping);
        let before = shown.current.load_full().unwrap();
        let end = clock.now() + LEAF_LIFE * 3;
        while clock.now() < end {
            clock.sleep(LEAF_LIFE / 50).await;
            let good = *last.lock();
            assert!(good.from <= clock.now() && clock.now() < good.until, "{good:?}");
        }
        let after = shown.current.load_full().unwrap();
        assert_ne!(before.cert, after.cert);
        assert!(made.load(Ordering::SeqCst) >= 5);
        assert!(scope.finish(Duration::from_secs(1)).await);
    }
}
