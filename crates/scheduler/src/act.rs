//! Carries tasks out: binds, reports, removes victims. Has no opinion.

use std::{collections::HashMap, sync::Arc};

use client::{Client, EventKind, Recorder, Subject};
use clock::Clock;
use k8s_openapi::{
    api::core::v1::{Binding, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use scheduling::{Nomination, PodInfo, plugins::volume_binding::VolumePlan};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::{
    condition::{self, Wanted},
    informers::Informers,
    limits::{EVENT_MESSAGE_MAX, VOLUME_BIND_MAX, WRITE_PAUSE_MIN, WRITE_TRIES_MAX},
    state::{Outcome, Task},
    volumes,
};

/// What carrying out needs; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) informers: Informers,
    pub(crate) recorders: Arc<HashMap<String, Recorder>>,
    pub(crate) outcomes: mpsc::Sender<Outcome>,
}

#[derive(Debug, thiserror::Error)]
enum BindError {
    #[error("running Bind plugin \"DefaultBinder\": {0}")]
    Bind(String),
    #[error("running PreBind plugin \"VolumeBinding\": {0}")]
    Volumes(String),
}

/// Takes a placement back whose task ended without an answer, by a panic or with the scheduler.
struct Unanswered<'a> {
    actor: &'a Actor,
    uid: Option<Arc<str>>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let Some(uid) = self.uid.take() else { return };
        let outcome = Outcome::BindFailed(uid, "the binding ended without an answer".to_owned());
        if self.actor.outcomes.try_send(outcome).is_err() {
            tracing::debug!("nobody hears of a binding without an answer");
        }
    }
}

/// A victim could not be removed; the log says why.
#[derive(Debug, thiserror::Error)]
#[error("a victim could not be removed")]
struct PreemptError;

impl Actor {
    /// Carries `task` out. The permit bounds how much is written at a time; waiting does not hold it.
    pub(crate) async fn carry_out(self, task: Task, permit: OwnedSemaphorePermit) {
        match task {
            Task::Bind { pod, node, plan } => {
                let mut unanswered = Unanswered { actor: &self, uid: Some(Arc::clone(&pod.uid)) };
                let bound = self.bind(&pod, &node, &plan, permit).await;
                unanswered.uid = None;
                let uid = Arc::clone(&pod.uid);
                self.tell(match bound {
                    Ok(()) => Outcome::Bound(uid),
                    Err(error) => Outcome::BindFailed(uid, error.to_string()),
                })
                .await;
            }
            Task::Report { pod, reason, message, nomination } => {
                let done = self.report(&pod, reason, &message, &nomination).await;
                drop(permit);
                if done.is_err() {
                    self.tell(Outcome::PreemptionFailed(Arc::clone(&pod.uid))).await;
                }
            }
        }
    }

    /// The loop is gone only when the whole scheduler is.
    async fn tell(&self, outcome: Outcome) {
        if self.outcomes.send(outcome).await.is_err() {
            tracing::debug!("the scheduler ended before it heard of an outcome");
        }
    }

    fn record(
        &self,
        about: &PodInfo,
        by: &PodInfo,
        kind: EventKind,
        reason: &str,
        message: String,
    ) {
        if let Some(recorder) = self.recorders.get(by.scheduler_name()) {
            recorder.event(&Subject::of(&*about.pod), kind, reason, message);
        }
    }

