//! The cost of an expression before it is evaluated, from the sizes that values may have.
//!
//! The model is upstream's: a step costs one, what walks a string a tenth of its characters, a loop
//! its body times the largest size of its range. [`crate::evaluate`] counts with the same model.
//!
//! The estimate decides which rules a definition may have, so it is that of Kubernetes v1.32 to the last
//! digit, with what upstream does not see: the size of what is found in a call's result, and of a map's
//! keys. It is no bound on what an evaluation costs; that is counted. Unlike v1.32, variables of the macros
//! with two of them, and of `cel.bind`, have the size of what they stand for (new rules could not use them).

mod calls;
mod size;

use std::collections::HashMap;
use std::sync::Arc;

use crate::check::Checked;
use crate::environment::Environment;
use crate::syntax::{Fold, Form, Naming, Node, naming};
use crate::types::Type;
use crate::value::Value;

pub(crate) use calls::{
    AUTHORIZATION_COST, CHARACTER_COST, NAMED_FORMAT_CHARACTERS, REGEX_CHARACTER_COST,
    SELECTOR_REQUIREMENT_COST, SELECTOR_REQUIREMENTS,
};
pub use size::CostEstimate;
pub(crate) use size::scale;
use size::{ANY, ONE, Range, ZERO};

/// Upstream's costs of making values.
pub(crate) const LIST_COST: u64 = 10;
pub(crate) const MAP_COST: u64 = 30;
pub(crate) const OBJECT_COST: u64 = 40;

/// The variable whose shape bounds all sizes.
const ROOT: &str = "self";

/// A path from a variable to a part of it; empty for what no path leads to.
type Path = Vec<Arc<str>>;

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

/// A local variable.
struct Local {
    name: Arc<str>,
    fact: Fact,
    /// What it costs to name it.
    cost: CostEstimate,
}

struct Estimator<'a> {
    environment: &'a Environment,
    checked: &'a Checked,
    facts: HashMap<usize, Fact>,
    /// Variables of folds, innermost last.
    scopes: Vec<Local>,
}

/// A path with one more step. One from nowhere has the step alone: upstream takes its first step for the
/// variable, so that what is found in a result of a call is as large as the whole.
fn extended(mut path: Path, step: &str) -> Path {
    path.push(step.into());
    path
}

