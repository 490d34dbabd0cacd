//! Whether the rules of a definition compile, and are cheap enough for what the schema allows.

use api::field::{Error, ErrorType, Path};
use expression::Shape;
use schema::{Schema, SchemaError};
use serde_json::Value;

use crate::custom::rules::{Compiled, compile, field_path};
use crate::handle::text;

/// Most one rule may cost for one object, by estimate (upstream's `StaticEstimatedCostLimit`).
const RULE_COST_MAX: u64 = 10_000_000;
/// Most all rules may cost for one object, by estimate (upstream's `StaticEstimatedCRDCostLimit`).
const DEFINITION_COST_MAX: u64 = 100_000_000;
/// Rules that are named when all together cost too much.
const NAMED_RULES_MAX: usize = 4;
/// Deeper than any structural schema may be.
const DEPTH_MAX: usize = 64;

/// The faults of the rules of a version's schema.
pub(super) fn faults(schema: &Value, path: &Path) -> Vec<Error> {
    let parsed = match Schema::custom_resource(schema) {
        Ok(parsed) => parsed,
        Err(error) => return vec![unreadable(path, &error)],
    };
    let mut checker = Checker { errors: Vec::new(), total: 0, expensive: Vec::new() };
    let shape = Shape::of_schema(&parsed, true, "selfType");
    let place = Place { path: path.clone(), cardinality: Some(1), uncorrelatable: None };
    checker.node(schema, &parsed, shape.as_ref(), &place, 0);
    checker.judge_total(path);
    checker.errors
}

fn unreadable(path: &Path, error: &SchemaError) -> Error {
    Error::invalid(path, "", error.to_string())
}

/// Where in a schema.
struct Place {
    path: Path,
    /// How often a value can occur; none if nothing bounds it.
    cardinality: Option<u64>,
    /// The list around it whose items cannot be told apart after a change.
    uncorrelatable: Option<Path>,
}

impl Place {
    fn below(&self, path: Path, factor: Option<u64>) -> Self {
        Self {
            path,
            cardinality: self
                .cardinality
                .zip(factor)
                .map(|(own, factor)| own.saturating_mul(factor)),
            uncorrelatable: self.uncorrelatable.clone(),
        }
    }
}

struct Checker {
    errors: Vec<Error>,
    total: u64,
    /// Rules that matter to the total, with their costs.
    expensive: Vec<(Path, u64)>,
}

impl Checker {
    fn node(
        &mut self,
        schema: &Value,
        parsed: &Schema,
        shape: Option<&Shape>,
        place: &Place,
        depth: usize,
    ) {
        if depth > DEPTH_MAX {
            return;
        }
        self.rules(schema, shape, place);
        let bound = |keyword: &str| {
            let bound = schema.get(keyword)?;
            bound.as_u64().or_else(|| bound.as_i64().map(|_| 0))
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, inner) in properties.into_iter().flatten() {
            let Some(property) = parsed.property(name) else { continue };
            let own = match (expression::escape(name), shape) {
                (Some(escaped), Some(shape)) => shape.field(&escaped).cloned(),
                _ => Shape::of_schema(&property, property.embedded_resource(), "selfType"),
            };
            let place = place.below(place.path.child("properties").key(name), Some(1));
            self.node(inner, &property, own.as_ref(), &place, depth + 1);
        }
        let element = shape.and_then(Shape::element);
        if let (Some(inner), Some(values)) =
            (schema.get("additionalProperties").filter(|inner| inner.is_object()), parsed.values())
        {
            let place =
                place.below(place.path.child("additionalProperties"), bound("maxProperties"));
            self.node(inner, &values, element, &place, depth + 1);
        }
        if let (Some(inner), Some(items)) = (schema.get("items"), parsed.items()) {
            let mut below = place.below(place.path.child("items"), bound("maxItems"));
            if text(schema, "/x-kubernetes-list-type") != "map" {
                below.uncorrelatable = Some(place.path.clone());
            }
            self.node(inner, &items, element, &below, depth + 1);
        }
        for (index, inner) in list(schema, "allOf") {
            let path = place.path.child("allOf").index(index);
            self.node(inner, parsed, shape, &place.below(path, Some(1)), depth + 1);
        }
    }

    fn rules(&mut self, schema: &Value, shape: Option<&Shape>, place: &Place) {
        for (index, rule) in list(schema, "x-kubernetes-validations") {
            let path = place.path.child("x-kubernetes-validations").index(index);
            let given = text(rule, "/fieldPath");
            if !given.is_empty() && field_path(schema, given).is_none() {
                let path = path.child("fieldPath");
                self.errors.push(Error::invalid(&path, given, "fieldPath must be a valid path"));
            }
            let Some(shape) = shape else {
                let path = place.path.child("x-kubernetes-validations");
                let detail = "internal error: failed to construct type information for \
                    x-kubernetes-validations rules: unable to convert structural schema to CEL \
                    declarations";
                self.errors.push(Error {
                    kind: ErrorType::Internal,
                    field: path.to_string(),
                    value: None,
                    detail: detail.to_owned(),
                });
                return;
            };
            self.rule(rule, &compile(rule, schema, shape), shape, &path, place);
        }
    }

