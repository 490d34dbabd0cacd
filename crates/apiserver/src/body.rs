//! Request bodies: reading them within bounds, and decoding them by type and kind.

use api::status::Status;
use bytes::Bytes;
use codec::{DecodeError, MediaType, Mode, TypeMeta};
use http_body_util::{BodyExt as _, Limited};
use schema::Schema;
use serde_json::Value;

use crate::call::{Body, Call};
use crate::limits::BODY_BYTES_MAX;
use crate::respond::Body as HttpBody;

/// Reads a whole body.
///
/// # Errors
/// 413, or the client broke off.
pub(crate) async fn read(body: HttpBody) -> Result<Bytes, Status> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(read_failure(&*error)),
    }
}

/// 413: a body, or an object that patches made larger than one.
pub(crate) fn too_large() -> Status {
    Status::too_large(format!("Request entity too large: limit is {BODY_BYTES_MAX}"))
}

fn read_failure(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Status {
    if error.is::<http_body_util::LengthLimitError>() {
        return too_large();
    }
    Status::bad_request(format!("cannot read the request body: {error}"))
}

/// The schema of a kind.
pub(crate) fn schema_for(group: &str, version: &str, kind: &str) -> Schema {
    schema::for_kind(group, version, kind).unwrap_or_else(Schema::any)
}

/// Decodes an object; warnings go to the call.
///
/// # Errors
/// 400 or 415 with what is wrong.
pub(crate) fn decode(
    call: &Call,
    body: &Body,
    schema: &Schema,
    validation: &str,
) -> Result<Value, Status> {
    let mode = match validation {
        "Ignore" => Mode::Ignore,
        "Strict" => Mode::Strict,
        _ => Mode::Warn,
    };
    let decoded = match media_type(body)? {
        MediaType::Json => codec::json::decode(&body.bytes, schema, mode),
        MediaType::Yaml => codec::yaml::decode(&body.bytes, schema, mode),
        MediaType::Cbor => codec::cbor::decode(&body.bytes, schema, mode),
        MediaType::Protobuf => {
            let resource = &call.resource;
            let fallback =
                TypeMeta { api_version: resource.api_version(), kind: resource.kind.to_string() };
            return codec::protobuf::decode(&body.bytes, &fallback).map_err(|error| refuse(&error));
        }
    };
    let decoded = decoded.map_err(|error| refuse_object(call, &error))?;
    for warning in decoded.warnings {
        call.warn(warning);
    }
    Ok(decoded.value)
}

/// Upstream names the kind that a body was taken for.
fn refuse_object(call: &Call, error: &DecodeError) -> Status {
    let (kind, version) = (&call.resource.kind, &call.resource.version);
    match error {
        DecodeError::TooLarge => refuse(error),
        other => Status::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {other}"
        )),
    }
}

/// Decodes a body that has no schema of the table's, such as `DeleteOptions`; an empty one is null.
///
/// # Errors
/// 400 or 415 with what is wrong.
pub(crate) fn decode_options(body: &Body, api_version: &str, kind: &str) -> Result<Value, Status> {
    if body.bytes.is_empty() {
        return Ok(Value::Null);
    }
    let decoded = match media_type(body)? {
        MediaType::Json => codec::json::decode_any(&body.bytes),
        MediaType::Yaml => codec::yaml::to_value(&body.bytes),
        MediaType::Cbor => codec::cbor::decode_any(&body.bytes),
        MediaType::Protobuf => {
            let fallback = TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() };
            codec::protobuf::decode(&body.bytes, &fallback)
        }
    };
    decoded.map_err(|error| refuse(&error))
}

fn media_type(body: &Body) -> Result<MediaType, Status> {
    MediaType::from_content_type(Some(&body.media_type)).ok_or_else(|| {
        Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )
    })
}

fn refuse(error: &DecodeError) -> Status {
    match error {
        DecodeError::TooLarge => Status::too_large(error.to_string()),
        other => Status::bad_request(other.to_string()),
    }
}
