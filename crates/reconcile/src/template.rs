//! Pod templates: pods made from them, their identity as a hash, and when two are the same.

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

/// The label that ties pods to the ReplicaSet of their template.
pub const HASH_LABEL: &str = "pod-template-hash";
/// Characters that cannot form words, as in generated names.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Maps that mean the same empty and absent.
const OPTIONAL_MAPS: &[&str] =
    &["labels", "annotations", "nodeSelector", "limits", "requests", "matchLabels"];

/// A pod as its template says, owned by `owner`, with a name that the server completes.
pub fn pod(template: &PodTemplateSpec, namespace: &str, owner: OwnerReference) -> Pod {
    let metadata = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", owner.name)),
            namespace: Some(namespace.to_owned()),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Encodes text with characters that cannot form words.
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(SAFE[usize::from(byte) % SAFE.len()])).collect()
}

/// FNV-1a, 32 bits: short, and stable over releases.
pub fn fnv32(bytes: impl IntoIterator<Item = u8>) -> u32 {
    bytes
        .into_iter()
        .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A template's identity. `collisions` tells apart templates that would share it.
pub fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let text = canonical(template).to_string();
    let salt = collisions.map(i32::to_le_bytes);
    let number = fnv32(text.into_bytes().into_iter().chain(salt.into_iter().flatten()));
    safe_encode(&number.to_string())
}

/// Whether two templates mean the same, the hash label aside.
pub fn same(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    canonical(a) == canonical(b)
}

fn canonical(template: &PodTemplateSpec) -> Value {
    let mut tree = serde_json::to_value(template).unwrap_or_default();
    if let Some(labels) = tree.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    prune(&mut tree);
    tree
}

/// Drops what means nothing: nulls, empty lists, and empty maps that only hold settings.
pub fn prune(tree: &mut Value) {
    match tree {
        Value::Object(fields) => {
            for value in fields.values_mut() {
                prune(value);
            }
            fields.retain(|key, value| match value {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(inner) => !inner.is_empty() || !OPTIONAL_MAPS.contains(&key.as_str()),
                _ => true,
            });
            for amounts in ["limits", "requests"] {
                if let Some(Value::Object(amounts)) = fields.get_mut(amounts) {
                    amounts.values_mut().for_each(canonical_amount);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// `0.5` and `500m` are the same amount: clients rewrite one to the other.
fn canonical_amount(amount: &mut Value) {
    if let Ok(quantity) = api::quantity::Quantity::from_json(amount) {
        *amount = Value::String(quantity.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(value: Value) -> PodTemplateSpec {
        serde_json::from_value(value).unwrap()
    }

    fn web(image: &str) -> PodTemplateSpec {
        template(json!({"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": image}]}}))
    }

    #[test]
    fn a_hash_is_short_stable_and_different_for_other_templates() {
        let first = hash(&web("a"), None);
        assert_eq!(first, hash(&web("a"), None));
        assert_ne!(first, hash(&web("b"), None));
        assert_ne!(first, hash(&web("a"), Some(1)));
        assert!(first.len() <= 10 && first.bytes().all(|byte| SAFE.contains(&byte)), "{first}");
    }

    #[test]
    fn templates_are_the_same_whatever_way_nothing_is_written() {
        let mut labelled = web("a");
        let metadata = labelled.metadata.as_mut().unwrap();
        metadata.labels.as_mut().unwrap().insert(HASH_LABEL.into(), "xyz".into());
        assert!(same(&web("a"), &labelled));
        let verbose = template(json!({"metadata": {"labels": {"app": "web"}, "annotations": {}},
            "spec": {"containers": [{"name": "c", "image": "a", "env": [], "resources":
            {"limits": {}}}]}}));
        let terse = template(json!({"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "a", "resources": {}}]}}));
        assert!(same(&verbose, &terse));
        let half = |amount: &str| {
            template(json!({"spec": {"containers": [{"name": "c",
                "resources": {"limits": {"cpu": amount}}}]}}))
        };
        assert!(same(&half("0.5"), &half("500m")));
        assert!(!same(&half("0.5"), &half("501m")));
    }
}
