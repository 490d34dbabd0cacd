//! The container runtime interface as Rust types and traits.
