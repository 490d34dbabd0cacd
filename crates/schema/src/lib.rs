//! Schemas of Kubernetes objects, built-in and custom, behind one handle.
//!
//! [`Schema`] is a cheap handle to one node of a schema: an object, one of its fields, the items of a
//! list. Built-in kinds come from a checked-in table of facts ([`builtin`], [`for_kind`]); custom
//! resources from the structural schema in their definition ([`Schema::from_openapi`]).
//! Decoding, patching, server-side apply, pruning and the OpenAPI documents all read the same handle.
//!
//! This crate does not decode wire formats (`codec`), does not merge objects (`patch`) and does not
//! know which resources a server serves (`api`).

mod builtin;
mod defaults;
mod descriptions;
mod enums;
mod limits;
mod node;
pub mod openapi;
mod structural;

pub use builtin::{builtin, builtin_names, definition_for_kind, for_kind};
pub use node::{GroupVersionKind, Kind, ListType, MapType, PatchStrategy, Schema};
pub use structural::SchemaError;
