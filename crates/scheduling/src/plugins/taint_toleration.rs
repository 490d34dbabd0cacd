//! TaintToleration: nodes with taints that the pod does not tolerate are out, or worse.

use k8s_openapi::api::core::v1::{Node, Toleration};

use super::Row;
use crate::{
    event::Event,
    framework::{
        Cycle, FilterPlugin, NodeFilter, NodeScore, Plugin, Prepared, Rejection, ScorePlugin,
        normalize_to_max,
    },
    node::{NodeInfo, Slot},
    pod::PodInfo,
    taints,
};

pub(super) const ROW: Row =
    Row { name: "TaintToleration", weight: 3, build: |_| Ok(Box::new(TaintToleration)) };

#[derive(Debug)]
struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn filter(&self) -> Option<&dyn FilterPlugin> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn ScorePlugin> {
        Some(self)
    }

    fn wakes(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        let repelled = |node: &Node| {
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
            taints::untolerated(taints.unwrap_or_default(), pod.tolerations()).is_some()
        };
        match event {
            Event::Node(change) => {
                change.old.is_none_or(repelled) && change.new.is_some_and(|node| !repelled(node))
            }
            event => event.changes_itself(pod),
        }
    }
}

impl FilterPlugin for TaintToleration {
    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        Ok(Prepared::Check(Box::new(Tolerations(cycle.pod.tolerations()))))
    }
}

#[derive(Debug)]
struct Tolerations<'a>(&'a [Toleration]);

impl NodeFilter for Tolerations<'_> {
    fn check(&self, node: &NodeInfo, rejection: &mut Rejection) -> bool {
        match taints::untolerated(node.taints(), self.0) {
            None => true,
            Some(index) => rejection.reject_for_good(&node.taint_messages[index]),
        }
    }
}

impl ScorePlugin for TaintToleration {
    fn prepare<'a>(
        &'a self,
        cycle: Cycle<'a>,
        feasible: &[Slot],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let tainted =
            |slot: &Slot| cycle.snapshot.at(*slot).is_some_and(|node| node.taints_soft > 0);
        // Without any soft taint all nodes score the same.
        feasible
            .iter()
            .any(tainted)
            .then(|| Box::new(Tolerations(cycle.pod.tolerations())) as Box<dyn NodeScore>)
    }
}

impl NodeScore for Tolerations<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let soft = node.taints().iter().filter(|taint| taint.effect == taints::PREFER_NO_SCHEDULE);
        let intolerable = soft
            .filter(|taint| !self.0.iter().any(|toleration| taints::tolerates(toleration, taint)));
        i64::try_from(intolerable.count()).unwrap_or(i64::MAX)
    }

    fn normalize(&self, _nodes: &[Slot], scores: &mut [i64]) {
        normalize_to_max(scores, true);
    }
}
