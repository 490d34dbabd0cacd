//! `DefaultStorageClass`: a claim that names no class gets the cluster's default.

use api::meta;
use api::status::Status;
use serde_json::{Value, json};

use crate::{Lookup, Operation, Plugin, Request, tree};

/// See the module's text.
#[derive(Debug)]
pub struct DefaultStorageClass;

const MARKS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
/// Names a class as the field of today does.
pub(super) const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.is("", "persistentvolumeclaims") {
            return Ok(());
        }
        let named = tree::at(&request.object, "/spec/storageClassName").is_some()
            || meta::annotation(&request.object, CLASS_ANNOTATION).is_some();
        if named {
            return Ok(());
        }
        if let Some(class) = newest_marked(cluster, "storage.k8s.io", "storageclasses", &MARKS) {
            tree::make(&mut request.object, "spec")["storageClassName"] = json!(class);
        }
        Ok(())
    }
}

/// The name of the newest object with one of these annotations set to `true`; of several as new as
/// each other the first by name.
pub(super) fn newest_marked(
    cluster: &dyn Lookup,
    group: &str,
    plural: &str,
    marks: &[&str],
) -> Option<String> {
    let objects = cluster.list(group, plural, "");
    let mut marked: Vec<Value> = objects
        .iter()
        .map(|object| object.to_value())
        .filter(|object| marks.iter().any(|mark| meta::annotation(object, mark) == Some("true")))
        .collect();
    marked.sort_by(|a, b| {
        let key = |object| meta::text(object, "creationTimestamp");
        key(b).cmp(key(a)).then_with(|| meta::name(a).cmp(meta::name(b)))
    });
    marked.first().map(|object| meta::name(object).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, Cluster};

    #[test]
    fn the_newest_default_is_taken() {
        let class = |name: &str, time: &str, default: &str| {
            json!({"metadata": {"name": name, "creationTimestamp": time,
                "annotations": {"storageclass.kubernetes.io/is-default-class": default}}})
        };
        let cluster = Cluster::default()
            .with("storageclasses", class("new", "2026-01-03T00:00:00Z", "false"))
            .with("storageclasses", class("b", "2026-01-02T00:00:00Z", "true"))
            .with("storageclasses", class("a", "2026-01-02T00:00:00Z", "true"))
            .with("storageclasses", class("old", "2026-01-01T00:00:00Z", "true"));
        let cases = [
            (json!({"spec": {}}), json!("a")),
            (json!({"spec": {"storageClassName": ""}}), json!("")),
            (json!({"spec": {"storageClassName": "x"}}), json!("x")),
            (
                json!({"metadata": {"annotations": {CLASS_ANNOTATION: "y"}}, "spec": {}}),
                Value::Null,
            ),
        ];
        for (claim, expected) in cases {
            let claim = Case::create("persistentvolumeclaims", claim)
                .admitted(&DefaultStorageClass, &cluster);
            assert_eq!(claim["spec"]["storageClassName"], expected);
        }
        let none = Case::create("persistentvolumeclaims", json!({"spec": {}}))
            .admitted(&DefaultStorageClass, &Cluster::default());
        assert_eq!(none["spec"], json!({}));
    }
}
