//! The loop: look at what changed, decide on one pod, hand the writing over, again.

use std::{collections::HashMap, sync::Arc};

use client::{Client, Recorder};
use clock::{Clock, Random};
use jiff::Timestamp;
use scheduling::{
    Objects,
    event::{Change, Event},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};

use crate::{
    act::Actor,
    config::Config,
    inbox::{Changed, Inbox, Watched},
    informers::Informers,
    limits::{
        CHANGES_PER_TURN_MAX, OUTCOMES_QUEUED_MAX, SYNC_COMPLAIN_AFTER, TASKS_MAX,
        TASKS_REMEMBERED_MAX,
    },
    queue::Uid,
    state::{Outcome, State, Task},
};

/// Ends the tasks of a scheduler that ends for whatever reason.
struct Ending(task::Scope);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Schedules until `scope` is cancelled. Started again after a failure it picks everything up from the
/// API.
pub async fn run(
    client: Client,
    clock: Clock,
    mut random: Random,
    config: Config,
    scope: task::Scope,
) {
    let ending = Ending(scope.child());
    let scope = &ending.0;
    let inbox = Arc::new(Inbox::default());
    let informers = Informers::start(&client, &inbox);
    let seed = u64::try_from(random.below(usize::MAX)).unwrap_or_default();
    let state = State::new(config, fastrand::Rng::with_seed(seed));
    let recorders: HashMap<String, Recorder> = state
        .profile_names()
        .map(|name| (name.to_owned(), Recorder::start(&client, clock.clone(), name, "", scope)))
        .collect();
    let (sender, outcomes) = mpsc::channel(OUTCOMES_QUEUED_MAX);
    let actor = Actor {
        client,
        clock: clock.clone(),
        informers: informers.clone(),
        recorders: Arc::new(recorders),
        outcomes: sender,
    };
    let scheduler = Scheduler {
        clock,
        inbox,
        informers,
        state,
        actor,
        outcomes,
        permits: Arc::new(Semaphore::new(TASKS_MAX)),
        scope: scope.clone(),
        tasks: HashMap::new(),
    };
    tokio::select! {
        () = scope.cancelled() => {}
        () = scheduler.run() => {}
    }
}

struct Scheduler {
    clock: Clock,
    inbox: Arc<Inbox>,
    informers: Informers,
    state: State,
    actor: Actor,
    outcomes: mpsc::Receiver<Outcome>,
    permits: Arc<Semaphore>,
    scope: task::Scope,
    /// The last task of each pod: tasks of one pod are carried out one after the other, so that an old
    /// report never overwrites what a later binding says.
    tasks: HashMap<Uid, JoinHandle<()>>,
}

