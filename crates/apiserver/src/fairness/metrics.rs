//! What priority and fairness counts, under upstream's names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::Fairness;
use super::seats::{Refusal, Usage};
use crate::metrics::head;
use crate::metrics::histogram::Histogram;

const BOUNDS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const REFUSALS: [(Refusal, &str); 4] = [
    (Refusal::ConcurrencyLimit, "concurrency-limit"),
    (Refusal::QueueFull, "queue-full"),
    (Refusal::TimeOut, "time-out"),
    (Refusal::Cancelled, "cancelled"),
];

/// Name, text and value of a gauge of a level.
type Gauge = (&'static str, &'static str, fn(&Usage) -> u32);

/// The counters of a schema with its level.
#[derive(Debug)]
pub(crate) struct Counters {
    schema: String,
    level: String,
    dispatched: AtomicU64,
    refused: [AtomicU64; REFUSALS.len()],
    in_queue: AtomicI64,
    executing: AtomicI64,
    seats: AtomicI64,
    waited: Histogram<13>,
    waited_in_vain: Histogram<13>,
    executed: Histogram<13>,
}

impl Counters {
    pub(crate) fn new(schema: &str, level: &str) -> Self {
        Self {
            schema: schema.to_owned(),
            level: level.to_owned(),
            dispatched: AtomicU64::new(0),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
            in_queue: AtomicI64::new(0),
            executing: AtomicI64::new(0),
            seats: AtomicI64::new(0),
            waited: Histogram::new(&BOUNDS),
            waited_in_vain: Histogram::new(&BOUNDS),
            executed: Histogram::new(&BOUNDS),
        }
    }

    pub(crate) fn are_of(&self, schema: &str, level: &str) -> bool {
        self.schema == schema && self.level == level
    }

    pub(crate) fn queued(&self, change: i64) {
        self.in_queue.fetch_add(change, Ordering::Relaxed);
    }

    pub(crate) fn waited(&self, time: Duration, executes: bool) {
        let histogram = if executes { &self.waited } else { &self.waited_in_vain };
        histogram.observe(time);
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn started(&self, width: u32) {
        self.dispatched.fetch_add(1, Ordering::Relaxed);
        self.executing.fetch_add(1, Ordering::Relaxed);
        self.seats.fetch_add(i64::from(width), Ordering::Relaxed);
    }

    pub(crate) fn finished(&self, width: u32, time: Duration) {
        self.executing.fetch_sub(1, Ordering::Relaxed);
        self.seats.fetch_sub(i64::from(width), Ordering::Relaxed);
        self.executed.observe(time);
    }

    fn labels(&self) -> String {
        format!("flow_schema=\"{}\",priority_level=\"{}\"", self.schema, self.level)
    }
}

/// Writes all of it.
pub(crate) fn render(fairness: &Fairness, out: &mut String) {
    let current = fairness.current.load_full();
    let counters: Vec<_> = current.schemas.iter().map(|schema| &schema.counters).collect();
    write_refused(out, &counters);
    let count = |value: &AtomicU64| value.load(Ordering::Relaxed).to_string();
    write_each(
        out,
        &counters,
        (
            "dispatched_requests_total",
            "counter",
            "[BETA] Number of requests executed by API Priority and Fairness subsystem",
        ),
        |one| count(&one.dispatched),
    );
    let level = |value: &AtomicI64| value.load(Ordering::Relaxed).to_string();
    write_each(
        out,
        &counters,
        (
            "current_inqueue_requests",
            "gauge",
            "[BETA] Number of requests currently pending in queues of the API Priority and Fairness subsystem",
        ),
        |one| level(&one.in_queue),
    );
    write_each(
        out,
        &counters,
        (
            "current_executing_requests",
            "gauge",
            "[BETA] Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem",
        ),
        |one| level(&one.executing),
    );
    write_each(
        out,
        &counters,
        (
            "current_executing_seats",
            "gauge",
            "[BETA] Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem",
        ),
        |one| level(&one.seats),
    );
    write_times(out, &counters);
    write_levels(out, &fairness.seats.lock().usage());
}

fn write_each(
    out: &mut String,
    counters: &[&Arc<Counters>],
    (name, kind, help): (&str, &str, &str),
    value: impl Fn(&Counters) -> String,
) {
    let name = format!("apiserver_flowcontrol_{name}");
    head(out, &name, kind, help);
    for one in counters {
        let _written = writeln!(out, "{name}{{{}}} {}", one.labels(), value(one));
    }
}

fn write_refused(out: &mut String, counters: &[&Arc<Counters>]) {
    let name = "apiserver_flowcontrol_rejected_requests_total";
    let help = "[BETA] Number of requests rejected by API Priority and Fairness subsystem";
    head(out, name, "counter", help);
    for one in counters {
        for (refusal, reason) in REFUSALS {
            let count = one.refused[refusal as usize].load(Ordering::Relaxed);
            if count > 0 {
                let labels = one.labels();
                let _written = writeln!(out, "{name}{{{labels},reason=\"{reason}\"}} {count}");
            }
        }
    }
}

fn write_times(out: &mut String, counters: &[&Arc<Counters>]) {
    let name = "apiserver_flowcontrol_request_wait_duration_seconds";
    head(out, name, "histogram", "[BETA] Length of time a request spent waiting in its queue");
    for one in counters {
        for (histogram, execute) in [(&one.waited, true), (&one.waited_in_vain, false)] {
            let labels = format!("execute=\"{execute}\",{}", one.labels());
            histogram.write(out, name, &labels);
        }
    }
    let name = "apiserver_flowcontrol_request_execution_seconds";
    let help = "[ALPHA] Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API Priority and Fairness subsystem";
    head(out, name, "histogram", help);
    for one in counters {
        one.executed.write(out, name, &one.labels());
    }
}

fn write_levels(out: &mut String, levels: &[Usage]) {
    let gauges: [Gauge; 4] = [
        (
            "nominal_limit_seats",
            "[BETA] Nominal number of execution seats configured for each priority level",
            |level| level.limits.nominal,
        ),
        (
            "lower_limit_seats",
            "[ALPHA] Configured lower bound on number of execution seats available to each priority level",
            |level| level.limits.nominal.saturating_sub(level.limits.lendable),
        ),
        (
            "upper_limit_seats",
            "[ALPHA] Configured upper bound on number of execution seats available to each priority level",
            |level| level.limits.nominal.saturating_add(level.limits.borrowing),
        ),
        (
            "current_limit_seats",
            "[ALPHA] current derived number of execution seats available to each priority level",
            |level| level.limits.nominal.max(level.in_use),
        ),
    ];
    let by_name: BTreeMap<&str, &Usage> =
        levels.iter().map(|level| (level.name.as_str(), level)).collect();
    for (name, help, value) in gauges {
        let name = format!("apiserver_flowcontrol_{name}");
        head(out, &name, "gauge", help);
        for (level, usage) in &by_name {
            let _written = writeln!(out, "{name}{{priority_level=\"{level}\"}} {}", value(usage));
        }
    }
}
