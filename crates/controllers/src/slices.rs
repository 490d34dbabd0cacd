//! What the two writers of EndpointSlices share: which slices are theirs, and carrying out a plan for them.
//!
//! Not here: what belongs into the slices, which each writer knows by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::{Change, Client, Informer};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, PostParams};
use reconcile::endpoints::{Group, SlicePlan};

use crate::kinds::{name_of, namespace_gone, namespace_of, not_found};
use crate::limits::VIEW_LATE_MAX;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// A controller that writes slices, by the name that its slices carry.
#[derive(Clone, Copy)]
pub(crate) struct Manager(pub(crate) &'static str);

impl Manager {
    /// Namespace and Service of a slice of ours that somebody changed or deleted.
    pub(crate) fn disturbed(self, change: &Change<EndpointSlice>) -> Option<(String, String)> {
        let slice = change.object();
        let service = label(slice, SERVICE_NAME)?;
        let disturbed = !matches!(change, Change::Added(_)) && self.owns(slice);
        disturbed.then(|| (namespace_of(&**slice), service.to_owned()))
    }

    /// Our slices of a Service for one family of addresses.
    pub(crate) fn present(
        self,
        slices: &Informer<EndpointSlice>,
        namespace: &str,
        service: &str,
        family: &str,
    ) -> Vec<Arc<EndpointSlice>> {
        let mut slices = slices.list_in(namespace);
        slices.retain(|slice| {
            label(slice, SERVICE_NAME) == Some(service)
                && self.owns(slice)
                && slice.address_type == family
                && slice.metadata.deletion_timestamp.is_none()
        });
        slices
    }

    /// A slice without endpoints, of an owner that has the Service's name.
    pub(crate) fn slice<O>(
        self,
        owner: &O,
        mut labels: BTreeMap<String, String>,
        family: &str,
    ) -> EndpointSlice
    where
        O: kube::Resource<DynamicType = ()>,
    {
        labels.insert(SERVICE_NAME.to_owned(), name_of(owner));
        labels.insert(MANAGED_BY.to_owned(), self.0.to_owned());
        EndpointSlice {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", name_of(owner))),
                namespace: Some(namespace_of(owner)),
                labels: Some(labels),
                owner_references: Some(vec![OwnerReference {
                    api_version: O::api_version(&()).into_owned(),
                    kind: O::kind(&()).into_owned(),
                    name: name_of(owner),
                    uid: owner.meta().uid.clone().unwrap_or_default(),
                    controller: Some(true),
                    block_owner_deletion: Some(true),
                }]),
                ..ObjectMeta::default()
            },
            address_type: family.to_owned(),
            ..EndpointSlice::default()
        }
    }

    fn owns(self, slice: &EndpointSlice) -> bool {
        label(slice, MANAGED_BY) == Some(self.0)
    }
}

fn label<'a>(slice: &'a EndpointSlice, key: &str) -> Option<&'a str> {
    slice.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Writes what `plan` says, and waits until `slices` shows it: who plans with an older view makes slices twice.
/// `empty` is the slice that the groups are put into.
pub(crate) async fn carry_out(
    client: &Client,
    slices: &Informer<EndpointSlice>,
    namespace: &str,
    present: &[Arc<EndpointSlice>],
    plan: SlicePlan,
    empty: &EndpointSlice,
) -> Result<(), kube::Error> {
    let api = client.namespaced::<EndpointSlice>(namespace);
    let mut written = Vec::new();
    for group in plan.create {
        match api.create(&PostParams::default(), &filled(empty, group)).await {
            Ok(slice) => written.push(slice),
            Err(error) if !namespace_gone(&error) => return Err(error),
            Err(_) => {}
        }
    }
    for (name, group) in plan.update {
        let old = present.iter().find(|slice| slice.metadata.name.as_deref() == Some(&name));
        let mut fresh = filled(empty, group);
        fresh.metadata.generate_name = None;
        fresh.metadata.name = Some(name.clone());
        fresh.metadata.resource_version = old.and_then(|old| old.metadata.resource_version.clone());
        match api.replace(&name, &PostParams::default(), &fresh).await {
            Ok(slice) => written.push(slice),
            Err(error) if !not_found(&error) => return Err(error),
            Err(_) => {}
        }
    }
    for name in &plan.delete {
        match api.delete(name, &DeleteParams::default()).await {
            Err(error) if !not_found(&error) => return Err(error),
            _ => {}
        }
    }
    let has = |slice: &EndpointSlice| {
        let shown = slices.get(namespace, &name_of(slice));
        shown.is_some_and(|shown| revision(&shown) >= revision(slice))
    };
    let is_shown = || {
        written.iter().all(has) && plan.delete.iter().all(|it| slices.get(namespace, it).is_none())
    };
    let mut changed = slices.changed();
    let shown = async { while !is_shown() && changed.changed().await.is_ok() {} };
    // Somebody may have deleted already what was made: that is never shown.
    let _in_time = tokio::time::timeout(VIEW_LATE_MAX, shown).await;
    Ok(())
}

fn revision(slice: &EndpointSlice) -> Option<u64> {
    slice.metadata.resource_version.as_deref()?.parse().ok()
}

fn filled(empty: &EndpointSlice, group: Group) -> EndpointSlice {
    EndpointSlice { endpoints: Some(group.endpoints), ports: Some(group.ports), ..empty.clone() }
}
