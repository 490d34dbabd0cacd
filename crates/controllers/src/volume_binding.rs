//! Binds claims to volumes, and keeps the phases of both.

use client::{
    Change, Client, EventKind, Informer, Outcome, Recorder, Subject, WorkQueue, run_workers,
};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Patch, PatchParams, PostParams};
use reconcile::volume_binding::{ClaimPlan, Class, PROVISIONER, decide_claim, phase};
use serde_json::json;

use crate::Context;
use crate::kinds::{name_of, namespace_of, not_found};

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
    let classes = context.client.informer::<StorageClass>();
    let adding = queue.clone();
    claims.on_change(move |change| {
        let claim = change.object();
        adding.add(Key::Claim(namespace_of(&**claim), name_of(&**claim)));
        if let Some(volume) = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()) {
            adding.add(Key::Volume(volume));
        }
    });
    let (adding, known) = (queue.clone(), claims.clone());
    volumes.on_change(move |change| {
        let volume = change.object();
        adding.add(Key::Volume(name_of(&**volume)));
        let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.clone());
        if let Some(reference) = reference {
            let (namespace, name) = (reference.namespace, reference.name);
            adding.add(Key::Claim(namespace.unwrap_or_default(), name.unwrap_or_default()));
        } else if !matches!(change, Change::Deleted(_)) {
            wake_waiting(&known, &adding);
        }
    });
    let (adding, known) = (queue.clone(), claims.clone());
    classes.on_change(move |_| wake_waiting(&known, &adding));
    let recorder = Recorder::start(
        &context.client,
        context.clock.clone(),
        "persistentvolume-controller",
        "",
        &context.scope,
    );
    let client = context.client.clone();
    let worker = Worker { client, claims, volumes, classes, recorder };
    // One worker: two claims must not take the same volume.
    run_workers(&context.scope, "volume binding controller", 1, &queue, move |key| {
        let worker = worker.clone();
        async move {
            match key {
                Key::Claim(namespace, name) => worker.claim(&namespace, &name).await,
                Key::Volume(name) => worker.volume(&name).await,
            }
        }
    });
}

/// A volume or class that appears may be what a claim waits for.
fn wake_waiting(claims: &Informer<PersistentVolumeClaim>, queue: &WorkQueue<Key>) {
    for claim in claims.list() {
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
        if volume.unwrap_or_default().is_empty() {
            queue.add(Key::Claim(namespace_of(&*claim), name_of(&*claim)));
        }
    }
}

#[derive(Clone)]
struct Worker {
    client: Client,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    recorder: Recorder,
}

impl Worker {
    async fn claim(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        self.volumes.synced().await;
        self.classes.synced().await;
        let Some(claim) = self.claims.get(namespace, name) else { return Ok(Outcome::Done) };
        if claim.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::Done);
        }
        let class = self.class(&claim);
        match decide_claim(&claim, &self.volumes.list(), class.as_ref()) {
            ClaimPlan::Keep => {}
            ClaimPlan::Bind(volume, bound) => self.bind(*volume, *bound).await?,
            ClaimPlan::Lose => self.lose(&claim).await?,
            ClaimPlan::Wait { reason, message, provisioner } => {
                let kind = if reason == "ProvisioningFailed" {
                    EventKind::Warning
                } else {
                    EventKind::Normal
                };
                self.recorder.event(&Subject::of(&*claim), kind, reason, message);
                if let Some(provisioner) = provisioner {
                    self.ask(&claim, &provisioner).await?;
                }
            }
        }
        Ok(Outcome::Done)
    }

    fn class(&self, claim: &PersistentVolumeClaim) -> Option<Class> {
        let name = claim.spec.as_ref()?.storage_class_name.as_deref()?;
        let class = self.classes.get("", name)?;
        Some(Class {
            provisioner: class.provisioner.clone(),
            waits_for_consumer: class.volume_binding_mode.as_deref()
                == Some("WaitForFirstConsumer"),
        })
    }

    /// The volume first: whoever finds it half done knows which claim it is for.
    async fn bind(
        &self,
        volume: PersistentVolume,
        claim: PersistentVolumeClaim,
    ) -> Result<(), kube::Error> {
        let (namespace, name) = (namespace_of(&claim), name_of(&claim));
        let volumes = self.client.all::<PersistentVolume>();
        let volume_name = name_of(&volume);
        let known = self.volumes.get("", &volume_name);
        if known.is_none_or(|known| *known != volume) {
            volumes.replace(&volume_name, &PostParams::default(), &volume).await?;
        }
        self.set_phase(&volume_name, "Bound").await?;
        let claims = self.client.namespaced::<PersistentVolumeClaim>(&namespace);
        let status = claim.status.clone();
        let mut current = claims.replace(&name, &PostParams::default(), &claim).await?;
        if current.status != status {
            current.status = status;
            claims.replace_status(&name, &PostParams::default(), &current).await?;
        }
        Ok(())
    }

    async fn lose(&self, claim: &PersistentVolumeClaim) -> Result<(), kube::Error> {
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase == Some("Lost") {
            return Ok(());
        }
        let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        self.recorder.event(&Subject::of(claim), EventKind::Warning, "ClaimLost", message);
        let api = self.client.namespaced::<PersistentVolumeClaim>(&namespace_of(claim));
        let patch = Patch::Merge(json!({"status": {"phase": "Lost"}}));
        match api.patch_status(&name_of(claim), &PatchParams::default(), &patch).await {
            Err(error) if !not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Names the provisioner on the claim: external ones look for that.
    async fn ask(
        &self,
        claim: &PersistentVolumeClaim,
        provisioner: &str,
    ) -> Result<(), kube::Error> {
        let annotations = claim.metadata.annotations.as_ref();
        if annotations.and_then(|all| all.get(PROVISIONER)).is_some_and(|p| p == provisioner) {
            return Ok(());
        }
        let api = self.client.namespaced::<PersistentVolumeClaim>(&namespace_of(claim));
        let patch = Patch::Merge(json!({"metadata": {"annotations": {
            PROVISIONER: provisioner, "volume.beta.kubernetes.io/storage-provisioner": provisioner}}}));
        match api.patch(&name_of(claim), &PatchParams::default(), &patch).await {
            Err(error) if !not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn volume(&self, name: &str) -> Result<Outcome, kube::Error> {
        self.claims.synced().await;
        let Some(volume) = self.volumes.get("", name) else { return Ok(Outcome::Done) };
        let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        let mut claim = None;
        if let Some(reference) = reference {
            let namespace = reference.namespace.as_deref().unwrap_or_default();
            let claim_name = reference.name.as_deref().unwrap_or_default();
            claim = self.claims.get(namespace, claim_name).map(|claim| (*claim).clone());
            if claim.is_none() && reference.uid.is_some() {
                // Data may be given up on this: only the server knows.
                let api = self.client.namespaced::<PersistentVolumeClaim>(namespace);
                claim = api.get_opt(claim_name).await?;
            }
        }
        self.set_phase(name, phase(&volume, claim.as_ref())).await?;
        Ok(Outcome::Done)
    }

    async fn set_phase(&self, name: &str, phase: &str) -> Result<(), kube::Error> {
        let known = self.volumes.get("", name);
        let status = known.as_ref().and_then(|volume| volume.status.as_ref());
        if status.and_then(|status| status.phase.as_deref()) == Some(phase) {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"status": {"phase": phase}}));
        let api = self.client.all::<PersistentVolume>();
        match api.patch_status(name, &PatchParams::default(), &patch).await {
            Err(error) if !not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}
