//! ControllerRevisions: the history of a pod template, for kinds that keep it beside themselves.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use crate::labels::Labels;
use crate::{pods, template};

/// Label of pods: the revision they were made from.
pub const POD_LABEL: &str = "controller-revision-hash";

/// The owner of a history.
#[derive(Clone, Debug)]
pub struct Owner<'a> {
    /// Reference that the revisions carry.
    pub reference: OwnerReference,
    /// Its metadata.
    pub metadata: &'a ObjectMeta,
    /// Its template now.
    pub template: &'a PodTemplateSpec,
    /// Labels of new revisions, without the hash.
    pub labels: Labels,
    /// Key of the label that holds the hash on revisions.
    pub hash_label: &'static str,
    /// Hashes that turned out to be taken.
    pub collisions: Option<i32>,
}

/// What to do about the revision of the present template.
#[derive(Clone, Debug, PartialEq)]
pub enum Current {
    /// It is there and the newest.
    Kept(Arc<ControllerRevision>),
    /// It is there and must get this newer number.
    Raised(Arc<ControllerRevision>, i64),
    /// It must be made.
    Missing(Box<ControllerRevision>),
}

/// The present template's revision among those there are. The others with the same template are
/// duplicates; all others are history.
pub fn current(owner: &Owner<'_>, revisions: &[Arc<ControllerRevision>]) -> Current {
    let newest = revisions.iter().filter_map(|revision| revision.revision).max().unwrap_or(0);
    let same = revisions.iter().filter(|revision| is_of(owner.template, revision));
    match same.max_by_key(|revision| revision.revision) {
        Some(found) if found.revision.unwrap_or(0) == newest => Current::Kept(Arc::clone(found)),
        Some(found) => Current::Raised(Arc::clone(found), newest + 1),
        None => Current::Missing(Box::new(make(owner, newest + 1))),
    }
}

fn make(owner: &Owner<'_>, number: i64) -> ControllerRevision {
    let hash = template::hash(owner.template, owner.collisions);
    let mut labels = owner.labels.clone();
    labels.insert(owner.hash_label.to_owned(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", owner.reference.name)),
            namespace: owner.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: owner.metadata.annotations.clone(),
            owner_references: Some(vec![owner.reference.clone()]),
            ..ObjectMeta::default()
        },
        data: RawExtension(data(owner.template)),
        revision: Some(number),
    }
}

/// What a revision keeps: a patch that puts the template back. Clients compare it byte by byte with what they
/// make of the template themselves, so it says what upstream's types say of times that are not set.
pub fn data(template: &PodTemplateSpec) -> Value {
    let mut tree = serde_json::to_value(template).unwrap_or_default();
    set_no_time(&mut tree);
    let volumes = tree.pointer_mut("/spec/volumes").and_then(Value::as_array_mut);
    let claims = volumes.into_iter().flatten();
    claims
        .filter_map(|volume| volume.pointer_mut("/ephemeral/volumeClaimTemplate"))
        .for_each(set_no_time);
    if let Some(fields) = tree.as_object_mut() {
        fields.insert("$patch".to_owned(), Value::from("replace"));
    }
    json!({"spec": {"template": tree}})
}

fn set_no_time(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.entry("creationTimestamp").or_insert(Value::Null);
    }
}

/// The template that a revision keeps; `None` when it cannot be read.
pub fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut tree = revision.data.0.pointer("/spec/template")?.clone();
    tree.as_object_mut()?.remove("$patch");
    serde_json::from_value(tree).ok()
}

/// Whether a revision keeps this template.
pub fn is_of(template: &PodTemplateSpec, revision: &ControllerRevision) -> bool {
    template_of(revision).is_some_and(|kept| data(&kept) == data(template))
}

/// Name of a revision.
pub fn name(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}

/// Names of the oldest revisions beyond `limit` that are not in `live`.
pub fn surplus(
    revisions: &[Arc<ControllerRevision>],
    live: &BTreeSet<String>,
    limit: i32,
) -> Vec<String> {
    let mut old: Vec<_> =
        revisions.iter().filter(|revision| !live.contains(name(revision))).collect();
    old.sort_by_key(|revision| {
        (revision.revision, pods::created(&revision.metadata), name(revision).to_owned())
    });
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    old.into_iter().take(surplus).map(|revision| name(revision).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": image}]}}))
        .unwrap()
    }

    fn owner<'a>(template: &'a PodTemplateSpec, metadata: &'a ObjectMeta) -> Owner<'a> {
        Owner {
            reference: OwnerReference { name: "web".into(), ..OwnerReference::default() },
            metadata,
            template,
            labels: Labels::new(),
            hash_label: POD_LABEL,
            collisions: None,
        }
    }

    fn made(image: &str, number: i64) -> Arc<ControllerRevision> {
        let (template, metadata) = (template(image), ObjectMeta::default());
        Arc::new(make(&owner(&template, &metadata), number))
    }

    #[test]
    fn data_reads_as_upstreams_types_write_it() {
        let template = serde_json::from_value(json!({"metadata": {"labels": {"a": "b"}}, "spec": {
            "containers": [], "volumes": [{"name": "v", "ephemeral": {
                "volumeClaimTemplate": {"spec": {}}}}]}}));
        let expected = r#"{"spec":{"template":{"$patch":"replace","metadata":{"creationTimestamp":null,"labels":{"a":"b"}},"spec":{"containers":[],"volumes":[{"ephemeral":{"volumeClaimTemplate":{"metadata":{"creationTimestamp":null},"spec":{}}},"name":"v"}]}}}}"#;
        assert_eq!(data(&template.unwrap()).to_string(), expected);
    }

    #[test]
    fn a_template_finds_its_revision_again() {
        let metadata = ObjectMeta::default();
        let (a, b) = (template("a"), template("b"));
        let history = [made("a", 1), made("b", 2)];
        assert_eq!(current(&owner(&b, &metadata), &history), Current::Kept(history[1].clone()));
        let raised = Current::Raised(history[0].clone(), 3);
        assert_eq!(current(&owner(&a, &metadata), &history), raised);
        let c = template("c");
        match current(&owner(&c, &metadata), &history) {
            Current::Missing(revision) => {
                assert_eq!(revision.revision, Some(3));
                assert_eq!(template_of(&revision), Some(c));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_oldest_go_first_and_the_living_stay() {
        let history = [made("a", 1), made("b", 2), made("c", 3), made("d", 4)];
        let live = BTreeSet::from([name(&history[0]).to_owned()]);
        assert_eq!(surplus(&history, &live, 2), [name(&history[1])]);
        assert_eq!(surplus(&history, &live, 10), [""; 0]);
        assert_eq!(surplus(&[], &live, 0), [""; 0]);
    }
}
