//! ReplicaSets and ReplicationControllers keep their number of pods. One loop for both kinds: what differs
//! is in [`Replicated`].

use std::collections::BTreeMap;
use std::sync::Arc;

use client::{Change, Client, Informer, Kind, Outcome, Recorder, Subject, WorkQueue, run_workers};
use clock::Clock;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::PostParams;
use reconcile::replica_set::{Condition, Observed, Snapshot, Status, decide, status};
use reconcile::{labels, pods, template};
use serde::Serialize;

use crate::Context;
use crate::claims::{claim_all, controller_reference};
use crate::dependents::{Dependents, follow};
use crate::expectations::Expectations;
use crate::kinds::{name_of, namespace_of, not_found};
use crate::limits::WORKERS;
use crate::pod_control::{PodControl, text_of};

/// A kind that keeps a number of pods.
pub(crate) trait Replicated:
    Kind + kube::Resource<Scope = NamespaceResourceScope> + Serialize
{
    const COMPONENT: &'static str;
    const WORKER: &'static str;
    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn selector(&self) -> Option<LabelSelector>;
    fn template(&self) -> Option<&PodTemplateSpec>;
    fn status(&self) -> Status;
    /// Whether `terminatingReplicas` is part of the kind's status.
    const REPORTS_TERMINATING: bool;
    fn with_status(&self, status: Status) -> Self;
}

/// Zero counts are left out, as upstream does.
fn said(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

impl Replicated for ReplicaSet {
    const COMPONENT: &'static str = "replicaset-controller";
    const WORKER: &'static str = "replica set controller";
    const REPORTS_TERMINATING: bool = true;

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    fn selector(&self) -> Option<LabelSelector> {
        Some(self.spec.selector.clone())
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.template.as_ref()
    }

    fn status(&self) -> Status {
        let Some(status) = &self.status else { return Status::default() };
        let conditions = status.conditions.iter().flatten().map(|condition| Condition {
            kind: condition.type_.clone().unwrap_or_default(),
            status: condition.status.clone().unwrap_or_default(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            since: condition.last_transition_time.clone(),
        });
        Status {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            terminating: status.terminating_replicas,
            observed_generation: status.observed_generation.unwrap_or(0),
            conditions: conditions.collect(),
        }
    }

    fn with_status(&self, status: Status) -> Self {
        let conditions: Vec<_> = status
            .conditions
            .into_iter()
            .map(|condition| ReplicaSetCondition {
                type_: Some(condition.kind),
                status: Some(condition.status),
                reason: condition.reason,
                message: condition.message,
                last_transition_time: condition.since,
            })
            .collect();
        Self {
            status: Some(ReplicaSetStatus {
                replicas: status.replicas,
                fully_labeled_replicas: said(status.fully_labeled),
                ready_replicas: said(status.ready),
                available_replicas: said(status.available),
                terminating_replicas: status.terminating,
                observed_generation: Some(status.observed_generation),
                conditions: (!conditions.is_empty()).then_some(conditions),
            }),
            ..self.clone()
        }
    }
}

type Key = (String, String);

pub(crate) fn start(context: &Context) {
    start_for::<ReplicaSet>(context);
}

/// Starts the loop for one of the kinds.
pub(crate) fn start_for<R: Replicated>(context: &Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let owners = context.client.informer::<R>();
    let expectations = Expectations::default();
    let (adding, forgetting) = (queue.clone(), expectations.clone());
    owners.on_change(move |change| {
        let owner = change.object();
        if matches!(change, Change::Deleted(_)) {
            forgetting.forget(pods::uid(owner.meta()));
        }
        adding.add((namespace_of(&**owner), name_of(&**owner)));
    });
    let group = if R::group(&()).is_empty() { "" } else { "apps" };
    let kind: &'static str = if group.is_empty() { "ReplicationController" } else { "ReplicaSet" };
    let pods = context.client.informer::<Pod>();
    let (adding, seeing, known) = (queue.clone(), expectations.clone(), owners.clone());
    let dependents = follow(&pods, group, kind, move |seen| {
        let pod = seen.object();
        for owner in &seen.owners {
            seeing.saw(&owner.uid, pods::uid(&pod.metadata), seen.going());
            adding.add((namespace_of(pod), owner.name.clone()));
        }
        if seen.orphan {
            for owner in known.list_in(&namespace_of(pod)) {
                if owner.selector().is_some_and(|s| selects(&s, pod)) {
                    adding.add((namespace_of(pod), name_of(&*owner)));
                }
            }
        }
    });
    let recorder =
        Recorder::start(&context.client, context.clock.clone(), R::COMPONENT, "", &context.scope);
    let worker = Worker {
        client: context.client.clone(),
        clock: context.clock.clone(),
        owners,
        pods,
        dependents,
        control: PodControl { client: context.client.clone(), recorder, expectations },
    };
    run_workers(&context.scope, R::WORKER, WORKERS, &queue, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key.0, &key.1).await }
    });
}

