//! What a pod or volume refers to by name.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, PersistentVolume, Pod, PodSpec, SecretReference, Volume,
};

fn spec(pod: &Pod) -> Option<&PodSpec> {
    pod.spec.as_ref()
}

/// Environments of all containers, init and ephemeral ones included.
fn environments(spec: &PodSpec) -> impl Iterator<Item = (&[EnvVar], &[EnvFromSource])> {
    let main = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let main = main.map(|container| (&container.env, &container.env_from));
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let ephemeral = ephemeral.map(|container| (&container.env, &container.env_from));
    main.chain(ephemeral).map(|(env, from)| {
        (env.as_deref().unwrap_or_default(), from.as_deref().unwrap_or_default())
    })
}

fn volumes(spec: &PodSpec) -> impl Iterator<Item = &Volume> {
    spec.volumes.iter().flatten()
}

/// Names of secrets in the pod's namespace.
pub(super) fn secrets(pod: &Pod) -> BTreeSet<&str> {
    let Some(spec) = spec(pod) else { return BTreeSet::new() };
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (env, from) in environments(spec) {
        let keys =
            env.iter().filter_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref());
        names.extend(keys.map(|key| key.name.as_str()));
        let whole = from.iter().filter_map(|source| source.secret_ref.as_ref());
        names.extend(whole.map(|secret| secret.name.as_str()));
    }
    names.extend(spec.image_pull_secrets.iter().flatten().map(|secret| secret.name.as_str()));
    for volume in volumes(spec) {
        names.extend(volume_source_secrets(volume));
    }
    names.remove("");
    names
}

fn volume_source_secrets(volume: &Volume) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let projected =
        volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    names.extend(projected.filter_map(|source| Some(source.secret.as_ref()?.name.as_str())));
    names.extend(volume.secret.iter().filter_map(|secret| secret.secret_name.as_deref()));
    names.extend(volume.azure_file.iter().map(|file| file.secret_name.as_str()));
    let references = [
        volume.cephfs.as_ref().and_then(|source| source.secret_ref.as_ref()),
        volume.cinder.as_ref().and_then(|source| source.secret_ref.as_ref()),
        volume.flex_volume.as_ref().and_then(|source| source.secret_ref.as_ref()),
        volume.rbd.as_ref().and_then(|source| source.secret_ref.as_ref()),
        volume.scale_io.as_ref().map(|source| &source.secret_ref),
        volume.iscsi.as_ref().and_then(|source| source.secret_ref.as_ref()),
        volume.storageos.as_ref().and_then(|source| source.secret_ref.as_ref()),
        volume.csi.as_ref().and_then(|source| source.node_publish_secret_ref.as_ref()),
    ];
    names.extend(references.into_iter().flatten().map(|secret| secret.name.as_str()));
    names
}

/// Names of config maps in the pod's namespace.
pub(super) fn config_maps(pod: &Pod) -> BTreeSet<&str> {
    let Some(spec) = spec(pod) else { return BTreeSet::new() };
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (env, from) in environments(spec) {
        let keys = env
            .iter()
            .filter_map(|variable| variable.value_from.as_ref()?.config_map_key_ref.as_ref());
        names.extend(keys.map(|key| key.name.as_str()));
        let whole = from.iter().filter_map(|source| source.config_map_ref.as_ref());
        names.extend(whole.map(|map| map.name.as_str()));
    }
    for volume in volumes(spec) {
        names.extend(volume.config_map.iter().map(|map| map.name.as_str()));
        let projected =
            volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        names
            .extend(projected.filter_map(|source| Some(source.config_map.as_ref()?.name.as_str())));
    }
    names.remove("");
    names
}

/// Names of claims in the pod's namespace, those of ephemeral volumes included.
pub(super) fn claims(pod: &Pod) -> BTreeSet<String> {
    let own = pod.metadata.name.as_deref().unwrap_or_default();
    let all = spec(pod).into_iter().flat_map(volumes);
    all.filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{own}-{}", volume.name)),
        (None, None) => None,
    })
    .collect()
}

/// Names of resource claims in the pod's namespace.
pub(super) fn resource_claims(pod: &Pod) -> BTreeSet<String> {
    let wanted = spec(pod).and_then(|spec| spec.resource_claims.as_ref()).into_iter().flatten();
    let named = wanted.filter_map(|claim| claim.resource_claim_name.clone());
    let made = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_ref());
    let made = made.into_iter().flatten().filter_map(|status| status.resource_claim_name.clone());
    named.chain(made).collect()
}

/// Namespaces and names of the secrets that a kubelet needs for a volume.
pub(super) fn volume_secrets(volume: &PersistentVolume) -> BTreeSet<(String, String)> {
    let Some(spec) = &volume.spec else { return BTreeSet::new() };
    let claim_namespace =
        spec.claim_ref.as_ref().and_then(|claim| claim.namespace.as_deref()).unwrap_or_default();
    let csi = spec.csi.as_ref();
    let references: [Option<&SecretReference>; 9] = [
        spec.cephfs.as_ref().and_then(|source| source.secret_ref.as_ref()),
        spec.cinder.as_ref().and_then(|source| source.secret_ref.as_ref()),
        spec.flex_volume.as_ref().and_then(|source| source.secret_ref.as_ref()),
        spec.rbd.as_ref().and_then(|source| source.secret_ref.as_ref()),
        spec.scale_io.as_ref().map(|source| &source.secret_ref),
        spec.iscsi.as_ref().and_then(|source| source.secret_ref.as_ref()),
        csi.and_then(|csi| csi.node_publish_secret_ref.as_ref()),
        csi.and_then(|csi| csi.node_stage_secret_ref.as_ref()),
        csi.and_then(|csi| csi.node_expand_secret_ref.as_ref()),
    ];
    let mut all = BTreeSet::new();
    for secret in references.into_iter().flatten() {
        let own = secret.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        let name = secret.name.clone().unwrap_or_default();
        all.insert((own.unwrap_or(claim_namespace).to_owned(), name));
    }
    if let Some(file) = &spec.azure_file {
        let own = file.secret_namespace.as_deref().filter(|namespace| !namespace.is_empty());
        all.insert((own.unwrap_or(claim_namespace).to_owned(), file.secret_name.clone()));
    }
    if let Some(secret) = spec.storageos.as_ref().and_then(|source| source.secret_ref.as_ref()) {
        let namespace = secret.namespace.as_deref().unwrap_or(claim_namespace);
        all.insert((namespace.to_owned(), secret.name.clone().unwrap_or_default()));
    }
    all
}
