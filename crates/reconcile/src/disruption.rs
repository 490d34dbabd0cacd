//! How many pods behind a PodDisruptionBudget may be evicted now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::deployment::scaling::share;
use crate::pods;

/// An evicted pod that is still not being deleted after this time was not evicted.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);
const ALLOWED: &str = "DisruptionAllowed";

/// What is known when deciding.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The budget.
    pub budget: &'a PodDisruptionBudget,
    /// The pods it is about.
    pub pods: &'a [Arc<Pod>],
    /// Replicas that the pods' controllers want together, or why that cannot be said. Only asked where
    /// [`needs_scale`] says so.
    pub scale: Result<i32, String>,
}

/// What to report.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status.
    pub status: PodDisruptionBudgetStatus,
    /// Evicted pods that were not deleted.
    pub not_deleted: Vec<Arc<Pod>>,
    /// When to look again, changes or not.
    pub again_after: Option<Duration>,
    /// Why the status says nothing.
    pub failure: Option<String>,
}

/// Whether a budget is a share of what controllers want.
pub fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    let spec = budget.spec.as_ref();
    let min = spec.and_then(|spec| spec.min_available.as_ref());
    spec.is_some_and(|spec| spec.max_unavailable.is_some())
        || matches!(min, Some(IntOrString::String(_)))
}

