//! One spread constraint, compiled: what it counts, and on which nodes.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use crate::{
    framework::Cycle,
    labels::{Selector, SelectorError},
    node::{NodeInfo, Slot},
    pod::PodInfo,
    taints,
};

#[derive(Clone, Debug)]
pub(super) struct Constraint {
    pub(super) topology_key: Arc<str>,
    pub(super) selector: Selector,
    pub(super) max_skew: i64,
    pub(super) min_domains: i64,
    /// Nodes that the pod's node affinity rules out do not count.
    honours_affinity: bool,
    /// Nodes with taints that the pod does not tolerate do not count.
    honours_taints: bool,
}

impl Constraint {
    /// Compiles a constraint of `pod`, label keys included.
    pub(super) fn compile(
        constraint: &TopologySpreadConstraint,
        pod: &PodInfo,
    ) -> Result<Self, SelectorError> {
        let mut selector = Selector::compile(constraint.label_selector.as_ref())?;
        let own = constraint.match_label_keys.iter().flatten();
        let own: BTreeMap<String, String> =
            own.filter_map(|key| Some((key.clone(), pod.labels().get(key)?.clone()))).collect();
        selector.require_all(&own);
        Ok(Self::with_selector(constraint, selector))
    }

    /// Takes everything but the selector from `constraint`.
    pub(super) fn with_selector(constraint: &TopologySpreadConstraint, selector: Selector) -> Self {
        Self {
            topology_key: Arc::from(constraint.topology_key.as_str()),
            selector,
            max_skew: i64::from(constraint.max_skew),
            min_domains: i64::from(constraint.min_domains.unwrap_or(1)),
            honours_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honours_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    /// Whether every node counts.
    pub(super) fn honours_all(&self, pod: &PodInfo) -> bool {
        (!self.honours_affinity || pod.demand.is_empty()) && !self.honours_taints
    }

    /// Whether pods on `node` count.
    pub(super) fn honours(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        (!self.honours_affinity || pod.demand.matches(&node.node))
            && (!self.honours_taints
                || taints::untolerated(node.taints(), pod.tolerations()).is_none())
    }

    /// Tells `add` how many matching pods are on each node. Leaving pods do not count, and as upstream has
    /// it nothing counts for a selector without requirements.
    pub(super) fn count(&self, cycle: Cycle<'_>, mut add: impl FnMut(Slot, i64)) {
        if self.selector.is_everything() {
            return;
        }
        for group in cycle.snapshot.groups.in_namespace(cycle.pod.namespace()) {
            if !group.terminating && self.selector.matches(group.labels) {
                group.spread.iter().for_each(|(slot, pods)| add(slot, pods));
            }
        }
    }
}
