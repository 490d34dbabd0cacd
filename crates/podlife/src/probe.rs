//! Probes: when to run them, what one run says to users, and what a row of outcomes means. Not here: running one.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// Whether the container has started; the others wait for it.
    Startup,
    /// Whether it must be restarted.
    Liveness,
    /// Whether it may be sent traffic.
    Readiness,
}

impl ProbeKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// As events name it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    /// The container's probe of this kind.
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// What one run of a probe says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container is well.
    Success,
    /// It is well as far as can be told, and someone should know why no more can.
    Warning(String),
    /// It is not.
    Failure(String),
    /// The probe itself failed, which says nothing of the container.
    Errored {
        /// As upstream names what the container's state is then: `unknown`, or `failure` where an answer broke off.
        state: &'static str,
        /// What went wrong.
        error: String,
    },
}

impl Outcome {
    /// The probe could not be run.
    pub fn unknown(error: impl Into<String>) -> Self {
        Self::Errored { state: "unknown", error: error.into() }
    }

    /// Reason and message of the event that tells users.
    pub fn event(&self, kind: ProbeKind) -> Option<(&'static str, String)> {
        let kind = kind.text();
        match self {
            Self::Success => None,
            Self::Warning(output) => {
                Some(("ProbeWarning", format!("{kind} probe warning: {output}")))
            }
            Self::Failure(output) => Some(("Unhealthy", format!("{kind} probe failed: {output}"))),
            Self::Errored { state, error } => {
                let message =
                    format!("{kind} probe errored and resulted in {state} state: {error}");
                Some(("Unhealthy", message))
            }
        }
    }

    /// Whether it counts as a success; `None`: it does not count.
    pub fn success(&self) -> Option<bool> {
        match self {
            Self::Success | Self::Warning(_) => Some(true),
            Self::Failure(_) => Some(false),
            Self::Errored { .. } => None,
        }
    }
}

/// What the rows of outcomes of all probes of a pod mean now, by container id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeResults(BTreeMap<(String, ProbeKind), bool>);

impl ProbeResults {
    /// The verdict; `None` while there is none.
    pub fn get(&self, container_id: &str, kind: ProbeKind) -> Option<bool> {
        self.0.get(&(container_id.to_owned(), kind)).copied()
    }

    /// Whether the verdict is a failure.
    pub fn failed(&self, container_id: &str, kind: ProbeKind) -> bool {
        self.get(container_id, kind) == Some(false)
    }

    /// Notes a verdict; whether it is another than before.
    pub fn set(&mut self, container_id: &str, kind: ProbeKind, success: bool) -> bool {
        self.0.insert((container_id.to_owned(), kind), success) != Some(success)
    }

    /// Forgets the containers that `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|(id, _), _| keep(id));
    }

    /// Whether the running container has passed its startup probe, or needs none.
    pub fn started(&self, container: &Container, container_id: &str) -> bool {
        container.startup_probe.is_none()
            || self.get(container_id, ProbeKind::Startup) == Some(true)
    }

    /// Whether the running container may be sent traffic.
    pub fn ready(&self, container: &Container, container_id: &str) -> bool {
        self.started(container, container_id)
            && (container.readiness_probe.is_none()
                || self.get(container_id, ProbeKind::Readiness) == Some(true))
    }
}

/// When and how often a probe runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Not before the container is this old.
    pub initial_delay: Duration,
    /// From one run to the next.
    pub period: Duration,
    /// How long a run may take.
    pub timeout: Duration,
    /// Successes in a row that make a success.
    pub success_threshold: u32,
    /// Failures in a row that make a failure.
    pub failure_threshold: u32,
}

impl Schedule {
    /// The probe's own, with upstream's defaults.
    pub fn of(probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default: u64| {
            let value = value.and_then(|value| u64::try_from(value).ok());
            Duration::from_secs(value.unwrap_or(default))
        };
        let count = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|n| *n > 0).unwrap_or(default)
        };
        let at_least_one = |duration: Duration| duration.max(Duration::from_secs(1));
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: at_least_one(seconds(probe.period_seconds, 10)),
            timeout: at_least_one(seconds(probe.timeout_seconds, 1)),
            success_threshold: count(probe.success_threshold, 1),
            failure_threshold: count(probe.failure_threshold, 3),
        }
    }

    /// When the first run is due for a container started at `started`.
    pub fn first_run(&self, started: Timestamp) -> Timestamp {
        started.checked_add(self.initial_delay).unwrap_or(started)
    }
}

