//! Label and node selectors, compiled once and matched often.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Node, NodeSelector as ApiNodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

static NO_LABELS: Labels = Labels::new();

/// The labels of an object, empty when it has none.
pub fn of(metadata: &ObjectMeta) -> &Labels {
    metadata.labels.as_ref().unwrap_or(&NO_LABELS)
}

/// Why a selector cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The operator is none of the known ones.
    #[error("{0:?} is not a valid label selector operator")]
    Operator(String),
    /// `Gt` and `Lt` need exactly one integer.
    #[error("for 'Gt', 'Lt' operators, the value of key {0:?} must be one integer")]
    Integer(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

impl Requirement {
    fn new(key: &str, operator: &str, values: Option<&Vec<String>>) -> Result<Self, SelectorError> {
        let list = || values.cloned().unwrap_or_default();
        let integer = || match values.map(Vec::as_slice) {
            Some([value]) => value.parse().map_err(|_| SelectorError::Integer(key.to_owned())),
            _ => Err(SelectorError::Integer(key.to_owned())),
        };
        let test = match operator {
            "In" => Test::In(list()),
            "NotIn" => Test::NotIn(list()),
            "Exists" => Test::Exists,
            "DoesNotExist" => Test::DoesNotExist,
            "Gt" => Test::GreaterThan(integer()?),
            "Lt" => Test::LessThan(integer()?),
            other => return Err(SelectorError::Operator(other.to_owned())),
        };
        Ok(Self { key: key.to_owned(), test })
    }

    fn equals(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), test: Test::In(vec![value.to_owned()]) }
    }

    fn matches(&self, value: Option<&str>) -> bool {
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Test::NotIn(values) => !value.is_some_and(|value| values.iter().any(|v| v == value)),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
            Test::GreaterThan(bound) => integer(value).is_some_and(|number| number > *bound),
            Test::LessThan(bound) => integer(value).is_some_and(|number| number < *bound),
        }
    }

    fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.key).map(String::as_str))
    }
}

fn integer(value: Option<&str>) -> Option<i64> {
    value.and_then(|value| value.parse().ok())
}

/// A compiled label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Selector {
    /// Selects no object.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Selects every object.
    pub fn everything() -> Self {
        Self { requirements: Vec::new(), nothing: false }
    }

    /// Compiles an API selector; an absent one selects nothing, an empty one everything.
    pub fn compile(selector: Option<&LabelSelector>) -> Result<Self, SelectorError> {
        let Some(selector) = selector else { return Ok(Self::nothing()) };
        let mut compiled = Self::everything();
        compiled.require_all(selector.match_labels.iter().flatten());
        for expression in selector.match_expressions.iter().flatten() {
            let Some(operator) = Some(expression.operator.as_str())
                .filter(|operator| !matches!(*operator, "Gt" | "Lt"))
            else {
                return Err(SelectorError::Operator(expression.operator.clone()));
            };
            let values = expression.values.as_ref();
            compiled.requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        Ok(compiled)
    }

    /// Selects what carries all of `labels`.
    pub fn from_set<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let mut selector = Self::everything();
        selector.require_all(labels);
        selector
    }

    /// Narrows the selector to what carries all of `labels` too.
    pub fn require_all<'a>(&mut self, labels: impl IntoIterator<Item = (&'a String, &'a String)>) {
        let equal = labels.into_iter().map(|(key, value)| Requirement::equals(key, value));
        self.requirements.extend(equal);
    }

    /// Narrows the selector to what `other` selects too.
    pub fn require(&mut self, other: &Self) {
        self.nothing |= other.nothing;
        self.requirements.extend_from_slice(&other.requirements);
    }

    /// Whether the selector has no requirement, so selects everything.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether an object with `labels` is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        !self.nothing
            && self.requirements.iter().all(|requirement| requirement.matches_labels(labels))
    }
}

#[derive(Clone, Debug)]
struct NodeTerm {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

impl NodeTerm {
    fn compile(term: &NodeSelectorTerm) -> Result<Self, SelectorError> {
        let compile = |list: &Option<Vec<NodeSelectorRequirement>>| {
            list.iter()
                .flatten()
                .map(|item| Requirement::new(&item.key, &item.operator, item.values.as_ref()))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { labels: compile(&term.match_expressions)?, fields: compile(&term.match_fields)? })
    }

    fn matches(&self, node: &Node) -> bool {
        if self.labels.is_empty() && self.fields.is_empty() {
            return false;
        }
        let labels = of(&node.metadata);
        let name = node.metadata.name.as_deref();
        self.labels.iter().all(|requirement| requirement.matches_labels(labels))
            && self.fields.iter().all(|field| field.key == "metadata.name" && field.matches(name))
    }

