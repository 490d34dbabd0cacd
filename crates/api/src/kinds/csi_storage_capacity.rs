//! `storage.k8s.io/v1 CSIStorageCapacity`: how much a class can still provision.

use crate::kinds::row;
use crate::resource::{Plain, Resource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![row("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities", &Plain)]
}
