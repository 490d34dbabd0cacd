//! Whether a webhook applies to a request, and in which version it wants to see it.

use std::time::Duration;

use admission::Request;
use api::meta;
use api::selector::{LabelSelector, Operator, Requirement};
use api::status::Status;
use serde_json::Value;

use super::Row;
use crate::call::Call;
use crate::handle::text;
use crate::registry::Table;
use crate::server::Server;

const TIMEOUT_SECONDS_DEFAULT: u64 = 10;
const TIMEOUT_SECONDS_MAX: u64 = 30;

/// A webhook that may apply.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    /// Its name, as messages show it.
    pub(super) name: String,
    /// Its part of the configuration.
    pub(super) config: Value,
    /// The row in whose version it sees the object.
    pub(super) row: Row,
}

impl Hook {
    /// How long it may take.
    pub(super) fn timeout(&self) -> Duration {
        let seconds = self.config.get("timeoutSeconds").and_then(Value::as_u64);
        Duration::from_secs(
            seconds.unwrap_or(TIMEOUT_SECONDS_DEFAULT).clamp(1, TIMEOUT_SECONDS_MAX),
        )
    }

    /// What follows from a failure to ask it.
    pub(super) fn failed(&self, why: &str) -> Result<Option<Value>, Status> {
        if text(&self.config, "/failurePolicy") == "Ignore" {
            tracing::info!(webhook = self.name, why, "a webhook failed and is ignored");
            return Ok(None);
        }
        Err(Status::internal(format!(
            "failed calling webhook \"{}\": failed to call webhook: {why}",
            self.name
        )))
    }

    /// The object in the version that the webhook wants.
    pub(super) fn convert(&self, _server: &Server, call: &Call, object: &Value) -> Value {
        convert(object, &call.resource, &self.row)
    }

    /// The reverse of [`Hook::convert`].
    pub(super) fn convert_back(&self, _server: &Server, call: &Call, object: Value) -> Value {
        convert(&object, &self.row, &call.resource)
    }
}

fn convert(object: &Value, from: &Row, to: &Row) -> Value {
    let mut object = object.clone();
    if from.group == to.group && from.version == to.version {
        return object;
    }
    if !from.is_storage_form() {
        from.strategy.to_storage(&mut object);
    }
    if !to.is_storage_form() {
        to.strategy.from_storage(&mut object);
    }
    let map = meta::object_mut(&mut object);
    map.insert("apiVersion".into(), to.api_version().into());
    map.insert("kind".into(), (&*to.kind).into());
    object
}

/// The webhooks of a configuration: name and part.
pub(super) fn hooks(configuration: &Value) -> Vec<(String, Value)> {
    let hooks = configuration.get("webhooks").and_then(Value::as_array);
    hooks.into_iter().flatten().map(|hook| (text(hook, "/name").to_owned(), hook.clone())).collect()
}

/// The webhook, when it applies.
pub(super) fn applies(
    (name, config): (String, Value),
    table: &Table,
    call: &Call,
    request: &Request<'_>,
    namespace: Option<&Value>,
) -> Option<Hook> {
    let row = matching_row(&config, table, call, request)?;
    let namespaces = selector(config.get("namespaceSelector"));
    let in_namespace =
        namespace.is_none_or(|labels| namespaces.matches(|key| labels.get(key)?.as_str()));
    let objects = selector(config.get("objectSelector"));
    let fits = |object: &Value| objects.matches(|key| meta::label(object, key));
    let selected = fits(&request.object) || request.old.is_some_and(fits);
    (in_namespace && selected).then_some(Hook { name, config, row })
}

/// The row in whose version a rule matches: the request's own or, for policy `Equivalent`, another
/// version of the same objects.
fn matching_row(config: &Value, table: &Table, call: &Call, request: &Request<'_>) -> Option<Row> {
    let rules = config.get("rules").and_then(Value::as_array)?;
    let matches =
        |row: &Row| rules.iter().any(|rule| rule_matches(rule, row, call.subresource(), request));
    if matches(&call.resource) {
        return Some(Row::clone(&call.resource));
    }
    if text(config, "/matchPolicy") == "Exact" {
        return None;
    }
    let same = |row: &&Row| {
        row.storage_group == call.resource.storage_group
            && row.storage_plural == call.resource.storage_plural
    };
    table.rows.iter().filter(same).find(|row| matches(row)).cloned()
}

fn rule_matches(rule: &Value, row: &Row, subresource: &str, request: &Request<'_>) -> bool {
    let has = |key: &str, wanted: &str| {
        let list = rule.get(key).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .any(|have| matches!(have.as_str(), Some(have) if have == "*" || have == wanted))
    };
    let scope = text(rule, "/scope");
    let namespaces = row.group.is_empty() && row.plural == "namespaces";
    let in_scope = match scope {
        "Namespaced" => row.is_namespaced() && !namespaces,
        "Cluster" => !row.is_namespaced() || namespaces,
        _ => true,
    };
    in_scope
        && has("operations", request.operation.text())
        && has("apiGroups", &row.group)
        && has("apiVersions", &row.version)
        && resource_matches(rule, &row.plural, subresource)
}

fn resource_matches(rule: &Value, plural: &str, subresource: &str) -> bool {
    let resources = rule.get("resources").and_then(Value::as_array);
    resources.into_iter().flatten().filter_map(Value::as_str).any(|pattern| {
        let (resource, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
        let resource_fits = resource == "*" || resource == plural;
        let sub_fits = if pattern.contains('/') {
            sub == "*" || sub == subresource
        } else {
            subresource.is_empty()
        };
        resource_fits && sub_fits
    })
}

/// A structured selector; missing or empty selects everything.
pub(crate) fn selector(value: Option<&Value>) -> LabelSelector {
    let mut requirements = Vec::new();
    let labels = value.and_then(|value| value.get("matchLabels")).and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        requirements.push(Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.as_str().unwrap_or_default().to_owned()],
        });
    }
    let expressions =
        value.and_then(|value| value.get("matchExpressions")).and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let values = expression.get("values").and_then(Value::as_array);
        let operator = match text(expression, "/operator") {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            _ => Operator::DoesNotExist,
        };
        requirements.push(Requirement {
            key: text(expression, "/key").to_owned(),
            operator,
            values: values
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        });
    }
    LabelSelector { requirements }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn resources_and_subresources_match_as_written() {
        let cases = [
            ("pods", "pods", "", true),
            ("pods", "pods", "status", false),
            ("pods/*", "pods", "status", true),
            ("*/status", "pods", "status", true),
            ("*", "pods", "", true),
            ("*/*", "pods", "exec", true),
            ("services", "pods", "", false),
        ];
        for (pattern, plural, sub, expected) in cases {
            let rule = json!({"resources": [pattern]});
            assert_eq!(resource_matches(&rule, plural, sub), expected, "{pattern} {plural}/{sub}");
        }
    }

    #[test]
    fn an_empty_selector_selects_everything() {
        assert!(selector(None).matches(|_| None));
        let picky =
            selector(Some(&json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]})));
        assert!(!picky.matches(|_| None));
    }
}
