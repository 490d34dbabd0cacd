//! What the name server counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    pub(crate) udp_requests: Counter,
    pub(crate) tcp_requests: Counter,
    pub(crate) zone_answers: Counter,
    pub(crate) zone_no_such_name: Counter,
    pub(crate) forwards: Counter,
    pub(crate) forward_failures: Counter,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    pub(crate) malformed: Counter,
    pub(crate) overloaded: Counter,
    pub(crate) truncated: Counter,
    pub(crate) loops: Counter,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics {
    /// In the text form that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, help, counter) in [
            ("udp_requests", "Questions over UDP.", &self.udp_requests),
            ("tcp_requests", "Questions over TCP.", &self.tcp_requests),
            ("zone_answers", "Questions about the cluster's zone.", &self.zone_answers),
            ("zone_nxdomain", "Those about names that do not exist.", &self.zone_no_such_name),
            ("forwards", "Questions to the host's name servers.", &self.forwards),
            ("forward_failures", "Those that none of them answered.", &self.forward_failures),
            ("cache_hits", "Answers from the cache.", &self.cache_hits),
            ("cache_misses", "Answers that were not in the cache.", &self.cache_misses),
            ("malformed_requests", "Packets that are no questions.", &self.malformed),
            ("overload_rejects", "Questions refused for lack of room.", &self.overloaded),
            ("truncated_answers", "Answers that had to be cut.", &self.truncated),
            ("loops", "Questions that came back to where they came from.", &self.loops),
        ] {
            let (name, value) = (format!("keelson_dns_{name}_total"), counter.get());
            text += &format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n");
        }
        text
    }
}