    fn rule(
        &mut self,
        rule: &Value,
        compiled: &Compiled,
        shape: &Shape,
        path: &Path,
        place: &Place,
    ) {
        let occurrences = place.cardinality.unwrap_or_else(|| shape.occurrences_max());
        match &compiled.program {
            None => {}
            Some(Ok(program)) => {
                let cost = program.cost().max.saturating_mul(occurrences);
                self.cost(&path.child("rule"), "estimated rule cost", cost);
            }
            Some(Err(error)) => {
                self.errors.push(Error::invalid(&path.child("rule"), rule.clone(), error.clone()));
            }
        }
        let at = path.child("messageExpression");
        match &compiled.message {
            None => {}
            Some(Ok(program)) => {
                self.cost(&at, "estimated messageExpression cost", program.cost().max);
            }
            Some(Err(error)) => self.errors.push(Error::invalid(&at, rule.clone(), error.clone())),
        }
        if compiled.uses_old_self {
            if let Some(around) = &place.uncorrelatable {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {around}"
                );
                let given = text(rule, "/rule");
                self.errors.push(Error::invalid(&path.child("rule"), given, detail));
            }
        } else if let Some(optional) = rule.get("optionalOldSelf").filter(|value| !value.is_null())
        {
            let detail = "may not be set if oldSelf is not used in rule";
            let path = path.child("optionalOldSelf");
            self.errors.push(Error::invalid(&path, optional.clone(), detail));
        }
    }

    fn cost(&mut self, path: &Path, name: &str, cost: u64) {
        if cost > RULE_COST_MAX {
            self.errors.push(Error::forbidden(path, exceeds(name, cost, RULE_COST_MAX)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= DEFINITION_COST_MAX / 100 {
            self.expensive.push((path.clone(), cost));
        }
    }

    fn judge_total(&mut self, path: &Path) {
        if self.total <= DEFINITION_COST_MAX {
            return;
        }
        self.expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        let named = self.expensive.iter().take(NAMED_RULES_MAX);
        self.errors.extend(named.map(|(path, _)| Error::forbidden(path, detail)));
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        self.errors.push(Error::forbidden(path, exceeds(name, self.total, DEFINITION_COST_MAX)));
    }
}

fn list<'a>(schema: &'a Value, keyword: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    schema.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate()
}

fn exceeds(name: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, \
         maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(schema: &Value) -> Vec<String> {
        faults(schema, &Path::new("schema")).iter().map(ToString::to_string).collect()
    }

    fn spec(rule: Value, spec: Value) -> Value {
        let mut spec = spec;
        spec["x-kubernetes-validations"] = json!([rule]);
        json!({"type": "object", "properties": {"spec": spec}})
    }

    #[test]
    fn rules_must_compile_and_be_bool() {
        let object = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
        for (rule, expected) in [
            (json!({"rule": "self.x > 0"}), None),
            (
                json!({"rule": "self.z == 100"}),
                Some(
                    "compilation failed: ERROR: <input>:1:5: undefined field 'z'\n | self.z == 100\n | ....^",
                ),
            ),
            (json!({"rule": "self.x"}), Some("cel expression must evaluate to a bool")),
            (json!({"rule": "self = 42"}), Some("Syntax error")),
            (
                json!({"rule": "true", "messageExpression": "1"}),
                Some("messageExpression must evaluate to a string"),
            ),
            (
                json!({"rule": "true", "optionalOldSelf": true}),
                Some("may not be set if oldSelf is not used in rule"),
            ),
            (json!({"rule": "true", "fieldPath": ".y"}), Some("fieldPath must be a valid path")),
            (json!({"rule": "self.x > 0", "fieldPath": ".x"}), None),
            (json!({"rule": "self.x > oldSelf.x"}), None),
            (json!({"rule": "!oldSelf.hasValue() || self.x > 1", "optionalOldSelf": true}), None),
        ] {
            let shown = shown(&spec(rule.clone(), object.clone()));
            match expected {
                None => assert!(shown.is_empty(), "{rule}: {shown:?}"),
                Some(expected) => {
                    assert!(shown.len() == 1 && shown[0].contains(expected), "{rule}: {shown:?}");
                }
            }
        }
    }

    #[test]
    fn costs_are_bounded_by_the_sizes_of_the_schema() {
        let list = |bounds: Value| {
            let mut items = json!({"type": "array", "items": {"type": "string"},
                "x-kubernetes-validations": [{"rule": "self.all(s, s == 'string constant')"}]});
            let mut list = json!({"type": "array"});
            if let Some(most) = bounds.get("maxItems") {
                items["maxItems"] = most.clone();
                list["maxItems"] = most.clone();
            }
            list["items"] = items;
            json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": list}}}})
        };
        assert!(shown(&list(json!({"maxItems": 10}))).is_empty());
        let unbounded = shown(&list(json!({})));
        assert!(
            unbounded[0].contains("exceeds budget by factor of more than 100x"),
            "{unbounded:?}"
        );
        assert!(unbounded.last().expect("one").contains("for entire OpenAPIv3 schema"));
        let array = json!({"type": "array", "maxItems": 725, "items": {"type": "integer"}});
        let object = json!({"type": "object", "properties": {"largeArray": array}});
        let rule = json!({"rule": "self.largeArray.all(x, self.largeArray.all(y, y == x))"});
        assert_eq!(shown(&spec(rule, object)), Vec::<String>::new());
    }

    #[test]
    fn old_values_must_be_correlatable() {
        let rule = json!([{"rule": "self >= oldSelf"}]);
        let items = json!({"type": "integer", "x-kubernetes-validations": rule});
        let schema = json!({"type": "object", "properties": {"l": {"type": "array", "maxItems": 3, "items": items}}});
        let shown = shown(&schema);
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert!(shown[0].ends_with(
            "oldSelf cannot be used on the uncorrelatable portion of the schema within schema.properties[l]"
        ));
    }
}
