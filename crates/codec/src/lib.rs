//! The wire formats of the Kubernetes API.
//!
//! JSON and YAML are decoded against a [`schema::Schema`] so that unknown and duplicate fields are
//! dropped, warned about or refused as the client asks ([`Mode`]). CBOR goes the same way. Protobuf is
//! transcoded to and from the same JSON tree by tables of field numbers. [`MediaType`] and [`Accept`] read the headers that choose
//! between them.
//!
//! Nothing here defaults, validates or stores objects, and nothing here speaks HTTP.

pub mod accept;
pub mod cbor;
pub mod duration;
mod go_form;
pub mod json;
mod limits;
pub mod protobuf;
mod result;
pub mod time;
pub mod yaml;

pub use accept::{Accept, MediaType, Transform};
pub use go_form::go_form;
pub use limits::{BODY_BYTES_MAX, DEPTH_MAX};
pub use result::{DecodeError, Decoded, Mode, TypeMeta, WrongType};
