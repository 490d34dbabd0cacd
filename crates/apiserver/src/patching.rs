//! PATCH: three kinds of patch, on an object or one of its subresources. The fourth, server-side apply,
//! is in [`apply`].

mod apply;

use std::sync::Arc;

use api::field;
use api::meta;

use api::status::Status;
use http::Request;
use parking_lot::Mutex;
use patch::managers;
use schema::Schema;
use serde_json::{Map, Value};

use codec::DecodeError;

use crate::body;
use crate::call::{Call, WriteOptions};
use crate::handle::read_body;
use crate::limits::WRITE_TRIES_MAX;
use crate::managed;
use crate::metadata;
use crate::respond::{Answer, Body as HttpBody};
use crate::server::Server;
use crate::write::{Part, Written};

pub(crate) use apply::{
    check_kind as check_applied, decode as decode_applied, owners_of, refuse as refuse_apply,
    report as report_strict,
};

/// A patch as it came.
pub(crate) enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7396.
    Merge(Value),
    /// Upstream's own.
    Strategic(Value),
}

impl Patch {
    /// Reads a patch by its media type.
    ///
    /// # Errors
    /// 400 or 415.
    pub(crate) fn read(body: &crate::call::Body) -> Result<Self, Status> {
        let media_type = body.media_type.split(';').next().unwrap_or_default().trim();
        let decode = || codec::json::decode_any(&body.bytes).map_err(|error| error.to_string());
        let object = || {
            let value = decode()?;
            let kind = patch::json::go_kind(&value);
            let refused = format!(
                "json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            );
            if value.is_object() { Ok(value) } else { Err(refused) }
        };
        let malformed = |why| Status::bad_request(format!("error decoding patch: {why}"));
        match media_type {
            "application/json-patch+json" => decode().map(Self::Json).map_err(malformed),
            "application/merge-patch+json" => object().map(Self::Merge).map_err(malformed),
            "application/strategic-merge-patch+json" => {
                object().map(Self::Strategic).map_err(Status::bad_request)
            }
            _ => Err(Status::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
            )),
        }
    }

    /// The object that the patch makes out of the present one.
    ///
    /// # Errors
    /// 400 or 422: the patch does not fit.
    pub(crate) fn apply(&self, old: &Value, schema: &Schema) -> Result<Value, Status> {
        let mut new = old.clone();
        let refused = |message: String| Status::failure(422, "Invalid", message);
        match self {
            Self::Json(patch) => {
                patch::json::apply(&mut new, patch).map_err(|error| match error {
                    patch::json::JsonPatchError::Malformed(_) => {
                        Status::bad_request(error.to_string())
                    }
                    patch::json::JsonPatchError::TooMany(_) => Status::too_large(error.to_string()),
                    patch::json::JsonPatchError::Unknown(_)
                    | patch::json::JsonPatchError::DoesNotFit(_)
                    | patch::json::JsonPatchError::CopiesTooMuch(_)
                    | patch::json::JsonPatchError::TooDeep => refused(error.to_string()),
                })?
            }
            Self::Merge(patch) => patch::json::merge(&mut new, patch),
            Self::Strategic(patch) => {
                patch::strategic::apply(&mut new, patch, schema)
                    .map_err(|error| Status::bad_request(error.to_string()))?;
                // It changes an object of a known type, whatever it says of that.
                for key in ["apiVersion", "kind"] {
                    if let Some(kept) = old.get(key) {
                        meta::object_mut(&mut new).insert(key.to_owned(), kept.clone());
                    }
                }
            }
        }
        Ok(new)
    }

    /// What the patch made out of `old`, when it fits the schema.
    ///
    /// # Errors
    /// 413 or 422.
    pub(crate) fn checked(
        &self,
        call: &Call,
        new: Value,
        old: &Value,
        schema: &Schema,
        options: &WriteOptions,
    ) -> Result<Value, Status> {
        let checked = check_changes(call, new, old, schema, &options.field_validation);
        checked.map_err(|error| match error {
            DecodeError::TooLarge => Status::too_large(error.to_string()),
            error => self.refuse(old, schema, self.reason(&error)),
        })
    }

    /// Why what the patch made does not fit its schema, as upstream says it of this kind of patch.
    fn reason(&self, error: &DecodeError) -> String {
        match (self, error) {
            (Self::Strategic(_), DecodeError::Type(wrong)) => wrong.restored(),
            _ => error.to_string(),
        }
    }

    /// 422: what the patch makes of the old object is none of its kind.
    fn refuse(&self, old: &Value, schema: &Schema, why: String) -> Status {
        let shown = match self {
            Self::Strategic(patch) => patch::GoText(patch).to_string(),
            Self::Json(_) | Self::Merge(_) => {
                self.apply(old, schema).unwrap_or_default().to_string()
            }
        };
        let error = field::Error::invalid(&field::Path::new("patch"), shown, why);
        Status::invalid("", "", "", &[error])
    }
}

/// Patches an object or a part of it.
///
/// # Errors
/// The answer to the client.
pub(crate) async fn patch(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
    part: Part,
) -> Result<Answer, Status> {
    let body = read_body(call, request).await?;
    let written = write(server, call, &body, part).await?;
    server.show(call, &written).await
}

