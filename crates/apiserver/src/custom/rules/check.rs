//! Checking an object against compiled rules.
//!
//! Two notions of the old value go down the tree: what `oldSelf` is, and what a value must equal for its
//! faults to be tolerated.

use std::sync::Arc;

use api::field::{Error, Path};
use expression::{Activation, Budget, CostError, EvaluationError, Value as Term};
use serde_json::Value;

use super::{Compiled, Node, correlated};

/// The longest message that an expression may make, in bytes (upstream's limit).
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// What is wrong with an object.
#[derive(Debug, Default)]
pub(in crate::custom) struct Found {
    /// What it is refused for.
    pub(in crate::custom) errors: Vec<Error>,
    /// What it is not refused for, because it was so before: the client is told.
    pub(in crate::custom) tolerated: Vec<Error>,
}

/// All faults of an object.
pub(super) fn check(root: &Node, object: &Value, old: Option<&Value>) -> Found {
    let mut checker =
        Checker { budget: Budget::default(), errors: Vec::new(), tolerated: Vec::new() };
    let past = Past { old, current: old.map(|old| (object, old)), nearest: None };
    // Running out of budget ends the check; the error is among the others.
    let _ = checker.node(root, object, &past, &Path::root());
    Found { errors: checker.errors, tolerated: checker.tolerated }
}

/// No further rules are to be checked.
struct Stop;

/// A new value and the old one.
type Pair<'a> = (&'a Value, &'a Value);

/// What was where a value is now.
#[derive(Clone, Copy)]
struct Past<'a> {
    /// The value of `oldSelf`.
    old: Option<&'a Value>,
    /// This value and its old one, if they can be told to be the same.
    current: Option<Pair<'a>>,
    /// Those of the nearest value around it.
    nearest: Option<Pair<'a>>,
}

impl<'a> Past<'a> {
    /// Whether faults are tolerated: nothing changed.
    fn is_unchanged(&self) -> bool {
        self.current.or(self.nearest).is_some_and(|(new, old)| new == old)
    }

    fn below(&self, new: &'a Value, old: Option<&'a Value>) -> Self {
        let old = old.filter(|old| !old.is_null());
        match self.current {
            None => Self { old, ..*self },
            Some(_) => Self { old, current: old.map(|old| (new, old)), nearest: self.current },
        }
    }

    fn field(&self, name: &str, new: &'a Value) -> Self {
        let old = self.old.and_then(|old| old.get(name));
        // The type of the root is the same in both versions of an object.
        if self.nearest.is_none() && matches!(name, "apiVersion" | "kind") {
            return Self { old, current: None, nearest: None };
        }
        self.below(new, old)
    }
}

struct Checker {
    budget: Budget,
    errors: Vec<Error>,
    tolerated: Vec<Error>,
}

