//! Time and randomness as values that are handed in.
//!
//! Nothing else in the workspace asks the system for the time: a component holds a [`Clock`], and the
//! simulator hands it one that runs on tokio's paused time. Not here: timers of a protocol, which belong
//! to the protocol.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Wall-clock time and waiting; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock {
    virtual_start: Option<(Timestamp, Instant)>,
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Self { virtual_start: None }
    }

    /// A clock that shows `start` now and advances with tokio's (possibly paused) time. Must be called
    /// inside a tokio runtime.
    pub fn simulated(start: Timestamp) -> Self {
        Self { virtual_start: Some((start, Instant::now())) }
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match self.virtual_start {
            None => Timestamp::now(),
            Some((start, instant)) => start + instant.elapsed(),
        }
    }

    /// Waits for `duration`.
    #[expect(clippy::disallowed_methods, reason = "this is what all others are to call")]
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits until `deadline`; returns at once when it has passed.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        let wait = Duration::try_from(deadline.duration_since(self.now())).unwrap_or_default();
        self.sleep(wait).await;
    }
}

/// Seeded randomness: the same seed gives the same sequence.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// Randomness from the operating system's seed.
    pub fn system() -> Self {
        Self(fastrand::Rng::new())
    }

    /// Repeatable randomness for simulation and tests.
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// A number below `bound` (which must not be 0).
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    /// `base` stretched by a random share of up to `factor` of itself, as Kubernetes jitters periods.
    pub fn jitter(&mut self, base: Duration, factor: f64) -> Duration {
        base.mul_f64(1.0 + self.unit() * factor)
    }

    /// The suffix that `generateName` and controllers append: characters that cannot form words.
    pub fn name_suffix(&mut self, length: usize) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..length).map(|_| char::from(ALPHABET[self.below(ALPHABET.len())])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_time_advances_with_the_runtime() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = Clock::simulated(start);
        clock.sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().to_string(), "2026-01-01T01:00:00Z");
        clock.sleep_until(start).await;
        assert_eq!(clock.now().to_string(), "2026-01-01T01:00:00Z");
    }

    #[test]
    fn the_same_seed_gives_the_same_names() {
        let names = |seed| Random::seeded(seed).name_suffix(5);
        assert_eq!(names(7), names(7));
        assert_ne!(names(7), names(8));
    }
}
