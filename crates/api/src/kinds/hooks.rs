//! What the six kinds of admission share: rules, matches, webhooks, parameters. That an expression compiles is
//! checked where expressions are run, not here.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::check::{At, Faults};
use super::tree;
use crate::name;

pub(super) mod configuration;

/// The group of the six kinds.
pub(super) const GROUP: &str = "admissionregistration.k8s.io";

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const MUTABLE_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
const REINVOCATION: [&str; 2] = ["IfNeeded", "Never"];
const CONDITIONS_MAX: usize = 64;
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const TIMEOUT_SECONDS: i64 = 10;

fn fill_rules(holder: &mut Value, list: &str) {
    tree::each(holder, list, |rule| tree::fill(rule, "scope", "*"));
}

fn fill_selectors(holder: &mut Value) {
    tree::fill(holder, "matchPolicy", "Equivalent");
    tree::fill(holder, "namespaceSelector", json!({}));
    tree::fill(holder, "objectSelector", json!({}));
}

/// Defaults of one webhook.
fn default_webhook(webhook: &mut Value, is_mutating: bool) {
    tree::fill(webhook, "failurePolicy", "Fail");
    fill_selectors(webhook);
    tree::fill(webhook, "timeoutSeconds", TIMEOUT_SECONDS);
    if is_mutating {
        tree::fill(webhook, "reinvocationPolicy", "Never");
    }
    fill_rules(webhook, "rules");
    if let Some(service) = tree::at_mut(webhook, "/clientConfig/service") {
        tree::fill(service, "port", 443);
    }
}

/// Defaults of what a policy or binding matches.
pub(super) fn default_match(resources: &mut Value) {
    fill_selectors(resources);
    fill_rules(resources, "resourceRules");
    fill_rules(resources, "excludeResourceRules");
}

/// All webhooks of a configuration.
fn webhooks(at: &At<'_>, is_mutating: bool, faults: &mut Faults) {
    let mut names = BTreeSet::new();
    for webhook in at.items() {
        check_webhook(&webhook, is_mutating, faults);
        review_versions(&webhook.get("admissionReviewVersions"), faults);
        faults.unique(&webhook.get("name"), &mut names);
    }
}

fn fully_qualified(at: &At<'_>, faults: &mut Faults) {
    if at.is_zero() {
        faults.required(at, "");
    } else if let Err(fault) = name::subdomain(at.text()) {
        faults.invalid(at, fault);
    } else if at.text().split('.').count() < 3 {
        faults.invalid(at, "should be a domain with at least three segments separated by dots");
    }
}

fn check_webhook(at: &At<'_>, is_mutating: bool, faults: &mut Faults) {
    fully_qualified(&at.get("name"), faults);
    for rule in at.get("rules").items() {
        check_rule(&rule, faults);
    }
    faults.optional_one_of(&at.get("failurePolicy"), &FAILURE_POLICIES);
    faults.optional_one_of(&at.get("matchPolicy"), &MATCH_POLICIES);
    let effects = at.get("sideEffects");
    if effects.is_set() {
        faults.optional_one_of(&effects, &SIDE_EFFECTS);
    } else {
        faults.required(&effects, "must specify one of None, NoneOnDryRun");
    }
    let timeout = at.get("timeoutSeconds");
    if timeout.int().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        faults.invalid(&timeout, "the timeout value must be between 1 and 30 seconds");
    }
    faults.label_selector(&at.get("namespaceSelector"));
    faults.label_selector(&at.get("objectSelector"));
    if is_mutating {
        faults.optional_one_of(&at.get("reinvocationPolicy"), &REINVOCATION);
    }
    client_config(&at.get("clientConfig"), faults);
    match_conditions(&at.get("matchConditions"), faults);
}

/// Where a webhook is: at a URL or behind a Service.
pub(super) fn client_config(at: &At<'_>, faults: &mut Faults) {
    let (url, service) = (at.get("url"), at.get("service"));
    if url.is_set() == service.is_set() {
        faults.required(at, "exactly one of url or service is required");
    } else if url.is_set() {
        check_url(&url, faults);
    } else {
        check_service(&service, faults);
    }
}

