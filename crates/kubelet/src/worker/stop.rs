//! Stopping containers, and the end of a pod.

use std::sync::Arc;
use std::time::Duration;

use client::EventKind;
use cri::PodSandboxState;
use jiff::Timestamp;
use podlife::actions::{Kill, KillReason};
use podlife::{cgroup, grace, names, pod, qos};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Next, Stage, Worker};
use crate::hooks;
use crate::limits::POD_PAUSE_MIN;
use crate::volumes;

/// A container that is being stopped.
#[derive(Debug)]
pub(super) struct KillRun {
    task: JoinHandle<()>,
    /// When the container must have ended.
    deadline: Timestamp,
    /// Ends the pre-stop hook early.
    hurry: Arc<Notify>,
}

impl KillRun {
    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl Worker {
    /// Begins to stop the pod for good.
    pub(super) fn begin_stopping(&mut self) {
        self.stage = Stage::Stopping;
        let urgent = self.gone && self.pod.spec.is_none();
        let grace = if urgent { self.remembered_grace() } else { grace::of_pod(&self.pod) };
        self.stopping_since = Some((self.now(), grace));
    }

    /// The grace period noted on the containers, for a pod that the API no longer has.
    fn remembered_grace(&self) -> i64 {
        let noted = self.observed.containers.iter().find_map(|container| {
            container.annotations.get(podlife::observed::ANNOTATION_GRACE)?.parse().ok()
        });
        noted.unwrap_or(podlife::limits::GRACE_DEFAULT_S)
    }

    pub(super) async fn sync_stopping(&mut self) -> Next {
        self.shorten_grace();
        self.follow_probes(true);
        self.publish(false);
        let deadline = self.stop_deadline();
        let now = self.now();
        let running: Vec<(String, String)> = self
            .observed
            .running()
            .map(|container| (container.id.clone(), container.metadata.name.clone()))
            .collect();
        if !running.is_empty() {
            let left = Duration::try_from(deadline.duration_since(now)).unwrap_or_default();
            // A second that has begun counts.
            let left = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            let left = i64::try_from(left).unwrap_or(i64::MAX);
            for (id, name) in self.stoppable(&running, left == 0) {
                self.begin_kill(&id, &name, left, None);
            }
            // Containers end with an event; this is for one that the runtime cannot stop.
            return Next::At(deadline.max(now) + Duration::from_secs(10));
        }
        self.stop_sandboxes().await;
        if let Err(error) = self.observe().await {
            tracing::warn!(pod = %pod::described(&self.pod), %error, "cannot look at a pod");
            return Next::At(self.after_failure());
        }
        if self.observed.is_running() {
            return Next::At(self.after_failure());
        }
        self.stage = Stage::Stopped;
        self.failures = 0;
        self.sync_stopped().await
    }

    /// A second deletion may ask for less time; none gives more.
    fn shorten_grace(&mut self) {
        let wanted = grace::of_pod(&self.pod);
        let deleting = self.pod.metadata.deletion_timestamp.is_some();
        if let Some((since, have)) = &mut self.stopping_since
            && deleting
            && wanted < *have
        {
            (*since, *have) = (self.shared.clock.now(), wanted);
        }
    }

    fn stop_deadline(&self) -> Timestamp {
        let (since, grace) = self.stopping_since.unwrap_or_else(|| (self.now(), 0));
        since.checked_add(jiff::SignedDuration::from_secs(grace)).unwrap_or(since)
    }

    /// Main containers first; then sidecars, the last one first. All of them when time is up.
    fn stoppable(&self, running: &[(String, String)], all: bool) -> Vec<(String, String)> {
        let sidecars: Vec<&str> = pod::init_containers(&self.pod)
            .iter()
            .filter(|init| pod::is_sidecar(init))
            .map(|init| init.name.as_str())
            .collect();
        let is_sidecar = |name: &str| sidecars.contains(&name);
        let others: Vec<(String, String)> =
            running.iter().filter(|(_, name)| !is_sidecar(name)).cloned().collect();
        if all {
            return running.to_vec();
        }
        if !others.is_empty() {
            return others;
        }
        let last = sidecars
            .iter()
            .rev()
            .find_map(|sidecar| running.iter().find(|(_, name)| name == sidecar));
        last.cloned().into_iter().collect()
    }

    /// Stops a container as the plan says.
    pub(super) fn begin_kill_for(&mut self, kill: &Kill) {
        let found = pod::find(&self.pod, &kill.name);
        let seconds = found.as_ref().map_or(podlife::limits::GRACE_DEFAULT_S, |(_, container)| {
            grace::of_container(&self.pod, container, kill.reason)
        });
        let message = match kill.reason {
            KillReason::Unknown => None,
            _ => Some(kill.message.clone()),
        };
        self.begin_kill(&kill.id, &kill.name, seconds, message);
    }

    pub(super) fn is_being_killed(&self, id: &str) -> bool {
        self.kills.get(id).is_some_and(|run| !run.is_finished())
    }

    /// Stops a container within `seconds`; one that is being stopped already only gets less time.
    pub(super) fn begin_kill(
        &mut self,
        id: &str,
        name: &str,
        seconds: i64,
        message: Option<String>,
    ) {
        let deadline = self.after(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        if let Some(run) = self.kills.get_mut(id)
            && !run.is_finished()
        {
            let shorter = Duration::from_millis(500);
            if deadline + shorter < run.deadline {
                run.deadline = deadline;
                run.hurry.notify_one();
                self.stop_again(id, seconds);
            }
            return;
        }
        let found = pod::find(&self.pod, name);
        if let Some((reference, _)) = &found {
            let message = message.unwrap_or_else(|| format!("Stopping container {name}"));
            let place = (*reference, name);
            self.shared.events.container(&self.pod, place, EventKind::Normal, "Killing", message);
        }
        let hook = found.and_then(|(reference, container)| {
            let hook = container.lifecycle.as_ref()?.pre_stop.clone()?;
            Some((reference, container, hook))
        });
        let hurry = Arc::new(Notify::new());
        let task = self.spawn_kill(id, seconds, hook, Arc::clone(&hurry));
        self.kills.insert(id.to_owned(), KillRun { task, deadline, hurry });
    }

    fn stop_again(&self, id: &str, seconds: i64) {
        let (runtime, id) = (Arc::clone(&self.shared.runtime), id.to_owned());
        let wake = self.waker();
        self.shared.scope.spawn_until_cancelled("stop of a container", async move {
            if let Err(error) = runtime.stop_container(&id, seconds).await {
                tracing::warn!(container = %id, %error, "cannot stop a container");
            }
            wake();
        });
    }

    fn spawn_kill(
        &self,
        id: &str,
        seconds: i64,
        hook: Option<(
            pod::ContainerRef,
            k8s_openapi::api::core::v1::Container,
            k8s_openapi::api::core::v1::LifecycleHandler,
        )>,
        hurry: Arc<Notify>,
    ) -> JoinHandle<()> {
        let (shared, pod) = (Arc::clone(&self.shared), Arc::clone(&self.pod));
        let (id, wake) = (id.to_owned(), self.waker());
        let pod_ip = self.observed.ips().into_iter().next().unwrap_or_default();
        self.shared.scope.spawn_until_cancelled("stop of a container", async move {
            let mut left = seconds;
            if let Some((reference, container, hook)) = hook
                && seconds > 0
            {
                let began = tokio::time::Instant::now();
                let name = container.name.clone();
                let call = hooks::Call {
                    runtime: Arc::clone(&shared.runtime),
                    clock: shared.clock.clone(),
                    container_id: id.clone(),
                    container,
                    pod_ip,
                };
                let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                let result = tokio::select! {
                    result = tokio::time::timeout(limit, hooks::run(&call, &hook)) => {
                        result.map_err(|_| hooks::HookError::TimedOut).and_then(|done| done)
                    }
                    () = hurry.notified() => Ok(()),
                };
                if let Err(error) = result {
                    tracing::debug!(container = %id, %error, "pre-stop hook failed");
                    let place = (reference, name.as_str());
                    let text = "PreStopHook failed".to_owned();
                    let reason = "FailedPreStopHook";
                    shared.events.container(&pod, place, EventKind::Warning, reason, text);
                }
                left = grace::after_hook(seconds, began.elapsed());
            }
            if let Err(error) = shared.runtime.stop_container(&id, left).await {
                tracing::warn!(container = %id, %error, "cannot stop a container");
                // It is tried again, but not at once.
                shared.clock.sleep(POD_PAUSE_MIN).await;
            }
            wake();
        })
    }

    /// Stops every sandbox that works.
    pub(super) async fn stop_sandboxes(&mut self) {
        let ready: Vec<String> = self
            .observed
            .sandboxes
            .iter()
            .filter(|sandbox| sandbox.state == PodSandboxState::Ready)
            .map(|sandbox| sandbox.id.clone())
            .collect();
        for id in ready {
            if let Err(error) = self.shared.runtime.stop_pod_sandbox(&id).await {
                let message = format!("error killing pod: {}", error.rpc_text());
                self.shared.events.pod(&self.pod, EventKind::Warning, "FailedKillPod", message);
            }
        }
    }

    /// Reports the end, gives back what the pod used, and lets the API forget it.
    pub(super) async fn sync_stopped(&mut self) -> Next {
        self.follow_probes(true);
        if !self.gone {
            self.publish_end();
        }
        if !self.cleaned {
            if let Err(error) = self.give_back().await {
                tracing::warn!(pod = %pod::described(&self.pod), %error, "cannot clean up a pod");
                return Next::At(self.after_failure());
            }
            self.cleaned = true;
        }
        if self.gone {
            return self.remove_all().await;
        }
        if self.pod.metadata.deletion_timestamp.is_some() && !self.deleted {
            self.deleted = true;
            self.shared.statuses.delete(&self.signals.uid);
        }
        Next::Wake
    }

    async fn give_back(&self) -> Result<(), volumes::VolumeError> {
        let directory = self.shared.config.pod_directory(&self.signals.uid);
        let blocking = tokio::task::spawn_blocking(move || volumes::tear_down(&directory));
        match blocking.await {
            Ok(result) => result?,
            Err(error) => return Err(volumes::VolumeError::Mount(error.to_string())),
        }
        self.shared.references.set(&self.signals.namespace, &self.signals.uid, &Default::default());
        self.shared.tokens.forget(&self.signals.uid);
        self.remove_group();
        Ok(())
    }

    /// Removes the pod's group; those of its containers are gone with them.
    fn remove_group(&self) {
        let Some(cgroups) = &self.shared.cgroups else { return };
        // The class of a pod that the API no longer has may not be known.
        for class in [qos::Class::Guaranteed, qos::Class::Burstable, qos::Class::BestEffort] {
            let path = cgroup::of_pod(&self.shared.config.cgroup_prefix, class, &self.signals.uid);
            let removed = cgroups.group(&path).and_then(|group| group.remove());
            if let Err(error) = removed {
                tracing::warn!(path, %error, "cannot remove a pod's group");
            }
        }
        if let Err(error) = self.weigh_classes(cgroups) {
            tracing::debug!(%error, "cannot weigh the groups of pods");
        }
    }

    /// Removes the last traces: sandboxes with their containers, and logs.
    async fn remove_all(&mut self) -> Next {
        for sandbox in &self.observed.sandboxes {
            if let Err(error) = self.shared.runtime.remove_pod_sandbox(&sandbox.id).await {
                tracing::warn!(sandbox = %sandbox.id, %error, "cannot remove a sandbox");
                return Next::At(self.after_failure());
            }
        }
        let pod = &self.pod;
        let directory =
            names::pod_log_directory(pod::namespace(pod), pod::name(pod), &self.signals.uid);
        let directory = self.shared.config.pod_logs().join(directory);
        self.unlink_logs();
        if let Err(error) = std::fs::remove_dir_all(&directory)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(directory = %directory.display(), %error, "cannot remove logs");
        }
        Next::Gone
    }

    fn unlink_logs(&self) {
        let pod = &self.pod;
        for container in &self.observed.containers {
            self.unlink_log(pod::name(pod), pod::namespace(pod), container);
        }
    }
}
