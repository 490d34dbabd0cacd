//! Durations in, a line of JSON out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

/// One result, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    label: String,
    workload: String,
    step: String,
    count: usize,
    concurrency: usize,
    seconds: f64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// Figures that only some steps have, each with its unit in its name.
    #[serde(flatten)]
    more: BTreeMap<&'static str, f64>,
}

impl Measurement {
    /// What `durations` say, measured during `total`.
    pub(crate) fn new(
        step: impl Into<String>,
        concurrency: usize,
        total: Duration,
        mut durations: Vec<Duration>,
    ) -> Self {
        durations.sort_unstable();
        let at = |percent: usize| milliseconds(percentile(&durations, percent));
        let seconds = total.as_secs_f64();
        Self {
            label: String::new(),
            workload: String::new(),
            step: step.into(),
            count: durations.len(),
            concurrency,
            seconds: round(seconds),
            per_second: round(durations.len() as f64 / seconds.max(f64::EPSILON)),
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
            more: BTreeMap::new(),
        }
    }

    /// The same under another name.
    pub(crate) fn renamed(mut self, step: String) -> Self {
        self.step = step;
        self
    }

    /// The same with a further figure.
    pub(crate) fn with(mut self, name: &'static str, value: f64) -> Self {
        self.more.insert(name, round(value));
        self
    }

    /// The same with the names of the cluster and the workload.
    pub(crate) fn named(mut self, label: &str, workload: &str) -> Self {
        label.clone_into(&mut self.label);
        workload.clone_into(&mut self.workload);
        self
    }
}

/// The smallest value that at least `percent` of all values do not exceed; zero of none.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1000.0)
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Does something `count` times, `concurrency` at a time, and measures each.
pub(crate) async fn repeat<F>(
    step: &str,
    count: usize,
    concurrency: usize,
    action: impl Fn(usize) -> F,
) -> Result<Measurement>
where
    F: Future<Output = Result<()>>,
{
    let start = Instant::now();
    let timed = |index| {
        let doing = action(index);
        async move {
            let start = Instant::now();
            doing.await?;
            anyhow::Ok(start.elapsed())
        }
    };
    let durations: Vec<Duration> = futures::stream::iter((0..count).map(timed))
        .buffer_unordered(concurrency)
        .try_collect()
        .await?;
    Ok(Measurement::new(step, concurrency, start.elapsed(), durations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let all: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let cases: [(&[Duration], usize, u64); 5] =
            [(&all, 50, 100), (&all, 99, 198), (&all, 100, 200), (&all[..1], 99, 1), (&[], 50, 0)];
        for (sorted, percent, wanted) in cases {
            assert_eq!(percentile(sorted, percent), Duration::from_millis(wanted));
        }
    }
}
