//! Kinds that are only asked, never stored: reviews, and the bindings collection.

use std::collections::BTreeMap;
use std::sync::Arc;

use admission::User;
use api::meta;
use api::object::{self, Object};
use api::status::Status;
use authz::{Attributes, Decision};
use serde_json::{Value, json};

use crate::body;
use crate::call::{Body, Call};
use crate::handle::text;
use crate::metadata::seconds;
use crate::respond::{Answer, Form, ListMeta, list};
use crate::server::Server;
use crate::subresource;

/// Answers a request on a kind that the table marks as virtual.
///
/// # Errors
/// The answer to the client.
pub(crate) async fn answer(
    server: &Arc<Server>,
    call: &Call,
    body: &Body,
) -> Result<Answer, Status> {
    let resource = &call.resource;
    let form = server.form(call)?;
    if call.info.verb != "create" {
        return component_status(server, call, &form);
    }
    form.refuse_transform()?;
    let options = call.write_options()?;
    let schema = server.registry.table().schema(resource);
    let mut review = body::decode(call, body, &schema, &options.field_validation)?;
    crate::metadata::check_type(&server.registry.table(), resource, &mut review)?;
    crate::metadata::check_namespace(resource, &mut review, &call.info.namespace)?;
    server.settle_form(resource, &mut review);
    let faults = resource.strategy.validate(&review);
    if !faults.is_empty() {
        // Upstream does not say of what kind the question is.
        return Err(Status::invalid(&resource.group, "", "", &faults));
    }
    match &*resource.kind {
        "Binding" => {
            let mut pod =
                server.own_call("", "v1", "pods", &call.info.namespace, meta::name(&review))?;
            pod.user = call.user.clone();
            return subresource::bind(server, &pod, &review, &options).await;
        }
        "TokenReview" if text(&review, "/spec/token").is_empty() => {
            let why = "token is required for TokenReview in authentication";
            return Err(Status::bad_request(why));
        }
        "TokenReview" => review["status"] = token_review(server, &review),
        "SelfSubjectReview" => {
            meta::set(&mut review, "creationTimestamp", seconds(server.clock.now()));
            review["status"] = json!({"userInfo": user_json(&call.user)});
        }
        "SelfSubjectAccessReview" => {
            review["status"] = access_review(server, &review, &call.user);
        }
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            review["status"] = access_review(server, &review, &subject_of(&review));
        }
        "SelfSubjectRulesReview" => {
            let namespace = text(&review, "/spec/namespace").to_owned();
            if namespace.is_empty() {
                return Err(Status::bad_request("no namespace on request"));
            }
            review["spec"] = json!({});
            review["status"] = rules_review(server, &call.user, &namespace);
        }
        _ => return Err(Status::no_such_path()),
    }
    form.unstored(201, &review)
}