fn check_url(at: &At<'_>, faults: &mut Faults) {
    const FORM: &str = "; desired format: https://host[/path]";
    let Some(rest) = at.text().strip_prefix("https://") else {
        let scheme = at.text().split_once("://").map_or("", |(scheme, _)| scheme);
        let text = format!("'https' is the only allowed URL scheme{FORM}");
        faults.invalid_as(at, scheme, text);
        if scheme.is_empty() {
            faults.invalid_as(at, "", format!("host must be specified{FORM}"));
        }
        return;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, tail) = rest.split_at(end);
    if host.is_empty() {
        faults.invalid_as(at, host, format!("host must be specified{FORM}"));
    }
    if host.contains('@') {
        faults.invalid_as(at, "", "user information is not permitted in the URL");
    }
    if tail.contains('#') {
        faults.invalid_as(at, "", "fragments are not permitted in the URL");
    }
    if tail.contains('?') {
        faults.invalid_as(at, "", "query parameters are not permitted in the URL");
    }
}

fn check_service(at: &At<'_>, faults: &mut Faults) {
    for (field, text) in
        [("name", "service name is required"), ("namespace", "service namespace is required")]
    {
        if at.get(field).is_zero() {
            faults.required(&at.get(field), text);
        }
    }
    let port = at.get("port");
    if !(1..=65535).contains(&port.int().unwrap_or_default()) {
        faults.invalid_as(
            &port,
            port.int().unwrap_or_default(),
            "port is not valid: must be between 1 and 65535, inclusive",
        );
    }
    service_path(&at.get("path"), faults);
}

fn service_path(at: &At<'_>, faults: &mut Faults) {
    let path = at.text();
    if !at.is_set() || path == "/" || path.is_empty() {
        return;
    }
    if path == "//" {
        faults.invalid(at, "segment[0] may not be empty");
        return;
    }
    let rest = path.strip_prefix('/').unwrap_or_else(|| {
        faults.invalid(at, "must start with a '/'");
        path
    });
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    for (index, segment) in rest.split('/').enumerate() {
        if segment.is_empty() {
            faults.invalid(at, format!("segment[{index}] may not be empty"));
        } else if let Err(fault) = name::subdomain(segment) {
            faults.invalid(at, format!("segment[{index}]: {fault}"));
        }
    }
}

fn review_versions(at: &At<'_>, faults: &mut Faults) {
    if at.len() == 0 {
        let text = format!("must specify one of {}", REVIEW_VERSIONS.join(", "));
        faults.required(at, &text);
    } else {
        known_review_version(at, faults);
    }
}

/// The versions of reviews that a webhook takes: one of them must be known here.
pub(super) fn known_review_version(at: &At<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for version in at.items() {
        if !seen.insert(version.text()) {
            faults.invalid(&version, "duplicate version");
        }
        faults.rule(&version, name::label_1035);
    }
    if !REVIEW_VERSIONS.iter().any(|known| seen.contains(known)) {
        let text = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        faults.invalid(at, text);
    }
}

fn has_wildcard(at: &At<'_>) -> bool {
    at.len() > 1 && at.items().any(|item| item.text() == "*")
}

fn check_rule(at: &At<'_>, faults: &mut Faults) {
    let operations = at.get("operations");
    if operations.len() == 0 {
        faults.required(&operations, "");
    }
    if has_wildcard(&operations) {
        faults.invalid(&operations, "if '*' is present, must not specify other operations");
    }
    for operation in operations.items() {
        faults.optional_one_of(&operation, &OPERATIONS);
    }
    for (field, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = at.get(field);
        if list.len() == 0 {
            faults.required(&list, "");
        }
        if has_wildcard(&list) {
            let text = format!("if '*' is present, must not specify other {what}");
            faults.invalid(&list, text);
        }
    }
    for version in at.get("apiVersions").items().filter(At::is_zero) {
        faults.required(&version, "");
    }
    rule_resources(&at.get("resources"), faults);
    faults.optional_one_of(&at.get("scope"), &["*", "Cluster", "Namespaced"]);
}

