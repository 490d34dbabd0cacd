//! `flowcontrol.apiserver.k8s.io/v1 FlowSchema`: sorts requests into priority levels.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row, tree};
use crate::meta;
use crate::name;
use crate::resource::{Cell, Column, Resource, Scope, Strategy, Subresource};

struct FlowSchema;

const PRECEDENCE: i64 = 1000;
const PRECEDENCE_MAX: i64 = 10_000;
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        columns: columns(),
        has_status: true,
        has_generation: true,
        ..row("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", "flowschemas", &FlowSchema)
    }]
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("PriorityLevel", Cell::Pointer("/spec/priorityLevelConfiguration/name")),
        Column::new(
            "MatchingPrecedence",
            Cell::Compute(|o, _| tree::count(o, "/spec/matchingPrecedence").into()),
        ),
        Column::new(
            "DistinguisherMethod",
            Cell::Compute(|o, _| {
                cells::or_none(tree::text(o, "/spec/distinguisherMethod/type")).into()
            }),
        ),
        cells::age(),
        Column::new("MissingPL", Cell::Compute(|o, _| dangling(o).into())),
    ]
}

fn dangling(object: &Value) -> String {
    let conditions = tree::list(object, "/status/conditions");
    let found = conditions.iter().find(|condition| tree::text(condition, "/type") == "Dangling");
    found.map_or("?", |condition| tree::text(condition, "/status")).to_owned()
}

fn has_star(at: &At<'_>) -> bool {
    at.items().any(|item| item.text() == "*")
}

/// A list that must have items, of which `*` stands alone.
fn items(at: &At<'_>, missing: &str, others: &str, faults: &mut Faults) {
    if at.len() == 0 {
        faults.required(at, missing);
    } else if at.len() > 1 && has_star(at) {
        faults.invalid(at, format!("if '*' is present, must not specify other {others}"));
    }
}

fn verbs(at: &At<'_>, faults: &mut Faults) {
    items(at, "verbs must contain at least one value", "verbs", faults);
    if !has_star(at) && !at.items().all(|verb| VERBS.contains(&verb.text())) {
        faults.not_supported(at, &VERBS);
    }
}

