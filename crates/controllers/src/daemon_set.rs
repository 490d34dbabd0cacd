//! DaemonSets keep one pod on every node that is meant.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use client::{
    Change, Client, EventKind, Informer, Outcome, Recorder, Subject, WorkQueue, run_workers,
};
use clock::Clock;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::PostParams;
use parking_lot::Mutex;
use reconcile::daemon_set::{Plan, Snapshot, decide, pod_for, should_run, status};
use reconcile::{labels, pods, revision};
use tokio::time::Instant;

use crate::Context;
use crate::claims::{claim_all, controller_reference};
use crate::dependents::{Dependents, follow};
use crate::expectations::Expectations;
use crate::kinds::{name_of, namespace_of, not_found};
use crate::limits::{DAEMON_PAUSE_MAX, DAEMON_PAUSE_MIN, WORKERS};
use crate::notes::tell;
use crate::pod_control::PodControl;
use crate::revisions::{self, Style};

type Key = (String, String);

/// When the pod of a set last failed on a node, and how often in a row.
type Failures = Arc<Mutex<HashMap<(String, String), (Instant, u32)>>>;

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let expectations = Expectations::default();
    let failures = Failures::default();
    let sets = context.client.informer::<DaemonSet>();
    let (adding, forgetting, remembered) =
        (queue.clone(), expectations.clone(), Arc::clone(&failures));
    sets.on_change(move |change| {
        let set = change.object();
        if matches!(change, Change::Deleted(_)) {
            let uid = pods::uid(&set.metadata);
            forgetting.forget(uid);
            remembered.lock().retain(|(owner, _), _| owner != uid);
        }
        adding.add((namespace_of(&**set), name_of(&**set)));
    });
    let pods = context.client.informer::<Pod>();
    let (adding, seeing, known) = (queue.clone(), expectations.clone(), sets.clone());
    let dependents = follow(&pods, "apps", "DaemonSet", move |seen| {
        let pod = seen.object();
        for owner in &seen.owners {
            seeing.saw(&owner.uid, pods::uid(&pod.metadata), seen.going());
            adding.add((namespace_of(pod), owner.name.clone()));
        }
        if seen.orphan {
            for set in known.list_in(&namespace_of(pod)) {
                if labels::matches(&set.spec.selector, pod.metadata.labels.as_ref()) {
                    adding.add((namespace_of(pod), name_of(&*set)));
                }
            }
        }
    });
    let histories = context.client.informer::<ControllerRevision>();
    let history = follow(&histories, "apps", "DaemonSet", |_| {});
    let nodes = context.client.informer::<Node>();
    wake_on_nodes(&nodes, &sets, &queue);
    let (client, clock) = (context.client.clone(), context.clock.clone());
    let recorder =
        Recorder::start(&client, clock.clone(), "daemonset-controller", "", &context.scope);
    let control = PodControl { client: client.clone(), recorder, expectations };
    let worker = Worker {
        client,
        clock,
        sets,
        nodes,
        pods,
        histories,
        dependents,
        history,
        control,
        failures,
    };
    run_workers(&context.scope, "daemon set controller", WORKERS, &queue, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key.0, &key.1).await }
    });
}

/// A node that comes, goes, or changes what may run on it wakes the sets for which that matters.
fn wake_on_nodes(nodes: &Informer<Node>, sets: &Informer<DaemonSet>, queue: &WorkQueue<Key>) {
    let (adding, sets) = (queue.clone(), sets.clone());
    nodes.on_change(move |change| {
        for set in sets.list() {
            let matters = match change {
                Change::Added(node) => should_run(&set, node).0,
                Change::Updated { old, new } => should_run(&set, old) != should_run(&set, new),
                Change::Deleted(_) => true,
            };
            if matters {
                adding.add((namespace_of(&*set), name_of(&*set)));
            }
        }
    });
}

#[derive(Clone)]
struct Worker {
    client: Client,
    clock: Clock,
    sets: Informer<DaemonSet>,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    histories: Informer<ControllerRevision>,
    dependents: Dependents<Pod>,
    history: Dependents<ControllerRevision>,
    control: PodControl,
    failures: Failures,
}