    async fn bind(
        &self,
        pod: &PodInfo,
        node: &str,
        plan: &VolumePlan,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), BindError> {
        if !plan.is_empty() {
            self.write_volumes(plan)
                .await
                .map_err(|error| BindError::Volumes(error.to_string()))?;
            // Provisioning takes as long as it takes; others may write meanwhile.
            drop(permit);
            self.await_claims(plan, node).await.map_err(BindError::Volumes)?;
        }
        self.post_binding(pod, node).await.map_err(|error| BindError::Bind(words(error)))?;
        let message = format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name());
        self.record(pod, pod, EventKind::Normal, "Scheduled", message);
        Ok(())
    }

    async fn post_binding(&self, pod: &PodInfo, node: &str) -> Result<(), kube::Error> {
        let binding = Binding {
            metadata: ObjectMeta {
                namespace: Some(pod.namespace().to_owned()),
                name: Some(pod.name().to_owned()),
                uid: pod.pod.metadata.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let pods = self.client.namespaced::<Pod>(pod.namespace());
        let parameters = PostParams::default();
        let posted =
            pods.create_subresource::<_, Value>("binding", pod.name(), &parameters, &binding);
        posted.await.map(drop)
    }

    async fn write_volumes(&self, plan: &VolumePlan) -> Result<(), kube::Error> {
        let parameters = PostParams::default();
        for (volume, _) in &plan.bindings {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            let volumes = self.client.all::<PersistentVolume>();
            volumes.replace(name, &parameters, volume.as_ref()).await?;
        }
        for claim in &plan.provisions {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
            let claims = self.client.namespaced::<PersistentVolumeClaim>(namespace);
            claims.replace(name, &parameters, claim.as_ref()).await?;
        }
        Ok(())
    }

    /// Waits until the volume controller has bound all claims of the plan.
    async fn await_claims(&self, plan: &VolumePlan, node: &str) -> Result<(), String> {
        let mut changed = self.informers.claims.changed();
        let deadline = self.clock.sleep(VOLUME_BIND_MAX);
        tokio::pin!(deadline);
        loop {
            changed.mark_unchanged();
            if self.claims_are_bound(plan, node)? {
                return Ok(());
            }
            tokio::select! {
                () = &mut deadline => return Err("binding volumes: context deadline exceeded".to_owned()),
                result = changed.changed() => {
                    result.map_err(|_| "binding volumes: the scheduler ends".to_owned())?;
                }
            }
        }
    }

    fn claims_are_bound(&self, plan: &VolumePlan, node: &str) -> Result<bool, String> {
        let bound = plan.bindings.iter().map(|(_, claim)| (claim, false));
        let provisioned = plan.provisions.iter().map(|claim| (claim, true));
        let mut all = true;
        for (claim, provisioned) in bound.chain(provisioned) {
            let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let Some(seen) = self.informers.claims.get(namespace, name) else {
                return Err(format!("binding volumes: persistentvolumeclaim {name:?} not found"));
            };
            // What the cache showed before the claim was written says nothing yet.
            let newer = seen.metadata.resource_version != claim.metadata.resource_version;
            if provisioned && newer && volumes::selected_node(&seen) != Some(node) {
                return Err(format!("binding volumes: provisioning failed for PVC {name:?}"));
            }
            all &= volumes::is_bound(&seen);
        }
        Ok(all)
    }

    async fn report(
        &self,
        pod: &Arc<PodInfo>,
        reason: &str,
        message: &str,
        nomination: &Nomination,
    ) -> Result<(), PreemptError> {
        let text = truncated(message);
        self.record(pod, pod, EventKind::Warning, "FailedScheduling", text);
        let wanted = Wanted { r#type: "PodScheduled", status: "False", reason, message };
        let nominated = match nomination {
            Nomination::Keep => None,
            Nomination::Clear => Some(""),
            Nomination::Node { name, .. } => Some(name.as_str()),
        };
        // The newest state is what the patch must differ from.
        let newest = self.informers.pods.get(pod.namespace(), pod.name());
        let newest = newest.filter(|newest| newest.metadata.uid == pod.pod.metadata.uid);
        let Some(newest) = newest else { return Ok(()) };
        if let Some(patch) = condition::patch(&newest, &wanted, nominated, self.clock.now())
            && let Err(error) = self.patch_status(pod, &patch).await
        {
            tracing::warn!(pod = pod.name(), namespace = pod.namespace(), %error, "cannot update a pod's status");
        }
        if let Nomination::Node { name, victims, outbid } = nomination {
            return self.make_room(pod, name, victims, outbid).await;
        }
        Ok(())
    }

    async fn make_room(
        &self,
        pod: &PodInfo,
        node: &str,
        victims: &[Arc<PodInfo>],
        outbid: &[Arc<PodInfo>],
    ) -> Result<(), PreemptError> {
        for other in outbid {
            let patch = serde_json::json!({
                "metadata": { "uid": other.pod.metadata.uid },
                "status": { "nominatedNodeName": null },
            });
            if let Err(error) = self.patch_status(other, &patch).await {
                tracing::warn!(pod = other.name(), %error, "cannot clear a nomination");
            }
        }
        for victim in victims {
            if let Err(error) = self.remove_victim(pod, victim, node).await {
                let namespace = victim.namespace();
                tracing::warn!(pod = victim.name(), namespace, %error, "cannot preempt");
                return Err(PreemptError);
            }
        }
        Ok(())
    }

    async fn remove_victim(
        &self,
        pod: &PodInfo,
        victim: &PodInfo,
        node: &str,
    ) -> Result<(), kube::Error> {
        let message =
            format!("{}: preempting to accommodate a higher priority pod", pod.scheduler_name());
        let wanted = Wanted {
            r#type: "DisruptionTarget",
            status: "True",
            reason: "PreemptionByScheduler",
            message: &message,
        };
        if let Some(patch) = condition::patch(&victim.pod, &wanted, None, self.clock.now()) {
            match self.patch_status(victim, &patch).await {
                Err(error) if is_gone(&error) => return Ok(()),
                result => result?,
            }
        }
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: victim.pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let pods = self.client.namespaced::<Pod>(victim.namespace());
        match pods.delete(victim.name(), &parameters).await {
            Err(error) if is_gone(&error) => return Ok(()),
            result => drop(result?),
        }
        let message = format!("Preempted by pod {} on node {node}", pod.uid);
        self.record(victim, pod, EventKind::Normal, "Preempted", message);
        Ok(())
    }

    async fn patch_status(&self, pod: &PodInfo, patch: &Value) -> Result<(), kube::Error> {
        let pods = self.client.namespaced::<Pod>(pod.namespace());
        let mut pause = WRITE_PAUSE_MIN;
        let mut tries = 1;
        loop {
            let parameters = PatchParams::default();
            match pods.patch_status(pod.name(), &parameters, &Patch::Strategic(patch)).await {
                Err(error) if tries < WRITE_TRIES_MAX && is_passing(&error) => {
                    self.clock.sleep(pause).await;
                    pause *= 2;
                    tries += 1;
                }
                result => return result.map(drop),
            }
        }
    }
}

/// Whether the object is not there any more, or another one has its name.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}

/// Whether trying again may help.
fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 500 || status.code == 503,
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

/// What the server said, without the client's wrapping.
fn words(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}

fn truncated(message: &str) -> String {
    const SUFFIX: &str = " ...";
    if message.len() <= EVENT_MESSAGE_MAX {
        return message.to_owned();
    }
    let mut end = EVENT_MESSAGE_MAX - SUFFIX.len();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{SUFFIX}", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(truncated("short"), "short");
        let cut = truncated(&"é".repeat(EVENT_MESSAGE_MAX));
        assert!(cut.len() <= EVENT_MESSAGE_MAX && cut.ends_with("é ..."));
    }
}
