//! What `kubectl get pods` shows: readiness, the one word for the state, restarts, and where the pod is.

use jiff::Timestamp;
use serde_json::Value;

use crate::kinds::pod_spec::resources::is_sidecar;
use crate::kinds::{cells, duration, tree};
use crate::meta;
use crate::resource::{Cell, Column};

/// The columns after `Name`.
pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::new("Ready", Cell::Compute(|pod, _| State::of(pod).ready().into())),
        Column::new("Status", Cell::Compute(|pod, _| State::of(pod).reason.into())),
        Column::new("Restarts", Cell::Compute(|pod, now| State::of(pod).restarts(now).into())),
        cells::age(),
        Column::wide("IP", Cell::Compute(|pod, _| or_none(pod, "/status/podIPs/0/ip").into())),
        Column::wide("Node", Cell::Compute(|pod, _| or_none(pod, "/spec/nodeName").into())),
        Column::wide(
            "Nominated Node",
            Cell::Compute(|pod, _| or_none(pod, "/status/nominatedNodeName").into()),
        ),
        Column::wide("Readiness Gates", Cell::Compute(|pod, _| readiness_gates(pod).into())),
    ]
}

fn or_none(pod: &Value, pointer: &str) -> String {
    cells::or_none(tree::text(pod, pointer))
}

fn readiness_gates(pod: &Value) -> String {
    let gates = tree::list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let is_true = |gate: &&Value| cells::condition_is_true(pod, tree::text(gate, "/conditionType"));
    format!("{}/{}", gates.iter().filter(is_true).count(), gates.len())
}

/// Restarts of some containers, and when the last of them was.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += tree::count(status, "/restartCount");
        let finished = duration::parse(status.pointer("/lastState/terminated/finishedAt"));
        self.last = self.last.max(finished);
    }
}

/// What the statuses of a pod add up to.
struct State {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
}

impl State {
    fn of(pod: &Value) -> Self {
        let sidecars: Vec<&str> = tree::list(pod, "/spec/initContainers")
            .iter()
            .filter(|container| is_sidecar(container))
            .map(|container| tree::text(container, "/name"))
            .collect();
        let mut state = Self {
            ready: 0,
            total: tree::list(pod, "/spec/containers").len() + sidecars.len(),
            reason: base_reason(pod),
            restarts: Restarts::default(),
        };
        let mut sidecar_restarts = Restarts::default();
        let is_initializing = state.read_init(pod, &sidecars, &mut sidecar_restarts);
        if !is_initializing || cells::condition_is_true(pod, "Initialized") {
            state.restarts = sidecar_restarts;
            state.read_main(pod);
        }
        state.read_deletion(pod);
        state
    }

    /// Reads init containers up to the one that is not done; whether there is one.
    fn read_init(
        &mut self,
        pod: &Value,
        sidecars: &[&str],
        sidecar_restarts: &mut Restarts,
    ) -> bool {
        let total = tree::list(pod, "/spec/initContainers").len();
        for (index, status) in tree::list(pod, "/status/initContainerStatuses").iter().enumerate() {
            self.restarts.add(status);
            let is_sidecar = sidecars.contains(&tree::text(status, "/name"));
            if is_sidecar {
                sidecar_restarts.add(status);
            }
            let terminated = tree::at(status, "/state/terminated");
            if terminated.is_some_and(|t| tree::count(t, "/exitCode") == 0) {
                continue;
            }
            if is_sidecar && tree::flag(status, "/started") {
                self.ready += usize::from(tree::flag(status, "/ready"));
                continue;
            }
            let waiting = tree::text(status, "/state/waiting/reason");
            self.reason = match terminated {
                Some(terminated) => format!("Init:{}", end_of(terminated)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => {
                    format!("Init:{waiting}")
                }
                None => format!("Init:{index}/{total}"),
            };
            return true;
        }
        false
    }

    /// Reads the main containers, the last first, so that the first one's state wins.
    fn read_main(&mut self, pod: &Value) {
        let mut is_any_running = false;
        for status in tree::list(pod, "/status/containerStatuses").iter().rev() {
            self.restarts.add(status);
            let waiting = tree::text(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if let Some(terminated) = tree::at(status, "/state/terminated") {
                self.reason = end_of(terminated);
            } else if tree::flag(status, "/ready") && tree::at(status, "/state/running").is_some() {
                is_any_running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && is_any_running {
            let is_ready = cells::condition_is_true(pod, "Ready");
            let reason = if is_ready { "Running" } else { "NotReady" };
            reason.clone_into(&mut self.reason);
        }
    }

    fn read_deletion(&mut self, pod: &Value) {
        if !meta::is_deleting(pod) {
            return;
        }
        let is_over = matches!(tree::text(pod, "/status/phase"), "Failed" | "Succeeded");
        if tree::text(pod, "/status/reason") == "NodeLost" {
            "Unknown".clone_into(&mut self.reason);
        } else if !is_over {
            "Terminating".clone_into(&mut self.reason);
        }
    }

    fn ready(&self) -> String {
        format!("{}/{}", self.ready, self.total)
    }

    fn restarts(&self, now: Timestamp) -> String {
        match self.restarts.last {
            Some(last) if self.restarts.count != 0 => {
                let ago = duration::human_duration(duration::seconds_between(last, now));
                format!("{} ({ago} ago)", self.restarts.count)
            }
            _ => self.restarts.count.to_string(),
        }
    }
}

fn base_reason(pod: &Value) -> String {
    let is_gated = tree::list(pod, "/status/conditions").iter().any(|condition| {
        tree::text(condition, "/type") == "PodScheduled"
            && tree::text(condition, "/reason") == "SchedulingGated"
    });
    if is_gated {
        return "SchedulingGated".to_owned();
    }
    let reason = tree::text(pod, "/status/reason");
    let phase = tree::text(pod, "/status/phase");
    (if reason.is_empty() { phase } else { reason }).to_owned()
}

/// Why a container ended, in a word.
fn end_of(terminated: &Value) -> String {
    let reason = tree::text(terminated, "/reason");
    let signal = tree::count(terminated, "/signal");
    if !reason.is_empty() {
        reason.to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", tree::count(terminated, "/exitCode"))
    }
}
