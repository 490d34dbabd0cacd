//! The built-in table against facts known from the API reference.

use super::{TABLE, builtin, builtin_names, definition_for_kind, for_kind, kinds_of};
use crate::{Kind, ListType, MapType, Schema};

fn walk(path: &str) -> Schema {
    let mut parts = path.split('.');
    let kind = parts.next().expect("a kind");
    let root = ["", "apps"].iter().find_map(|group| for_kind(group, "v1", kind)).expect("a kind");
    parts.fold(root, |schema, part| match part {
        "[]" => schema.items().expect("a list"),
        "{}" => schema.values().expect("a map"),
        name => schema.property(name).unwrap_or_else(|| panic!("{path}: no {name}")),
    })
}

#[test]
fn every_definition_reads_and_every_reference_resolves() {
    let names: Vec<&str> = builtin_names().collect();
    assert!(names.len() > 850, "{}", names.len());
    assert!(names.is_sorted());
    for name in names {
        let schema = builtin(name).expect("listed");
        assert_eq!(schema.definition_name(), Some(name));
        let properties: Vec<(&str, Schema)> = schema.properties().collect();
        assert!(properties.is_sorted_by(|a, b| a.0 < b.0), "{name}");
        for (field, property) in properties {
            match property.kind() {
                Kind::Array => assert!(property.items().is_some(), "{name}.{field}"),
                Kind::Map => assert!(property.values().is_some(), "{name}.{field}"),
                _ => {}
            }
            assert_eq!(
                property.list_type() == ListType::Map,
                !property.list_map_keys().is_empty(),
                "{name}.{field}"
            );
        }
        for required in schema.required() {
            assert!(schema.property(required).is_some(), "{name}.{required}");
        }
    }
    assert!(!TABLE.contains('\r'));
}

#[test]
fn kinds_are_found_in_their_groups() {
    assert_eq!(definition_for_kind("", "v1", "Pod"), Some("io.k8s.api.core.v1.Pod"));
    assert_eq!(
        definition_for_kind("apps", "v1", "Deployment"),
        Some("io.k8s.api.apps.v1.Deployment")
    );
    assert_eq!(definition_for_kind("apps", "v1", "Pod"), None);
    assert_eq!(
        definition_for_kind("policy", "v1", "DeleteOptions"),
        Some("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")
    );
    assert_eq!(kinds_of("io.k8s.api.core.v1.Pod").len(), 1);
    assert!(for_kind("", "v1", "NoSuchKind").is_none());
}

#[test]
fn shapes() {
    for (path, kind, format) in [
        ("Pod", Kind::Object, None),
        ("Pod.metadata.creationTimestamp", Kind::String, Some("date-time")),
        ("Pod.metadata.labels", Kind::Map, None),
        ("Pod.metadata.labels.{}", Kind::String, None),
        ("Pod.spec.containers.[].resources.limits.{}", Kind::Quantity, None),
        ("Pod.spec.containers.[].ports.[].containerPort", Kind::Integer, Some("int32")),
        ("Pod.spec.containers.[].livenessProbe.httpGet.port", Kind::IntOrString, None),
        ("Pod.spec.hostNetwork", Kind::Boolean, None),
        ("Secret.data.{}", Kind::String, Some("byte")),
        ("ControllerRevision.data", Kind::Any, None),
        ("Pod.metadata.managedFields.[].fieldsV1", Kind::Any, None),
    ] {
        let schema = walk(path);
        assert_eq!((schema.kind(), schema.format()), (kind, format), "{path}");
    }
}

#[test]
fn merge_rules() {
    let containers = walk("Pod.spec.containers");
    assert_eq!(containers.list_type(), ListType::Map);
    assert_eq!(containers.list_map_keys(), ["name"]);
    assert!(containers.patch_strategy().merge);
    assert_eq!(containers.patch_merge_key(), Some("name"));
    assert_eq!(walk("Pod.spec.containers.[].ports").list_map_keys(), ["containerPort", "protocol"]);
    let protocol = walk("Pod.spec.containers.[].ports.[].protocol");
    assert_eq!(protocol.default(), Some(&"TCP".into()));
    assert_eq!(walk("Pod.spec.containers.[].args").list_type(), ListType::Atomic);
    assert_eq!(walk("Pod.metadata.finalizers").list_type(), ListType::Set);
    assert_eq!(walk("Deployment.spec.selector").map_type(), MapType::Atomic);
    assert_eq!(walk("Pod.spec.nodeSelector").map_type(), MapType::Atomic);
    assert_eq!(walk("Pod.spec").map_type(), MapType::Granular);
    let volumes = walk("Pod.spec.volumes").patch_strategy();
    assert!(volumes.merge && volumes.retain_keys && !volumes.replace);
    assert_eq!(volumes.extension().as_deref(), Some("merge,retainKeys"));
    assert_eq!(
        walk("Deployment.spec.strategy").patch_strategy().extension().as_deref(),
        Some("retainKeys")
    );
    assert_eq!(walk("Pod.spec").required(), ["containers"]);
}
