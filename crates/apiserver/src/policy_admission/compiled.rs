//! Stored policies and bindings, read and compiled once per version of them.

use expression::{Activation, Environment, Program};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::conditions::Conditions;
use super::environment::{Expression, Extras, Returns, compile, for_conditions, with};
use crate::handle::text;
use crate::webhook::rules::Criteria;

/// What policies of both kinds have.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    spec: Value,
    pub(super) conditions: Conditions,
    variables: Vec<(String, Program)>,
}

/// The kind of a policy's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParamKind<'a> {
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) kind: &'a str,
}

/// A policy that judges.
#[derive(Debug)]
pub(super) struct Validating {
    pub(super) policy: Policy,
    pub(super) validations: Vec<Validation>,
    /// Keys, with what makes the values.
    pub(super) annotations: Vec<(String, Expression)>,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Validation {
    pub(super) rule: Expression,
    pub(super) message: String,
    pub(super) message_expression: Option<Expression>,
    /// Reason of the refusal.
    pub(super) reason: &'static str,
}

/// A policy that changes.
#[derive(Debug)]
pub(super) struct Mutating {
    pub(super) policy: Policy,
    pub(super) mutations: Vec<Mutation>,
    /// Whether it wishes to see later changes.
    pub(super) again: bool,
}

/// One change.
#[derive(Debug)]
pub(super) enum Mutation {
    /// A JSON patch.
    Patch(Expression),
    /// An object that is laid over the other.
    Apply(Expression),
}

/// Where a policy takes part.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) policy_name: String,
    spec: Value,
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn criteria<'a>(config: &'a Value, empty_matches: bool) -> Criteria<'a> {
    let rules = |name| config.get(name).unwrap_or(&Value::Null);
    Criteria {
        config,
        rules: rules("resourceRules"),
        excluded: rules("excludeResourceRules"),
        empty_matches,
    }
}

impl Policy {
    /// The policy, and what its expressions may refer to.
    fn of(object: &Value, extras: Extras) -> (Self, Environment) {
        let spec = object.get("spec").cloned().unwrap_or_default();
        let params = spec.get("paramKind").is_some_and(Value::is_object);
        let extras = Extras { params, authorizer: true, variables: true, ..extras };
        let mut environment = with(extras);
        let mut variables = Vec::new();
        for variable in list(&spec, "/variables") {
            let name = text(variable, "/name");
            match compile(&environment, text(variable, "/expression"), Returns::Anything) {
                Ok(program) => {
                    environment.add_variable(name, &program);
                    variables.push((name.to_owned(), program));
                }
                Err(why) => tracing::warn!(name, why, "a variable of a policy does not compile"),
            }
        }
        let conditions = spec.get("matchConditions").unwrap_or(&Value::Null);
        let conditions = Conditions::compile(conditions, &for_conditions(params));
        let name = api::meta::name(object).to_owned();
        (Self { name, spec, conditions, variables }, environment)
    }

    /// What it applies to; `None` when it says nothing of that.
    pub(super) fn criteria(&self) -> Option<Criteria<'_>> {
        Some(criteria(self.spec.get("matchConstraints").filter(|at| at.is_object())?, true))
    }

    /// Whether what fails is passed over.
    pub(super) fn ignores_failures(&self) -> bool {
        text(&self.spec, "/failurePolicy") == "Ignore"
    }

    /// The kind of its parameters, if it has some.
    pub(super) fn param_kind(&self) -> Option<ParamKind<'_>> {
        let kind = self.spec.get("paramKind").filter(|kind| kind.is_object())?;
        let api_version = text(kind, "/apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Some(ParamKind { group, version, kind: text(kind, "/kind") })
    }

    /// Gives `variables` their meaning.
    pub(super) fn add_variables<'a>(&'a self, activation: &mut Activation<'a>) {
        for (name, program) in &self.variables {
            activation.add_variable(name, program);
        }
    }
}

impl std::fmt::Display for ParamKind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

impl Validating {
    pub(super) fn of(object: &Value) -> Self {
        let (policy, environment) = Policy::of(object, Extras::default());
        let validations =
            list(&policy.spec, "/validations").map(|at| Validation::of(at, &environment)).collect();
        let annotation = |at: &Value| {
            let value = text(at, "/valueExpression").trim();
            let value = Expression::compile(&environment, value, Returns::TextOrNull);
            (text(at, "/key").to_owned(), value)
        };
        let annotations = list(&policy.spec, "/auditAnnotations").map(annotation).collect();
        Self { policy, validations, annotations }
    }
}

impl Validation {
    fn of(at: &Value, environment: &Environment) -> Self {
        const REASONS: [&str; 4] =
            ["Unauthorized", "Forbidden", "Invalid", "RequestEntityTooLarge"];
        let reason = REASONS.into_iter().find(|reason| *reason == text(at, "/reason"));
        let message = text(at, "/messageExpression");
        let compile = |source: &str| Expression::compile(environment, source, Returns::Text);
        Self {
            rule: Expression::compile(environment, text(at, "/expression"), Returns::Bool),
            message: text(at, "/message").trim().to_owned(),
            message_expression: (!message.is_empty()).then(|| compile(message)),
            reason: reason.unwrap_or("Invalid"),
        }
    }
}

impl Mutating {
    pub(super) fn of(object: &Value) -> Self {
        let extras = Extras { patches: true, ..Extras::default() };
        let (policy, environment) = Policy::of(object, extras);
        let mutations = list(&policy.spec, "/mutations").map(|at| {
            let compile = |pointer, returns| {
                Expression::compile(&environment, text(at, pointer).trim(), returns)
            };
            if text(at, "/patchType") == "JSONPatch" {
                Mutation::Patch(compile("/jsonPatch/expression", Returns::Patches))
            } else {
                Mutation::Apply(compile("/applyConfiguration/expression", Returns::Object))
            }
        });
        let mutations = mutations.collect();
        let again = text(&policy.spec, "/reinvocationPolicy") == "IfNeeded";
        Self { policy, mutations, again }
    }
}

impl Binding {
    pub(super) fn of(object: &Value) -> Self {
        let spec = object.get("spec").cloned().unwrap_or_default();
        let policy_name = text(&spec, "/policyName").to_owned();
        Self { name: api::meta::name(object).to_owned(), policy_name, spec }
    }

    /// What it narrows the policy down to; `None` when it does not.
    pub(super) fn criteria(&self) -> Option<Criteria<'_>> {
        Some(criteria(self.spec.get("matchResources").filter(|at| at.is_object())?, true))
    }

    /// Where the parameters are.
    pub(super) fn param_ref(&self) -> Option<&Value> {
        self.spec.get("paramRef").filter(|at| at.is_object())
    }

    /// What follows from a refusal.
    pub(super) fn actions(&self) -> impl Iterator<Item = &str> {
        list(&self.spec, "/validationActions").filter_map(Value::as_str)
    }
}

impl<'de> Deserialize<'de> for Validating {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(&Value::deserialize(deserializer)?))
    }
}

impl<'de> Deserialize<'de> for Mutating {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(&Value::deserialize(deserializer)?))
    }
}

impl<'de> Deserialize<'de> for Binding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(&Value::deserialize(deserializer)?))
    }
}
