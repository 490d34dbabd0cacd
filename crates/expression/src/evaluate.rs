//! The evaluator: walks a checked tree, counting what each step costs.

mod cost;
mod select;

use std::sync::Arc;

use crate::activation::Activation;
use crate::budget::Budget;
use crate::check::{self, Checked, Resolved};
use crate::estimate::{LIST_COST, MAP_COST, OBJECT_COST};
use crate::limits::VALUE_WEIGHT_MAX;
use crate::program::EvaluationError;
use crate::syntax::{Element, Entry, Field, Fold, Form, Node};
use crate::types::Type;
use crate::value::{Map, Value};

pub(crate) type Outcome = Result<Value, EvaluationError>;

/// Evaluates a tree under a budget that has begun.
pub(crate) fn evaluate(
    checked: &Checked,
    activation: &Activation<'_>,
    budget: &mut Budget,
) -> Outcome {
    let visible = activation.composed.len();
    Evaluator { checked, activation, budget, scopes: Vec::new(), visible }.node(&checked.root)
}

fn failed<T>(message: impl Into<String>) -> Result<T, EvaluationError> {
    Err(EvaluationError::Failed(message.into()))
}

struct Evaluator<'a, 'b> {
    checked: &'a Checked,
    activation: &'a Activation<'b>,
    budget: &'a mut Budget,
    /// Variables of folds, innermost last. An accumulator may hold a failure.
    scopes: Vec<(Arc<str>, Outcome)>,
    /// How many of the composed variables may be used: those that were defined before.
    visible: usize,
}

impl Evaluator<'_, '_> {
    fn charge(&mut self, cost: u64) -> Result<(), EvaluationError> {
        Ok(self.budget.charge(cost)?)
    }

    fn node(&mut self, node: &Node) -> Outcome {
        match &node.form {
            Form::Literal(value) => Ok(value.clone()),
            Form::Name(name) => self.name(name),
            Form::Select { operand, field, test } => self.select(operand, field, *test),
            Form::Call { function, target, arguments } => {
                self.call(node.id, function, target.as_deref(), arguments)
            }
            Form::List(elements) => self.list(elements),
            Form::Map(entries) => self.map(entries),
            Form::Object { name, fields } => self.object(name, fields),
            Form::Fold(fold) => self.fold(fold),
        }
    }

    fn name(&mut self, name: &str) -> Outcome {
        self.charge(1)?;
        if let Some((_, value)) = self.scopes.iter().rev().find(|(own, _)| &**own == name) {
            return value.clone();
        }
        match self.activation.get(name) {
            Some(value) => Ok(value.clone()),
            None => failed(format!("no such attribute(s): {name}")),
        }
    }

    fn select(&mut self, operand: &Node, field: &str, test: bool) -> Outcome {
        if check::composed(operand) && !self.is_local(operand) {
            return self.composed(field, test);
        }
        let value = self.node(operand)?;
        if test {
            return select::has(&value, field).or_else(failed);
        }
        self.charge(1)?;
        select::field(&value, field).or_else(failed)
    }

    fn is_local(&self, node: &Node) -> bool {
        matches!(&node.form, Form::Name(name) if self.scopes.iter().any(|(own, _)| own == name))
    }

    /// The value of `variables.name`, evaluated if this is its first use.
    fn composed(&mut self, name: &str, test: bool) -> Outcome {
        self.charge(2)?;
        let activation = self.activation;
        let found = activation.composed[..self.visible].iter().position(|own| own.name == name);
        if test {
            return Ok(Value::Bool(found.is_some()));
        }
        let Some(index) = found else { return failed(format!("no such key: {name}")) };
        let variable = &activation.composed[index];
        if let Some(value) = variable.value.get() {
            return value.clone();
        }
        let mut inner = Evaluator {
            checked: &variable.program.inner.checked,
            activation,
            budget: self.budget,
            scopes: Vec::new(),
            visible: index,
        };
        let value = inner.node(&variable.program.inner.checked.root).map_err(|error| match error {
            EvaluationError::Failed(message) => EvaluationError::Failed(format!(
                "composited variable \"{name}\" fails to evaluate: {message}"
            )),
            cost => cost,
        });
        if !matches!(value, Err(EvaluationError::Cost(_))) {
            // Another thread may have been quicker; then both have the same value.
            let _ = variable.value.set(value.clone());
        }
        value
    }