/// The row of equal outcomes at the end of a probe's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    success: bool,
    length: u32,
}

impl Streak {
    /// Adds an outcome; the verdict, once the row is long enough.
    pub fn add(&mut self, success: bool, schedule: &Schedule) -> Option<bool> {
        if self.length > 0 && self.success == success {
            self.length = self.length.saturating_add(1);
        } else {
            *self = Self { success, length: 1 };
        }
        let threshold =
            if success { schedule.success_threshold } else { schedule.failure_threshold };
        (self.length >= threshold).then_some(success)
    }
}

/// Whether a probe of that kind runs now, given what the startup probe has said.
pub fn runs(kind: ProbeKind, container: &Container, id: &str, results: &ProbeResults) -> bool {
    match kind {
        ProbeKind::Startup => results.get(id, ProbeKind::Startup) != Some(true),
        ProbeKind::Liveness | ProbeKind::Readiness => results.started(container, id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(success: i32, failure: i32) -> Schedule {
        Schedule::of(&Probe {
            success_threshold: Some(success),
            failure_threshold: Some(failure),
            ..Probe::default()
        })
    }

    #[test]
    fn what_users_are_told_and_what_counts() {
        let kinds = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];
        for (outcome, counts, expected) in [
            (Outcome::Success, Some(true), [""; 3]),
            (
                Outcome::Warning("w".into()),
                Some(true),
                [
                    "ProbeWarning: Startup probe warning: w",
                    "ProbeWarning: Liveness probe warning: w",
                    "ProbeWarning: Readiness probe warning: w",
                ],
            ),
            (
                Outcome::Failure("f".into()),
                Some(false),
                [
                    "Unhealthy: Startup probe failed: f",
                    "Unhealthy: Liveness probe failed: f",
                    "Unhealthy: Readiness probe failed: f",
                ],
            ),
            (
                Outcome::unknown("e"),
                None,
                [
                    "Unhealthy: Startup probe errored and resulted in unknown state: e",
                    "Unhealthy: Liveness probe errored and resulted in unknown state: e",
                    "Unhealthy: Readiness probe errored and resulted in unknown state: e",
                ],
            ),
        ] {
            let told = kinds.map(|kind| {
                let event = outcome.event(kind);
                event.map_or_else(String::new, |(reason, message)| format!("{reason}: {message}"))
            });
            assert_eq!(told, expected);
            assert_eq!(outcome.success(), counts, "{outcome:?}");
        }
    }

    #[test]
    fn thresholds_count_outcomes_in_a_row() {
        let schedule = schedule(2, 3);
        let mut streak = Streak::default();
        let verdicts: Vec<Option<bool>> =
            [true, true, false, false, true, false, false, false, true, true]
                .into_iter()
                .map(|outcome| streak.add(outcome, &schedule))
                .collect();
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(verdicts, [None, yes, None, None, None, None, None, no, None, yes]);
    }

    #[test]
    fn defaults_are_upstreams() {
        let schedule = Schedule::of(&Probe::default());
        assert_eq!(schedule.period.as_secs(), 10);
        assert_eq!(schedule.timeout.as_secs(), 1);
        assert_eq!((schedule.success_threshold, schedule.failure_threshold), (1, 3));
        assert_eq!(schedule.initial_delay, Duration::ZERO);
    }

    #[test]
    fn the_startup_probe_gates_the_others() {
        let container = Container {
            startup_probe: Some(Probe::default()),
            readiness_probe: Some(Probe::default()),
            ..Container::default()
        };
        let mut results = ProbeResults::default();
        assert!(runs(ProbeKind::Startup, &container, "1", &results));
        assert!(!runs(ProbeKind::Liveness, &container, "1", &results));
        results.set("1", ProbeKind::Startup, true);
        assert!(!runs(ProbeKind::Startup, &container, "1", &results));
        assert!(runs(ProbeKind::Readiness, &container, "1", &results));
        assert!(!results.ready(&container, "1"));
        assert!(results.set("1", ProbeKind::Readiness, true));
        assert!(!results.set("1", ProbeKind::Readiness, true));
        assert!(results.ready(&container, "1"));
        results.retain(|_| false);
        assert_eq!(results, ProbeResults::default());
    }
}
