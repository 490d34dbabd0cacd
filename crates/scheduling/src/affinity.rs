//! Pod affinity and anti-affinity terms, compiled.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm};

use crate::labels::{self, Labels, Selector, SelectorError};

/// One term: pods that it selects, and the label of nodes that says what "together" means.
#[derive(Clone, Debug)]
pub struct Term {
    /// The node label that makes a domain.
    pub topology_key: Arc<str>,
    /// How much a preferred term counts; 0 for required ones.
    pub weight: i32,
    selector: Selector,
    namespaces: Vec<String>,
    namespace_selector: Selector,
}

impl Term {
    fn compile(term: &PodAffinityTerm, weight: i32, pod: &Pod) -> Result<Self, SelectorError> {
        let mut selector = Selector::compile(term.label_selector.as_ref())?;
        if term.label_selector.is_some() {
            selector.require(&from_label_keys(term, pod)?);
        }
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(pod.metadata.namespace.clone().unwrap_or_default());
        }
        let namespace_selector = Selector::compile(term.namespace_selector.as_ref())?;
        let topology_key = Arc::from(term.topology_key.as_str());
        Ok(Self { topology_key, weight, selector, namespaces, namespace_selector })
    }

    /// Whether the term speaks of pods with `labels` in `namespace`.
    pub fn matches(&self, namespace: &str, namespace_labels: &Labels, labels: &Labels) -> bool {
        (self.namespaces.iter().any(|name| name == namespace)
            || self.namespace_selector.matches(namespace_labels))
            && self.selector.matches(labels)
    }

    /// Whether the labels of namespaces decide too.
    pub(crate) fn goes_by_namespace_labels(&self) -> bool {
        self.namespace_selector != Selector::nothing()
    }
}

/// The API server merges label keys into the selector; repeating it here is harmless and covers one that
/// does not.
fn from_label_keys(term: &PodAffinityTerm, pod: &Pod) -> Result<Selector, SelectorError> {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
    let own = labels::of(&pod.metadata);
    let expressions = |keys: &Option<Vec<String>>, operator: &str| -> Vec<_> {
        let present = keys.iter().flatten().filter_map(|key| Some((key, own.get(key)?)));
        present
            .map(|(key, value)| LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.to_owned(),
                values: Some(vec![value.clone()]),
            })
            .collect()
    };
    let mut all = expressions(&term.match_label_keys, "In");
    all.extend(expressions(&term.mismatch_label_keys, "NotIn"));
    Selector::compile(Some(&LabelSelector { match_expressions: Some(all), match_labels: None }))
}

/// All terms of one pod.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Must be together with.
    pub required: Vec<Term>,
    /// Must be apart from.
    pub required_anti: Vec<Term>,
    /// Better together with.
    pub preferred: Vec<Term>,
    /// Better apart from.
    pub preferred_anti: Vec<Term>,
}

impl Terms {
    /// Compiles the terms of `pod`.
    pub fn of(pod: &Pod) -> Result<Self, SelectorError> {
        let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) else {
            return Ok(Self::default());
        };
        let mut terms = Self::default();
        if let Some(together) = &affinity.pod_affinity {
            let required = &together.required_during_scheduling_ignored_during_execution;
            let preferred = &together.preferred_during_scheduling_ignored_during_execution;
            terms.required = compile_required(required.as_deref(), pod)?;
            terms.preferred = compile_preferred(preferred.as_deref(), pod)?;
        }
        if let Some(apart) = &affinity.pod_anti_affinity {
            let required = &apart.required_during_scheduling_ignored_during_execution;
            let preferred = &apart.preferred_during_scheduling_ignored_during_execution;
            terms.required_anti = compile_required(required.as_deref(), pod)?;
            terms.preferred_anti = compile_preferred(preferred.as_deref(), pod)?;
        }
        Ok(terms)
    }

    /// Whether the pod has no term at all.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// Every term.
    pub fn all(&self) -> impl Iterator<Item = &Term> {
        [&self.required, &self.required_anti, &self.preferred, &self.preferred_anti]
            .into_iter()
            .flatten()
    }
}

fn compile_required(
    terms: Option<&[PodAffinityTerm]>,
    pod: &Pod,
) -> Result<Vec<Term>, SelectorError> {
    terms.unwrap_or_default().iter().map(|term| Term::compile(term, 0, pod)).collect()
}

fn compile_preferred(
    terms: Option<&[WeightedPodAffinityTerm]>,
    pod: &Pod,
) -> Result<Vec<Term>, SelectorError> {
    let terms = terms.unwrap_or_default().iter();
    terms.map(|term| Term::compile(&term.pod_affinity_term, term.weight, pod)).collect()
}
