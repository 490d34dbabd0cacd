//! Carries out adoption and release.

use std::sync::Arc;

use client::{Client, Kind};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use reconcile::claim::{Claim, claim};
use reconcile::pods::uid;
use serde_json::json;

use crate::kinds::{name_of, namespace_of, not_found};

/// A reference that makes `owner` the controller of an object.
pub(crate) fn controller_reference<O: Kind>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version(&()).into_owned(),
        kind: O::kind(&()).into_owned(),
        name: name_of(owner),
        uid: uid(owner.meta()).to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The objects that are `owner`'s, after taking orphans that `matches` admits and releasing those that it
/// does not admit any more.
pub(crate) async fn claim_all<O, K>(
    client: &Client,
    owner: &O,
    objects: Vec<Arc<K>>,
    matches: impl Fn(&ObjectMeta) -> bool,
) -> Result<Vec<Arc<K>>, kube::Error>
where
    O: Kind + kube::Resource<Scope = NamespaceResourceScope>,
    K: Kind + kube::Resource<Scope = NamespaceResourceScope>,
{
    let mut owned = Vec::with_capacity(objects.len());
    let mut owner_is_there: Option<bool> = None;
    for object in objects {
        match claim(owner.meta(), object.meta(), matches(object.meta())) {
            Claim::Keep => owned.push(object),
            Claim::Ignore => {}
            Claim::Release => release(client, owner, &*object).await?,
            Claim::Adopt => {
                // The cache may be old: an owner that is gone must not take anything.
                let there = match owner_is_there {
                    Some(there) => there,
                    None => is_there(client, owner).await?,
                };
                owner_is_there = Some(there);
                if there && let Some(adopted) = adopt(client, owner, &*object).await? {
                    owned.push(Arc::new(adopted));
                }
            }
        }
    }
    Ok(owned)
}

async fn is_there<O>(client: &Client, owner: &O) -> Result<bool, kube::Error>
where
    O: Kind + kube::Resource<Scope = NamespaceResourceScope>,
{
    let fresh = client.namespaced::<O>(&namespace_of(owner)).get_opt(&name_of(owner)).await?;
    Ok(fresh.is_some_and(|fresh| {
        fresh.meta().uid == owner.meta().uid && fresh.meta().deletion_timestamp.is_none()
    }))
}

async fn adopt<O, K>(client: &Client, owner: &O, object: &K) -> Result<Option<K>, kube::Error>
where
    O: Kind,
    K: Kind + kube::Resource<Scope = NamespaceResourceScope>,
{
    let patch = json!({"metadata": {
        "uid": object.meta().uid,
        "ownerReferences": [controller_reference(owner)],
    }});
    let api = client.namespaced::<K>(&namespace_of(object));
    gone_is_none(
        api.patch(&name_of(object), &PatchParams::default(), &Patch::Strategic(patch)).await,
    )
}

async fn release<O, K>(client: &Client, owner: &O, object: &K) -> Result<(), kube::Error>
where
    O: Kind,
    K: Kind + kube::Resource<Scope = NamespaceResourceScope>,
{
    let patch = json!({"metadata": {
        "uid": object.meta().uid,
        "ownerReferences": [{"$patch": "delete", "uid": owner.meta().uid}],
    }});
    let api = client.namespaced::<K>(&namespace_of(object));
    let patched =
        api.patch(&name_of(object), &PatchParams::default(), &Patch::Strategic(patch)).await;
    gone_is_none(patched).map(|_| ())
}

/// An object that is gone, or has another UID by now, is nobody's.
fn gone_is_none<K>(result: Result<K, kube::Error>) -> Result<Option<K>, kube::Error> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(error) if not_found(&error) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(None),
        Err(error) => Err(error),
    }
}
