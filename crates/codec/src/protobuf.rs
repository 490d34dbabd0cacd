//! Protobuf bodies: transcoding between the wire and the JSON tree of built-in kinds.
//!
//! A body is the magic `k8s\0`, then a `runtime.Unknown` with the kind and the bytes of the object itself
//! ([`open`], [`seal`]). The objects are transcoded by a table of field numbers (`protobuf/messages.txt`,
//! written by `cargo xtask gen protobuf`), so that there is no Rust type per kind. What is encoded is what
//! Go would encode: fields in the order of their numbers, maps in the order of their keys, scalars that are
//! no pointers in Go even when they are zero. Fields that the table does not know are dropped.
//!
//! Tables and custom resources have no protobuf form ([`DecodeError::UnknownKind`]).

use bytes::Bytes;
use serde_json::Value;

use crate::result::{DecodeError, TypeMeta};

pub(crate) mod decode;
mod encode;
mod envelope;
pub(crate) mod special;
pub(crate) mod table;
mod wire;

pub use envelope::{
    Envelope, FrameAndRest, MAGIC, WatchEvent, decode_watch_event, encode_list, encode_watch_event,
    is_protobuf, next_frame, open, seal,
};

/// Whether a kind has a protobuf form.
pub fn supports(meta: &TypeMeta) -> bool {
    table::for_kind(meta).is_ok()
}

/// Decodes an object in its envelope. `fallback` fills in a kind or version that the envelope lacks.
///
/// Zero scalars that Go leaves out of JSON are left out, so the tree is the one that JSON gives.
///
/// # Errors
/// [`DecodeError::Protobuf`] for broken bytes, [`DecodeError::UnknownKind`] for kinds without a
/// protobuf form, [`DecodeError::TooLarge`].
pub fn decode(bytes: &[u8], fallback: &TypeMeta) -> Result<Value, DecodeError> {
    if bytes.len() > crate::limits::BODY_BYTES_MAX {
        return Err(DecodeError::TooLarge);
    }
    let mut envelope = open(bytes)?;
    if envelope.meta.kind.is_empty() {
        envelope.meta.kind.clone_from(&fallback.kind);
    }
    if envelope.meta.api_version.is_empty() {
        envelope.meta.api_version.clone_from(&fallback.api_version);
    }
    decode_opened(&envelope)
}

/// Decodes an opened object of any size: lists that a server sent.
///
/// # Errors
/// As [`decode`], without the limit of size.
pub fn decode_opened(envelope: &Envelope<'_>) -> Result<Value, DecodeError> {
    let message = table::for_kind(&envelope.meta)?;
    let mut value = decode::run(envelope.raw, message)?;
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".to_owned(), envelope.meta.api_version.clone().into());
        map.insert("kind".to_owned(), envelope.meta.kind.clone().into());
    }
    Ok(value)
}

/// Encodes an object that says its own `apiVersion` and `kind`, in its envelope.
///
/// # Errors
/// [`DecodeError::UnknownKind`] for kinds without a protobuf form, [`DecodeError::Protobuf`] for values
/// that do not fit their fields.
pub fn encode(value: &Value) -> Result<Bytes, DecodeError> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let meta = TypeMeta { api_version: text("apiVersion"), kind: text("kind") };
    encode_as(value, &meta)
}

/// Encodes an object as a kind that it need not name itself, in its envelope.
///
/// # Errors
/// As [`encode`].
pub fn encode_as(value: &Value, meta: &TypeMeta) -> Result<Bytes, DecodeError> {
    let mut raw = Vec::with_capacity(512);
    encode::run(&mut raw, value, table::for_kind(meta)?)?;
    Ok(seal(meta, &raw))
}

#[cfg(test)]
mod tests;
