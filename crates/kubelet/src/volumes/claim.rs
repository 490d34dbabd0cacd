//! `persistentVolumeClaim`: the volume that a claim is bound to. Here: host paths, local volumes and
//! NFS; not here: CSI drivers.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use podlife::pod;

use super::{Context, Ready, VolumeError, host_path, nfs, ownership};

pub(super) async fn set_up(
    context: &Context<'_>,
    name: &str,
    claim_name: &str,
    readonly: bool,
) -> Result<Ready, VolumeError> {
    let volume = bound(context, claim_name).await?;
    let spec = volume.spec.unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(VolumeError::Unsupported);
    }
    let ready = if let Some(source) = &spec.host_path {
        host_path::set_up(&source.path, source.type_.as_deref().unwrap_or_default())?
    } else if let Some(source) = &spec.local {
        let ready = host_path::set_up(&source.path, "Directory")?;
        if let Some(group) = context.fs_group() {
            ownership::apply_once(&ready.path, group)?;
        }
        ready
    } else if let Some(source) = &spec.nfs {
        nfs::set_up(context, name, &source.server, &source.path, readonly)?
    } else {
        return Err(VolumeError::Unsupported);
    };
    Ok(Ready { readonly, ..ready })
}

async fn bound(context: &Context<'_>, claim_name: &str) -> Result<PersistentVolume, VolumeError> {
    let namespace = pod::namespace(context.pod);
    let failed = |error: kube::Error| VolumeError::Claim(error.to_string());
    let claims = context.client.namespaced::<PersistentVolumeClaim>(namespace);
    let claim = claims.get_opt(claim_name).await.map_err(failed)?.ok_or_else(|| {
        VolumeError::Claim(format!(
            "error processing PVC {namespace}/{claim_name}: failed to fetch PVC from API server: \
             persistentvolumeclaims \"{claim_name}\" not found"
        ))
    })?;
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    let (Some("Bound"), Some(volume)) = (phase, volume) else {
        return Err(VolumeError::Claim(format!(
            "error processing PVC {namespace}/{claim_name}: PVC is not bound"
        )));
    };
    let volumes = context.client.all::<PersistentVolume>();
    volumes
        .get_opt(volume)
        .await
        .map_err(failed)?
        .ok_or_else(|| VolumeError::Claim(format!("persistentvolumes \"{volume}\" not found")))
}
