//! The built-in container runtime: both services of CRI, over one shim process for each pod.
//!
//! [`Runtime`] is what the server holds; [`shim::main`] is what the program becomes when it is executed as a
//! shim; [`reset()`] removes everything. Containers hang on their shims, not on the server: it may die and
//! come back without them noticing. Not here: when to start what (the kubelet), the pod network
//! ([`cri::PodNetwork`]), images on disk (the crate `images`).

mod client;
pub mod limits;
mod paths;
mod record;
mod reset;
mod rootfs;
mod service;
pub mod shim;
mod spec;
mod zygote;

pub use reset::{ResetError, reset, reset_group};
pub use service::{Options, Runtime};
