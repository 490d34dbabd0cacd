//! What stands around an object on the wire: the magic, `runtime.Unknown`, lists and watch frames.
//!
//! Lists and events are put together from objects that are encoded already, without decoding them.

use bytes::Bytes;
use serde_json::Value;

use super::{
    encode,
    table::{self, Shape},
    wire::{Reader, Wire, broken, write_bytes_field, write_nested},
};
use crate::{
    limits::FRAME_BYTES_MAX,
    result::{DecodeError, TypeMeta},
};

/// The first bytes of every protobuf body of Kubernetes.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// An object in its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Kind and version, possibly empty.
    pub meta: TypeMeta,
    /// The object's own bytes.
    pub raw: &'a [u8],
}

/// Whether a body begins like protobuf.
pub fn is_protobuf(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Takes an object out of its envelope without decoding it.
///
/// # Errors
/// [`DecodeError::Protobuf`] if the magic is missing or the envelope is broken.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let Some(unknown) = bytes.strip_prefix(&MAGIC) else {
        return Err(DecodeError::Protobuf(if bytes.is_empty() {
            "empty data".to_owned()
        } else {
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
                .to_owned()
        }));
    };
    let mut envelope = Envelope { meta: TypeMeta::default(), raw: &[] };
    let mut reader = Reader::new(unknown);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(meta)) => envelope.meta = type_meta(meta)?,
            (2, Wire::Bytes(raw)) => envelope.raw = raw,
            _ => {}
        }
    }
    Ok(envelope)
}

fn type_meta(bytes: &[u8]) -> Result<TypeMeta, DecodeError> {
    let mut meta = TypeMeta::default();
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(text)) => meta.api_version = String::from_utf8_lossy(text).into_owned(),
            (2, Wire::Bytes(text)) => meta.kind = String::from_utf8_lossy(text).into_owned(),
            _ => {}
        }
    }
    Ok(meta)
}

/// Puts an object's own bytes into an envelope.
pub fn seal(meta: &TypeMeta, raw: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(raw.len() + meta.api_version.len() + meta.kind.len() + 24);
    out.extend_from_slice(&MAGIC);
    let mut inner = Vec::with_capacity(meta.api_version.len() + meta.kind.len() + 8);
    write_bytes_field(&mut inner, 1, meta.api_version.as_bytes());
    write_bytes_field(&mut inner, 2, meta.kind.as_bytes());
    write_bytes_field(&mut out, 1, &inner);
    write_bytes_field(&mut out, 2, raw);
    // Encoding and content type are always written and always empty.
    write_bytes_field(&mut out, 3, b"");
    write_bytes_field(&mut out, 4, b"");
    out.into()
}

/// Puts a list together from items in their envelopes. `meta` is the list's kind (`v1`, `PodList`) and
/// `list_meta` its `metadata`.
///
/// # Errors
/// [`DecodeError::UnknownKind`] if the list has no protobuf form, [`DecodeError::Protobuf`] if an item
/// is no envelope.
pub fn encode_list<'a>(
    meta: &TypeMeta,
    list_meta: &Value,
    items: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Bytes, DecodeError> {
    let message = table::for_kind(meta)?;
    let mut out = Vec::with_capacity(4096);
    for field in &message.fields {
        if let ("metadata", Shape::Message(index)) = (field.name, field.shape) {
            let metadata = table::message(index);
            write_nested(&mut out, field.number, |out| encode::run(out, list_meta, metadata))?;
        }
    }
    let number = message.field_named("items").map(|field| field.number);
    let number = number.ok_or_else(|| broken("the kind is no list"))?;
    for item in items {
        write_bytes_field(&mut out, number, open(item)?.raw);
    }
    Ok(seal(meta, &out))
}

/// A decoded frame of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent<'a> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub kind: String,
    /// The object in its envelope.
    pub object: &'a [u8],
}

/// A watch event as one frame: a length of four bytes, then the event without an envelope, with the
/// object in its own.
pub fn encode_watch_event(kind: &str, object: &[u8]) -> Bytes {
    let mut extension = Vec::with_capacity(object.len() + 8);
    write_bytes_field(&mut extension, 1, object);
    let mut event = Vec::with_capacity(extension.len() + kind.len() + 16);
    event.extend_from_slice(&[0; 4]);
    write_bytes_field(&mut event, 1, kind.as_bytes());
    write_bytes_field(&mut event, 2, &extension);
    let length = u32::try_from(event.len() - 4).expect("an event is far smaller than 4 GiB");
    event[..4].copy_from_slice(&length.to_be_bytes());
    event.into()
}

/// A frame and what follows it.
pub type FrameAndRest<'a> = (&'a [u8], &'a [u8]);

/// Splits the first whole frame off a stream. Nothing means: more bytes are needed.
///
/// # Errors
/// [`DecodeError::TooLarge`] if the frame is larger than any event.
pub fn next_frame(stream: &[u8]) -> Result<Option<FrameAndRest<'_>>, DecodeError> {
    let Some((length, rest)) = stream.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(DecodeError::TooLarge);
    }
    Ok(rest.split_at_checked(length))
}

/// Reads the event in a frame.
///
/// # Errors
/// [`DecodeError::Protobuf`] for broken bytes.
pub fn decode_watch_event(frame: &[u8]) -> Result<WatchEvent<'_>, DecodeError> {
    let mut event = WatchEvent { kind: String::new(), object: &[] };
    let mut reader = Reader::new(frame);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(text)) => event.kind = String::from_utf8_lossy(text).into_owned(),
            (2, Wire::Bytes(extension)) => {
                let mut inner = Reader::new(extension);
                while let Some((number, wire)) = inner.next()? {
                    if let (1, Wire::Bytes(object)) = (number, wire) {
                        event.object = object;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(event)
}
