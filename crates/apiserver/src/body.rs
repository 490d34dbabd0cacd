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

/// What the option `fieldValidation` asks for.
pub(crate) fn mode(validation: &str) -> Mode {
    match validation {
        "Ignore" => Mode::Ignore,
        "Strict" => Mode::Strict,
        _ => Mode::Warn,
    }
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
    let mode = mode(validation);
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
    let decoded = decoded.map_err(|error| refuse_object(call, body, &error))?;
    for warning in decoded.warnings {
        call.warn(warning);
    }
    Ok(decoded.value)
}

/// Upstream names the kind that a body says it has, or shows the beginning of one that says none.
fn refuse_object(call: &Call, body: &Body, error: &DecodeError) -> Status {
    let wanted = &call.resource.kind;
    let unrecognized = |why: &str| {
        let shown = Beginning(&body.bytes);
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {wanted}): {why} ({shown})"
        ))
    };
    let said = match (error, media_type(body)) {
        (DecodeError::TooLarge, _) => return refuse(error),
        (DecodeError::Yaml(why), _) => return unrecognized(why),
        (_, Ok(MediaType::Json)) => codec::json::type_meta(&body.bytes),
        (_, Ok(MediaType::Yaml)) => codec::yaml::type_meta(&body.bytes),
        _ => Ok(TypeMeta::default()),
    };
    let said = match said {
        Ok(said) => said,
        Err(why) => return unrecognized(&why.to_string()),
    };
    let kind = if said.kind.is_empty() { wanted } else { said.kind.as_str() };
    let version = match said.group_version().1 {
        "" => &call.resource.version,
        version => version,
    };
    Status::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {wanted}: {error}"
    ))
}

/// The first bytes of a body: as they are if it looks like JSON, otherwise in hexadecimal.
struct Beginning<'a>(&'a [u8]);

/// How many of them.
const BEGINNING_BYTES: usize = 30;

impl std::fmt::Display for Beginning<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.0[..self.0.len().min(BEGINNING_BYTES)];
        match shown.first() {
            None => return formatter.write_str("<empty>"),
            Some(b'{') => formatter.write_str(&String::from_utf8_lossy(shown))?,
            Some(_) => shown.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))?,
        }
        if self.0.len() > BEGINNING_BYTES { formatter.write_str(" ...") } else { Ok(()) }
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
