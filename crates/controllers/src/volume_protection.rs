//! Keeps claims while pods use them, and volumes while claims are bound to them.

use client::{Change, Client, Informer, Outcome, WorkQueue, run_workers};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use reconcile::volume_protection::{
    Action, CLAIM_FINALIZER, VOLUME_FINALIZER, claims_of, decide_claim, decide_volume,
};
use serde_json::{Value, json};

use crate::Context;
use crate::kinds::{name_of, namespace_of, not_found};
use crate::limits::WORKERS;

/// A claim (namespace and name) or a volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Claim(String, String),
    Volume(String),
}

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let claims = context.client.informer::<PersistentVolumeClaim>();
    let volumes = context.client.informer::<PersistentVolume>();
    let pods = context.client.informer::<Pod>();
    let adding = queue.clone();
    claims.on_change(move |change| {
        let claim = change.object();
        adding.add(Key::Claim(namespace_of(&**claim), name_of(&**claim)));
    });
    let adding = queue.clone();
    volumes.on_change(move |change| adding.add(Key::Volume(name_of(&**change.object()))));
    let adding = queue.clone();
    pods.on_change(move |change| {
        if let Change::Deleted(pod) = change {
            for claim in claims_of(pod) {
                adding.add(Key::Claim(namespace_of(&**pod), claim));
            }
        }
    });
    let worker = Worker { client: context.client.clone(), claims, volumes, pods };
    run_workers(&context.scope, "volume protection controller", WORKERS, &queue, move |key| {
        let worker = worker.clone();
        async move {
            match key {
                Key::Claim(namespace, name) => worker.claim(&namespace, &name).await,
                Key::Volume(name) => worker.volume(&name).await,
            }
        }
    });
}

#[derive(Clone)]
struct Worker {
    client: Client,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    pods: Informer<Pod>,
}

impl Worker {
    async fn claim(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        self.pods.synced().await;
        let Some(claim) = self.claims.get(namespace, name) else { return Ok(Outcome::Done) };
        let Some(patch) = patch(
            decide_claim(&claim, &self.pods.list_in(namespace)),
            &claim.metadata,
            CLAIM_FINALIZER,
        ) else {
            return Ok(Outcome::Done);
        };
        let api = self.client.namespaced::<PersistentVolumeClaim>(namespace);
        let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        done(patched.map(|_| ()))
    }

    async fn volume(&self, name: &str) -> Result<Outcome, kube::Error> {
        let Some(volume) = self.volumes.get("", name) else { return Ok(Outcome::Done) };
        let Some(patch) = patch(decide_volume(&volume), &volume.metadata, VOLUME_FINALIZER) else {
            return Ok(Outcome::Done);
        };
        let api = self.client.all::<PersistentVolume>();
        let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        done(patched.map(|_| ()))
    }
}

/// The finalizers after the action, bound to the version they were read from.
fn patch(action: Action, metadata: &ObjectMeta, finalizer: &str) -> Option<Value> {
    let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
    match action {
        Action::Keep => return None,
        Action::Protect => finalizers.push(finalizer.to_owned()),
        Action::Release => finalizers.retain(|have| have != finalizer),
    }
    Some(json!({"metadata": {
        "resourceVersion": metadata.resource_version, "finalizers": finalizers}}))
}

fn done(result: Result<(), kube::Error>) -> Result<Outcome, kube::Error> {
    match result {
        Err(error) if !not_found(&error) => Err(error),
        _ => Ok(Outcome::Done),
    }
}