fn rule_resources(at: &At<'_>, faults: &mut Faults) {
    if at.len() == 0 {
        faults.required(at, "");
    }
    let (mut resources, mut subresources) = (BTreeSet::new(), BTreeSet::new());
    for item in at.items() {
        let text = item.text();
        if text.is_empty() {
            faults.required(&item, "");
        }
        let Some((resource, subresource)) = text.split_once('/') else { continue };
        if resources.contains(resource) {
            let fault = format!("if '{resource}/*' is present, must not specify {text}");
            faults.invalid(&item, fault);
        }
        if subresources.contains(subresource) {
            let fault = format!("if '*/{subresource}' is present, must not specify {text}");
            faults.invalid(&item, fault);
        }
        if subresource == "*" {
            resources.insert(resource);
        }
        if resource == "*" {
            subresources.insert(subresource);
        }
    }
    let has = |wanted: fn(&str) -> bool| at.items().any(|item| wanted(item.text()));
    if at.len() > 1 && has(|text| text == "*/*") {
        faults.invalid(at, "if '*/*' is present, must not specify other resources");
    }
    if has(|text| text == "*") && has(|text| text != "*" && !text.contains('/')) {
        faults.invalid(
            at,
            "if '*' is present, must not specify other resources without subresources",
        );
    }
}

/// `matchConditions`: named, each with an expression.
pub(super) fn match_conditions(at: &At<'_>, faults: &mut Faults) {
    faults.at_most(at, CONDITIONS_MAX);
    let mut names = BTreeSet::new();
    for condition in at.items() {
        expression(&condition, "", faults);
        let own_name = condition.get("name");
        if own_name.is_zero() {
            faults.required(&own_name, "");
        } else {
            faults.qualified(&own_name);
        }
        faults.unique(&condition.get("name"), &mut names);
    }
}

/// `expression` must be there.
pub(super) fn expression(at: &At<'_>, text: &str, faults: &mut Faults) {
    let place = at.get("expression");
    if place.text().trim().is_empty() {
        faults.required(&place, text);
    }
}

/// A policy that changes objects, and its binding, match no deletions.
pub(super) fn mutable_operations(resources: &At<'_>, faults: &mut Faults) {
    let rules = resources.get("resourceRules");
    for operation in rules.items().flat_map(|rule| rule.get("operations").items()) {
        let place = At { value: operation.value, path: rules.path.child("operations") };
        faults.optional_one_of(&place, &MUTABLE_OPERATIONS);
    }
}

/// What a policy or binding matches.
pub(super) fn match_resources(at: &At<'_>, faults: &mut Faults) {
    if !at.is_set() {
        return;
    }
    faults.one_of(&at.get("matchPolicy"), &MATCH_POLICIES);
    for field in ["namespaceSelector", "objectSelector"] {
        if !at.get(field).is_set() {
            faults.required(&at.get(field), "");
        }
        faults.label_selector(&at.get(field));
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in at.get(list).items() {
            let mut names = BTreeSet::new();
            for resource_name in rule.get("resourceNames").items() {
                faults.rule(&resource_name, name::path_segment);
                faults.unique(&resource_name, &mut names);
            }
            check_rule(&rule, faults);
        }
    }
}

