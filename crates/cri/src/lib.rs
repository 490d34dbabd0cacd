//! The container runtime interface as Rust types and traits: the seam between the kubelet and a runtime.
//!
//! Names and meaning are those of CRI v1 (`k8s.io/cri-api/pkg/apis/runtime/v1`), so that a gRPC face is a
//! matter of copying fields. What differs, and why: the calls that return a URL in CRI return the streams
//! themselves ([`stream`]), an optional wrapper message is an `Option`, and Windows is left out. Not here:
//! any behaviour; the built-in runtime is the crate `runtime`, what the kubelet decides is `podlife`.

pub mod container;
pub mod error;
pub mod event;
pub mod image;
pub mod network;
pub mod resources;
pub mod sandbox;
pub mod security;
pub mod service;
pub mod stats;
pub mod status;
pub mod stream;

pub use container::*;
pub use error::{Code, Error, Result};
pub use event::{ContainerEvent, ContainerEventType, EventStream};
pub use image::*;
pub use network::{NetworkAttachment, PodNetwork};
pub use resources::*;
pub use sandbox::*;
pub use security::*;
pub use service::{ImageService, RuntimeService};
pub use stats::*;
pub use status::*;
pub use stream::*;