impl Scheduler {
    async fn run(mut self) {
        self.synced().await;
        // Everything there is must be known before the first decision.
        while self.observe() {
            tokio::task::yield_now().await;
        }
        loop {
            self.observe();
            while let Ok(outcome) = self.outcomes.try_recv() {
                self.finish(outcome).await;
            }
            let now = self.clock.now();
            self.state.flush(now);
            if !self.decide(now) {
                self.idle().await;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn synced(&self) {
        let synced = self.informers.synced();
        tokio::pin!(synced);
        tokio::select! {
            () = &mut synced => return,
            () = self.clock.sleep(SYNC_COMPLAIN_AFTER) => {}
        }
        tracing::warn!(missing = ?self.informers.missing(), "the scheduler waits for its first lists");
        synced.await;
    }

    /// Decides on one pod; `false` when there is none or too much is being written.
    fn decide(&mut self, now: Timestamp) -> bool {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return false };
        let Some(task) = self.state.next(now) else { return self.state.has_work() };
        self.spawn(task, permit);
        true
    }

    async fn finish(&mut self, outcome: Outcome) {
        let Some(task) = self.state.finish(outcome, self.clock.now()) else { return };
        // Never closed, so that acquiring cannot fail.
        if let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
            self.spawn(task, permit);
        }
    }

    fn spawn(&mut self, task: Task, permit: OwnedSemaphorePermit) {
        if self.tasks.len() > TASKS_REMEMBERED_MAX {
            self.tasks.retain(|_, task| !task.is_finished());
        }
        let uid = Arc::clone(&task.pod().uid);
        let earlier = self.tasks.remove(&uid).filter(|task| !task.is_finished());
        let actor = self.actor.clone();
        let carried_out = async move {
            if let Some(earlier) = earlier
                && let Err(error) = earlier.await
            {
                tracing::debug!(%error, "an earlier task of the pod did not end well");
            }
            actor.carry_out(task, permit).await;
        };
        let handle = self.scope.spawn_until_cancelled("scheduler task", carried_out);
        self.tasks.insert(uid, handle);
    }

    /// Waits until there is something to do.
    async fn idle(&mut self) {
        if !self.inbox.is_empty() {
            return;
        }
        let next_flush = self.state.next_flush();
        let flush = async {
            match next_flush {
                Some(at) => self.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let has_work = self.state.has_work();
        let room = async {
            match has_work {
                // Dropped at once: it only says that there is room again.
                true => drop(self.permits.acquire().await),
                false => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            () = self.inbox.changed() => None,
            () = flush => None,
            () = room => None,
            outcome = self.outcomes.recv() => outcome,
        };
        if let Some(outcome) = outcome {
            self.finish(outcome).await;
        }
    }

    /// Takes note of changes; `false` when there were none.
    fn observe(&mut self) -> bool {
        let changes = self.inbox.take(CHANGES_PER_TURN_MAX);
        let now = self.clock.now();
        for changed in &changes {
            self.observe_one(changed, now);
        }
        !changes.is_empty()
    }

    fn observe_one(&mut self, changed: &Changed, now: Timestamp) {
        let Self { state, informers, .. } = self;
        let (namespace, name) = (&*changed.namespace, &*changed.name);
        macro_rules! objects {
            ($field:ident) => {
                note(&mut state.snapshot.$field, &informers.$field, namespace, name)
            };
            ($field:ident wakes $event:ident) => {{
                let (old, new) = objects!($field);
                let change = Change { old: old.as_deref(), new: new.as_deref() };
                state.wake(&Event::$event(change), now);
            }};
        }
        match changed.kind {
            Watched::Pod => {
                state.observe_pod(namespace, name, informers.pods.get(namespace, name), now);
            }
            Watched::Node => state.observe_node(name, informers.nodes.get("", name).as_ref(), now),
            Watched::Claim => objects!(claims wakes Claim),
            Watched::Volume => objects!(volumes wakes Volume),
            Watched::Class => objects!(classes wakes Class),
            Watched::CsiNode => objects!(csi_nodes wakes CsiNode),
            Watched::CsiDriver => objects!(csi_drivers wakes CsiDriver),
            Watched::Capacity => objects!(capacities wakes Capacity),
            Watched::Attachment => objects!(attachments wakes Attachment),
            Watched::Namespace => drop(objects!(namespaces)),
            Watched::Service => drop(objects!(services)),
            Watched::ReplicaSet => drop(objects!(replica_sets)),
            Watched::StatefulSet => drop(objects!(stateful_sets)),
            Watched::ReplicationController => drop(objects!(replication_controllers)),
            Watched::Budget => drop(objects!(budgets)),
        }
    }
}

/// Brings one object of the snapshot up to date; answers what it was and what it is.
fn note<K>(
    objects: &mut Objects<K>,
    informer: &client::Informer<K>,
    namespace: &str,
    name: &str,
) -> (Option<Arc<K>>, Option<Arc<K>>)
where
    K: client::informer::Kind
        + k8s_openapi::Metadata<Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>,
{
    let old = objects.get(namespace, name).map(Arc::clone);
    let new = informer.get(namespace, name);
    match &new {
        Some(object) => objects.set(Arc::clone(object)),
        None => objects.remove(namespace, name),
    }
    (old, new)
}