impl<'a> Estimator<'a> {
    fn ty(&self, node: &Node) -> &'a Type {
        &self.checked.types[node.id]
    }

    fn path(&self, node: &Node) -> Path {
        self.facts.get(&node.id).map(|fact| fact.path.clone()).unwrap_or_default()
    }

    fn set_path(&mut self, node: &Node, path: Path) {
        self.facts.entry(node.id).or_default().path = path;
    }

    fn set_size(&mut self, id: usize, size: Range) {
        self.facts.entry(id).or_default().size = Some(size);
    }

    /// The size that a schema allows. Upstream knows the shape of one variable only, and takes any other
    /// (the old value, what a macro names) for that.
    fn allowed(&self, path: &Path) -> Option<Range> {
        let (variable, rest) = path.split_first()?;
        let variables = [ROOT, &**variable];
        let root = variables.into_iter().find_map(|name| self.environment.variable(name))?;
        root.size_at(rest).map(|max| Range { min: 0, max })
    }

    /// The size of a node's value: known, allowed, one for what has no size, or anything.
    fn size(&self, node: &Node) -> Range {
        let path = self.path(node);
        let known = self.computed(node).or_else(|| self.allowed(&path));
        known.unwrap_or_else(|| unbounded(self.ty(node)))
    }

    /// The size of a node's value as the expression itself tells it.
    fn computed(&self, node: &Node) -> Option<Range> {
        let fact = self.facts.get(&node.id).and_then(|fact| fact.size);
        fact.or_else(|| match &node.form {
            // The name of a type is a variable to upstream, although its value is known.
            Form::Literal(Value::Type(_)) => None,
            Form::Literal(value @ (Value::String(_) | Value::Bytes(_))) => {
                Some(Range::exactly(value.size().unwrap_or(0) as u64))
            }
            Form::Literal(_) => Some(Range::exactly(1)),
            Form::List(elements) => Some(Range::exactly(elements.len() as u64)),
            Form::Map(entries) => Some(Range::exactly(entries.len() as u64)),
            _ => None,
        })
    }

    /// The size of the items of a list.
    fn element(&self, node: &Node) -> Option<(Type, Range)> {
        let Type::List(element) = self.ty(node) else { return None };
        let path = Some(self.path(node)).filter(|path| !path.is_empty());
        let allowed = path.and_then(|path| self.allowed(&extended(path, "@items")));
        Some(((**element).clone(), allowed.unwrap_or(ANY)))
    }

    fn node(&mut self, node: &Node) -> CostEstimate {
        match &node.form {
            Form::Literal(Value::Type(ty)) => {
                self.set_path(node, vec![ty.runtime_name().into()]);
                ONE
            }
            Form::Literal(_) => ZERO,
            Form::Name(name) => self.name(node, name),
            Form::Select { operand, field, test } => {
                let cost = self.node(operand);
                if *test {
                    return cost;
                }
                self.set_path(node, extended(self.path(operand), field));
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

    fn name(&mut self, node: &Node, name: &Arc<str>) -> CostEstimate {
        let (fact, cost) = match self.scopes.iter().rev().find(|local| local.name == *name) {
            Some(local) => (local.fact.clone(), local.cost),
            None => (Fact { path: vec![Arc::clone(name)], size: None }, ONE),
        };
        self.facts.insert(node.id, fact);
        cost
    }

    fn fold(&mut self, node: &Node, fold: &Fold) -> CostEstimate {
        let depth = self.scopes.len();
        let cost = match naming(fold) {
            Some(naming) => self.naming(node, fold, naming),
            None => self.turns(node, fold),
        };
        self.scopes.truncate(depth);
        cost
    }

    /// A loop.
    fn turns(&mut self, node: &Node, fold: &Fold) -> CostEstimate {
        let before = self.node(&fold.range).plus(self.node(&fold.initial));
        let (first, second) = self.parts(fold);
        self.bind(&fold.accumulator, Fact::default());
        let depth = self.scopes.len();
        self.bind(&fold.variable, Fact { path: first, size: None });
        if let Some(name) = &fold.second {
            self.bind(name, Fact { path: second, size: None });
        }
        let turn = self.node(&fold.condition).plus(self.node(&fold.step));
        self.scopes.truncate(depth);
        let after = self.node(&fold.result);
        let turns = self.size(&fold.range);
        self.set_size(node.id, turns);
        before.plus(after).plus(turns.times(turn))
    }

    /// The paths of what a loop's variables stand for.
    fn parts(&self, fold: &Fold) -> (Path, Path) {
        let range = self.path(&fold.range);
        let part = |step| extended(range.clone(), step);
        match (self.ty(&fold.range), &fold.second) {
            (Type::Map(_), _) => (part("@keys"), part("@values")),
            (Type::List(_), None) => (part("@items"), Path::new()),
            (Type::List(_), Some(_)) => (Path::new(), part("@items")),
            _ => (Path::new(), Path::new()),
        }
    }

    /// A value with a name, which macros write as a loop over nothing.
    fn naming(&mut self, node: &Node, fold: &Fold, naming: Naming) -> CostEstimate {
        let value = self.node(&fold.initial);
        let made = value.plus(CostEstimate::exactly(LIST_COST));
        let name = Arc::clone(&fold.accumulator);
        let own = Fact { path: self.path(&fold.initial), size: self.computed(&fold.initial) };
        let (fact, before, cost) = match naming {
            // Upstream writes the target of `optMap` out wherever it is used.
            Naming::Target => (own, ZERO, value),
            // Upstream takes what `optMap` names for a variable of its own.
            Naming::Mapped => (Fact { path: vec![Arc::clone(&name)], size: None }, made, ONE),
            Naming::Plain => (own, made, ONE),
        };
        self.scopes.push(Local { name, fact, cost });
        let after = self.node(&fold.result);
        let size = match naming {
            // As long as the loop is.
            Naming::Mapped => Range::exactly(0),
            Naming::Target | Naming::Plain => self.size(&fold.result),
        };
        self.set_size(node.id, size);
        before.plus(after)
    }

    fn bind(&mut self, name: &Arc<str>, fact: Fact) {
        self.scopes.push(Local { name: Arc::clone(name), fact, cost: ONE });
    }
}

/// The size of a value of which only the type is known.
fn unbounded(ty: &Type) -> Range {
    match ty {
        Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Timestamp | Type::Duration => {
            Range::exactly(1)
        }
        _ => ANY,
    }
}

fn sum(costs: impl Iterator<Item = CostEstimate>) -> CostEstimate {
    costs.fold(ZERO, CostEstimate::plus)
}
