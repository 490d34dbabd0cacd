//! Server-side apply: `application/apply-patch+yaml`, and the same in CBOR.
//!
//! Merging, conflicts and ownership are `patch::apply`; here are the body, creation, and the errors.

use std::sync::Arc;

use api::meta;
use api::status::{Cause, Status};
use patch::apply::{self, Applied, ApplyError, Conflicts};
use patch::managers::{self, Manager};
use schema::Schema;
use serde_json::Value;

use super::update_with_owners;
use crate::call::{Body, Call, WriteOptions};
use crate::handle::attributes;
use crate::managed::{APPLY_CBOR, Context, Views, empty_form, set_owners};
use crate::server::Server;
use crate::write::{Part, Written};

/// Applies a body; an object that does not exist is created.
///
/// # Errors
/// The answer to the client.
pub(super) async fn write(
    server: &Arc<Server>,
    call: &Call,
    body: &Body,
    part: Part,
    options: &WriteOptions,
) -> Result<Written, Status> {
    let (applied, strict) = decode(body)?;
    check_body(call, &applied)?;
    if part == Part::Main {
        match server.present(call).await {
            Err(status) if status.code == 404 => {
                match create(server, call, &applied, &strict, options).await {
                    // Somebody was quicker: what is there now is applied to.
                    Err(status) if status.reason == "AlreadyExists" => {}
                    other => return other,
                }
            }
            other => other.map(drop)?,
        }
    }
    let views = Views::of(server, &call.resource);
    let change = |old: &Value| {
        let mut context = Context::of(server, call);
        context.views.clone_from(&views);
        let owners = owners_of(old)?;
        let write = context.write(call, &options.manager);
        let outcome = apply::apply(old, &applied, owners, false, options.force, &write);
        let result = outcome.map_err(|error| refuse(call, &applied, &error))?;
        report(call, &strict, options)?;
        finish(&applied, result, old, &context.schema)
    };
    if views.is_some() {
        // Tried for what it needs to see; what comes of it is decided below.
        let present = server.present(call).await?;
        let old = server.value_of(&call.resource, &present).await?;
        drop(change(&old));
        while server.add_views(&views).await? {
            drop(change(&old));
        }
    }
    update_with_owners(server, call, part, options, change).await
}

async fn create(
    server: &Arc<Server>,
    call: &Call,
    applied: &Value,
    strict: &[String],
    options: &WriteOptions,
) -> Result<Written, Status> {
    let resource = &call.resource;
    may_create(server, call)?;
    let (name, uid) = (meta::name(applied), meta::uid(applied));
    crate::metadata::check_url_name(call, applied)?;
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(Status::conflict(&resource.group, &resource.plural, name, &why));
    }
    let context = Context::of(server, call);
    let empty = empty_form(resource, &context.schema);
    let write = context.write(call, &options.manager);
    let outcome = apply::apply(&empty, applied, Vec::new(), true, options.force, &write);
    let result = outcome.map_err(|error| refuse(call, applied, &error))?;
    let object = finish(applied, result, &empty, &context.schema)?;
    report(call, strict, options)?;
    server.create(call, object, options).await
}

/// The merged object in the form that its kind is kept in, with its owners.
fn finish(applied: &Value, result: Applied, old: &Value, schema: &Schema) -> Result<Value, Status> {
    let Applied { mut object, managers: owners, .. } = result;
    meta::remove(&mut object, "managedFields");
    let decoded = codec::json::decode_value(&object, schema, codec::Mode::Ignore)
        .map_err(|error| failure(format!("failed to convert new object: {error}")))?;
    let mut object = decoded.value;
    if let Some(definition) = schema.definition_name() {
        codec::go_form(&mut object, definition);
    }
    // What only the server sets is not the applier's to change; a revision is its precondition.
    for field in ["creationTimestamp", "uid", "generation", "resourceVersion"] {
        let given = meta::text(applied, field);
        let keeps = given.is_empty() || field == "creationTimestamp" || field == "generation";
        if let (true, Some(present)) = (keeps, meta::get(old, field)) {
            meta::set(&mut object, field, present.clone());
        }
    }
    set_owners(&mut object, managers::encode(owners));
    Ok(object)
}

/// A body without a schema, and what strict decoding would say of it.
///
/// # Errors
/// 400 or 413.
pub(crate) fn decode(body: &Body) -> Result<(Value, Vec<String>), Status> {
    let (any, mode) = (Schema::any(), codec::Mode::Warn);
    let (format, decoded) = match body.media_type.as_str() {
        APPLY_CBOR => ("CBOR", codec::cbor::decode(&body.bytes, &any, mode)),
        _ => ("YAML", codec::yaml::decode(&body.bytes, &any, mode)),
    };
    let decoded = decoded.map_err(|error| match error {
        codec::DecodeError::TooLarge => Status::too_large(error.to_string()),
        other => Status::bad_request(format!("error decoding {format}: {other}")),
    })?;
    if !decoded.value.is_object() {
        let kind = patch::json::go_kind(&decoded.value);
        return Err(Status::bad_request(format!(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        )));
    }
    Ok((decoded.value, decoded.warnings))
}