    /// The node names that the term allows, when it names any.
    fn names(&self) -> Option<Vec<&str>> {
        let mut names: Option<Vec<&str>> = None;
        for field in &self.fields {
            let Test::In(values) = &field.test else { continue };
            if field.key != "metadata.name" {
                continue;
            }
            names = Some(match names {
                None => values.iter().map(String::as_str).collect(),
                Some(names) => {
                    names.into_iter().filter(|name| values.iter().any(|v| v == name)).collect()
                }
            });
        }
        names
    }
}

/// A compiled node selector: terms are alternatives.
#[derive(Clone, Debug)]
pub struct NodeSelector {
    terms: Vec<NodeTerm>,
}

impl NodeSelector {
    /// Compiles an API node selector. A term that cannot be read matches nothing, as upstream has it.
    pub fn compile(selector: &ApiNodeSelector) -> Self {
        let terms = selector.node_selector_terms.iter().flat_map(NodeTerm::compile).collect();
        Self { terms }
    }

    /// Compiles a single preference.
    pub fn compile_term(term: &NodeSelectorTerm) -> Self {
        Self { terms: NodeTerm::compile(term).into_iter().collect() }
    }

    /// Whether any term selects `node`.
    pub fn matches(&self, node: &Node) -> bool {
        self.terms.iter().any(|term| term.matches(node))
    }

    /// The only nodes that can match, when every term names its nodes.
    pub fn names(&self) -> Option<Vec<&str>> {
        let mut names = Vec::new();
        for term in &self.terms {
            names.extend(term.names()?);
        }
        (!self.terms.is_empty()).then_some(names)
    }
}

/// What a pod demands of its node: `nodeSelector` and required node affinity together.
#[derive(Clone, Debug, Default)]
pub struct NodeDemand {
    labels: Vec<(String, String)>,
    affinity: Option<NodeSelector>,
}

impl NodeDemand {
    /// The demand of `pod`.
    pub fn of_pod(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let required =
            spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref()).and_then(
                |affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref(),
            );
        let labels = spec.node_selector.iter().flatten();
        Self {
            labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
            affinity: required.map(NodeSelector::compile),
        }
    }

    /// Whether any node will do.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.affinity.is_none()
    }

    /// The required affinity alone.
    pub fn affinity(&self) -> Option<&NodeSelector> {
        self.affinity.as_ref()
    }

    /// Whether `node` satisfies the demand.
    pub fn matches(&self, node: &Node) -> bool {
        let labels = of(&node.metadata);
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.affinity.as_ref().is_none_or(|affinity| affinity.matches(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> Selector {
        let values = values.iter().map(ToString::to_string).collect();
        Selector::compile(Some(&LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: key.to_owned(),
                operator: operator.to_owned(),
                values: Some(values),
            }]),
            ..LabelSelector::default()
        }))
        .unwrap()
    }

    #[test]
    fn selectors_follow_the_api() {
        let app = labels(&[("app", "web")]);
        for (selector, with, without) in [
            (Selector::nothing(), false, false),
            (Selector::everything(), true, true),
            (Selector::compile(None).unwrap(), false, false),
            (Selector::compile(Some(&LabelSelector::default())).unwrap(), true, true),
            (Selector::from_set(&app), true, false),
            (expression("app", "In", &["web", "db"]), true, false),
            (expression("app", "In", &[]), false, false),
            (expression("app", "NotIn", &["web"]), false, true),
            (expression("app", "Exists", &[]), true, false),
            (expression("app", "DoesNotExist", &[]), false, true),
        ] {
            assert_eq!(selector.matches(&app), with, "{selector:?}");
            assert_eq!(selector.matches(&Labels::new()), without, "{selector:?}");
        }
    }

    #[test]
    fn unknown_operators_are_errors() {
        let selector = LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "a".to_owned(),
                operator: "Gt".to_owned(),
                values: Some(vec!["1".to_owned()]),
            }]),
            ..LabelSelector::default()
        };
        assert_eq!(
            Selector::compile(Some(&selector)),
            Err(SelectorError::Operator("Gt".to_owned()))
        );
    }

    #[test]
    fn node_terms_compare_integers_and_names() {
        let node = Node {
            metadata: ObjectMeta {
                name: Some("n1".to_owned()),
                labels: Some(labels(&[("cpus", "8"), ("word", "x")])),
                ..ObjectMeta::default()
            },
            ..Node::default()
        };
        let term = |key: &str, operator: &str, value: &str| NodeSelectorTerm {
            match_expressions: Some(vec![NodeSelectorRequirement {
                key: key.to_owned(),
                operator: operator.to_owned(),
                values: Some(vec![value.to_owned()]),
            }]),
            match_fields: None,
        };
        for (term, expected) in [
            (term("cpus", "Gt", "4"), true),
            (term("cpus", "Gt", "8"), false),
            (term("cpus", "Lt", "9"), true),
            (term("word", "Gt", "4"), false),
            (term("cpus", "Gt", "x"), false),
            (NodeSelectorTerm::default(), false),
        ] {
            assert_eq!(NodeSelector::compile_term(&term).matches(&node), expected, "{term:?}");
        }
        let by_name = NodeSelectorTerm {
            match_fields: Some(vec![NodeSelectorRequirement {
                key: "metadata.name".to_owned(),
                operator: "In".to_owned(),
                values: Some(vec!["n1".to_owned()]),
            }]),
            match_expressions: None,
        };
        let selector = NodeSelector::compile_term(&by_name);
        assert!(selector.matches(&node));
        assert_eq!(selector.names(), Some(vec!["n1"]));
    }
}
