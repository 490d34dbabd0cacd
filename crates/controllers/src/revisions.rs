//! Keeps the ControllerRevisions of an owner's template.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::{Client, Kind};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::api::{DeleteParams, PostParams};
use reconcile::labels::Labels;
use reconcile::revision::{Current, Owner, current, is_of, surplus};

use crate::claims::controller_reference;
use crate::kinds::{already_exists, name_of, namespace_of, not_found};
use crate::limits::HASH_COLLISIONS_MAX;

/// What differs between the kinds that keep a history.
pub(crate) struct Style {
    /// Labels of new revisions, without the hash.
    pub(crate) labels: Labels,
    /// Key of the label that holds the hash.
    pub(crate) hash_label: &'static str,
}

/// The revision of the present template, made or raised to the newest where needed, and the number of
/// hashes found taken.
pub(crate) async fn settle<O>(
    client: &Client,
    owner: &O,
    template: &PodTemplateSpec,
    style: Style,
    mut collisions: Option<i32>,
    revisions: &[Arc<ControllerRevision>],
) -> Result<(Arc<ControllerRevision>, Option<i32>), kube::Error>
where
    O: Kind + kube::Resource<Scope = NamespaceResourceScope>,
{
    let api = client.namespaced::<ControllerRevision>(&namespace_of(owner));
    let mut tried = 0;
    loop {
        let wanted = Owner {
            reference: controller_reference(owner),
            metadata: owner.meta(),
            template,
            labels: style.labels.clone(),
            hash_label: style.hash_label,
            collisions,
        };
        let fresh = match current(&wanted, revisions) {
            Current::Kept(revision) => return Ok((revision, collisions)),
            Current::Raised(revision, number) => {
                let mut raised = (*revision).clone();
                raised.revision = Some(number);
                let name = name_of(&raised);
                let raised = api.replace(&name, &PostParams::default(), &raised).await?;
                return Ok((Arc::new(raised), collisions));
            }
            Current::Missing(revision) => revision,
        };
        let error = match api.create(&PostParams::default(), &fresh).await {
            Ok(made) => return Ok((Arc::new(made), collisions)),
            Err(error) => error,
        };
        tried += 1;
        if !already_exists(&error) || tried > HASH_COLLISIONS_MAX {
            return Err(error);
        }
        // Made by us a moment ago and not seen yet, or another template with the same hash.
        let Some(found) = api.get_opt(&name_of(&*fresh)).await? else { return Err(error) };
        if is_of(template, &found) {
            return Ok((Arc::new(found), collisions));
        }
        collisions = Some(collisions.unwrap_or(0) + 1);
    }
}

/// Deletes the oldest revisions that nothing was made from, beyond what history keeps.
pub(crate) async fn clean_up(
    client: &Client,
    namespace: &str,
    revisions: &[Arc<ControllerRevision>],
    live: &BTreeSet<String>,
    limit: i32,
) -> Result<(), kube::Error> {
    let api = client.namespaced::<ControllerRevision>(namespace);
    for name in surplus(revisions, live, limit) {
        match api.delete(&name, &DeleteParams::default()).await {
            Err(error) if !not_found(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
