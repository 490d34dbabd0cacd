//! The values of the variables of one evaluation.

use std::sync::OnceLock;

use crate::program::{EvaluationError, Program};
use crate::value::Value;

/// A variable that is evaluated when it is first used.
#[derive(Debug)]
pub(crate) struct Composed<'a> {
    pub(crate) name: &'a str,
    pub(crate) program: &'a Program,
    pub(crate) value: OnceLock<Result<Value, EvaluationError>>,
}

/// Values by the names of an [`crate::Environment`].
///
/// `variables` are added in order; each is evaluated at most once, at its first use, at the cost of who
/// uses it first.
#[derive(Debug, Default)]
pub struct Activation<'a> {
    values: Vec<(&'a str, Value)>,
    pub(crate) composed: Vec<Composed<'a>>,
}

impl<'a> Activation<'a> {
    /// Without values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a variable its value.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Gives a variable its value, or another one.
    pub fn set(&mut self, name: &'a str, value: impl Into<Value>) {
        let value = value.into();
        match self.values.iter_mut().find(|(own, _)| *own == name) {
            Some((_, own)) => *own = value,
            None => self.values.push((name, value)),
        }
    }

    /// Defines `variables.name`; it may use the ones that were added before.
    pub fn add_variable(&mut self, name: &'a str, program: &'a Program) {
        self.composed.push(Composed { name, program, value: OnceLock::new() });
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }
}
