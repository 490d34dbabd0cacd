//! Names, labels and storage that make each pod of a StatefulSet its own.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::{pods, revision, template};

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The first ordinal.
pub fn start(set: &StatefulSet) -> i32 {
    set.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0)
}

fn set_name(set: &StatefulSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

/// Name of the pod with an ordinal.
pub fn name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set_name(set))
}

/// The ordinal in a pod's name; `None` when the name is not the set's.
pub fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (parent, number) = pods::name(pod).rsplit_once('-')?;
    if parent != set_name(set) || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse().ok()
}

/// Whether an ordinal is within the set's present size.
pub fn in_range(set: &StatefulSet, ordinal: i32) -> bool {
    let first = start(set);
    ordinal >= first && ordinal < first.saturating_add(set.spec.replicas.unwrap_or(1))
}

/// The set as controller of its pods.
pub fn reference(set: &StatefulSet) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "StatefulSet".to_owned(),
        name: set_name(set).to_owned(),
        uid: pods::uid(&set.metadata).to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The pod with an ordinal, from one version of the template.
pub fn pod(set: &StatefulSet, from: &PodTemplateSpec, version: &str, ordinal: i32) -> Pod {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let mut pod = template::pod(from, namespace, reference(set));
    pod.metadata.generate_name = None;
    let name = name(set, ordinal);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(revision::POD_LABEL.to_owned(), version.to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name.clone());
    spec.subdomain = set.spec.service_name.clone().filter(|name| !name.is_empty());
    pod.metadata.name = Some(name);
    identify(&mut pod, ordinal);
    store(set, &mut pod, ordinal);
    pod
}

fn identify(pod: &mut Pod, ordinal: i32) {
    let name = pods::name(pod).to_owned();
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(NAME_LABEL.to_owned(), name);
    labels.insert(INDEX_LABEL.to_owned(), ordinal.to_string());
}

/// Name of the claim that a pod has for a template.
fn claim_name(set: &StatefulSet, claim: &PersistentVolumeClaim, ordinal: i32) -> String {
    let template = claim.metadata.name.as_deref().unwrap_or_default();
    format!("{template}-{}-{ordinal}", set_name(set))
}

fn store(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let Some(templates) = set.spec.volume_claim_templates.as_ref().filter(|all| !all.is_empty())
    else {
        return;
    };
    let volume = |claim: &PersistentVolumeClaim| Volume {
        name: claim.metadata.name.clone().unwrap_or_default(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim_name(set, claim, ordinal),
            read_only: None,
        }),
        ..Volume::default()
    };
    let mut volumes: Vec<Volume> = templates.iter().map(volume).collect();
    let spec = pod.spec.get_or_insert_default();
    for other in spec.volumes.take().unwrap_or_default() {
        if !volumes.iter().any(|volume| volume.name == other.name) {
            volumes.push(other);
        }
    }
    spec.volumes = Some(volumes);
}

/// The pod with its labels put right; `None` when they are. Storage cannot be changed once a pod exists.
pub fn corrected(set: &StatefulSet, pod: &Pod) -> Option<Pod> {
    let ordinal = ordinal(set, pod)?;
    let mut fixed = pod.clone();
    identify(&mut fixed, ordinal);
    (fixed.metadata.labels != pod.metadata.labels).then_some(fixed)
}

/// The claims that the pod with an ordinal has.
pub fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let templates = set.spec.volume_claim_templates.iter().flatten();
    templates
        .map(|template| {
            let mut claim = template.clone();
            claim.metadata.name = Some(claim_name(set, template, ordinal));
            claim.metadata.namespace.clone_from(&set.metadata.namespace);
            let labels = claim.metadata.labels.get_or_insert_default();
            labels.extend(set.spec.selector.match_labels.clone().unwrap_or_default());
            claim.status = None;
            claim
        })
        .collect()
}
