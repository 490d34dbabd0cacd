//! A histogram that many threads count into without a lock.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// See the module's text. The bounds are in seconds, ascending.
#[derive(Debug)]
pub(crate) struct Histogram<const BOUNDS: usize> {
    bounds: &'static [f64; BOUNDS],
    /// Observations up to each bound and above the bound before it.
    counts: [AtomicU64; BOUNDS],
    above: AtomicU64,
    sum_nanoseconds: AtomicU64,
}

impl<const BOUNDS: usize> Histogram<BOUNDS> {
    pub(crate) fn new(bounds: &'static [f64; BOUNDS]) -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { bounds, counts, above: AtomicU64::new(0), sum_nanoseconds: AtomicU64::new(0) }
    }

    /// Counts one observation.
    pub(crate) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = self.bounds.iter().position(|bound| seconds <= *bound);
        let count = place.map_or(&self.above, |place| &self.counts[place]);
        count.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Writes the series of this histogram; `labels` are without braces.
    pub(crate) fn write(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut sum = 0;
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            sum += count.load(Ordering::Relaxed);
            let _written = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {sum}");
        }
        sum += self.above.load(Ordering::Relaxed);
        let seconds = Duration::from_nanos(self.sum_nanoseconds.load(Ordering::Relaxed));
        let _written = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {sum}");
        let _written = writeln!(out, "{name}_sum{{{labels}}} {}", seconds.as_secs_f64());
        let _written = writeln!(out, "{name}_count{{{labels}}} {sum}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let histogram = Histogram::new(&[0.1, 1.0]);
        for milliseconds in [50, 100, 500, 2000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let mut out = String::new();
        histogram.write(&mut out, "x", "a=\"b\"");
        let expected = "x_bucket{a=\"b\",le=\"0.1\"} 2\nx_bucket{a=\"b\",le=\"1\"} 3\n\
                        x_bucket{a=\"b\",le=\"+Inf\"} 4\nx_sum{a=\"b\"} 2.65\nx_count{a=\"b\"} 4\n";
        assert_eq!(out, expected);
    }
}
