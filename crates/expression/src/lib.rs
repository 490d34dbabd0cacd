//! Expressions (CEL) as Kubernetes uses them: in rules of custom resources, admission policies and match
//! conditions.
//!
//! - An [`Environment`] declares variables with their types ([`Shape`]; [`Shape::of_schema`] makes one from
//!   a structural schema, [`Environment::with_dynamic`] is for variables of which nothing is known).
//! - [`Program::compile`] parses, checks types and estimates cost. [`CompileError`] displays as upstream's.
//!   What the result must be is for the caller to say: [`Program::is_bool`], [`Program::is_string`],
//!   [`Program::result_type`]; [`Program::cost`] is the estimate, [`Program::references`] the variables used.
//! - [`Program::evaluate`] takes the values ([`Activation`]) and a [`Budget`] that is shared by all
//!   evaluations of one request, and gives a [`Value`] or an [`EvaluationError`].
//! - [`Value::from_json`] reads an object of which nothing is known (null for one that is absent),
//!   [`Value::from_json_with`] one with a schema, [`Value::to_json`] writes.
//!
//! Composed variables (`variables.x`): [`Environment::with_variables`], then for each in order
//! `Program::compile` and [`Environment::add_variable`]; at evaluation [`Activation::add_variable`] in the same
//! order. They are evaluated at their first use, once per activation, and charged to the budget of the program that
//! uses them first.
//!
//! The authorizer: [`Environment::with_authorizer`], an [`Authorizer`] of the caller's, and the values
//! [`Value::authorizer`] under the name `authorizer` and [`Value::request_resource`] under
//! `authorizer.requestResource`.
//!
//! Objects made in an expression (`Object{spec: Object.spec{replicas: 1}}`, `JSONPatch{op: "add", ...}`):
//! [`Environment::with_constructors`]; the results are [`Value::Map`]s with a [`Map::type_name`].
//!
//! ```
//! use expression::{Activation, Budget, Environment, Program, Value};
//!
//! let mut environment = Environment::new().with_dynamic("object").with_variables();
//! let size = Program::compile(&environment, "object.spec.size").expect("compiles");
//! environment.add_variable("size", &size);
//! let rule = Program::compile(&environment, "variables.size > 3 && has(object.spec)").expect("compiles");
//! assert!(rule.is_bool());
//!
//! let object = Value::from_json(&serde_json::json!({"spec": {"size": 5}}));
//! let mut activation = Activation::new().with("object", object);
//! activation.add_variable("size", &size);
//! let result = rule.evaluate(&activation, &mut Budget::default()).expect("no error");
//! assert_eq!(result.as_bool(), Some(true));
//! ```
//!
//! This crate does no I/O and knows no clock. It does not know what a rule or a policy is: that is
//! `apiserver`.

mod activation;
mod authorizer;
mod budget;
mod check;
mod environment;
mod estimate;
mod evaluate;
mod functions;
mod limits;
mod names;
mod program;
mod shape;
mod syntax;
mod types;
mod value;

#[cfg(test)]
mod tests;

pub use activation::Activation;
pub use authorizer::{AuthorizationDecision, AuthorizationRequest, Authorizer, Question};
pub use budget::{Budget, CostError};
pub use environment::Environment;
pub use estimate::CostEstimate;
pub use limits::{CALL_COST_MAX, MATCH_CONDITIONS_COST_MAX, OBJECT_COST_MAX};
pub use names::escape;
pub use program::{CompileError, EvaluationError, Issue, Program};
pub use shape::Shape;
pub use types::{ObjectType, Type};
pub use value::{List, ListKind, Map, ToJsonError, Value};
