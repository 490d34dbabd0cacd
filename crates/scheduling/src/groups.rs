//! Pods on nodes, grouped by what selectors can see of them.
//!
//! Replicas look alike: same namespace, same labels, same affinity. A selector is matched once per group
//! instead of once per pod, and a group knows on which nodes how many of its pods are.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    affinity::{Term, Terms},
    labels::Labels,
    node::Slot,
    pod::PodInfo,
};

/// How many pods of a group are on each node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread {
    counts: BTreeMap<Slot, u32>,
}

impl Spread {
    /// Nodes with pods of the group, and how many.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, i64)> + '_ {
        self.counts.iter().map(|(slot, count)| (*slot, i64::from(*count)))
    }

    fn add(&mut self, slot: Slot) {
        *self.counts.entry(slot).or_default() += 1;
    }

    fn remove(&mut self, slot: Slot) {
        if let Some(count) = self.counts.get_mut(&slot) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&slot);
            }
        }
    }
}

/// Pods of one namespace with the same labels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LabelGroup<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) terminating: bool,
    pub(crate) spread: &'a Spread,
}

type SpreadByLabels = HashMap<(bool, Labels), Spread>;

fn views(groups: &SpreadByLabels) -> impl Iterator<Item = LabelGroup<'_>> {
    groups.iter().map(|((terminating, labels), spread)| LabelGroup {
        labels,
        terminating: *terminating,
        spread,
    })
}

/// Pods of one namespace with the same affinity terms.
#[derive(Clone, Debug)]
pub(crate) struct TermGroup {
    pub(crate) terms: Terms,
    pub(crate) spread: Spread,
}

/// All groups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    by_labels: HashMap<String, SpreadByLabels>,
    by_terms: HashMap<Arc<str>, TermGroup>,
}

impl Groups {
    pub(crate) fn add(&mut self, pod: &PodInfo, slot: Slot) {
        let terminating = pod.is_terminating();
        if !self.by_labels.contains_key(pod.namespace()) {
            self.by_labels.insert(pod.namespace().to_owned(), HashMap::new());
        }
        if let Some(namespace) = self.by_labels.get_mut(pod.namespace()) {
            let labels = pod.labels().clone();
            namespace.entry((terminating, labels)).or_default().add(slot);
        }
        if !pod.terms.is_empty() {
            let group = self.by_terms.entry(Arc::clone(&pod.terms_key)).or_insert_with(|| {
                TermGroup { terms: pod.terms.clone(), spread: Spread::default() }
            });
            group.spread.add(slot);
        }
    }

    pub(crate) fn remove(&mut self, pod: &PodInfo, slot: Slot) {
        if let Some(namespace) = self.by_labels.get_mut(pod.namespace()) {
            let key = (pod.is_terminating(), pod.labels().clone());
            if let Some(spread) = namespace.get_mut(&key) {
                spread.remove(slot);
                if spread.counts.is_empty() {
                    namespace.remove(&key);
                }
            }
            if namespace.is_empty() {
                self.by_labels.remove(pod.namespace());
            }
        }
        if let Some(group) = self.by_terms.get_mut(&pod.terms_key) {
            group.spread.remove(slot);
            if group.spread.counts.is_empty() {
                self.by_terms.remove(&pod.terms_key);
            }
        }
    }

    /// Groups of pods in `namespace`.
    pub(crate) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = LabelGroup<'_>> {
        self.by_labels.get(namespace).into_iter().flat_map(views)
    }

    /// All groups of pods with their namespace.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, LabelGroup<'_>)> {
        self.by_labels.iter().flat_map(|(namespace, groups)| {
            views(groups).map(move |group| (namespace.as_str(), group))
        })
    }

    /// Groups of pods that have affinity terms.
    pub(crate) fn with_terms(&self) -> impl Iterator<Item = &TermGroup> {
        self.by_terms.values()
    }

    /// Whether any placed pod has a term that `wanted` picks.
    pub(crate) fn any_terms(&self, wanted: impl Fn(&Terms) -> &[Term]) -> bool {
        self.by_terms.values().any(|group| !wanted(&group.terms).is_empty())
    }
}
