//! A compiled expression.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::activation::Activation;
use crate::budget::{Budget, CostError};
use crate::check::{self, Checked};
use crate::environment::Environment;
use crate::estimate::{self, CostEstimate};
use crate::evaluate;
use crate::limits::COMPILE_ISSUES_MAX;
use crate::syntax::{self, Fault};
use crate::types::Type;
use crate::value::Value;

/// One fault of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// What is wrong, in upstream's words.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in code points, from 1.
    pub column: usize,
    /// The text of the line.
    snippet: String,
}

/// Why an expression does not compile. Displays as upstream does, with the lines at fault:
/// `ERROR: <input>:1:1: undeclared reference to 'x' (in container '')`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct CompileError {
    /// The faults, in the order of the source; at least one.
    pub issues: Vec<Issue>,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, issue) in self.issues.iter().enumerate() {
            let Issue { message, line, column, snippet } = issue;
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "ERROR: <input>:{line}:{column}: {message}\n | {snippet}\n | ")?;
            for c in snippet.chars().take(column - 1) {
                f.write_str(if c.len_utf8() > 1 { "\u{ff0e}" } else { "." })?;
            }
            f.write_str("^")?;
        }
        Ok(())
    }
}

impl CompileError {
    fn new(source: &[char], mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| fault.offset);
        faults.dedup();
        faults.truncate(COMPILE_ISSUES_MAX);
        Self { issues: faults.into_iter().map(|fault| issue(source, fault)).collect() }
    }
}

fn issue(source: &[char], fault: Fault) -> Issue {
    let offset = fault.offset.min(source.len());
    let before = &source[..offset];
    let start = before.iter().rposition(|c| *c == '\n').map_or(0, |index| index + 1);
    let line = before.iter().filter(|c| **c == '\n').count() + 1;
    let rest = source[start..].iter().take_while(|c| **c != '\n');
    let snippet = rest.map(|c| if *c == '\t' { ' ' } else { *c }).collect();
    Issue { message: fault.message, line, column: offset - start + 1, snippet }
}

/// Why an evaluation has no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EvaluationError {
    /// The expression failed, in upstream's words (`no such key: a`).
    #[error("{0}")]
    Failed(String),
    /// It cost too much.
    #[error(transparent)]
    Cost(#[from] CostError),
}

/// A compiled expression: parsed, checked and with an estimate of its cost. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) text: String,
    pub(crate) checked: Checked,
    cost: CostEstimate,
}

impl Program {
    /// Compiles an expression.
    ///
    /// # Errors
    /// The text is not an expression, refers to what `environment` does not have, or applies a function to
    /// the wrong types.
    pub fn compile(environment: &Environment, text: &str) -> Result<Self, CompileError> {
        let source: Vec<char> = text.chars().collect();
        let wrong = |faults| CompileError::new(&source, faults);
        let parsed = syntax::parse(&source).map_err(|fault| wrong(vec![fault]))?;
        let checked = check::check(environment, parsed).map_err(wrong)?;
        let cost = estimate::cost(environment, &checked);
        Ok(Self { inner: Arc::new(Inner { text: text.to_owned(), checked, cost }) })
    }

    /// The type of the result; [`Type::Dyn`] if it is known at run time only.
    pub fn result_type(&self) -> &Type {
        self.inner.checked.result()
    }

    /// Whether the result is a Boolean, or may be.
    pub fn is_bool(&self) -> bool {
        matches!(self.result_type(), Type::Bool | Type::Dyn)
    }

    /// Whether the result is a string, or may be.
    pub fn is_string(&self) -> bool {
        matches!(self.result_type(), Type::String | Type::Dyn)
    }

    /// The declared variables that the expression refers to.
    pub fn references(&self) -> &BTreeSet<Arc<str>> {
        &self.inner.checked.references
    }

    /// Between what bounds the cost of an evaluation lies, by the sizes that the shapes allow.
    pub fn cost(&self) -> CostEstimate {
        self.inner.cost
    }

    /// The source.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// Evaluates the expression.
    ///
    /// # Errors
    /// The expression failed, or cost more than `budget` allows.
    pub fn evaluate(
        &self,
        activation: &Activation<'_>,
        budget: &mut Budget,
    ) -> Result<Value, EvaluationError> {
        budget.begin()?;
        let result = evaluate::evaluate(&self.inner.checked, activation, budget);
        budget.end();
        result
    }
}