fn subject(at: &At<'_>, faults: &mut Faults) {
    const KINDS: [(&str, &str); 3] =
        [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = at.get("kind");
    let Some((_, own)) = KINDS.iter().find(|(name, _)| *name == kind.text()) else {
        faults.not_supported(&kind, &["Group", "ServiceAccount", "User"]);
        return;
    };
    let place = at.get(own);
    if place.is_set() {
        if place.get("name").is_zero() {
            faults.required(&place.get("name"), "");
        } else if *own == "serviceAccount" && place.get("name").text() != "*" {
            faults.rule(&place.get("name"), name::subdomain);
        }
        if *own == "serviceAccount" {
            let namespace = place.get("namespace");
            if namespace.is_zero() {
                faults.required(&namespace, "must specify namespace for service account");
            } else {
                faults.rule(&namespace, name::label);
            }
        }
    } else {
        let text = format!("{own} is required when subject kind is '{}'", kind.text());
        faults.required(&place, &text);
    }
    for (name, field) in KINDS.iter().filter(|(_, field)| field != own) {
        if at.get(field).is_set() {
            let text = format!("{field} is forbidden when subject kind is not '{name}'");
            faults.forbidden(&at.get(field), text);
        }
    }
}

fn resource_rule(at: &At<'_>, faults: &mut Faults) {
    verbs(&at.get("verbs"), faults);
    items(
        &at.get("apiGroups"),
        "resource rules must supply at least one api group",
        "api groups",
        faults,
    );
    items(
        &at.get("resources"),
        "resource rules must supply at least one resource",
        "resources",
        faults,
    );
    let namespaces = at.get("namespaces");
    if namespaces.len() == 0 {
        if !at.get("clusterScope").flag() {
            faults.required(
                &namespaces,
                "resource rules that are not cluster scoped must supply at least one namespace",
            );
        }
    } else if has_star(&namespaces) {
        items(&namespaces, "", "namespaces", faults);
    } else {
        for namespace in namespaces.items() {
            if let Err(fault) = name::label(namespace.text()) {
                let text =
                    format!("each member of this list must be '*' or a DNS-1123 label; {fault}");
                faults.invalid(&namespace, text);
            }
        }
    }
}

fn url_rule(at: &At<'_>, faults: &mut Faults) {
    verbs(&at.get("verbs"), faults);
    let urls = at.get("nonResourceURLs");
    items(&urls, "nonResourceURLs must contain at least one value", "non-resource URLs", faults);
    for url in urls.items().filter(|url| url.text() != "*") {
        let text = url.text();
        if text.is_empty() {
            faults.invalid(&url, "must not be empty");
        } else if !text.starts_with('/') {
            faults.invalid(&url, "must start with slash");
        } else if text.contains(' ') {
            faults.invalid(&url, "must not contain white-space");
        } else if text.contains("//") {
            faults.invalid(&url, "must not contain double slash");
        } else if text.trim_end_matches('*').contains('*')
            || (text.ends_with('*') && !text.ends_with("/*"))
        {
            faults.invalid(&url, "wildcard can only do suffix matching");
        }
    }
}

impl Strategy for FlowSchema {
    fn default(&self, object: &mut Value) {
        tree::fill_zero(tree::make(object, "spec"), "matchingPrecedence", PRECEDENCE);
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        meta::keep(new, old, meta::NOT_OF_STATUS);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let precedence = spec.get("matchingPrecedence");
        let number = precedence.int().unwrap_or_default();
        let mut faults = Faults::default();
        if number <= 0 {
            faults.invalid_as(&precedence, number, "must be a positive value");
        }
        if number > PRECEDENCE_MAX {
            faults.invalid(&precedence, format!("must not be greater than {PRECEDENCE_MAX}"));
        }
        if number == 1 && meta::name(object) != "exempt" {
            faults.invalid(
                &precedence,
                "only the schema named 'exempt' may have matchingPrecedence 1",
            );
        }
        let method = spec.get2("distinguisherMethod", "type");
        faults.optional_one_of(&method, &["ByNamespace", "ByUser"]);
        let level = spec.get2("priorityLevelConfiguration", "name");
        if level.is_zero() {
            faults.required(&level, "must reference a priority level");
        } else {
            faults.rule(&level, name::subdomain);
        }
        for rule in spec.get("rules").items() {
            policy_rule(&rule, &mut faults);
        }
        faults.0
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        condition_types(&At::root(new).get2("status", "conditions"), &mut faults);
        faults.0
    }
}

/// Each condition has a type, once.
pub(super) fn condition_types(at: &At<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for condition in at.items() {
        if condition.get("type").is_zero() {
            faults.required(&condition.get("type"), "must not be empty");
        }
        faults.unique(&condition.get("type"), &mut seen);
    }
}

fn policy_rule(at: &At<'_>, faults: &mut Faults) {
    let subjects = at.get("subjects");
    if subjects.len() == 0 {
        faults.required(&subjects, "subjects must contain at least one value");
    }
    for place in subjects.items() {
        subject(&place, faults);
    }
    let (resources, urls) = (at.get("resourceRules"), at.get("nonResourceRules"));
    if resources.len() + urls.len() == 0 {
        faults
            .required(at, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for place in resources.items() {
        resource_rule(&place, faults);
    }
    for place in urls.items() {
        url_rule(&place, faults);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn defaults_faults_and_columns() {
        let mut object = json!({"spec": {"priorityLevelConfiguration": {"name": "p"}, "rules": [{
            "subjects": [{"kind": "Group", "group": {"name": "*"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true}]}]}});
        FlowSchema.default(&mut object);
        assert_eq!(show(&FlowSchema.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["p", "1000", "<none>", "<unknown>", "?"]
        );
        let bad = json!({"spec": {"matchingPrecedence": 1, "rules": [{"subjects": [{"kind": "User", "group": {"name": "g"}}]}]}});
        assert_eq!(
            show(&FlowSchema.validate(&bad)),
            "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1\n\
             spec.priorityLevelConfiguration.name: Required value: must reference a priority level\n\
             spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'\n\
             spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'\n\
             spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty"
        );
    }
}
