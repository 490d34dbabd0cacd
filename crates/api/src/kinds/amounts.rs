//! Quantities in fields.

use super::check::{At, Faults, NEGATIVE};
use crate::quantity::Quantity;

/// The quantity at a place, when there is a good one.
pub(super) fn read(at: &At<'_>) -> Option<Quantity> {
    Quantity::from_json(at.value).ok()
}

/// What is there must be a quantity; a fault is added otherwise.
pub(super) fn required(at: &At<'_>, faults: &mut Faults) -> Option<Quantity> {
    match Quantity::from_json(at.value) {
        Ok(quantity) => Some(quantity),
        Err(fault) => {
            faults.invalid(at, fault.to_string());
            None
        }
    }
}

/// It may not be less than 0.
pub(super) fn non_negative(at: &At<'_>, faults: &mut Faults) {
    if required(at, faults).is_some_and(|quantity| quantity.is_negative()) {
        faults.invalid(at, NEGATIVE);
    }
}

/// It must be more than 0.
pub(super) fn positive(at: &At<'_>, faults: &mut Faults) {
    if required(at, faults).is_some_and(|quantity| quantity <= Quantity::ZERO) {
        faults.invalid(at, "must be greater than zero");
    }
}

/// Resources that are counted.
const COUNTED: [&str; 9] = [
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Whether amounts of the resource must be whole numbers: what is counted, not what is measured.
pub(super) fn is_whole_only(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

/// What is wrong with a resource name without a domain that means nothing.
pub(super) const UNKNOWN_RESOURCE: &str = "must be a standard resource type or fully qualified";

/// Whether a name without a domain stands for something that can be measured, counted, requested or limited.
pub(super) fn is_known(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage" | "storage")
        || ["hugepages-", "requests.", "limits."].iter().any(|prefix| name.starts_with(prefix))
        || is_whole_only(name)
}

/// Whether a resource name is one that a device plugin or an administrator made up.
pub(super) fn is_extended(name: &str) -> bool {
    let is_native = !name.contains('/') || name.contains("kubernetes.io/");
    !is_native && !name.starts_with("requests.")
}
