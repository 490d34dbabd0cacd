//! `pods/binding`: the scheduler puts a pod on a node.

use std::sync::Arc;

use api::meta;
use api::status::Status;
use http::Request;
use serde_json::{Value, json};

use crate::body;
use crate::call::{Call, WriteOptions};
use crate::handle::{read_body, text};
use crate::metadata::seconds;
use crate::respond::{Answer, Body as HttpBody, json_answer};
use crate::server::Server;
use crate::write::Part;

/// POST of a Binding.
pub(super) async fn answer(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
) -> Result<Answer, Status> {
    let body = read_body(call, request).await?;
    let options = call.write_options()?;
    let schema = body::schema_for("", "v1", "Binding");
    let binding = body::decode(call, &body, &schema, &options.field_validation)?;
    if meta::name(&binding) != call.info.name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    bind(server, call, &binding, &options).await
}

/// Binds the pod of the call as a Binding says.
///
/// # Errors
/// 409 when the pod is bound, being deleted or gated already; 422 for a bad binding.
pub(crate) async fn bind(
    server: &Arc<Server>,
    call: &Call,
    binding: &Value,
    options: &WriteOptions,
) -> Result<Answer, Status> {
    let node = text(binding, "/target/name");
    let kind = text(binding, "/target/kind");
    if node.is_empty() || !matches!(kind, "" | "Node") {
        let path =
            api::field::Path::new("target").child(if node.is_empty() { "name" } else { "kind" });
        let error = if node.is_empty() {
            api::field::Error::required(&path, "")
        } else {
            api::field::Error::not_supported(&path, kind, &["Node", "<empty>"])
        };
        return Err(Status::invalid("", "Binding", &call.info.name, &[error]));
    }
    let now = seconds(server.clock.now());
    let change = |old: &Value| assign(call, old, binding, node, &now);
    server.update(call, Part::Internal, options, change).await?;
    Ok(json_answer(
        201,
        &json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
        }),
    ))
}

fn assign(
    call: &Call,
    old: &Value,
    binding: &Value,
    node: &str,
    now: &str,
) -> Result<Value, Status> {
    let conflict = |why: String| Status::conflict("", "pods/binding", &call.info.name, &why);
    let uid = meta::uid(binding);
    if !uid.is_empty() && uid != meta::uid(old) {
        let have = meta::uid(old);
        return Err(conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {have}"
        )));
    }
    if meta::is_deleting(old) {
        return Err(conflict(format!(
            "pod {} is being deleted, cannot be assigned to a host",
            call.info.name
        )));
    }
    let bound = text(old, "/spec/nodeName");
    if !bound.is_empty() {
        return Err(conflict(format!(
            "pod {} is already assigned to node \"{bound}\"",
            call.info.name
        )));
    }
    let gates = old.pointer("/spec/schedulingGates").and_then(Value::as_array);
    if gates.is_some_and(|gates| !gates.is_empty()) {
        return Err(conflict(format!(
            "pod {} has non-empty .spec.schedulingGates",
            call.info.name
        )));
    }
    let mut new = old.clone();
    new["spec"]["nodeName"] = json!(node);
    for (key, value) in
        meta::get(binding, "annotations").and_then(Value::as_object).into_iter().flatten()
    {
        let annotations = meta::map_mut(&mut new).entry("annotations").or_insert_with(|| json!({}));
        annotations[key.as_str()] = value.clone();
    }
    set_scheduled(&mut new, now);
    Ok(new)
}

fn set_scheduled(pod: &mut Value, now: &str) {
    let status = meta::child_mut(pod, "status");
    let conditions = meta::child_mut(status, "conditions");
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(list) = conditions.as_array_mut() else { return };
    list.retain(|condition| text(condition, "/type") != "PodScheduled");
    list.push(json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": now}));
}
