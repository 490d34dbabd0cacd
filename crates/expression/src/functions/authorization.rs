//! The authorizer's methods: they put a question together, ask it, and read the answer.

use std::sync::Arc;

use super::{Native, Outcome, no_overload};
use crate::authorizer::{Question, Stage};
use crate::value::Value;

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "path" => |arguments| {
            if matches!(arguments, [_, Value::String(path)] if path.is_empty()) {
                return Err("path must not be empty".to_owned());
            }
            step(arguments, Stage::Authorizer, Stage::Path, |question, path| {
                question.request.path = Some(path);
            })
        },
        "group" => |arguments| {
            step(arguments, Stage::Authorizer, Stage::Group, |question, group| {
                question.request.group = group;
            })
        },
        "resource" => |arguments| {
            if matches!(arguments, [_, Value::String(resource)] if resource.is_empty()) {
                return Err("resource must not be empty".to_owned());
            }
            step(arguments, Stage::Group, Stage::Resource, |question, resource| {
                question.request.resource = resource;
            })
        },
        "subresource" => |arguments| refine(arguments, |q, text| q.request.subresource = text),
        "namespace" => |arguments| refine(arguments, |q, text| q.request.namespace = text),
        "name" => |arguments| refine(arguments, |q, text| q.request.name = text),
        "fieldSelector" => |arguments| refine(arguments, |q, text| q.request.field_selector = text),
        "labelSelector" => |arguments| refine(arguments, |q, text| q.request.label_selector = text),
        "serviceAccount" => service_account,
        "check" => check,
        "allowed" => |arguments| match arguments {
            [Value::Decision(decision)] => Ok(Value::Bool(decision.allowed)),
            _ => no_overload(),
        },
        "reason" => |arguments| match arguments {
            [Value::Decision(decision)] => Ok(Value::string(&*decision.reason)),
            _ => no_overload(),
        },
        "errored" => |arguments| match arguments {
            [Value::Decision(decision)] => Ok(Value::Bool(decision.error.is_some())),
            _ => no_overload(),
        },
        "error" => |arguments| match arguments {
            [Value::Decision(decision)] => {
                Ok(Value::string(decision.error.as_deref().unwrap_or_default()))
            }
            _ => no_overload(),
        },
        _ => return None,
    })
}

fn step(arguments: &[Value], from: Stage, to: Stage, change: fn(&mut Question, String)) -> Outcome {
    let [Value::Authorizer(question), Value::String(text)] = arguments else {
        return no_overload();
    };
    if question.stage != from {
        return no_overload();
    }
    let mut next = Question::clone(question);
    next.stage = to;
    change(&mut next, text.to_string());
    Ok(Value::Authorizer(Arc::new(next)))
}

fn refine(arguments: &[Value], change: fn(&mut Question, String)) -> Outcome {
    step(arguments, Stage::Resource, Stage::Resource, change)
}

fn service_account(arguments: &[Value]) -> Outcome {
    let [Value::Authorizer(question), Value::String(namespace), Value::String(name)] = arguments
    else {
        return no_overload();
    };
    if question.stage != Stage::Authorizer {
        return no_overload();
    }
    if api::name::subdomain(name).is_err() {
        return Err("Invalid service account name".to_owned());
    }
    if api::name::label(namespace).is_err() {
        return Err("Invalid service account namespace".to_owned());
    }
    let mut next = Question::clone(question);
    next.request.service_account = Some((namespace.to_string(), name.to_string()));
    Ok(Value::Authorizer(Arc::new(next)))
}

fn check(arguments: &[Value]) -> Outcome {
    let [Value::Authorizer(question), Value::String(verb)] = arguments else {
        return no_overload();
    };
    if !matches!(question.stage, Stage::Path | Stage::Resource) {
        return no_overload();
    }
    let mut request = question.request.clone();
    request.verb = verb.to_string();
    Ok(Value::Decision(Arc::new(question.authorizer.authorize(&request))))
}