impl Worker {
    async fn reconcile(&self, namespace: &str, name: &str) -> Result<Outcome, kube::Error> {
        self.pods.synced().await;
        self.nodes.synced().await;
        self.histories.synced().await;
        let Some(set) = self.sets.get(namespace, name) else { return Ok(Outcome::Done) };
        let subject = Subject::of(&*set);
        if labels::is_everything(&set.spec.selector) {
            let message =
                "This daemon set is selecting all pods. A non-empty selector is required.";
            let recorder = &self.control.recorder;
            recorder.event(&subject, EventKind::Warning, "SelectingAll", message);
            return Ok(Outcome::Done);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::Done);
        }
        let (current, collisions, history) = self.revision(&set).await?;
        let hash = current.metadata.labels.as_ref().and_then(|l| l.get(revision::POD_LABEL));
        let hash = hash.cloned().unwrap_or_default();
        let waiting = self.control.expectations.pending(&subject.uid);
        let own = self.own_pods(&set).await?;
        let pauses = self.pauses(&subject.uid);
        let nodes = self.nodes.list();
        let snapshot = Snapshot {
            set: &set,
            nodes: &nodes,
            pods: &own,
            hash: &hash,
            pauses: &pauses,
            settled: waiting.is_none(),
        };
        let now = self.clock.now();
        let plan = decide(&snapshot, now);
        let failure = self.act(&set, &hash, &plan).await;
        if waiting.is_none() {
            let live = own.iter().filter_map(|pod| pod.metadata.labels.as_ref());
            let live: BTreeSet<String> =
                live.filter_map(|labels| labels.get(revision::POD_LABEL)).cloned().collect();
            self.clean_up(&set, &history, &live, &current).await?;
        }
        let (mut new, next) = status(&snapshot, now);
        new.collision_count = collisions;
        self.report(&set, new).await?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        let wait = [waiting, plan.again_after, next].into_iter().flatten().min();
        Ok(wait.map_or(Outcome::Done, Outcome::After))
    }

    async fn own_pods(&self, set: &DaemonSet) -> Result<Vec<Arc<Pod>>, kube::Error> {
        let candidates = self.dependents.candidates(&set.metadata);
        claim_all(&self.client, set, candidates, |metadata| {
            labels::matches(&set.spec.selector, metadata.labels.as_ref())
        })
        .await
    }

    async fn revision(
        &self,
        set: &DaemonSet,
    ) -> Result<(Arc<ControllerRevision>, Option<i32>, Vec<Arc<ControllerRevision>>), kube::Error>
    {
        let candidates = self.history.candidates(&set.metadata);
        let history = claim_all(&self.client, set, candidates, |metadata| {
            labels::matches(&set.spec.selector, metadata.labels.as_ref())
        })
        .await?;
        let template = &set.spec.template;
        let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
        let style = Style { labels: labels.unwrap_or_default(), hash_label: revision::POD_LABEL };
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let (current, collisions) =
            revisions::settle(&self.client, set, template, style, collisions, &history).await?;
        Ok((current, collisions, history))
    }

    /// How long the replacement of a failed pod still waits, by node.
    fn pauses(&self, set: &str) -> BTreeMap<String, Duration> {
        let failures = self.failures.lock();
        let own = failures.iter().filter(|((owner, _), _)| owner == set);
        own.filter_map(|((_, node), (last, number))| {
            let doublings = number.saturating_sub(1).min(16);
            let pause = DAEMON_PAUSE_MIN.saturating_mul(1 << doublings).min(DAEMON_PAUSE_MAX);
            let left = pause.saturating_sub(last.elapsed());
            (!left.is_zero()).then(|| (node.clone(), left))
        })
        .collect()
    }

    fn note_failures(&self, set: &str, nodes: &[String]) {
        let mut failures = self.failures.lock();
        for node in nodes {
            let now = Instant::now();
            let (last, number) = failures.entry((set.to_owned(), node.clone())).or_insert((now, 0));
            // Long without a failure: it starts over.
            let before = if now - *last > DAEMON_PAUSE_MAX * 2 { 0 } else { *number };
            (*last, *number) = (now, before + 1);
        }
    }

    async fn act(&self, set: &DaemonSet, hash: &str, plan: &Plan) -> Option<kube::Error> {
        let subject = Subject::of(set);
        tell(&self.control.recorder, &subject, &plan.notes);
        self.note_failures(&subject.uid, &plan.failed);
        let owner = controller_reference(set);
        let made: Vec<Pod> =
            plan.create.iter().map(|node| pod_for(set, node, hash, owner.clone())).collect();
        let (_made, failure) = self.control.create_all(&subject, &made).await;
        let other = self.control.delete_all(&subject, &plan.delete).await;
        failure.or(other)
    }

    async fn clean_up(
        &self,
        set: &DaemonSet,
        history: &[Arc<ControllerRevision>],
        live_hashes: &BTreeSet<String>,
        current: &ControllerRevision,
    ) -> Result<(), kube::Error> {
        let hash = |revision: &ControllerRevision| {
            revision.metadata.labels.as_ref().and_then(|l| l.get(revision::POD_LABEL)).cloned()
        };
        let lives = history.iter().filter(|r| hash(r).is_some_and(|h| live_hashes.contains(&h)));
        let mut live: BTreeSet<String> = lives.map(|revision| name_of(&**revision)).collect();
        live.insert(name_of(current));
        let limit = set.spec.revision_history_limit.unwrap_or(10);
        revisions::clean_up(&self.client, &namespace_of(set), history, &live, limit).await
    }

    async fn report(&self, set: &DaemonSet, new: DaemonSetStatus) -> Result<(), kube::Error> {
        if set.status.as_ref() == Some(&new) {
            return Ok(());
        }
        let api = self.client.namespaced::<DaemonSet>(&namespace_of(set));
        let reported = DaemonSet { status: Some(new), ..set.clone() };
        match api.replace_status(&name_of(set), &PostParams::default(), &reported).await {
            Err(error) if !not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}
