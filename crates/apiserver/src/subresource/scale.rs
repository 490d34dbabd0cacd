//! `scale`: the size of a workload in one form for all kinds (`autoscaling/v1 Scale`).

use std::sync::Arc;

use api::meta;
use api::status::Status;
use http::Request;
use serde_json::{Value, json};

use crate::body;
use crate::call::Call;
use crate::handle::read_body;
use crate::patching::Patch;
use crate::respond::{Answer, Body as HttpBody};
use crate::server::Server;
use crate::write::Part;

/// GET, PUT and PATCH of the scale.
pub(super) async fn answer(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
) -> Result<Answer, Status> {
    if call.info.verb == "get" {
        let object = server.get(call).await?;
        return show(server, call, &server.in_version(&call.resource, &object));
    }
    let body = read_body(call, request).await?;
    let options = call.write_options()?;
    let schema = body::schema_for("autoscaling", "v1", "Scale");
    let put = match call.info.verb.as_str() {
        "update" => Some(body::decode(call, &body, &schema, &options.field_validation)?),
        _ => None,
    };
    let patch = if put.is_none() { Some(Patch::read(&body)?) } else { None };
    let change = |old: &Value| {
        let present = scale_of(old);
        let wanted = match (&put, &patch) {
            (Some(wanted), _) => wanted.clone(),
            (None, Some(patch)) => patch.apply(&present, &schema)?,
            (None, None) => present.clone(),
        };
        apply(call, old, &present, &wanted)
    };
    let written = server.update(call, Part::Internal, &options, change).await?;
    show(server, call, &server.value_of(&call.resource, &written.object).await?)
}

fn apply(call: &Call, old: &Value, present: &Value, wanted: &Value) -> Result<Value, Status> {
    let resource = &call.resource;
    let revision = meta::text(wanted, "resourceVersion");
    if !revision.is_empty() && revision != meta::text(present, "resourceVersion") {
        return Err(Status::stale(&resource.group, &resource.plural, &call.info.name));
    }
    let uid = meta::uid(wanted);
    if !uid.is_empty() && uid != meta::uid(present) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(present)
        );
        return Err(Status::conflict(&resource.group, &resource.plural, &call.info.name, &why));
    }
    let replicas = wanted.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let path = api::field::Path::new("spec").child("replicas");
        let detail = "must be greater than or equal to 0";
        let error = api::field::Error::invalid(&path, replicas, detail);
        return Err(Status::invalid("autoscaling", "Scale", &call.info.name, &[error]));
    }
    let mut new = old.clone();
    new["spec"]["replicas"] = json!(replicas);
    Ok(new)
}

fn show(server: &Server, call: &Call, object: &Value) -> Result<Answer, Status> {
    let form = server.form(call)?;
    let scale = scale_of(object);
    let bytes = form.encode(&scale)?;
    Ok(crate::respond::answer(200, form.accept.media.content_type(), crate::respond::full(bytes)))
}

fn scale_of(object: &Value) -> Value {
    let metadata = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];
    let metadata: serde_json::Map<String, Value> = metadata
        .into_iter()
        .filter_map(|field| Some((field.to_owned(), meta::get(object, field)?.clone())))
        .collect();
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": number("/spec/replicas")},
        "status": {"replicas": number("/status/replicas")},
    });
    let selector = selector_text(object.pointer("/spec/selector"));
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    scale
}

/// A selector, structured or plain, as query text.
fn selector_text(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return String::new() };
    let structured =
        selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let labels = if structured { selector.get("matchLabels") } else { Some(selector) };
    let mut parts: Vec<String> = labels
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
        let values = expression.get("values").and_then(Value::as_array);
        let values: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match text("operator") {
            "In" => format!("{} in ({values})", text("key")),
            "NotIn" => format!("{} notin ({values})", text("key")),
            "DoesNotExist" => format!("!{}", text("key")),
            _ => text("key").to_owned(),
        });
    }
    parts.join(",")
}
