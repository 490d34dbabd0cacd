//! The cost of an expression before it is evaluated, from the sizes that values may have.
//!
//! The model is upstream's: a step costs one, what walks a string a tenth of its characters, a loop
//! its body times the largest size of its range. [`crate::evaluate`] counts with the same model.

mod calls;
mod size;

use std::collections::HashMap;
use std::sync::Arc;

use crate::check::Checked;
use crate::environment::Environment;
use crate::shape::Shape;
use crate::syntax::{Fold, Form, Node};
use crate::types::Type;
use crate::value::Value;

pub(crate) use calls::{
    AUTHORIZATION_COST, CHARACTER_COST, NAMED_FORMAT_CHARACTERS, REGEX_CHARACTER_COST,
    SELECTOR_REQUIREMENT_COST, SELECTOR_REQUIREMENTS,
};
pub use size::CostEstimate;
pub(crate) use size::scale;
use size::{ONE, Range, ZERO};

/// Upstream's costs of making values.
pub(crate) const LIST_COST: u64 = 10;
pub(crate) const MAP_COST: u64 = 30;
pub(crate) const OBJECT_COST: u64 = 40;

/// A path from a variable to a part of it.
type Path = Option<Vec<Arc<str>>>;

/// Between what bounds the cost of a checked expression lies.
pub(crate) fn cost(environment: &Environment, checked: &Checked) -> CostEstimate {
    let mut estimator =
        Estimator { environment, checked, facts: HashMap::new(), scopes: Vec::new() };
    estimator.node(&checked.root)
}

/// What is known of a node besides its type.
#[derive(Clone, Debug, Default)]
struct Fact {
    path: Path,
    size: Option<Range>,
}

struct Estimator<'a> {
    environment: &'a Environment,
    checked: &'a Checked,
    facts: HashMap<usize, Fact>,
    /// Variables of folds with the paths of their values, innermost last.
    scopes: Vec<(Arc<str>, Fact)>,
}

fn extended(path: &Path, step: &str) -> Path {
    let mut path = path.clone()?;
    path.push(step.into());
    Some(path)
}

