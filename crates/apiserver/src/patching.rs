//! PATCH: the four kinds of patch, on an object or one of its subresources.

use std::sync::Arc;

use api::status::Status;
use http::Request;
use schema::Schema;
use serde_json::Value;

use crate::body;
use crate::call::Call;
use crate::handle::read_body;
use crate::respond::{Answer, Body as HttpBody};
use crate::server::Server;
use crate::write::{Part, Written};

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
        let decode = || {
            codec::json::decode_any(&body.bytes)
                .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
        };
        match media_type {
            "application/json-patch+json" => Ok(Self::Json(decode()?)),
            "application/merge-patch+json" => Ok(Self::Merge(decode()?)),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic(decode()?)),
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
            Self::Json(patch) => patch::json::apply(&mut new, patch).map_err(|error| match error {
                patch::json::JsonPatchError::Malformed(_) => Status::bad_request(error.to_string()),
                patch::json::JsonPatchError::TooMany(_) => Status::too_large(error.to_string()),
                patch::json::JsonPatchError::DoesNotFit(_) => refused(error.to_string()),
            })?,
            Self::Merge(patch) => patch::json::merge(&mut new, patch),
            Self::Strategic(patch) => patch::strategic::apply(&mut new, patch, schema)
                .map_err(|error| Status::bad_request(error.to_string()))?,
        }
        Ok(new)
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
    server.show(call, &written)
}

async fn write(
    server: &Arc<Server>,
    call: &Call,
    body: &crate::call::Body,
    part: Part,
) -> Result<Written, Status> {
    let options = call.write_options()?;
    let patch = Patch::read(body)?;
    let schema = server.registry.table().schema(&call.resource);
    if matches!(patch, Patch::Strategic(_)) && schema.definition_name().is_none() {
        return Err(Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        ));
    }
    let change = |old: &Value| {
        let new = patch.apply(old, &schema)?;
        check_against_schema(call, &new, &schema, &options.field_validation)
    };
    server.update(call, part, &options, change).await
}

/// A patched object goes through the decoder like any other body, so that types are checked and
/// unknown fields are treated as the client asked.
pub(crate) fn check_against_schema(
    call: &Call,
    new: &Value,
    schema: &Schema,
    validation: &str,
) -> Result<Value, Status> {
    let bytes = serde_json::to_vec(new).map_err(Status::internal)?;
    let body = crate::call::Body { bytes: bytes.into(), media_type: "application/json".to_owned() };
    body::decode(call, &body, schema, validation)
}