/// Deprecated and always healthy: what it once asked is now asked of `/readyz`.
fn component_status(server: &Arc<Server>, call: &Call, form: &Form) -> Result<Answer, Status> {
    let one = |name: &&str| {
        let value = json!({"kind": "ComponentStatus", "apiVersion": "v1",
            "metadata": {"name": name},
            "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]});
        Arc::new(Object::new(&value, object::encode(&value), Vec::new(), 0))
    };
    let names = ["controller-manager", "scheduler", "etcd-0"];
    if call.info.verb == "list" {
        let all = names.iter().map(one).collect();
        return list(server, form, all, &ListMeta::default());
    }
    let found = names.iter().find(|name| **name == call.info.name).ok_or_else(|| call.not_found());
    form.object(server, 200, &one(found?))
}

fn user_json(user: &User) -> Value {
    let mut out = json!({"username": user.name});
    if !user.uid.is_empty() {
        out["uid"] = json!(user.uid);
    }
    if !user.groups.is_empty() {
        out["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        out["extra"] = json!(user.extra);
    }
    out
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn token_review(server: &Server, review: &Value) -> Value {
    let token = text(review, "/spec/token");
    let audiences = texts(review.pointer("/spec/audiences"));
    let now = server.clock.now().as_second();
    match server.authenticators.token_user(token, &audiences, now) {
        Some(user) => {
            let of_token = server.authenticators.audiences(token, now);
            let shared: Vec<String> = if audiences.is_empty() {
                vec![server.config.token_issuer.issuer().to_owned()]
            } else {
                audiences.into_iter().filter(|audience| of_token.contains(audience)).collect()
            };
            json!({"authenticated": true, "user": user_json(&user), "audiences": shared})
        }
        None => json!({"user": {}, "error": "invalid bearer token"}),
    }
}

fn subject_of(review: &Value) -> User {
    let name = text(review, "/spec/user").to_owned();
    let groups = texts(review.pointer("/spec/groups"));
    let extra = review.pointer("/spec/extra").and_then(Value::as_object);
    let extra: BTreeMap<String, Vec<String>> =
        extra.into_iter().flatten().map(|(key, value)| (key.clone(), texts(Some(value)))).collect();
    User { name, uid: text(review, "/spec/uid").to_owned(), groups, extra }
}

fn access_review(server: &Server, review: &Value, user: &User) -> Value {
    let resource = review.pointer("/spec/resourceAttributes").filter(|v| v.is_object());
    let path = review.pointer("/spec/nonResourceAttributes").filter(|v| v.is_object());
    let selector = resource.map(field_selector).unwrap_or_default();
    let mut asked = Attributes {
        user: &user.name,
        groups: &user.groups,
        extra: Some(&user.extra),
        field_selector: &selector,
        ..Attributes::default()
    };
    if let Some(resource) = resource {
        asked.is_resource = true;
        asked.verb = text(resource, "/verb");
        asked.group = text(resource, "/group");
        asked.version = text(resource, "/version");
        asked.resource = text(resource, "/resource");
        asked.subresource = text(resource, "/subresource");
        asked.namespace = text(resource, "/namespace");
        asked.name = text(resource, "/name");
    } else if let Some(path) = path {
        asked.verb = text(path, "/verb");
        asked.path = text(path, "/path");
    }
    let (mut status, reason) = match server.policy.decide(&asked) {
        Decision::Allow(reason) => (json!({"allowed": true}), reason),
        Decision::Deny(reason) => (json!({"allowed": false, "denied": true}), reason),
        Decision::NoOpinion(reason) => (json!({"allowed": false}), reason),
    };
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    status
}

/// The field selector of a question, as a query would have it: requirements are told by their values.
fn field_selector(resource: &Value) -> String {
    let raw = text(resource, "/fieldSelector/rawSelector");
    if !raw.is_empty() {
        return raw.to_owned();
    }
    let requirements = resource.pointer("/fieldSelector/requirements").and_then(Value::as_array);
    let terms = requirements.into_iter().flatten().filter_map(|requirement| {
        let values = texts(requirement.get("values"));
        let [value] = values.as_slice() else { return None };
        let key = text(requirement, "/key");
        match text(requirement, "/operator") {
            "In" => Some(format!("{key}={value}")),
            "NotIn" => Some(format!("{key}!={value}")),
            _ => None,
        }
    });
    terms.collect::<Vec<_>>().join(",")
}

fn rules_review(server: &Server, user: &User, namespace: &str) -> Value {
    let mut resource_rules = Vec::new();
    let mut path_rules = Vec::new();
    let rules = server.policy.rules(&user.name, &user.groups, namespace);
    for rule in rules {
        if rule.resources.is_some() {
            let mut shown = json!({
                "verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources,
            });
            if let Some(names) = rule.resource_names.filter(|names| !names.is_empty()) {
                shown["resourceNames"] = json!(names);
            }
            resource_rules.push(shown);
        } else {
            path_rules
                .push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        }
    }
    json!({"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": false})
}
