//! Conditions that the scheduler writes into the status of pods.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use serde_json::{Value, json};

/// A patch of the pod's status that sets a condition, and `nominatedNodeName` when `nominated` is given
/// (empty to clear it); `None` when the pod says so already.
pub(crate) fn patch(
    pod: &Pod,
    wanted: &Wanted<'_>,
    nominated: Option<&str>,
    now: Timestamp,
) -> Option<Value> {
    let current = current(pod, wanted.r#type);
    let nominated = nominated.filter(|node| *node != nominated_now(pod));
    if current.is_some_and(|current| wanted.is_said_by(current)) && nominated.is_none() {
        return None;
    }
    let same_status = current.filter(|current| current.status == wanted.status);
    let since = same_status.and_then(|current| current.last_transition_time.as_ref());
    let mut condition = json!({
        "type": wanted.r#type,
        "status": wanted.status,
        "reason": wanted.reason,
        "message": wanted.message,
        "lastTransitionTime": seconds(since.map_or(now, |time| time.0)),
    });
    if let Some(generation) = pod.metadata.generation {
        condition["observedGeneration"] = generation.into();
    }
    let mut status = json!({ "conditions": [condition] });
    if let Some(node) = nominated {
        status["nominatedNodeName"] = if node.is_empty() { Value::Null } else { node.into() };
    }
    Some(json!({ "metadata": { "uid": pod.metadata.uid }, "status": status }))
}

/// A condition to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) r#type: &'static str,
    pub(crate) status: &'static str,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
}

impl Wanted<'_> {
    fn is_said_by(&self, condition: &PodCondition) -> bool {
        condition.status == self.status
            && condition.reason.as_deref() == Some(self.reason)
            && condition.message.as_deref() == Some(self.message)
    }
}

fn current<'a>(pod: &'a Pod, r#type: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == r#type)
}

fn nominated_now(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    status.and_then(|status| status.nominated_node_name.as_deref()).unwrap_or_default()
}

/// The API keeps whole seconds.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use scheduling::build::pod;

    fn wanted(message: &str) -> Wanted<'_> {
        Wanted { r#type: "PodScheduled", status: "False", reason: "Unschedulable", message }
    }

    fn said(status: &str, message: &str) -> Pod {
        let mut pod = pod("p").nominated("n").finish();
        pod.status.as_mut().unwrap().conditions = serde_json::from_value(json!([{
            "type": "PodScheduled", "status": status, "reason": "Unschedulable", "message": message,
            "lastTransitionTime": "2020-01-01T00:00:00Z",
        }]))
        .unwrap();
        pod
    }

    #[test]
    fn nothing_is_written_twice() {
        let now: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        let since = |patch: &Value| patch["status"]["conditions"][0]["lastTransitionTime"].clone();
        let first = patch(&pod("p").finish(), &wanted("no"), None, now).unwrap();
        assert_eq!(since(&first), "2026-01-01T00:00:00Z");
        assert_eq!(first["metadata"]["uid"], "p");
        assert_eq!(patch(&said("False", "no"), &wanted("no"), None, now), None);
        assert_eq!(patch(&said("False", "no"), &wanted("no"), Some("n"), now), None);
        let other = patch(&said("False", "no"), &wanted("never"), None, now).unwrap();
        assert_eq!(since(&other), "2020-01-01T00:00:00Z");
        assert!(other["status"].get("nominatedNodeName").is_none());
        let cleared = patch(&said("False", "no"), &wanted("no"), Some(""), now).unwrap();
        assert_eq!(cleared["status"]["nominatedNodeName"], Value::Null);
        let turned = patch(&said("True", "no"), &wanted("no"), None, now).unwrap();
        assert_eq!(since(&turned), "2026-01-01T00:00:00Z");
    }
}
