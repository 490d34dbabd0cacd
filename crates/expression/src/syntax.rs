//! The syntax tree of an expression. Macros are expanded already: what loops is a [`Fold`].

mod lexer;
mod macros;
mod parser;

use std::sync::Arc;

use crate::value::Value;

pub(crate) use macros::{Naming, naming};
pub(crate) use parser::{Parsed, parse, qualified};

/// The accumulator of every fold that a macro makes.
pub(crate) const ACCUMULATOR: &str = "@result";

/// One node. Identifiers count from zero, so that facts about nodes live in vectors.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: usize,
    /// Where in the source, in code points.
    pub(crate) offset: usize,
    /// Levels below and including this node.
    pub(crate) depth: usize,
    pub(crate) form: Form,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// A constant.
    Literal(Value),
    /// A variable; may be qualified after checking.
    Name(Arc<str>),
    /// A field; with `test`, whether there is one.
    Select { operand: Box<Node>, field: Arc<str>, test: bool },
    /// A function or operator; the target is the receiver of a member call.
    Call { function: Arc<str>, target: Option<Box<Node>>, arguments: Vec<Node> },
    /// A list; elements may be optional (`[?x]`).
    List(Vec<Element>),
    /// A map.
    Map(Vec<Entry>),
    /// An object of a named type.
    Object { name: Arc<str>, fields: Vec<Field> },
    /// A comprehension.
    Fold(Box<Fold>),
}

/// An element of a list.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) value: Node,
    pub(crate) optional: bool,
}

/// An entry of a map.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Node,
    pub(crate) value: Node,
    pub(crate) optional: bool,
}

/// A field of an object.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: Arc<str>,
    pub(crate) offset: usize,
    pub(crate) value: Node,
    pub(crate) optional: bool,
}

/// A loop over a list or the keys of a map.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub(crate) range: Node,
    pub(crate) variable: Arc<str>,
    /// With two variables the first is the index or key and this one the value.
    pub(crate) second: Option<Arc<str>>,
    pub(crate) accumulator: Arc<str>,
    pub(crate) initial: Node,
    pub(crate) condition: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
}

impl Form {
    /// Levels of the tree with this form on top.
    pub(crate) fn depth(&self) -> usize {
        let deepest = match self {
            Self::Literal(_) | Self::Name(_) => 0,
            Self::Select { operand, .. } => operand.depth,
            Self::Call { target, arguments, .. } => {
                let target = target.as_ref().map_or(0, |target| target.depth);
                arguments.iter().map(|node| node.depth).fold(target, usize::max)
            }
            Self::List(elements) => elements.iter().map(|e| e.value.depth).max().unwrap_or(0),
            Self::Map(entries) => {
                entries.iter().map(|e| e.key.depth.max(e.value.depth)).max().unwrap_or(0)
            }
            Self::Object { fields, .. } => fields.iter().map(|f| f.value.depth).max().unwrap_or(0),
            Self::Fold(fold) => {
                let parts = [&fold.range, &fold.initial, &fold.condition, &fold.step, &fold.result];
                parts.into_iter().map(|node| node.depth).max().unwrap_or(0)
            }
        };
        deepest + 1
    }
}

/// What is wrong with an expression, and where (in code points).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) offset: usize,
    pub(crate) message: String,
}
