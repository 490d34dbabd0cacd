//! Match conditions: what must hold of a request before a webhook or a policy sees it.

use expression::{Activation, Budget, Environment};
use serde_json::Value;

use super::environment::{Expression, Returns};
use crate::handle::text;

/// A list of conditions.
#[derive(Debug, Default)]
pub(crate) struct Conditions(Vec<Expression>);

/// What conditions come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All hold.
    Matches,
    /// One does not, whatever the others do.
    Differs,
    /// Some could not be evaluated.
    Failed(String),
}

impl Conditions {
    /// Reads `matchConditions`; null is none.
    pub(crate) fn compile(list: &Value, environment: &Environment) -> Self {
        let compile = |condition: &Value| {
            let source = text(condition, "/expression").trim();
            Expression::compile(environment, source, Returns::Bool)
        };
        Self(list.as_array().into_iter().flatten().map(compile).collect())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Decides on a request.
    pub(crate) fn decide(&self, activation: &Activation<'_>) -> Verdict {
        let mut budget = Budget::of_match_conditions();
        let mut values = Vec::with_capacity(self.0.len());
        for condition in &self.0 {
            match condition.evaluate(activation, &mut budget) {
                Ok(value) => values.push(value),
                Err(cost) => return Verdict::Failed(cost.to_string()),
            }
        }
        if values.iter().flatten().any(|value| value.as_bool() == Some(false)) {
            return Verdict::Differs;
        }
        let mut faults: Vec<String> = Vec::new();
        for fault in values.into_iter().filter_map(Result::err) {
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
        match faults.as_slice() {
            [] => Verdict::Matches,
            [one] => Verdict::Failed(one.clone()),
            many => Verdict::Failed(format!("[{}]", many.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use expression::Value as Operand;
    use serde_json::json;

    use super::*;
    use crate::policy_admission::environment::for_conditions;

    #[test]
    fn one_that_differs_outweighs_those_that_fail() {
        let object = Operand::from_json(&json!({"a": 1}));
        let activation = Activation::new().with("object", object);
        let missing = "expression 'object.b == 1' resulted in error: no such key: b";
        let cases: [(&[&str], Verdict); 5] = [
            (&[], Verdict::Matches),
            (&["object.a == 1", "has(object.a)"], Verdict::Matches),
            (&["object.b == 1"], Verdict::Failed(missing.to_owned())),
            (&["object.b == 1", "object.a == 2"], Verdict::Differs),
            (&["object.b == 1", "object.b == 1"], Verdict::Failed(missing.to_owned())),
        ];
        for (expressions, expected) in cases {
            let list: Vec<Value> =
                expressions.iter().map(|text| json!({"expression": text})).collect();
            let conditions = Conditions::compile(&Value::Array(list), &for_conditions(false));
            assert_eq!(conditions.decide(&activation), expected, "{expressions:?}");
        }
    }
}