impl Checker {
    fn node(
        &mut self,
        node: &Node,
        value: &Value,
        past: &Past<'_>,
        path: &Path,
    ) -> Result<(), Stop> {
        if value.is_null() {
            return Ok(());
        }
        self.rules(node, value, past, path)?;
        for all_of in &node.all_of {
            // Faults of these are not tolerated for themselves, as upstream has it.
            let past = Past { current: None, ..*past };
            self.node(all_of, value, &past, path)?;
        }
        match value {
            Value::Array(items) => {
                let Some(element) = &node.element else { return Ok(()) };
                for (index, item) in items.iter().enumerate() {
                    let old = past.old.and_then(|old| correlated(&node.schema, item, old));
                    self.node(element, item, &past.below(item, old), &path.index(index))?;
                }
            }
            Value::Object(map) => {
                if let Some(element) = &node.element {
                    for (key, value) in map {
                        self.node(element, value, &past.field(key, value), &path.key(key))?;
                    }
                }
                for (name, field) in &node.fields {
                    if let Some(value) = map.get(name) {
                        self.node(field, value, &past.field(name, value), &path.child(name))?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rules(
        &mut self,
        node: &Node,
        value: &Value,
        past: &Past<'_>,
        path: &Path,
    ) -> Result<(), Stop> {
        if node.rules.is_empty() {
            return Ok(());
        }
        let invalid = |detail: String| Error::invalid(path, &*node.type_name, detail);
        if self.budget.is_exhausted() {
            self.errors.push(invalid(OUT_OF_BUDGET.to_owned()));
            return Err(Stop);
        }
        let old = past.old.filter(|old| !old.is_null());
        let uses_old = node.rules.iter().any(|rule| rule.uses_old_self);
        let old_term = old.filter(|_| uses_old).map(|old| term(node, old));
        let new_term = term(node, value);
        let activation = |optional: bool| {
            let activation = Activation::new().with("self", new_term.clone());
            match &old_term {
                old if optional => {
                    let old = old.clone().map(Arc::new);
                    activation.with("oldSelf", Term::Optional(old))
                }
                Some(old) => activation.with("oldSelf", old.clone()),
                None => activation,
            }
        };
        for rule in &node.rules {
            let program = match &rule.program {
                None => continue,
                Some(Ok(program)) => program,
                Some(Err(error)) => {
                    self.errors.push(invalid(format!("rule compile error: {error}")));
                    continue;
                }
            };
            if rule.uses_old_self && old.is_none() && !rule.optional_old_self {
                continue;
            }
            let values = activation(rule.optional_old_self);
            match program.evaluate(&values, &mut self.budget) {
                Ok(result) if result.as_bool() == Some(true) => {}
                Ok(_) => {
                    let tolerated = !rule.uses_old_self && past.is_unchanged();
                    let (error, stop) =
                        self.failed(rule, &node.type_name, path, &activation(false));
                    if tolerated {
                        self.tolerated.push(error);
                    } else {
                        self.errors.push(error);
                    }
                    if stop {
                        return Err(Stop);
                    }
                }
                Err(error) => {
                    let (detail, stop) = describe(&error, &rule.name);
                    self.errors.push(invalid(detail));
                    if stop {
                        return Err(Stop);
                    }
                }
            }
        }
        Ok(())
    }

    /// The fault that a rule reports, and whether that was the end of the budget.
    fn failed(
        &mut self,
        rule: &Compiled,
        type_name: &str,
        path: &Path,
        values: &Activation<'_>,
    ) -> (Error, bool) {
        let path =
            if rule.field_path.is_empty() { path.clone() } else { path.child(&rule.field_path) };
        let message = match &rule.message {
            Some(Ok(program)) => match program.evaluate(values, &mut self.budget) {
                Ok(message) => usable(&message),
                Err(EvaluationError::Cost(error)) => {
                    let detail = match error {
                        CostError::Call => format!(
                            "no further validation rules will be run due to call cost exceeds \
                             limit for messageExpression: {:?}",
                            program.text()
                        ),
                        CostError::Total => "messageExpression evaluation failed due to running \
                             out of cost budget, no further validation rules will be run"
                            .to_owned(),
                    };
                    return (Error::invalid(&path, type_name, detail), true);
                }
                Err(EvaluationError::Failed(_)) => None,
            },
            _ => None,
        };
        let message = message.unwrap_or_else(|| rule.fixed_message.clone());
        let error = match rule.reason.as_str() {
            "FieldValueForbidden" => Error::forbidden(&path, message),
            "FieldValueRequired" => Error::required(&path, &message),
            "FieldValueDuplicate" => Error::duplicate(&path, type_name),
            _ => Error::invalid(&path, type_name, message),
        };
        (error, false)
    }
}

fn term(node: &Node, value: &Value) -> Term {
    if node.resource {
        Term::from_resource(value, &node.schema)
    } else {
        Term::from_json_with(value, &node.schema)
    }
}

/// A message that an expression made, if it can be shown.
fn usable(message: &Term) -> Option<String> {
    let message = message.as_str()?.trim();
    let fine = !message.is_empty() && message.len() <= MESSAGE_BYTES_MAX && !message.contains('\n');
    fine.then(|| message.to_owned())
}

/// How a rule that could not be evaluated is reported, and whether that was the end of the budget.
fn describe(error: &EvaluationError, rule: &str) -> (String, bool) {
    match error {
        EvaluationError::Cost(CostError::Total) => (OUT_OF_BUDGET.to_owned(), true),
        EvaluationError::Cost(CostError::Call) => {
            let detail = format!(
                "'{error}': no further validation rules will be run due to call cost exceeds limit \
                 for rule: {rule}"
            );
            (detail, true)
        }
        EvaluationError::Failed(message) if message.starts_with("no such overload") => {
            let detail = format!(
                "'{message}': call arguments did not match a supported operator, function or macro \
                 signature for rule: {rule}"
            );
            (detail, false)
        }
        EvaluationError::Failed(message) => (format!("{message} evaluating rule: {rule}"), false),
    }
}
