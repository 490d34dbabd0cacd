//! `StorageObjectInUseProtection`: volumes and claims are not removed while something uses them.

use api::meta;
use api::status::Status;

use crate::{Lookup, Operation, Plugin, Request};

/// See the module's text.
#[derive(Debug)]
pub struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn mutate(&self, request: &mut Request<'_>, _: &dyn Lookup) -> Result<(), Status> {
        if request.operation != Operation::Create {
            return Ok(());
        }
        let finalizer = if request.is("", "persistentvolumes") {
            "kubernetes.io/pv-protection"
        } else if request.is("", "persistentvolumeclaims") {
            "kubernetes.io/pvc-protection"
        } else {
            return Ok(());
        };
        let mut finalizers: Vec<String> =
            meta::finalizers(&request.object).into_iter().map(str::to_owned).collect();
        if !finalizers.iter().any(|have| have == finalizer) {
            finalizers.push(finalizer.to_owned());
            meta::set(&mut request.object, "finalizers", finalizers);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Case, Cluster};

    #[test]
    fn the_finalizer_is_added_once() {
        for (plural, finalizer) in [
            ("persistentvolumes", "kubernetes.io/pv-protection"),
            ("persistentvolumeclaims", "kubernetes.io/pvc-protection"),
        ] {
            let once = Case::create(plural, json!({"metadata": {"finalizers": ["a/b"]}}))
                .admitted(&StorageObjectInUseProtection, &Cluster::default());
            assert_eq!(meta::finalizers(&once), ["a/b", finalizer]);
            let twice = Case::create(plural, once)
                .admitted(&StorageObjectInUseProtection, &Cluster::default());
            assert_eq!(meta::finalizers(&twice).len(), 2);
        }
    }
}
