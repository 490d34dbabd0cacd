//! `projected`: tokens, config maps, secrets and fields of the pod in one directory, in memory.

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, ProjectedVolumeSource, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ListParams;
use podlife::pod;
use podlife::projection::{self, File, Files};

use super::{Context, Ready, VolumeError, atomic, make_memory_directory};

pub(super) async fn set_up(
    context: &Context<'_>,
    name: &str,
    source: &ProjectedVolumeSource,
    refresh_at: &mut Option<Timestamp>,
) -> Result<Ready, VolumeError> {
    let mut files = Files::new();
    for part in source.sources.iter().flatten() {
        files.extend(project(context, part, source.default_mode, refresh_at).await?);
    }
    let path = context.directory("kubernetes.io/projected", name);
    make_memory_directory(context.config, &path, "mode=0777")?;
    atomic::write(&path, &files, context.fs_group(), single_user(context))?;
    Ok(Ready::at(path))
}

async fn project(
    context: &Context<'_>,
    part: &VolumeProjection,
    mode: Option<i32>,
    refresh_at: &mut Option<Timestamp>,
) -> Result<Files, VolumeError> {
    if let Some(source) = &part.config_map {
        let optional = source.optional.unwrap_or(false);
        return match context.referenced.config_maps.get(&source.name) {
            Some(map) => Ok(projection::config_map(map, source.items.as_deref(), mode, optional)?),
            None if optional => Ok(Files::new()),
            None => Err(VolumeError::Missing { kind: "configmap", name: source.name.clone() }),
        };
    }
    if let Some(source) = &part.secret {
        let optional = source.optional.unwrap_or(false);
        return match context.referenced.secrets.get(&source.name) {
            Some(secret) => {
                Ok(projection::secret(secret, source.items.as_deref(), mode, optional)?)
            }
            None if optional => Ok(Files::new()),
            None => Err(VolumeError::Missing { kind: "secret", name: source.name.clone() }),
        };
    }
    if let Some(source) = &part.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        return Ok(projection::downward_api(context.pod, items, mode, &context.facts())?);
    }
    if let Some(source) = &part.service_account_token {
        let token = context.tokens.get(context.pod, source).await?;
        *refresh_at = Some(refresh_at.map_or(token.refresh_at, |at| at.min(token.refresh_at)));
        // A token that only one user of the pod, or its group, reads is not for others. The group's rights are
        // added with its ownership.
        let private = context.fs_group().is_some() || single_user(context).is_some();
        let mode = if private {
            0o600
        } else {
            mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(projection::MODE_DEFAULT)
        };
        let file = File { content: token.text.into_bytes(), mode };
        return Ok(Files::from([(source.path.clone(), file)]));
    }
    if let Some(source) = &part.cluster_trust_bundle {
        return trust_bundle(context, source, mode).await;
    }
    Err(VolumeError::Unsupported)
}

/// The user that all containers of the pod run as, when their settings name one and the same.
fn single_user(context: &Context<'_>) -> Option<u32> {
    let of_pod = pod::spec(context.pod).security_context.as_ref().and_then(|it| it.run_as_user);
    let references = pod::references(context.pod).into_iter();
    let mut users = references.filter_map(|at| pod::container(context.pod, at)).map(|container| {
        container.security_context.as_ref().and_then(|own| own.run_as_user).or(of_pod)
    });
    let first = users.next()??;
    let same = users.all(|user| user == Some(first));
    same.then_some(first).and_then(|user| u32::try_from(user).ok())
}

async fn trust_bundle(
    context: &Context<'_>,
    source: &ClusterTrustBundleProjection,
    mode: Option<i32>,
) -> Result<Files, VolumeError> {
    let bundles = context.client.all::<ClusterTrustBundle>();
    let optional = source.optional.unwrap_or(false);
    let failed = |error: kube::Error| VolumeError::Claim(error.to_string());
    let found: Vec<ClusterTrustBundle> = match (&source.name, &source.signer_name) {
        (Some(name), _) => bundles.get_opt(name).await.map_err(failed)?.into_iter().collect(),
        (None, Some(signer)) => {
            let labels = source.label_selector.as_ref().map(selector_text).unwrap_or_default();
            let params =
                ListParams::default().fields(&format!("spec.signerName={signer}")).labels(&labels);
            bundles.list(&params).await.map_err(failed)?.items
        }
        (None, None) => Vec::new(),
    };
    if found.is_empty() && !optional {
        let name = source.name.clone().or_else(|| source.signer_name.clone()).unwrap_or_default();
        return Err(VolumeError::Missing { kind: "clustertrustbundle", name });
    }
    let mut anchors: Vec<String> = found.into_iter().map(|it| it.spec.trust_bundle).collect();
    anchors.sort();
    anchors.dedup();
    let mode = mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(projection::MODE_DEFAULT);
    let file = File { content: anchors.concat().into_bytes(), mode };
    Ok(Files::from([(source.path.clone(), file)]))
}

fn selector_text(selector: &LabelSelector) -> String {
    let equal = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|it| {
        let values = it.values.as_deref().unwrap_or_default().join(",");
        match it.operator.as_str() {
            "In" => format!("{} in ({values})", it.key),
            "NotIn" => format!("{} notin ({values})", it.key),
            "Exists" => it.key.clone(),
            _ => format!("!{}", it.key),
        }
    });
    equal.chain(expressions).collect::<Vec<_>>().join(",")
}