impl<'a> Estimator<'a> {
    fn ty(&self, node: &Node) -> &'a Type {
        &self.checked.types[node.id]
    }

    fn path(&self, node: &Node) -> Path {
        self.facts.get(&node.id).and_then(|fact| fact.path.clone())
    }

    fn set_path(&mut self, node: &Node, path: Path) {
        self.facts.entry(node.id).or_default().path = path;
    }

    fn set_size(&mut self, id: usize, size: Range) {
        self.facts.entry(id).or_default().size = Some(size);
    }

    fn shape(&self, path: &Path) -> Option<&Shape> {
        let (variable, rest) = path.as_ref()?.split_first()?;
        self.environment.variable(variable)?.at(rest)
    }

    /// The size of a node's value: known, declared, one for what has no size, or anything.
    fn size(&self, node: &Node) -> Range {
        let known = match &node.form {
            Form::Literal(value) => Some(Range::exactly(match value {
                Value::String(_) | Value::Bytes(_) => value.size().unwrap_or(0) as u64,
                _ => 1,
            })),
            Form::List(elements) => Some(Range::exactly(elements.len() as u64)),
            Form::Map(entries) => Some(Range::exactly(entries.len() as u64)),
            _ => None,
        };
        let computed = self.facts.get(&node.id).and_then(|fact| fact.size);
        computed.or(known).unwrap_or_else(|| self.declared(&self.path(node), self.ty(node)))
    }

    fn declared(&self, path: &Path, ty: &Type) -> Range {
        // What has a shape but no size counts for nothing, as upstream has it.
        if let Some(shape) = self.shape(path).filter(|shape| !shape.is_unknown()) {
            return Range { min: 0, max: shape.size_max.unwrap_or(0) };
        }
        match ty {
            Type::Bool
            | Type::Int
            | Type::Uint
            | Type::Double
            | Type::Timestamp
            | Type::Duration => Range::exactly(1),
            _ => Range { min: 0, max: u64::MAX },
        }
    }

    /// The size of the items of a list, if they have one.
    fn element(&self, node: &Node) -> Option<(Type, Range)> {
        let Type::List(element) = self.ty(node) else { return None };
        let path = extended(&self.path(node), "@items");
        Some(((**element).clone(), self.declared(&path, element)))
    }

    fn node(&mut self, node: &Node) -> CostEstimate {
        match &node.form {
            Form::Literal(_) => ZERO,
            Form::Name(name) => {
                let local = self.scopes.iter().rev().find(|(own, _)| own == name);
                let fact = match local {
                    Some((_, fact)) => fact.clone(),
                    None => Fact { path: Some(vec![Arc::clone(name)]), size: None },
                };
                self.facts.insert(node.id, fact);
                ONE
            }
            Form::Select { operand, field, test } => {
                let cost = self.node(operand);
                if *test {
                    return cost;
                }
                self.set_path(node, extended(&self.path(operand), field));
                match self.ty(operand) {
                    Type::Map(_) | Type::Object(_) => cost.plus(ONE),
                    _ => cost,
                }
            }
            Form::Call { function, target, arguments } => {
                self.call(node, function, target.as_deref(), arguments)
            }
            Form::List(elements) => {
                let costs = elements.iter().map(|element| self.node(&element.value));
                sum(costs).plus(CostEstimate::exactly(LIST_COST))
            }
            Form::Map(entries) => {
                let costs =
                    entries.iter().map(|entry| self.node(&entry.key).plus(self.node(&entry.value)));
                sum(costs).plus(CostEstimate::exactly(MAP_COST))
            }
            Form::Object { fields, .. } => {
                let costs = fields.iter().map(|field| self.node(&field.value));
                sum(costs).plus(CostEstimate::exactly(OBJECT_COST))
            }
            Form::Fold(fold) => self.fold(node, fold),
        }
    }

    fn fold(&mut self, node: &Node, fold: &Fold) -> CostEstimate {
        let before = self.node(&fold.range).plus(self.node(&fold.initial));
        let range = self.path(&fold.range);
        let is_map = matches!(self.ty(&fold.range), Type::Map(_));
        let (first, second) = match (&fold.second, is_map) {
            (_, true) => (extended(&range, "@keys"), extended(&range, "@values")),
            (None, false) => (extended(&range, "@items"), None),
            (Some(_), false) => (None, extended(&range, "@items")),
        };
        let depth = self.scopes.len();
        // An accumulator has no path; what `cel.bind` names has that of its value.
        let size = self.facts.get(&fold.initial.id).and_then(|fact| fact.size);
        let bound = matches!(&fold.range.form, Form::List(elements) if elements.is_empty());
        let path = if bound { self.path(&fold.initial) } else { None };
        let size = if bound { Some(self.size(&fold.initial)).or(size) } else { None };
        self.scopes.push((Arc::clone(&fold.accumulator), Fact { path, size }));
        self.scopes.push((Arc::clone(&fold.variable), Fact { path: first, size: None }));
        if let Some(name) = &fold.second {
            self.scopes.push((Arc::clone(name), Fact { path: second, size: None }));
        }
        let turn = self.node(&fold.condition).plus(self.node(&fold.step));
        self.scopes.truncate(depth + 1);
        let after = self.node(&fold.result);
        self.scopes.truncate(depth);
        let turns = self.size(&fold.range);
        let size = if bound { self.size(&fold.result) } else { turns };
        self.set_size(node.id, size);
        before.plus(after).plus(turns.times(turn))
    }
}

fn sum(costs: impl Iterator<Item = CostEstimate>) -> CostEstimate {
    costs.fold(ZERO, CostEstimate::plus)
}