/// Decides what a budget allows.
pub fn decide(snapshot: &Snapshot<'_>, now: Timestamp) -> Plan {
    let budget = snapshot.budget;
    let old = budget.status.clone().unwrap_or_default();
    let (expected, desired) = match bounds(snapshot) {
        Ok(bounds) => bounds,
        Err(failure) => return failed(old, failure, now),
    };
    let (disrupted, not_deleted, again_after) = disrupted(snapshot, now);
    let healthy = snapshot.pods.iter().filter(|pod| {
        !pods::is_deleting(pod) && pods::is_ready(pod) && !disrupted.contains_key(pods::name(pod))
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    let generation = budget.metadata.generation;
    let (status, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let conditions =
        with_condition(old.conditions.as_ref(), status, reason, String::new(), generation, now);
    Plan {
        status: PodDisruptionBudgetStatus {
            conditions: Some(conditions),
            current_healthy: Some(healthy),
            desired_healthy: Some(desired),
            disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
            disruptions_allowed: Some(allowed),
            expected_pods: Some(expected),
            observed_generation: generation,
        },
        not_deleted,
        again_after,
        failure: None,
    }
}

/// When nothing is known, nothing is allowed.
fn failed(mut status: PodDisruptionBudgetStatus, failure: String, now: Timestamp) -> Plan {
    status.disruptions_allowed = Some(0);
    // Required counts are written even when they are not known.
    status.current_healthy.get_or_insert(0);
    status.desired_healthy.get_or_insert(0);
    status.expected_pods.get_or_insert(0);
    let generation = status.observed_generation;
    let conditions = with_condition(
        status.conditions.as_ref(),
        "False",
        "SyncFailed",
        failure.clone(),
        generation,
        now,
    );
    status.conditions = Some(conditions);
    Plan { status, not_deleted: Vec::new(), again_after: None, failure: Some(failure) }
}

/// Pods that there should be, and how many of them must be healthy.
fn bounds(snapshot: &Snapshot<'_>) -> Result<(i32, i32), String> {
    let spec = snapshot.budget.spec.clone().unwrap_or_default();
    let have = i32::try_from(snapshot.pods.len()).unwrap_or(i32::MAX);
    if let Some(most) = &spec.max_unavailable {
        let expected = snapshot.scale.clone()?;
        return Ok((expected, (expected - share(Some(most), expected, true)).max(0)));
    }
    match &spec.min_available {
        None => Ok((have, 0)),
        Some(IntOrString::Int(least)) => Ok((have, *least)),
        Some(least) => {
            let expected = snapshot.scale.clone()?;
            Ok((expected, share(Some(least), expected, true)))
        }
    }
}

type Disrupted = (BTreeMap<String, Time>, Vec<Arc<Pod>>, Option<Duration>);

/// Pods whose eviction was granted and that are not being deleted yet.
fn disrupted(snapshot: &Snapshot<'_>, now: Timestamp) -> Disrupted {
    let status = snapshot.budget.status.as_ref();
    let (mut still, mut not_deleted, mut soonest) = (BTreeMap::new(), Vec::new(), None);
    let Some(listed) = status.and_then(|status| status.disrupted_pods.as_ref()) else {
        return (still, not_deleted, soonest);
    };
    for pod in snapshot.pods.iter().filter(|pod| !pods::is_deleting(pod)) {
        let Some(since) = listed.get(pods::name(pod)) else { continue };
        let Ok(due) = since.0.checked_add(DELETION_TIMEOUT) else { continue };
        match Duration::try_from(due.duration_since(now)) {
            Ok(left) if !left.is_zero() => {
                still.insert(pods::name(pod).to_owned(), since.clone());
                soonest = Some(soonest.map_or(left, |soonest: Duration| soonest.min(left)));
            }
            _ => not_deleted.push(Arc::clone(pod)),
        }
    }
    (still, not_deleted, soonest)
}

fn with_condition(
    old: Option<&Vec<Condition>>,
    status: &str,
    reason: &str,
    message: String,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = old.cloned().unwrap_or_default();
    let had = conditions.iter().find(|condition| condition.type_ == ALLOWED);
    let since = had.filter(|had| had.status == status).map(|had| had.last_transition_time.clone());
    let fresh = Condition {
        type_: ALLOWED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == ALLOWED) {
        Some(slot) => *slot = fresh,
        None => conditions.push(fresh),
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        "2026-01-01T10:00:00Z".parse().unwrap()
    }

    fn pod(name: &str, ready: bool) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name},
                "status": {"conditions": [{"type": "Ready", "status": status}]}}))
            .unwrap(),
        )
    }

    fn plan(spec: Value, status: Value, ready: usize, unready: usize) -> Plan {
        let budget: PodDisruptionBudget = serde_json::from_value(
            json!({"metadata": {"generation": 3}, "spec": spec, "status": status}),
        )
        .unwrap();
        let pods: Vec<_> = (0..ready + unready).map(|i| pod(&format!("p{i}"), i < ready)).collect();
        decide(&Snapshot { budget: &budget, pods: &pods, scale: Ok(10) }, now())
    }

    #[test]
    fn a_budget_allows_what_is_beyond_its_minimum() {
        let cases = [
            (json!({"minAvailable": 2}), 3, 0, (3, 2, 1)),
            (json!({"minAvailable": 2}), 2, 5, (7, 2, 0)),
            (json!({"minAvailable": "30%"}), 9, 0, (10, 3, 6)),
            (json!({"maxUnavailable": 1}), 10, 0, (10, 9, 1)),
            (json!({"maxUnavailable": "25%"}), 8, 2, (10, 7, 1)),
            (json!({"maxUnavailable": 50}), 1, 0, (10, 0, 1)),
            (json!({"minAvailable": 0}), 0, 0, (0, 0, 0)),
        ];
        for (spec, ready, unready, (expected, desired, allowed)) in cases {
            let status = plan(spec.clone(), json!({}), ready, unready).status;
            let have = (status.expected_pods, status.desired_healthy, status.disruptions_allowed);
            assert_eq!(have, (Some(expected), Some(desired), Some(allowed)), "{spec}");
            assert_eq!(status.observed_generation, Some(3));
        }
    }

    #[test]
    fn evicted_pods_do_not_count_until_they_outstay_their_time() {
        let listed = json!({"disruptedPods":
            {"p0": "2026-01-01T09:59:30Z", "p1": "2026-01-01T09:00:00Z", "gone": "2026-01-01T09:59:00Z"}});
        let plan = plan(json!({"minAvailable": 1}), listed, 3, 0);
        assert_eq!(plan.status.current_healthy, Some(2));
        assert_eq!(plan.status.disrupted_pods.unwrap().len(), 1);
        assert_eq!(plan.not_deleted.len(), 1);
        assert_eq!(plan.again_after, Some(Duration::from_secs(90)));
    }

    #[test]
    fn nothing_is_allowed_when_nothing_is_known() {
        let budget: PodDisruptionBudget =
            serde_json::from_value(json!({"metadata": {}, "spec": {"maxUnavailable": 1}})).unwrap();
        let snapshot =
            Snapshot { budget: &budget, pods: &[pod("a", true)], scale: Err("no idea".into()) };
        let plan = decide(&snapshot, now());
        assert_eq!(plan.status.disruptions_allowed, Some(0));
        assert_eq!(plan.status.conditions.unwrap()[0].reason, "SyncFailed");
    }
}
