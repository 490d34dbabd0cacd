//! Whether a webhook or a policy applies to a request, and in which version it wants to see it.

use admission::Request;
use api::meta;
use api::resource::Resource;
use api::selector::{LabelSelector, Operator, Requirement};
use api::status::Status;
use serde_json::Value;

use super::Row;
use crate::call::Call;
use crate::handle::text;
use crate::registry::Table;
use crate::server::Server;

/// What a webhook or policy applies to: where its rules and selectors are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Criteria<'a> {
    /// `namespaceSelector`, `objectSelector` and `matchPolicy` are here.
    pub(crate) config: &'a Value,
    /// The list of rules.
    pub(crate) rules: &'a Value,
    /// Rules that take away again; null where there are none.
    pub(crate) excluded: &'a Value,
    /// Whether a list without rules is one that matches everything.
    pub(crate) empty_matches: bool,
}

/// A request as rules see it.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) call: &'a Call,
    pub(crate) request: &'a Request<'a>,
    pub(crate) table: &'a Table,
    /// The labels that a namespace selector looks at.
    pub(crate) namespace: &'a NamespaceLabels,
}

/// What a namespace selector looks at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NamespaceLabels {
    /// The object is in no namespace: every selector fits.
    Outside,
    /// The labels of its namespace, or of itself when it is one.
    Of(Value),
    /// There is no such namespace.
    Missing(String),
}

impl Criteria<'_> {
    /// The row in whose version the request matches, if it does.
    ///
    /// # Errors
    /// 404: the namespace of a request that matches otherwise is not there.
    pub(crate) fn matched(&self, subject: &Subject<'_>) -> Result<Option<Row>, Status> {
        let namespaces = selector(self.config.get("namespaceSelector"));
        let missing = match subject.namespace {
            _ if namespaces.is_everything() => None,
            NamespaceLabels::Outside => None,
            NamespaceLabels::Of(labels) => {
                if !namespaces.matches(|key| labels.get(key)?.as_str()) {
                    return Ok(None);
                }
                None
            }
            NamespaceLabels::Missing(name) => Some(Status::not_found("", "namespaces", name)),
        };
        if !self.selects_object(subject.request) {
            return Ok(None);
        }
        if self.matching_row(self.excluded, subject).is_some() {
            return Ok(None);
        }
        let rules = self.rules.as_array().map_or(0, Vec::len);
        let row = if rules == 0 && self.empty_matches {
            Some(Row::clone(&subject.call.resource))
        } else {
            self.matching_row(self.rules, subject)
        };
        match (row, missing) {
            (Some(_), Some(missing)) => Err(missing),
            (row, _) => Ok(row),
        }
    }

    fn selects_object(&self, request: &Request<'_>) -> bool {
        let objects = selector(self.config.get("objectSelector"));
        let fits = |object: &Value| {
            object.get("metadata").is_some() && objects.matches(|key| meta::label(object, key))
        };
        objects.is_everything() || fits(&request.object) || request.old.is_some_and(fits)
    }

    /// The row in whose version a rule matches: the request's own or, for policy `Equivalent`, another
    /// version of the same objects.
    fn matching_row(&self, rules: &Value, subject: &Subject<'_>) -> Option<Row> {
        let rules = rules.as_array()?;
        let own = &subject.call.resource;
        if rules.iter().any(|rule| rule_matches(rule, own, subject)) {
            return Some(Row::clone(own));
        }
        if text(self.config, "/matchPolicy") == "Exact" {
            return None;
        }
        let same = |row: &&Row| {
            row.storage_group == own.storage_group && row.storage_plural == own.storage_plural
        };
        let others: Vec<&Row> = subject.table.rows.iter().filter(same).collect();
        let served = |row: &&&Row| !(row.group == own.group && row.version == own.version);
        rules.iter().find_map(|rule| {
            let fits = |row: &&&Row| rule_matches(rule, row, subject);
            others.iter().filter(served).find(fits).map(|row| Row::clone(row))
        })
    }
}

/// An object in the version of another row of the same objects.
///
/// # Errors
/// 500: a webhook that converts it failed.
pub(crate) async fn converted(
    server: &Server,
    object: &Value,
    from: &Resource,
    to: &Resource,
) -> Result<Value, Status> {
    let mut object = object.clone();
    if object.is_null() || (from.group == to.group && from.version == to.version) {
        return Ok(object);
    }
    if let Some(conversion) = server.conversion_of(from) {
        let values = conversion.values(server, vec![object], &to.api_version()).await?;
        return Ok(values.into_iter().next().unwrap_or_default());
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
    Ok(object)
}

fn rule_matches(rule: &Value, row: &Row, subject: &Subject<'_>) -> bool {
    let request = subject.request;
    let has = |key: &str, wanted: &str| {
        let list = rule.get(key).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .any(|have| matches!(have.as_str(), Some(have) if have == "*" || have == wanted))
    };
    let namespaces = row.group.is_empty() && row.plural == "namespaces";
    let in_scope = match text(rule, "/scope") {
        "Namespaced" => row.is_namespaced() && !namespaces,
        "Cluster" => !row.is_namespaced() || namespaces,
        _ => true,
    };
    let names =
        rule.get("resourceNames").and_then(Value::as_array).filter(|names| !names.is_empty());
    let named = |names: &Vec<Value>| names.iter().any(|name| name == request.object_name());
    in_scope
        && has("operations", request.operation.text())
        && has("apiGroups", &row.group)
        && has("apiVersions", &row.version)
        && resource_matches(rule, &row.plural, subject.call.subresource())
        && names.is_none_or(named)
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
mod tests;
