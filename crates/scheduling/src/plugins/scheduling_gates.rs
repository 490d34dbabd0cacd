//! SchedulingGates: a pod with gates is not tried until the last one is gone.

use super::Row;
use crate::{
    event::Event,
    framework::{Plugin, Rejection},
    pod::PodInfo,
};

pub(super) const ROW: Row =
    Row { name: "SchedulingGates", weight: 0, build: |_| Ok(Box::new(SchedulingGates)) };

#[derive(Debug)]
struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn admit(&self, pod: &PodInfo) -> Result<(), Rejection> {
        let gates =
            pod.spec().and_then(|spec| spec.scheduling_gates.as_deref()).unwrap_or_default();
        if gates.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
        let text = format!("waiting for scheduling gates: [{}]", names.join(" "));
        Err(Rejection::unresolvable(text))
    }

    fn wakes(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        event.changes_itself(pod)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Profile, build};

    #[test]
    fn gates_hold_a_pod_back() {
        let profile = Profile::default();
        assert!(profile.admit(&build::pod("free").info()).is_ok());
        let (plugin, rejection) =
            profile.admit(&build::pod("held").gate("a").gate("b").info()).unwrap_err();
        assert_eq!(plugin, "SchedulingGates");
        assert_eq!(rejection.message(), "waiting for scheduling gates: [a b]");
    }
}
