//! Auditing: who did what, as the policy wants it recorded, in a log.
//!
//! A request that the policy records has a [`Record`], which everyone who serves it may annotate. Events are
//! queued, and a task of its own turns them into lines and writes those; a full queue loses events, and counts
//! how many, rather than hold requests up.

mod event;
mod log;
mod policy;
mod record;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use admission::User;
use clock::Clock;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use tokio::sync::mpsc;

use crate::limits::{AUDIT_BATCH_MAX, AUDIT_QUEUE_MAX};
use crate::metrics::head;
use event::Event;
pub use log::LogOptions;
pub use policy::{Level, Policy, PolicyError};
pub(crate) use record::{Arrived, Record};

/// The request's name in the log, in answers and, where the client gives one, in requests.
pub(crate) const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// Longest name that a client may give, as upstream's.
const ID_BYTES_MAX: usize = 64;

/// What is recorded, and where.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// What.
    pub policy: Policy,
    /// Where.
    pub log: LogOptions,
}

/// See the module's text.
pub(crate) struct Audit {
    policy: Policy,
    queue: mpsc::Sender<Event>,
    clock: Clock,
    scope: task::Scope,
    recorded: AtomicU64,
    lost: AtomicU64,
}

impl Audit {
    /// Begins the log; it goes on until `scope` ends.
    pub(crate) fn start(options: AuditOptions, clock: Clock, scope: &task::Scope) -> Arc<Self> {
        let (queue, events) = mpsc::channel(AUDIT_QUEUE_MAX);
        let (recorded, lost) = (AtomicU64::new(0), AtomicU64::new(0));
        let (policy, cancelled) = (options.policy, scope.clone());
        let audit = Arc::new(Self { policy, queue, clock, scope: scope.child(), recorded, lost });
        let writing = Arc::clone(&audit);
        scope.spawn("audit log", async move {
            writing.write(events, log::Log::new(options.log), &cancelled).await;
        });
        audit
    }

    /// The record of a request, if the policy wants one.
    pub(crate) fn record(
        self: &Arc<Self>,
        user: &User,
        arrived: &Arrived<'_>,
    ) -> Option<Arc<Record>> {
        let verdict = self.policy.judge(user, arrived.info);
        (verdict.level != Level::None).then(|| Arc::new(Record::new(self, verdict, user, arrived)))
    }

    fn push(&self, event: Event) {
        self.recorded.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(event).is_err() && self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!("the audit log cannot keep up: events are lost");
        }
    }

    async fn write(
        &self,
        mut events: mpsc::Receiver<Event>,
        mut log: log::Log,
        scope: &task::Scope,
    ) {
        let mut batch = Vec::new();
        loop {
            let is_over = tokio::select! {
                biased;
                count = events.recv_many(&mut batch, AUDIT_BATCH_MAX) => count == 0,
                () = scope.cancelled() => true,
            };
            let mut lines = String::new();
            for event in &batch {
                lines.push_str(&event::line(event));
                lines.push('\n');
            }
            let count = batch.len() as u64;
            batch.clear();
            if let Err(error) = log.write(lines.as_bytes(), self.clock.now())
                && self.lost.fetch_add(count, Ordering::Relaxed) == 0
            {
                tracing::error!(%error, "the audit log cannot be written: events are lost");
            }
            if is_over {
                return;
            }
        }
    }

    pub(crate) fn render(&self, out: &mut String) {
        let counters = [
            (
                "apiserver_audit_event_total",
                "[ALPHA] Counter of audit events generated and sent to the audit backend.",
                "",
                &self.recorded,
            ),
            (
                "apiserver_audit_error_total",
                "[ALPHA] Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.",
                "{plugin=\"log\"}",
                &self.lost,
            ),
        ];
        for (name, help, labels, count) in counters {
            head(out, name, "counter", help);
            let count = count.load(Ordering::Relaxed);
            let _written = writeln!(out, "{name}{labels} {count}");
        }
    }
}

/// Names requests: a start chosen at random, and a number.
#[derive(Debug)]
pub(crate) struct Names {
    start: u64,
    next: AtomicU64,
}

impl Names {
    pub(crate) fn new(start: u64) -> Self {
        Self { start, next: AtomicU64::new(0) }
    }

    /// The client's name for its request, or a new one.
    pub(crate) fn name(&self, headers: &HeaderMap) -> HeaderValue {
        let given = headers.get(AUDIT_ID).filter(|given| {
            !given.is_empty() && given.len() <= ID_BYTES_MAX && given.to_str().is_ok()
        });
        if let Some(given) = given {
            return given.clone();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (high, low) = (scatter(self.start ^ number), scatter(self.start.wrapping_add(number)));
        let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        let mut text = uuid::Uuid::encode_buffer();
        let text: &str = id.hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Spreads a number over all bits, one to one (the finisher of `SplitMix64`).
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_keep_the_name_that_the_client_gave_or_get_one_of_their_own() {
        let names = Names::new(7);
        let mut headers = HeaderMap::new();
        let (first, second) = (names.name(&headers), names.name(&headers));
        assert_ne!(first, second);
        assert_eq!(uuid::Uuid::parse_str(first.to_str().unwrap()).unwrap().get_version_num(), 4);
        headers.insert(AUDIT_ID, "mine".parse().unwrap());
        assert_eq!(names.name(&headers), "mine");
        headers.insert(AUDIT_ID, "x".repeat(65).parse().unwrap());
        assert_eq!(names.name(&headers).len(), 36);
    }

    #[tokio::test]
    async fn a_stream_is_complete_when_it_ends() {
        use crate::request::{Query, RequestInfo};
        use crate::respond::{Answer, Streaming, full};
        let folder = std::env::temp_dir().join(format!("keelson-audit-{}", uuid::Uuid::new_v4()));
        let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";
        let log = LogOptions { path: folder.join("log"), ..LogOptions::default() };
        let options = AuditOptions { policy: Policy::from_yaml(policy).unwrap(), log };
        let scope = task::Scope::new();
        let audit = Audit::start(options, Clock::system(), &scope);
        let target = "/api/v1/namespaces/a/pods/p/exec";
        let info = RequestInfo::parse(&http::Method::POST, target, &Query::default());
        let arrived = Arrived {
            id: "x",
            began: Clock::system().now(),
            uri: &target.parse().unwrap(),
            info: &info,
            headers: &HeaderMap::new(),
            peer: None,
        };
        let record = audit.record(&User::default(), &arrived).unwrap();
        let (open, streaming) = Streaming::begin();
        let mut answer = Answer::new(full(""));
        answer.extensions_mut().insert(streaming);
        drop(record.answered(answer, true));
        let stages = || {
            let text = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            let stage = |line: &str| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
                event["stage"].as_str().unwrap_or_default().to_owned()
            };
            text.lines().map(stage).collect::<Vec<_>>()
        };
        let until = async |count: usize| {
            let waiting = async {
                while stages().len() < count {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.unwrap();
            stages()
        };
        assert_eq!(until(1).await, ["ResponseStarted"]);
        drop(open);
        assert_eq!(until(2).await, ["ResponseStarted", "ResponseComplete"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