fn selects(selector: &LabelSelector, pod: &Pod) -> bool {
    !labels::is_everything(selector) && labels::matches(selector, pod.metadata.labels.as_ref())
}

#[derive(Clone)]
struct Worker<R: Replicated> {
    client: Client,
    clock: Clock,
    owners: Informer<R>,
    pods: Informer<Pod>,
    dependents: Dependents<Pod>,
    control: PodControl,
}

impl<R: Replicated> Worker<R> {
    async fn reconcile(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        self.pods.synced().await;
        let Some(owner) = self.owners.get(namespace, name) else { return Ok(Outcome::Done) };
        let Some(selector) = owner.selector() else { return Ok(Outcome::Done) };
        let expected = self.control.expectations.pending(pods::uid(owner.meta()));
        let candidates: Vec<_> = self.dependents.candidates(owner.meta());
        let (mut active, rest): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|pod| pods::is_active(pod));
        active = claim_all(&self.client, &*owner, active, |metadata| {
            labels::matches(&selector, metadata.labels.as_ref())
        })
        .await?;
        let is_own = |pod: &&Arc<Pod>| {
            pods::controller_of(&pod.metadata).map(|o| &o.uid) == owner.meta().uid.as_ref()
        };
        let going = rest.iter().filter(is_own);
        let terminating =
            going.filter(|pod| pods::is_deleting(pod) && !pods::is_terminal(pod)).count();
        let failure = self.keep_number(&owner, &active, expected.is_none()).await;
        let failure_text = failure.as_ref().map(text_of);
        let observed = Observed {
            replicas: owner.replicas(),
            min_ready_seconds: owner.min_ready_seconds(),
            generation: owner.meta().generation.unwrap_or(0),
            template_labels: template_labels(&*owner),
            pods: &active,
            terminating: R::REPORTS_TERMINATING
                .then(|| i32::try_from(terminating).unwrap_or(i32::MAX)),
            failure: failure_text.as_deref(),
        };
        let (new, next) = status(&owner.status(), &observed, self.clock.now());
        self.report(&*owner, new).await?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        let wait = [expected, next].into_iter().flatten().min();
        Ok(wait.map_or(Outcome::Done, Outcome::After))
    }

    /// Makes or deletes pods; why that failed.
    async fn keep_number(
        &self,
        owner: &Arc<R>,
        active: &[Arc<Pod>],
        settled: bool,
    ) -> Option<kube::Error> {
        let surplus = active.len() > usize::try_from(owner.replicas()).unwrap_or(0);
        let snapshot = Snapshot {
            replicas: owner.replicas(),
            deleting: owner.meta().deletion_timestamp.is_some(),
            settled,
            pods: active.to_vec(),
            related: if surplus { self.related(&**owner) } else { Vec::new() },
        };
        let plan = decide(&snapshot, self.clock.now());
        let subject = Subject::of(&**owner);
        if plan.create > 0
            && let Some(template) = owner.template()
        {
            let pod = template::pod(template, &subject.namespace, controller_reference(&**owner));
            let (_made, failure) = self.control.create_all(&subject, &vec![pod; plan.create]).await;
            return failure;
        }
        self.control.delete_all(&subject, &plan.delete).await
    }

    /// Pods of all owners that share this one's owner.
    fn related(&self, owner: &R) -> Vec<Arc<Pod>> {
        let Some(parent) = pods::controller_of(owner.meta()) else {
            return self.dependents.of(owner.meta());
        };
        let siblings = self.owners.list_in(&namespace_of(owner));
        let siblings = siblings.iter().filter(|sibling| {
            pods::controller_of(sibling.meta()).is_some_and(|other| other.uid == parent.uid)
        });
        siblings.flat_map(|sibling| self.dependents.of(sibling.meta())).collect()
    }

    async fn report(&self, owner: &R, new: Status) -> Result<(), kube::Error> {
        if owner.status() == new {
            return Ok(());
        }
        let api = self.client.namespaced::<R>(&namespace_of(owner));
        let reported = owner.with_status(new);
        match api.replace_status(&name_of(owner), &PostParams::default(), &reported).await {
            Err(error) if !not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

fn template_labels<R: Replicated>(owner: &R) -> Option<&BTreeMap<String, String>> {
    owner.template()?.metadata.as_ref()?.labels.as_ref()
}
