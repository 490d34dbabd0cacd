//! `storage.k8s.io/v1 CSIStorageCapacity`: how much a class can still provision.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{amounts, cells, row};
use crate::name;
use crate::resource::{Resource, Strategy};

struct CsiStorageCapacity;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        columns: vec![cells::created_at()],
        needs_revision: true,
        ..row(
            "storage.k8s.io",
            "v1",
            "CSIStorageCapacity",
            "csistoragecapacities",
            &CsiStorageCapacity,
        )
    }]
}

impl Strategy for CsiStorageCapacity {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let mut faults = Faults::default();
        faults.label_selector(&at.get("nodeTopology"));
        faults.rule(&at.get("storageClassName"), name::subdomain);
        for field in ["capacity", "maximumVolumeSize"] {
            if at.get(field).is_set() {
                amounts::non_negative(&at.get(field), &mut faults);
            }
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let (at, before) = (At::root(new), At::root(old));
        let mut faults = Faults(self.validate(new));
        for field in ["nodeTopology", "storageClassName"] {
            faults.immutable(&at.get(field), &before.get(field));
        }
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn faults_and_columns() {
        let old = json!({"storageClassName": "s", "capacity": "1Gi"});
        assert_eq!(show(&CsiStorageCapacity.validate(&old)), "");
        assert_eq!(
            rows()[0].columns[0].name,
            "Created At",
            "upstream has no columns of its own for it"
        );
        let new = json!({"storageClassName": "t", "capacity": "-1"});
        assert_eq!(
            show(&CsiStorageCapacity.validate_update(&new, &old)),
            "capacity: Invalid value: \"-1\": must be greater than or equal to 0\n\
             storageClassName: Invalid value: \"t\": field is immutable"
        );
    }
}
