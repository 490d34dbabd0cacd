//! The bounds of this crate.

/// Largest body that is decoded, in bytes. Upstream's limit for a request body.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Deepest nesting of a decoded value. Upstream allows 10,000 levels because its stacks grow; no
/// object of the API comes near this number.
pub const DEPTH_MAX: usize = 256;

/// Most strictness errors that are collected for one body; upstream's number.
pub(crate) const STRICT_ERRORS_MAX: usize = 100;

/// Most values that one YAML document may expand to through aliases.
pub(crate) const YAML_NODES_MAX: usize = 400_000;

/// Most bytes of text that one YAML document may expand to through aliases.
pub(crate) const YAML_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Deepest nesting of a CBOR body; upstream's number.
pub(crate) const CBOR_DEPTH_MAX: usize = 64;

/// Most values that one CBOR body may hold.
pub(crate) const CBOR_NODES_MAX: usize = 400_000;

/// Longest `Accept` header that is read, in bytes, and most clauses in it.
pub(crate) const ACCEPT_BYTES_MAX: usize = 4096;
pub(crate) const ACCEPT_CLAUSES_MAX: usize = 32;

/// Most values that one protobuf message may decode to.
pub(crate) const PROTOBUF_NODES_MAX: usize = 4_000_000;

/// Largest frame of a watch, in bytes.
pub(crate) const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