    fn call(
        &mut self,
        id: usize,
        function: &str,
        target: Option<&Node>,
        arguments: &[Node],
    ) -> Outcome {
        match (function, arguments) {
            ("_&&_", [left, right]) => return self.logical(false, left, right),
            ("_||_", [left, right]) => return self.logical(true, left, right),
            ("_?_:_", [condition, yes, no]) => {
                return match self.node(condition)? {
                    Value::Bool(true) => self.node(yes),
                    Value::Bool(false) => self.node(no),
                    _ => failed("no such overload"),
                };
            }
            ("@not_strictly_false", [operand]) => {
                self.charge(1)?;
                return match self.node(operand) {
                    Ok(Value::Bool(value)) => Ok(Value::Bool(value)),
                    Err(EvaluationError::Cost(cost)) => Err(cost.into()),
                    _ => Ok(Value::Bool(true)),
                };
            }
            ("_?._", [operand, Node { form: Form::Literal(Value::String(name)), .. }]) => {
                let value = self.node(operand)?;
                self.charge(1)?;
                return select::optional_field(&value, name).or_else(failed);
            }
            _ => {}
        }
        self.native(id, function, target, arguments)
    }

    fn native(
        &mut self,
        id: usize,
        function: &str,
        target: Option<&Node>,
        arguments: &[Node],
    ) -> Outcome {
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for operand in target.into_iter().chain(arguments) {
            values.push(self.node(operand)?);
        }
        let resolved = self.checked.calls.get(&id);
        let Some((call, native)) = resolved.and_then(|call| Some((call, call.native?))) else {
            return failed("no such overload");
        };
        if function == "sum"
            && matches!(values.as_slice(), [Value::List(list)] if list.items.is_empty())
        {
            return Ok(zero(call));
        }
        // What is walked is paid for before the walk.
        self.charge(cost::before(function, &values))?;
        let value = native(&values).or_else(failed)?;
        if value.weight() > VALUE_WEIGHT_MAX {
            return failed("the value is too large");
        }
        self.charge(cost::after(function, &value))?;
        Ok(value)
    }

    /// `&&` and `||`: a failure on one side does not matter if the other side decides.
    fn logical(&mut self, decisive: bool, left: &Node, right: &Node) -> Outcome {
        let left = self.node(left);
        match &left {
            Ok(Value::Bool(value)) if *value == decisive => return left,
            Err(EvaluationError::Cost(_)) => return left,
            _ => {}
        }
        let right = self.node(right);
        match (left, right) {
            (_, Ok(Value::Bool(value))) if value == decisive => Ok(Value::Bool(value)),
            (_, Err(EvaluationError::Cost(cost))) => Err(cost.into()),
            (Ok(Value::Bool(_)), Ok(Value::Bool(value))) => Ok(Value::Bool(value)),
            (Err(error), _) => Err(error),
            (Ok(_), Err(error)) => Err(error),
            _ => failed("no such overload"),
        }
    }

    /// The value inside an optional entry; none if it is absent.
    fn present(value: Value, optional: bool) -> Result<Option<Value>, EvaluationError> {
        match value {
            value if !optional => Ok(Some(value)),
            Value::Optional(inner) => Ok(inner.map(Arc::unwrap_or_clone)),
            _ => failed("cannot initialize optional from non-optional value"),
        }
    }

    fn list(&mut self, elements: &[Element]) -> Outcome {
        self.charge(LIST_COST)?;
        let mut items = Vec::with_capacity(elements.len());
        for element in elements {
            let value = self.node(&element.value)?;
            items.extend(Self::present(value, element.optional)?);
        }
        bounded(Value::list(items))
    }

    fn map(&mut self, entries: &[Entry]) -> Outcome {
        self.charge(MAP_COST)?;
        let mut map = Map::default();
        for entry in entries {
            let key = self.node(&entry.key)?;
            if !matches!(key, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::String(_)) {
                return failed(format!("unsupported key type: {}", key.type_of().runtime_name()));
            }
            let value = self.node(&entry.value)?;
            let Some(value) = Self::present(value, entry.optional)? else { continue };
            if !map.insert(key.clone(), value) {
                return failed(format!("Failed with repeated key: {}", shown(&key)));
            }
        }
        bounded(Value::Map(Arc::new(map)))
    }

    fn object(&mut self, name: &Arc<str>, fields: &[Field]) -> Outcome {
        self.charge(OBJECT_COST)?;
        let mut map = Map::named(name);
        for field in fields {
            let value = self.node(&field.value)?;
            if let Some(value) = Self::present(value, field.optional)? {
                map.insert(Value::String(Arc::clone(&field.name)), value);
            }
        }
        bounded(Value::Map(Arc::new(map)))
    }

    fn fold(&mut self, fold: &Fold) -> Outcome {
        let range = self.node(&fold.range)?;
        let initial = self.node(&fold.initial);
        let depth = self.scopes.len();
        self.scopes.push((Arc::clone(&fold.accumulator), initial));
        let result = self.turns(fold, &range, depth).and_then(|()| self.node(&fold.result));
        self.scopes.truncate(depth);
        result
    }