/// Kind, version and owners of what is applied.
fn check_body(call: &Call, applied: &Value) -> Result<(), Status> {
    check_kind(applied, &call.resource.api_version(), &call.resource.kind)
}

/// Kind, version and owners of what is applied, against those wanted.
///
/// # Errors
/// 400.
pub(crate) fn check_kind(applied: &Value, version: &str, wanted: &str) -> Result<(), Status> {
    let text = |key: &str| applied.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version != version || kind != wanted {
        return Err(Status::bad_request(format!(
            "invalid object type: {}",
            type_name(api_version, kind)
        )));
    }
    if meta::get(applied, "managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

/// Group, version and kind as Go prints them.
fn type_name(api_version: &str, kind: &str) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    format!("{group}/{version}, Kind={kind}")
}

/// Tells what strict decoding found, as the client asked.
///
/// # Errors
/// 400.
pub(crate) fn report(call: &Call, strict: &[String], options: &WriteOptions) -> Result<(), Status> {
    match options.field_validation.as_str() {
        "Strict" if !strict.is_empty() => {
            Err(Status::bad_request(format!("error strict decoding YAML: {}", strict.join(", "))))
        }
        "Warn" => {
            strict.iter().for_each(|warning| call.warn(warning.as_str()));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Who applies to what does not exist creates it, and must have the right to.
fn may_create(server: &Server, call: &Call) -> Result<(), Status> {
    let mut info = call.info.clone();
    "create".clone_into(&mut info.verb);
    server.authorize(&attributes(&call.user, &info)).map_err(|reason| {
        let tail = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let place = if info.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {:?}", info.namespace)
        };
        let why = format!(
            "User {:?} cannot create resource {:?} in API group {:?} {place}{tail}",
            call.user.name, info.resource, info.group
        );
        Status::forbidden(&info.group, &info.resource, &info.name, &why)
    })
}

/// The owners of an object.
///
/// # Errors
/// 500: they cannot be read.
pub(crate) fn owners_of(object: &Value) -> Result<Vec<Manager>, Status> {
    let owners = meta::get(object, "managedFields");
    owners
        .map_or(Ok(Vec::new()), managers::decode)
        .map_err(|error| failure(format!("failed to decode managed fields: {error}")))
}

/// 500 as upstream gives it for errors that have no reason.
fn failure(message: String) -> Status {
    Status::failure(500, "", message)
}

/// What the client is told of an apply that failed.
pub(crate) fn refuse(call: &Call, applied: &Value, error: &ApplyError) -> Status {
    match error {
        ApplyError::Conflicts(conflicts) => conflict(conflicts),
        ApplyError::Invalid(_) => {
            let namespace = meta::namespace(applied);
            let kind = type_name(&call.resource.api_version(), &call.resource.kind);
            failure(format!(
                "failed to create typed patch object ({namespace}/{}; {kind}): {error}",
                meta::name(applied)
            ))
        }
    }
}

fn conflict(conflicts: &Conflicts) -> Status {
    let mut status = Status::failure(409, "Conflict", conflicts.to_string());
    let cause = |conflict: &apply::Conflict| Cause {
        reason: "FieldManagerConflict",
        message: format!("conflict with {}", conflict.owner()),
        field: conflict.path.to_string(),
    };
    status.details.causes = conflicts.0.iter().map(cause).collect();
    status
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_is_read_by_its_type() {
        let object = json!({"kind": "ConfigMap", "data": {"a": "1"}});
        let cbor = codec::cbor::encode(&object);
        for (media_type, bytes) in [
            ("application/apply-patch+yaml", object.to_string().into_bytes()),
            ("application/apply-patch+yaml", b"{kind: ConfigMap, data: {a: '1'}}".to_vec()),
            (APPLY_CBOR, cbor.clone()),
        ] {
            let body = Body { bytes: bytes.into(), media_type: media_type.to_owned() };
            assert_eq!(decode(&body).unwrap(), (object.clone(), Vec::new()), "{media_type}");
        }
        let mixed =
            Body { bytes: b"kind: ConfigMap".as_slice().into(), media_type: APPLY_CBOR.to_owned() };
        assert!(decode(&mixed).unwrap_err().message.starts_with("error decoding CBOR: "));
    }
}
