//! Container images: names, a content-addressed store, and the ways images get into it.
//!
//! A [`Store`] keeps images below one directory and hands out their layers as directories for overlayfs. It is
//! filled by [`pull`] (registries), [`archive`] (docker-archive, OCI archive, OCI layout) and [`build`] (files).
//! Not here: mounting, containers, and when to pull or to collect (the kubelet decides that).

pub mod archive;
pub mod build;
pub mod digest;
pub mod error;
pub mod layer;
pub mod limits;
mod manifest;
pub mod name;
pub mod pull;
pub mod record;
pub mod store;
mod unpack;

pub use archive::import;
pub use digest::Digest;
pub use error::Error;
pub use name::{InvalidName, Reference};
pub use pull::{Credentials, PullOptions, Puller, RegistryOptions};
pub use record::ImageRecord;
pub use store::{Store, StoreUsage};