    fn turns(
        &mut self,
        fold: &Fold,
        range: &Value,
        accumulator: usize,
    ) -> Result<(), EvaluationError> {
        let (list, map) = match range {
            Value::List(list) => (list.items.as_slice(), &[][..]),
            Value::Map(map) => (&[][..], map.entries.as_slice()),
            other => {
                let ty = other.type_of();
                return failed(format!(
                    "expression of type '{ty}' cannot be range of a comprehension (must be list, \
                     map, or dynamic)"
                ));
            }
        };
        let from_list = list.iter().enumerate().map(|(index, item)| {
            let index = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
            (if fold.second.is_some() { index } else { item.clone() }, item)
        });
        let pairs = from_list.chain(map.iter().map(|(key, value)| (key.clone(), value)));
        for (first, second) in pairs {
            self.scopes.truncate(accumulator + 1);
            self.scopes.push((Arc::clone(&fold.variable), Ok(first)));
            if let Some(name) = &fold.second {
                self.scopes.push((Arc::clone(name), Ok(second.clone())));
            }
            match self.node(&fold.condition)? {
                Value::Bool(true) => {}
                _ => break,
            }
            self.step(&fold.step, accumulator)?;
        }
        self.scopes.truncate(accumulator + 1);
        Ok(())
    }

    /// One step of a fold. Lists and maps that grow are changed in place.
    fn step(&mut self, step: &Node, accumulator: usize) -> Result<(), EvaluationError> {
        let Form::Call { function, arguments, .. } = &step.form else {
            return self.replace(step, accumulator);
        };
        match (&**function, arguments.as_slice()) {
            ("_?_:_", [condition, grow, same]) if self.is_slot(same, accumulator) => {
                match self.node(condition)? {
                    Value::Bool(true) => self.step(grow, accumulator),
                    Value::Bool(false) => self.charge(1),
                    _ => failed("no such overload"),
                }
            }
            ("_+_", [slot, Node { form: Form::List(elements), .. }])
                if self.is_slot(slot, accumulator) && elements.len() == 1 =>
            {
                // The name, the list of one and the sum.
                self.charge(1 + LIST_COST + 1)?;
                let item = self.node(&elements[0].value)?;
                match &mut self.scopes[accumulator].1 {
                    Ok(Value::List(list)) => Arc::make_mut(list).push(item),
                    _ => return failed("no such overload"),
                }
                self.check_weight(accumulator)
            }
            ("cel.@mapInsert", [slot, rest @ ..]) if self.is_slot(slot, accumulator) => {
                self.charge(1 + 1)?;
                self.insert(rest, accumulator)
            }
            _ => self.replace(step, accumulator),
        }
    }

    fn is_slot(&self, node: &Node, accumulator: usize) -> bool {
        matches!(&node.form, Form::Name(name) if *name == self.scopes[accumulator].0)
    }

    /// A new value for the accumulator; it may be a failure that a later step absorbs.
    fn replace(&mut self, step: &Node, accumulator: usize) -> Result<(), EvaluationError> {
        let value = self.node(step);
        if let Err(EvaluationError::Cost(cost)) = value {
            return Err(cost.into());
        }
        self.scopes[accumulator].1 = value;
        Ok(())
    }

    fn insert(&mut self, rest: &[Node], accumulator: usize) -> Result<(), EvaluationError> {
        let mut values = Vec::with_capacity(rest.len());
        for node in rest {
            values.push(self.node(node)?);
        }
        let entries = match values.as_slice() {
            [key, value] => vec![(key.clone(), value.clone())],
            [Value::Map(entries)] => entries.entries.clone(),
            _ => return failed("no such overload"),
        };
        let Ok(Value::Map(map)) = &mut self.scopes[accumulator].1 else {
            return failed("no such overload");
        };
        let map = Arc::make_mut(map);
        for (key, value) in entries {
            let text = shown(&key);
            if !map.insert(key, value) {
                return failed(format!("insert failed: key {text} already exists"));
            }
        }
        self.check_weight(accumulator)
    }

    fn check_weight(&self, accumulator: usize) -> Result<(), EvaluationError> {
        match &self.scopes[accumulator].1 {
            Ok(value) if value.weight() > VALUE_WEIGHT_MAX => failed("the value is too large"),
            _ => Ok(()),
        }
    }
}

/// The sum of no values, whose type only the overload knows.
fn zero(call: &Resolved) -> Value {
    match call.overloads.as_slice() {
        [overload] => match overload.result {
            Type::Uint => Value::Uint(0),
            Type::Double => Value::Double(0.0),
            Type::Duration => Value::Duration(0),
            _ => Value::Int(0),
        },
        _ => Value::Int(0),
    }
}

fn bounded(value: Value) -> Outcome {
    if value.weight() > VALUE_WEIGHT_MAX { failed("the value is too large") } else { Ok(value) }
}

/// A key as messages show it.
pub(crate) fn shown(key: &Value) -> String {
    match key {
        Value::String(text) => text.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        other => other.type_of().to_string(),
    }
}