async fn write(
    server: &Arc<Server>,
    call: &Call,
    body: &crate::call::Body,
    part: Part,
) -> Result<Written, Status> {
    let options = call.write_options()?;
    check_options(call)?;
    let table = server.registry.table();
    let schema = table.schema(&call.resource);
    if managed::is_apply(call) {
        return apply::write(server, call, body, part, &options).await;
    }
    let patch = Patch::read(body)?;
    if matches!(patch, Patch::Strategic(_)) && schema.definition_name().is_none() {
        return Err(Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        ));
    }
    let change = |old: &Value| {
        let new = patch.apply(old, &schema)?;
        let text = |key: &str| new.get(key).and_then(Value::as_str).unwrap_or_default();
        let is_same = ["kind", "apiVersion"].iter().all(|key| new.get(key) == old.get(key));
        if !is_same
            && let Some(why) = metadata::unknown_kind(&table, text("kind"), text("apiVersion"))
        {
            return Err(patch.refuse(old, &schema, why));
        }
        let mut new = patch.checked(call, new, old, &schema, &options)?;
        managed::keep_reset(&mut new);
        Ok(new)
    };
    if part == Part::Main && body.bytes.windows(MANAGED_FIELDS.len()).any(|at| at == MANAGED_FIELDS)
    {
        return update_with_owners(server, call, part, &options, change).await;
    }
    server.update(call, part, &options, change).await
}

const METADATA: &str = "metadata";
const MANAGED_FIELDS: &[u8] = b"managedFields";

/// Checks the options that only patches have, or have other rules for.
pub(crate) fn check_options(call: &Call) -> Result<(), Status> {
    let mut errors = Vec::new();
    let (manager, path) = (call.query.text("fieldManager"), field::Path::new("fieldManager"));
    if managed::is_apply(call) {
        if manager.is_empty() {
            errors.push(field::Error::required(&path, "is required for apply patch"));
        }
    } else if !call.query.text("force").is_empty() {
        let force = field::Path::new("force");
        errors.push(field::Error::forbidden(&force, "may not be specified for non-apply patch"));
    }
    errors.extend(managed::manager_faults(manager));
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &errors))
}

/// As [`Server::update`], for a change that may be to nothing but the owners: that is committed as it
/// is, for there is nothing else to admit or validate.
pub(crate) async fn update_with_owners(
    server: &Server,
    call: &Call,
    part: Part,
    options: &WriteOptions,
    change: impl Fn(&Value) -> Result<Value, Status> + Send + Sync,
) -> Result<Written, Status> {
    for _ in 0..WRITE_TRIES_MAX {
        let present = server.present(call).await?;
        let old = server.value_of(&call.resource, &present).await?;
        let mut new = change(&old)?;
        if !only_owners_differ(&new, &old) {
            let first = Mutex::new(Some((present.revision, new)));
            let change = |old: &Value| match first.lock().take() {
                Some((revision, new)) if is_of_revision(old, revision) => Ok(new),
                _ => change(old),
            };
            return server.update(call, part, options, change).await;
        }
        server.track_fields(call, &mut new, Some(&old), options).await?;
        let owners = |value| meta::get(value, "managedFields");
        if managers::same_but_for_times(owners(&new), owners(&old)) {
            return Ok(Written { object: present, created: false });
        }
        if let Some(object) = server.commit(&call.resource, new, Some(&present), options).await? {
            return Ok(Written { object, created: false });
        }
    }
    let resource = &call.resource;
    Err(Status::stale(&resource.group, &resource.plural, &call.info.name))
}

fn is_of_revision(object: &Value, revision: u64) -> bool {
    meta::text(object, "resourceVersion").parse() == Ok(revision)
}

/// Whether two objects are the same but for their owners, in the form in which both are shown.
fn only_owners_differ(new: &Value, old: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        meta::remove(&mut object, "managedFields");
        object
    };
    meta::get(new, "managedFields") != meta::get(old, "managedFields") && bare(new) == bare(old)
}

/// As [`check_against_schema`], for an object that was made out of `old`. A stored object of a built-in kind has passed
/// its schema, so only what differs has to: most patches change a label or a field of many.
fn check_changes(
    call: &Call,
    mut new: Value,
    old: &Value,
    schema: &Schema,
    validation: &str,
) -> Result<Value, DecodeError> {
    let (Some(rest), Some(old), Some(_)) =
        (new.as_object_mut(), old.as_object(), schema.definition_name())
    else {
        return check_against_schema(call, &new, schema, validation);
    };
    let mut changed = take_changes(rest, old);
    let mut same_metadata = None;
    if let (Some(Value::Object(metadata)), Some(Value::Object(old))) =
        (changed.get_mut(METADATA), old.get(METADATA))
    {
        let of_metadata = take_changes(metadata, old);
        same_metadata = Some(std::mem::replace(metadata, of_metadata));
    }
    let mut checked = check_against_schema(call, &Value::Object(changed), schema, validation)?;
    rest.append(meta::object_mut(&mut checked));
    if let Some(mut metadata) = same_metadata {
        let place = rest.entry(METADATA).or_insert(Value::Null);
        metadata.append(meta::object_mut(place));
        *place = Value::Object(metadata);
    }
    Ok(new)
}

/// Takes out the entries that are not the same in `old`.
fn take_changes(new: &mut Map<String, Value>, old: &Map<String, Value>) -> Map<String, Value> {
    let differs = |(key, value): &(&String, &Value)| old.get(*key) != Some(*value);
    let keys: Vec<String> = new.iter().filter(differs).map(|(key, _)| key.clone()).collect();
    keys.iter().filter_map(|key| new.remove_entry(key)).collect()
}

/// A patched object goes through the decoder like any other body, so that types are checked and
/// unknown fields are treated as the client asked.
pub(crate) fn check_against_schema(
    call: &Call,
    new: &Value,
    schema: &Schema,
    validation: &str,
) -> Result<Value, DecodeError> {
    let decoded = codec::json::decode_value(new, schema, body::mode(validation))?;
    decoded.warnings.into_iter().for_each(|warning| call.warn(warning));
    Ok(decoded.value)
}