/// What a policy has whether it validates or mutates.
pub(super) fn policy(spec: &At<'_>, faults: &mut Faults) {
    faults.one_of(&spec.get("failurePolicy"), &FAILURE_POLICIES);
    if spec.get("paramKind").is_set() {
        param_kind(&spec.get("paramKind"), faults);
    }
    let constraints = spec.get("matchConstraints");
    if constraints.is_set() {
        match_resources(&constraints, faults);
        if constraints.get("resourceRules").len() == 0 {
            faults.required(&constraints.get("resourceRules"), "");
        }
    } else {
        faults.required(&constraints, "");
    }
    match_conditions(&spec.get("matchConditions"), faults);
    for variable in spec.get("variables").items() {
        let own_name = variable.get("name");
        if own_name.text().trim().is_empty() {
            faults.required(&own_name, "name is not specified");
        } else if !is_identifier(own_name.text()) {
            faults.invalid(&own_name, "name is not a valid CEL identifier");
        }
        expression(&variable, "expression is not specified", faults);
    }
}

fn is_identifier(text: &str) -> bool {
    let first = text.bytes().next();
    first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name::EXPRESSION_WORDS.contains(&text)
}

fn param_kind(at: &At<'_>, faults: &mut Faults) {
    let (version, kind) = (at.get("apiVersion"), at.get("kind"));
    let parts: Vec<&str> = version.text().split('/').collect();
    match parts.as_slice() {
        [""] => faults.required(&version, ""),
        [only] => group_version(&version, "", only, faults),
        [group, last] => group_version(&version, group, last, faults),
        _ => {
            let text = format!("unexpected GroupVersion string: {}", version.text());
            faults.invalid(&version, text);
        }
    }
    if kind.is_zero() {
        faults.required(&kind, "");
    } else if let Err(fault) = name::label_1035(&kind.text().to_lowercase()) {
        faults.invalid(&kind, format!("may have mixed case, but should otherwise match: {fault}"));
    }
}

fn group_version(at: &At<'_>, group: &str, version: &str, faults: &mut Faults) {
    if !group.is_empty()
        && let Err(fault) = name::subdomain(group)
    {
        faults.invalid_as(at, group, fault);
    }
    if version.is_empty() {
        faults.invalid(at, "version must be specified");
    } else if let Err(fault) = name::label_1035(version) {
        faults.invalid_as(at, version, fault);
    }
}

/// What a binding has whether its policy validates or mutates.
pub(super) fn binding(spec: &At<'_>, faults: &mut Faults) {
    faults.required_rule(&spec.get("policyName"), name::subdomain);
    param_ref(&spec.get("paramRef"), faults);
    match_resources(&spec.get("matchResources"), faults);
}

fn param_ref(at: &At<'_>, faults: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let (own_name, selector) = (at.get("name"), at.get("selector"));
    let text = "name and selector are mutually exclusive";
    if !own_name.is_zero() {
        faults.rule(&own_name, name::path_segment);
    }
    faults.label_selector(&selector);
    match (own_name.is_zero(), selector.is_set()) {
        (false, true) => {
            faults.forbidden(&own_name, text);
            faults.forbidden(&selector, text);
        }
        (true, false) => faults.required(at, "one of name or selector must be specified"),
        _ => {}
    }
    faults.one_of(&at.get("parameterNotFoundAction"), &["Allow", "Deny"]);
}

/// `kind` of a policy's parameters, for its column.
pub(super) fn shown_param_kind(object: &Value) -> String {
    match tree::at(object, "/spec/paramKind") {
        Some(kind) => {
            format!("{}/{}", tree::text(kind, "/apiVersion"), tree::text(kind, "/kind"))
        }
        None => "<unset>".to_owned(),
    }
}

/// A binding's parameters, for its column.
pub(super) fn shown_param_ref(object: &Value) -> String {
    let Some(reference) = tree::at(object, "/spec/paramRef") else { return "<unset>".to_owned() };
    let (namespace, own_name) =
        (tree::text(reference, "/namespace"), tree::text(reference, "/name"));
    match (namespace, own_name) {
        (_, "") if tree::at(reference, "/selector").is_some() => {
            super::cells::selector(reference, "/selector")
        }
        (_, "") => "<unset>".to_owned(),
        ("", name) => format!("*/{name}"),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

/// Checks a reinvocation policy.
pub(super) fn reinvocation(at: &At<'_>, faults: &mut Faults) {
    faults.one_of(at, &REINVOCATION);
}
