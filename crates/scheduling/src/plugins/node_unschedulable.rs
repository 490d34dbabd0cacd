//! NodeUnschedulable: cordoned nodes take only pods that tolerate it.

use k8s_openapi::api::core::v1::Taint;

use super::Row;
use crate::{
    event::Event,
    framework::{Cycle, FilterPlugin, NodeFilter, Plugin, Prepared, Rejection},
    node::NodeInfo,
    pod::PodInfo,
    taints,
};

pub(super) const ROW: Row =
    Row { name: "NodeUnschedulable", weight: 0, build: |_| Ok(Box::new(NodeUnschedulable)) };

const REASON: &str = "node(s) were unschedulable";

#[derive(Debug)]
struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn filter(&self) -> Option<&dyn FilterPlugin> {
        Some(self)
    }

    fn wakes(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        let cordoned = |node: &k8s_openapi::api::core::v1::Node| {
            node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
        };
        match event {
            Event::Node(change) => {
                change.new.is_some_and(|node| !cordoned(node)) && change.differs(cordoned)
            }
            event => event.changes_itself(pod) && tolerates_cordon(pod),
        }
    }
}

fn tolerates_cordon(pod: &PodInfo) -> bool {
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: taints::NO_SCHEDULE.to_owned(),
        ..Taint::default()
    };
    pod.tolerations().iter().any(|toleration| taints::tolerates(toleration, &taint))
}

impl FilterPlugin for NodeUnschedulable {
    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        if tolerates_cordon(cycle.pod) {
            return Ok(Prepared::Skip);
        }
        Ok(Prepared::Check(Box::new(Check)))
    }
}

#[derive(Debug)]
struct Check;

impl NodeFilter for Check {
    fn check(&self, node: &NodeInfo, rejection: &mut Rejection) -> bool {
        !node.is_unschedulable() || rejection.reject_for_good(REASON)
    }
}
