//! NodeAffinity: node selectors, and required and preferred node affinity.

use k8s_openapi::api::core::v1::PreferredSchedulingTerm;

use super::Row;
use crate::{
    config::{NodeAffinityArguments, ProfileConfig},
    event::Event,
    framework::{
        Cycle, FilterPlugin, NodeFilter, NodeScore, Plugin, Prepared, Rejection, ScorePlugin,
        normalize_to_max,
    },
    labels::{NodeDemand, NodeSelector},
    node::{NodeInfo, Slot},
    pod::PodInfo,
    profile::ProfileError,
};

pub(super) const ROW: Row = Row {
    name: "NodeAffinity",
    weight: 2,
    build: |config| Ok(Box::new(NodeAffinity::new(config)?)),
};

const REASON: &str = "node(s) didn't match Pod's node affinity/selector";
const REASON_ENFORCED: &str = "node(s) didn't match scheduler-enforced node affinity";
const REASON_CONFLICT: &str = "pod affinity terms conflict";

#[derive(Debug)]
struct NodeAffinity {
    added: Option<NodeSelector>,
    added_preferences: Vec<Preference>,
}

#[derive(Clone, Debug)]
struct Preference {
    weight: i64,
    selector: NodeSelector,
}

fn compile(terms: &[PreferredSchedulingTerm]) -> Vec<Preference> {
    let counting = terms.iter().filter(|term| term.weight != 0);
    counting
        .map(|term| Preference {
            weight: i64::from(term.weight),
            selector: NodeSelector::compile_term(&term.preference),
        })
        .collect()
}

impl NodeAffinity {
    fn new(config: &ProfileConfig) -> Result<Self, ProfileError> {
        let added = config.arguments::<NodeAffinityArguments>(ROW.name)?.added_affinity;
        let added = added.unwrap_or_default();
        let required = added.required_during_scheduling_ignored_during_execution;
        let preferred = added.preferred_during_scheduling_ignored_during_execution;
        Ok(Self {
            added: required.as_ref().map(NodeSelector::compile),
            added_preferences: compile(preferred.as_deref().unwrap_or_default()),
        })
    }
}

impl Plugin for NodeAffinity {
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
        let matches = |node| {
            pod.demand.matches(node) && self.added.as_ref().is_none_or(|added| added.matches(node))
        };
        match event {
            Event::Node(change) => {
                change.new.is_some_and(matches) && !change.old.is_some_and(matches)
            }
            _ => false,
        }
    }
}

impl FilterPlugin for NodeAffinity {
    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        let demand = &cycle.pod.demand;
        if demand.is_empty() && self.added.is_none() {
            return Ok(Prepared::Skip);
        }
        let check = Box::new(Check { added: self.added.as_ref(), demand });
        match demand.affinity().and_then(NodeSelector::names) {
            None => Ok(Prepared::Check(check)),
            Some(names) if names.is_empty() => Err(Rejection::unresolvable(REASON_CONFLICT)),
            Some(mut names) => {
                names.sort_unstable();
                names.dedup();
                Ok(Prepared::CheckOnly(names.into_iter().map(str::to_owned).collect(), check))
            }
        }
    }
}

#[derive(Debug)]
struct Check<'a> {
    added: Option<&'a NodeSelector>,
    demand: &'a NodeDemand,
}

impl NodeFilter for Check<'_> {
    fn check(&self, node: &NodeInfo, rejection: &mut Rejection) -> bool {
        if self.added.is_some_and(|added| !added.matches(&node.node)) {
            return rejection.reject_for_good(REASON_ENFORCED);
        }
        self.demand.matches(&node.node) || rejection.reject_for_good(REASON)
    }
}

impl ScorePlugin for NodeAffinity {
    fn prepare<'a>(
        &'a self,
        cycle: Cycle<'a>,
        _feasible: &[Slot],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let affinity = cycle.pod.spec().and_then(|spec| spec.affinity.as_ref());
        let affinity = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let own = affinity.and_then(|affinity| {
            affinity.preferred_during_scheduling_ignored_during_execution.as_deref()
        });
        let mut preferences = compile(own.unwrap_or_default());
        preferences.extend_from_slice(&self.added_preferences);
        (!preferences.is_empty()).then(|| Box::new(Score(preferences)) as Box<dyn NodeScore>)
    }
}

#[derive(Debug)]
struct Score(Vec<Preference>);

impl NodeScore for Score {
    fn score(&self, node: &NodeInfo) -> i64 {
        let matching = self.0.iter().filter(|preference| preference.selector.matches(&node.node));
        matching.map(|preference| preference.weight).sum()
    }

    fn normalize(&self, _nodes: &[Slot], scores: &mut [i64]) {
        normalize_to_max(scores, false);
    }
}
