//! A pod that is to run: admission, deadline, and carrying out the plan.

use std::sync::Arc;
use std::time::Duration;

use client::EventKind;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, DownwardAPIVolumeFile, Pod};
use podlife::actions::{KillReason, PodActions, awaits_successor, compute_pod_actions};
use podlife::admit::{NodeState, admit};
use podlife::container::{SandboxParts, sandbox_config};
use podlife::env::Referenced;
use podlife::pod::ContainerRef;
use podlife::status::{Cause, Verdict};
use podlife::{cgroup, dns, grace, hostname, pod, qos, resources};

use super::{Next, Stage, Worker};
use crate::node::machine;
use crate::pulls::PullState;
use crate::references;
use crate::volumes::{self, Context};

impl Worker {
    /// Turns to stopping when the pod is to end.
    pub(super) fn decide_end(&mut self) {
        let outside = self.signals.verdict.lock().take();
        if let Some(sentence) = outside {
            self.verdict = Some(sentence.verdict);
            self.begin_stopping();
            self.stopping_since = Some((self.now(), sentence.grace_s));
            return;
        }
        let deleting = self.pod.metadata.deletion_timestamp.is_some();
        if self.gone || deleting || pod::is_finished(&self.pod) || self.verdict.is_some() {
            self.begin_stopping();
            return;
        }
        if self.deadline().is_some_and(|deadline| deadline <= self.now()) {
            let message = "Pod was active on the node longer than the specified deadline";
            let reason = "DeadlineExceeded";
            self.shared.events.pod(&self.pod, EventKind::Normal, reason, message.to_owned());
            self.verdict = Some(Verdict {
                cause: Cause::Pod,
                reason: reason.to_owned(),
                message: message.to_owned(),
            });
            self.begin_stopping();
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let started = self.signals.status.lock().start_time.clone()?;
        grace::active_deadline(&self.pod, started.0)
    }

    pub(super) async fn sync_live(&mut self) -> Next {
        // Nothing can be said about a node that is not known; the pod is woken when it is.
        let node_is_known = self.shared.readiness.load().node.metadata.name.is_some();
        if !self.admitted && self.observed.is_empty() && !node_is_known {
            return Next::Wake;
        }
        if !self.admitted && !self.admit() {
            self.begin_stopping();
            return self.sync_stopping().await;
        }
        let deadline = self.deadline();
        let next = self.carry_out().await;
        if self.stage == Stage::Stopping {
            return self.sync_stopping().await;
        }
        next.sooner(deadline).sooner(self.volumes.refresh_at)
    }

    fn admit(&mut self) -> bool {
        // What runs already was admitted by the kubelet before this one.
        if self.observed.is_empty() {
            let state = self.node_state();
            let others = self.other_pods();
            if let Err(refusal) = admit(&self.pod, &state, others.iter().map(Arc::as_ref)) {
                let message = refusal.message.clone();
                self.shared.events.pod(&self.pod, EventKind::Warning, &refusal.reason, message);
                self.verdict = Some(refusal.into());
                return false;
            }
        }
        self.admitted = true;
        true
    }

    /// What the node is like now, for letting pods and changes in.
    pub(super) fn node_state(&self) -> NodeState {
        let readiness = self.shared.readiness.load();
        NodeState {
            node: readiness.node.clone(),
            allocatable: readiness.allocatable.clone(),
            kernel: machine::kernel(),
        }
    }

    /// The pods that were here before this one and still take something.
    pub(super) fn other_pods(&self) -> Vec<Arc<Pod>> {
        let own = (self.pod.metadata.creation_timestamp.clone(), self.signals.uid.clone());
        let before = |pod: &Pod| {
            (pod.metadata.creation_timestamp.clone(), pod::uid(pod).to_owned()) < own
                || self.runs_already(pod)
        };
        let all = self.shared.pods.list().into_iter();
        all.filter(|it| pod::uid(it) != self.signals.uid && !pod::is_finished(it) && before(it))
            .collect()
    }

    fn runs_already(&self, pod: &Pod) -> bool {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        phase == Some("Running")
    }

    fn plan(&self) -> PodActions {
        let probes = self.signals.probes.lock();
        compute_pod_actions(&self.pod, &self.observed, &probes, &self.shared.place.node)
    }

    async fn carry_out(&mut self) -> Next {
        self.finish_hooks();
        let mut actions = self.plan();
        // Between a container and its successor the pod would be reported unready for an instant: what is
        // reported instead is whether the successor started.
        let is_replacing = awaits_successor(&self.pod, &self.observed, &actions.start);
        if !is_replacing {
            self.publish(false);
        }
        if actions.kill_pod && !actions.create_sandbox {
            self.begin_stopping();
            return Next::Wake;
        }
        if actions.kill_pod && !self.observed.is_empty() && self.observed.is_running() {
            return self.replace_sandbox().await;
        }
        if actions.kill_pod && !self.observed.is_empty() {
            self.stop_sandboxes().await;
            self.hooks.clear();
            let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            self.shared.events.pod(&self.pod, EventKind::Normal, "SandboxChanged", message);
        }
        for kill in actions.kill.iter().filter(|kill| kill.reason != KillReason::Changed) {
            self.begin_kill_for(kill);
        }
        for update in &actions.update {
            self.resize_container(&update.id, &update.name, &update.resources).await;
        }
        let referenced = match self.prepare().await {
            Ok(referenced) => referenced,
            Err(next) => {
                if is_replacing {
                    self.publish(true);
                }
                return next;
            }
        };
        self.stop_changed(&actions, &referenced).await;
        if actions.create_sandbox {
            if let Err(next) = self.create_sandbox(actions.attempt).await {
                return next;
            }
            actions = self.plan();
            self.refresh_downward(&referenced).await;
        }
        let retry = self.start_all(&actions, &referenced).await;
        self.failures = 0;
        self.finish_sync(&actions).await;
        retry.map_or(Next::Wake, Next::At)
    }

    /// Looks once more after acting, reports, and follows the probes.
    async fn finish_sync(&mut self, actions: &PodActions) {
        if let Err(error) = self.observe().await {
            tracing::warn!(pod = %pod::described(&self.pod), %error, "cannot look at a pod");
            self.signals.wake.notify_one();
            return;
        }
        self.follow_probes(false);
        // The end of a stop that this look began wakes the worker, which then starts the successor.
        let is_stopping = actions.kill.iter().any(|kill| kill.reason == KillReason::Changed);
        if !(is_stopping && awaits_successor(&self.pod, &self.observed, &actions.start)) {
            self.publish(true);
        }
        self.collect_garbage().await;
    }

    /// Stops what runs in the old sandbox; the new one follows when that has ended.
    async fn replace_sandbox(&mut self) -> Next {
        if self.observed.running().next().is_some() {
            let all: Vec<(String, String)> = self
                .observed
                .running()
                .map(|container| (container.id.clone(), container.metadata.name.clone()))
                .collect();
            let grace = grace::of_pod(&self.pod);
            for (id, name) in all {
                self.begin_kill(&id, &name, grace, None);
            }
            return Next::Wake;
        }
        self.stop_sandboxes().await;
        if let Err(error) = self.observe().await {
            tracing::warn!(pod = %pod::described(&self.pod), %error, "cannot look at a pod");
        }
        if self.observed.is_running() {
            return Next::At(self.after_failure());
        }
        self.signals.wake.notify_one();
        Next::Wake
    }

    /// Everything a container needs before any of the pod may start: readiness of the node, references,
    /// the pod's group and its volumes.
    async fn prepare(&mut self) -> Result<Arc<Referenced>, Next> {
        let readiness = self.shared.readiness.load_full();
        if !pod::host_network(&self.pod) && !readiness.network.is_empty() {
            let message = format!("network is not ready: {}", readiness.network);
            self.shared.events.pod(&self.pod, EventKind::Warning, "NetworkNotReady", message);
            return Err(Next::Wake);
        }
        self.shared.services.synced().await;
        let needed = references::of_pod(&self.pod);
        let uid = &self.signals.uid;
        self.shared.references.set(&self.signals.namespace, uid, &needed);
        let fetched = self.shared.references.fetch(&self.signals.namespace, &needed).await;
        let referenced = match fetched {
            Ok(referenced) => Arc::new(referenced),
            Err(error) => return Err(self.failed_mount(&error.to_string())),
        };
        if self.observed.is_empty() {
            self.limit_group();
        }
        self.pull_volumes(&referenced).await?;
        self.set_up_volumes(&referenced).await?;
        Ok(referenced)
    }

    /// Makes the pod's group and limits it.
    pub(super) fn limit_group(&self) {
        let Some(cgroups) = &self.shared.cgroups else { return };
        let path = cgroup::of_pod(
            &self.shared.config.cgroup_prefix,
            qos::class(&self.pod),
            &self.signals.uid,
        );
        let limits = crate::cgroups::limits(&resources::of_pod(&self.pod));
        let done = cgroups.group(&path).and_then(|group| {
            group.create()?;
            group.set(&limits)?;
            self.weigh_classes(cgroups)
        });
        if let Err(error) = done {
            let message =
                format!("unable to ensure pod container exists: {}", cri::error::chain(&error));
            let reason = "FailedCreatePodContainer";
            self.shared.events.pod(&self.pod, EventKind::Warning, reason, message);
        }
    }

    /// The burstable pods together weigh what they ask for together.
    pub(super) fn weigh_classes(
        &self,
        cgroups: &linux::cgroup::Cgroups,
    ) -> Result<(), linux::cgroup::CgroupError> {
        let burstable = self
            .shared
            .pods
            .list()
            .into_iter()
            .filter(|it| !pod::is_finished(it) && qos::class(it) == qos::Class::Burstable);
        let cpu_milli = burstable.map(|it| resources::pod_request(&it, "cpu")).sum();
        crate::cgroups::weigh_burstable(cgroups, &self.shared.config.cgroup_prefix, cpu_milli)
    }

    /// Pulls the images that are volumes.
    async fn pull_volumes(&mut self, referenced: &Referenced) -> Result<(), Next> {
        let volumes: Vec<_> = pod::spec(&self.pod).volumes.clone().unwrap_or_default();
        let images = volumes.into_iter().filter_map(|it| Some((it.name, it.image?)));
        for (name, source) in images {
            let container = Container {
                name: format!("volume {name}"),
                image: source.reference,
                image_pull_policy: source.pull_policy,
                ..Container::default()
            };
            if let Some(ready) = self.volumes.ready.get(&name)
                && ready.image.is_some()
            {
                continue;
            }
            match self.ensure_image(ContainerRef::Main(0), &container, referenced).await {
                PullState::Present(_) => {}
                PullState::Pending => return Err(Next::Wake),
                PullState::Failed(error, retry) => {
                    let message = format!(
                        "MountVolume.SetUp failed for volume \"{name}\" : {}: {}",
                        error.reason, error.message
                    );
                    let next = self.failed_mount(&message);
                    return Err(retry.map_or(next, Next::At));
                }
            }
        }
        Ok(())
    }

    async fn set_up_volumes(&mut self, referenced: &Referenced) -> Result<(), Next> {
        let ips = self.observed.ips();
        let readiness = self.shared.readiness.load_full();
        let context = Context {
            config: &self.shared.config,
            client: &self.shared.client,
            tokens: &self.shared.tokens,
            pod: &self.pod,
            referenced,
            host_ips: &self.shared.host_ips,
            pod_ips: &ips,
            allocatable: &readiness.allocatable,
        };
        match volumes::set_up(&context).await {
            Ok(set) => {
                self.volumes = set;
                Ok(())
            }
            Err(failed) => {
                let mut next = Next::Wake;
                for volumes::Failed { volume, error } in failed {
                    let message =
                        format!("MountVolume.SetUp failed for volume \"{volume}\" : {error}");
                    next = self.failed_mount(&message);
                }
                Err(next)
            }
        }
    }

    fn failed_mount(&mut self, message: &str) -> Next {
        self.shared.events.pod(&self.pod, EventKind::Warning, "FailedMount", message.to_owned());
        Next::At(self.after_failure())
    }

    /// Volumes that show the pod's address are written again once it has one.
    async fn refresh_downward(&mut self, referenced: &Referenced) {
        let shows_address = |items: &Option<Vec<DownwardAPIVolumeFile>>| {
            items
                .iter()
                .flatten()
                .filter_map(|item| item.field_ref.as_ref())
                .any(|field| field.field_path.starts_with("status.podIP"))
        };
        let shows_itself = pod::spec(&self.pod).volumes.iter().flatten().any(|volume| {
            let sources = volume.projected.iter().flat_map(|it| it.sources.iter().flatten());
            let mut projected = sources.filter_map(|it| it.downward_api.as_ref());
            volume.downward_api.as_ref().is_some_and(|it| shows_address(&it.items))
                || projected.any(|it| shows_address(&it.items))
        });
        if shows_itself && self.set_up_volumes(referenced).await.is_err() {
            self.signals.wake.notify_one();
        }
    }

    async fn create_sandbox(&mut self, attempt: u32) -> Result<(), Next> {
        if pod::spec(&self.pod).host_users == Some(false) {
            let text =
                "can't set `spec.hostUsers: false`, runtime does not support user namespaces";
            return Err(self.failed_sandbox(text));
        }
        let dns_facts = self.shared.dns_facts();
        let name = match hostname::of(&self.pod, &dns_facts.cluster_domain) {
            Ok(name) => name,
            Err(error) => return Err(self.failed_sandbox(&error.to_string())),
        };
        let parts = SandboxParts {
            attempt,
            hostname: name.kernel,
            dns: dns::config(&self.pod, &dns_facts),
        };
        let config = sandbox_config(&self.pod, &parts, &self.shared.place);
        if let Err(error) = std::fs::create_dir_all(&config.log_directory) {
            let message = format!("cannot create {}: {error}", config.log_directory);
            return Err(self.failed_sandbox(&message));
        }
        let handler = pod::spec(&self.pod).runtime_class_name.clone();
        let handler = match self.runtime_handler(handler.as_deref()).await {
            Ok(handler) => handler,
            Err(message) => return Err(self.failed_sandbox(&message)),
        };
        match self.shared.runtime.run_pod_sandbox(&config, &handler).await {
            Ok(_) => {}
            Err(error) => return Err(self.failed_sandbox(&error.rpc_text())),
        }
        if let Err(error) = self.observe().await {
            return Err(self.failed_sandbox(&error.rpc_text()));
        }
        Ok(())
    }

    async fn runtime_handler(&self, class: Option<&str>) -> Result<String, String> {
        use k8s_openapi::api::node::v1::RuntimeClass;
        let Some(class) = class.filter(|class| !class.is_empty()) else { return Ok(String::new()) };
        match self.shared.client.all::<RuntimeClass>().get_opt(class).await {
            Ok(Some(found)) => Ok(found.handler),
            Ok(None) => Err(format!(
                "failed to get sandbox runtime: runtimeclass.node.k8s.io \"{class}\" not found"
            )),
            Err(error) => Err(format!("failed to get sandbox runtime: {error}")),
        }
    }

    fn failed_sandbox(&mut self, message: &str) -> Next {
        let message = format!("Failed to create pod sandbox: {message}");
        self.shared.events.pod(&self.pod, EventKind::Warning, "FailedCreatePodSandBox", message);
        let at = self.after_failure();
        // A network that is not there yet comes with an event; a pause is only for the rest.
        Next::At(at.max(self.after(Duration::from_millis(500))))
    }
}
