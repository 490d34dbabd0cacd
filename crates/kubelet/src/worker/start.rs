//! Starting containers: back-off, image, configuration, creation, post-start hook.

use std::collections::BTreeMap;

use client::EventKind;
use cri::{ContainerState, ContainerStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use podlife::actions::{KillReason, PodActions};
use podlife::backoff::go_duration;
use podlife::container::{ContainerParts, SandboxParts, container_config, sandbox_config};
use podlife::downward::DownwardFacts;
use podlife::env::{self, Referenced};
use podlife::pod::{self, ContainerRef};
use podlife::status::StartError;
use podlife::{dns, hash, hostname, hosts, names, observed, security};

use super::Worker;
use crate::hooks::{self, HookRun};
use crate::pulls::{Present, PullState, Wish};
use crate::references;
use crate::volumes::mounts::{self, Target};

/// How the start of one container went.
enum Started {
    /// It runs.
    Yes,
    /// Something that wakes the worker is under way; later containers wait for it.
    Pending,
    /// Not now; later containers go on. Again at that time, if there is one.
    No(Option<Timestamp>),
}

impl Worker {
    /// Starts what the plan says, in its order. Answers when to try again.
    pub(super) async fn start_all(
        &mut self,
        actions: &PodActions,
        referenced: &Referenced,
    ) -> Option<Timestamp> {
        let mut retry: Option<Timestamp> = None;
        for reference in &actions.start {
            let Some(container) = pod::container(&self.pod, *reference) else { continue };
            if self.hooks.values().any(HookRun::is_pending) {
                return retry;
            }
            let is_being_stopped = self
                .observed
                .container(&container.name)
                .is_some_and(|it| it.state == ContainerState::Running);
            if is_being_stopped {
                continue;
            }
            match self.start(*reference, &container, referenced).await {
                Started::Yes => {
                    self.start_errors.remove(&container.name);
                }
                Started::Pending => return retry,
                Started::No(at) => {
                    retry = match (retry, at) {
                        (Some(have), Some(at)) => Some(have.min(at)),
                        (have, at) => have.or(at),
                    };
                }
            }
        }
        retry
    }

    async fn start(
        &mut self,
        reference: ContainerRef,
        container: &Container,
        referenced: &Referenced,
    ) -> Started {
        let now = self.now();
        let last = self.observed.container(&container.name).cloned();
        if let Some(until) = self.in_backoff(reference, container, last.as_ref(), now) {
            return Started::No(Some(until));
        }
        let present = match self.image(reference, container, referenced).await {
            Ok(present) => present,
            Err(started) => return started,
        };
        let restarts = self.next_restart(&container.name, last.as_ref());
        let (config, sandbox) = match self
            .configure(reference, container, present, restarts, referenced)
        {
            Ok(configs) => configs,
            Err(error) => {
                let message = format!("Error: {}", error.message);
                self.container_event(reference, container, EventKind::Warning, "Failed", message);
                self.start_errors.insert(container.name.clone(), error);
                let at = self.after_failure();
                return Started::No(Some(at));
            }
        };
        self.create_and_start(reference, container, config, sandbox).await
    }

    fn container_event(
        &self,
        reference: ContainerRef,
        container: &Container,
        kind: EventKind,
        reason: &str,
        message: String,
    ) {
        let place = (reference, container.name.as_str());
        self.shared.events.container(&self.pod, place, kind, reason, message);
    }

    /// Makes the next pause of a container that ended and is started again longer.
    fn advance_backoff(&mut self, container: &Container) {
        let Some(last) = self.observed.container(&container.name) else { return };
        if last.state != ContainerState::Exited {
            return;
        }
        let Ok(finished) = Timestamp::from_nanosecond(i128::from(last.finished_at)) else { return };
        let key = format!("{}_{}", container.name, hash::of_container(container));
        let now = self.now();
        self.backoffs.advance(&key, finished, now);
    }

    /// The end of the pause that the container is in.
    fn in_backoff(
        &mut self,
        reference: ContainerRef,
        container: &Container,
        last: Option<&ContainerStatus>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let exited = last.filter(|last| last.state == ContainerState::Exited)?;
        let finished = Timestamp::from_nanosecond(i128::from(exited.finished_at)).ok()?;
        let key = format!("{}_{}", container.name, hash::of_container(container));
        let waiting = self.backoffs.waiting(&key, finished, now)?;
        let pod = pod::described(&self.pod);
        let name = &container.name;
        let event = format!("Back-off restarting failed container {name} in pod {pod}");
        let already = self.start_errors.get(name).is_some_and(|it| it.reason == "CrashLoopBackOff");
        if !already {
            self.container_event(reference, container, EventKind::Warning, "BackOff", event);
        }
        let pause = go_duration(waiting.pause);
        let message = format!("back-off {pause} restarting failed container={name} pod={pod}");
        self.start_errors.insert(name.clone(), StartError::new("CrashLoopBackOff", message));
        Some(waiting.until)
    }

    /// Stops containers whose definition changed. One serves until its new image is there, or cannot be had.
    pub(super) async fn stop_changed(&mut self, actions: &PodActions, referenced: &Referenced) {
        for kill in actions.kill.iter().filter(|kill| kill.reason == KillReason::Changed) {
            if self.is_being_killed(&kill.id) || !self.pulls_ahead(&kill.name, referenced).await {
                self.begin_kill_for(kill);
            }
        }
    }

    /// Whether the image of a container is still on its way.
    async fn pulls_ahead(&mut self, name: &str, referenced: &Referenced) -> bool {
        let Some((reference, container)) = pod::find(&self.pod, name) else { return false };
        match self.ensure_image(reference, &container, referenced).await {
            PullState::Present(present) => {
                self.pulls.keep_ahead(&container, present);
                false
            }
            PullState::Pending => true,
            PullState::Failed(..) => false,
        }
    }

    async fn image(
        &mut self,
        reference: ContainerRef,
        container: &Container,
        referenced: &Referenced,
    ) -> Result<Present, Started> {
        match self.ensure_image(reference, container, referenced).await {
            PullState::Present(present) => Ok(present),
            PullState::Pending => Err(Started::Pending),
            PullState::Failed(error, retry) => {
                self.start_errors.insert(container.name.clone(), error);
                let retry = retry.unwrap_or_else(|| self.after_failure());
                Err(Started::No(Some(retry)))
            }
        }
    }

    /// Where the image of a container, or of a volume, stands; starts a pull when one is due.
    pub(super) async fn ensure_image(
        &mut self,
        reference: ContainerRef,
        container: &Container,
        referenced: &Referenced,
    ) -> PullState {
        let secrets = references::pull_secrets(&self.pod, referenced);
        let now = self.now();
        let wish = Wish { pod: &self.pod, reference, container, secrets: &secrets, now };
        let wake = self.waker();
        let pulls = self.shared.pulls.clone();
        pulls.ensure(&mut self.pulls, wish, wake).await
    }

    /// The number of the next run of a container, counting those that the runtime has forgotten.
    fn next_restart(&self, name: &str, last: Option<&ContainerStatus>) -> i32 {
        let seen = last.map(|last| observed::restarts(last) + 1).unwrap_or(0);
        let status = self.signals.status.lock();
        let all = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .chain(&status.ephemeral_container_statuses)
            .flatten();
        let reported = all.filter(|it| it.name == name).map(|it| match last {
            Some(_) => it.restart_count,
            None if it.container_id.is_some() => it.restart_count + 1,
            None => it.restart_count,
        });
        reported.max().unwrap_or(0).max(seen)
    }

    fn environment(
        &self,
        container: &Container,
        referenced: &Referenced,
    ) -> Result<Vec<cri::KeyValue>, StartError> {
        let links = pod::spec(&self.pod).enable_service_links.unwrap_or(true);
        let namespace = pod::namespace(&self.pod);
        let services = if links {
            let mut services = self.shared.services.list_in(namespace);
            services.extend(self.shared.services.get("default", "kubernetes"));
            services
        } else {
            self.shared.services.get("default", "kubernetes").into_iter().collect()
        };
        let services: BTreeMap<String, String> =
            env::of_services(namespace, links, services.iter().map(AsRef::as_ref));
        let readiness = self.shared.readiness.load();
        let ips = self.pod_ips();
        let facts = DownwardFacts {
            host_ips: &self.shared.host_ips,
            pod_ips: &ips,
            allocatable: Some(&readiness.allocatable),
        };
        env::make(&self.pod, container, &services, referenced, &facts)
            .map_err(|error| StartError::new("CreateContainerConfigError", error.to_string()))
    }

    fn pod_ips(&self) -> Vec<String> {
        if pod::host_network(&self.pod) {
            self.shared.host_ips.clone()
        } else {
            self.observed.ips()
        }
    }

    fn configure(
        &self,
        reference: ContainerRef,
        container: &Container,
        present: Present,
        restarts: i32,
        referenced: &Referenced,
    ) -> Result<(cri::ContainerConfig, cri::PodSandboxConfig), StartError> {
        let config_error = |text: String| StartError::new("CreateContainerConfigError", text);
        security::check_user(&self.pod, container, &present.user)
            .map_err(|error| config_error(error.to_string()))?;
        let env = self.environment(container, referenced)?;
        let facts = self.shared.dns_facts();
        let name = hostname::of(&self.pod, &facts.cluster_domain)
            .map_err(|error| config_error(error.to_string()))?;
        let on_host = pod::host_network(&self.pod);
        let of_node = if on_host { self.shared.hosts_file() } else { String::new() };
        let hosts = hosts::file(&self.pod, &self.pod_ips(), &name.host, &name.domain, &of_node);
        let target = Target {
            config: &self.shared.config,
            pod: &self.pod,
            container,
            restarts,
            env: &env,
            volumes: &self.volumes,
        };
        let mounts = mounts::of_container(&target, &hosts).map_err(|error| {
            config_error(format!(
                "failed to prepare mounts of container \"{}\": {error}",
                container.name
            ))
        })?;
        let parts = ContainerParts {
            restarts,
            image: present.image,
            image_user: present.user,
            env,
            mounts,
            devices: Vec::new(),
            target_id: self.target_id(reference),
        };
        let attempt = self.observed.sandbox().map_or(0, |sandbox| sandbox.metadata.attempt);
        let sandbox =
            SandboxParts { attempt, hostname: name.kernel, dns: dns::config(&self.pod, &facts) };
        Ok((
            container_config(&self.pod, container, parts, &self.shared.place),
            sandbox_config(&self.pod, &sandbox, &self.shared.place),
        ))
    }

    fn target_id(&self, reference: ContainerRef) -> Option<String> {
        let ContainerRef::Ephemeral(at) = reference else { return None };
        let ephemeral = pod::ephemeral_containers(&self.pod).get(at)?;
        let target = ephemeral.target_container_name.as_deref().filter(|name| !name.is_empty())?;
        let status = self.observed.container(target)?;
        (status.state == ContainerState::Running).then(|| status.id.clone())
    }

    async fn create_and_start(
        &mut self,
        reference: ContainerRef,
        container: &Container,
        config: cri::ContainerConfig,
        sandbox: cri::PodSandboxConfig,
    ) -> Started {
        let Some(sandbox_id) = self.observed.sandbox().map(|it| it.id.clone()) else {
            return Started::No(None);
        };
        let directory = std::path::Path::new(&sandbox.log_directory).join(&container.name);
        if let Err(error) = std::fs::create_dir_all(&directory) {
            let text = format!("cannot create {}: {error}", directory.display());
            return self.failed(reference, container, "CreateContainerError", text);
        }
        self.advance_backoff(container);
        let runtime = std::sync::Arc::clone(&self.shared.runtime);
        let id = match runtime.create_container(&sandbox_id, &config, &sandbox).await {
            Ok(id) => id,
            Err(error) => {
                return self.failed(
                    reference,
                    container,
                    "CreateContainerError",
                    error.to_string(),
                );
            }
        };
        let message = format!("Created container: {}", container.name);
        self.container_event(reference, container, EventKind::Normal, "Created", message);
        if let Err(error) = runtime.start_container(&id).await {
            return self.failed(reference, container, "RunContainerError", error.to_string());
        }
        let message = format!("Started container {}", container.name);
        self.container_event(reference, container, EventKind::Normal, "Started", message);
        self.link_log(container, &id, &config.log_path, &sandbox.log_directory);
        self.begin_post_start(container, &id);
        Started::Yes
    }

    fn failed(
        &mut self,
        reference: ContainerRef,
        container: &Container,
        reason: &str,
        text: String,
    ) -> Started {
        let message = format!("Error: {text}");
        self.container_event(reference, container, EventKind::Warning, "Failed", message);
        self.start_errors.insert(container.name.clone(), StartError::new(reason, text));
        let at = self.after_failure();
        Started::No(Some(at))
    }

    /// The flat link under which log collectors find the log.
    fn link_log(&self, container: &Container, id: &str, log_path: &str, directory: &str) {
        let pod = &self.pod;
        let name = names::legacy_log(pod::name(pod), pod::namespace(pod), &container.name, id);
        let link = self.shared.config.container_logs().join(name);
        let log = std::path::Path::new(directory).join(log_path);
        if let Err(error) = std::os::unix::fs::symlink(&log, &link) {
            tracing::debug!(link = %link.display(), %error, "cannot link a log");
        }
    }

    fn begin_post_start(&mut self, container: &Container, id: &str) {
        let hook = container.lifecycle.as_ref().and_then(|it| it.post_start.clone());
        let Some(hook) = hook else { return };
        let call = hooks::Call {
            runtime: std::sync::Arc::clone(&self.shared.runtime),
            clock: self.shared.clock.clone(),
            container_id: id.to_owned(),
            container: container.clone(),
            pod_ip: self.pod_ips().into_iter().next().unwrap_or_default(),
        };
        let run = hooks::start(&self.shared.scope, call, hook, self.waker());
        self.hooks.insert(container.name.clone(), run);
    }

    /// Takes note of post-start hooks that have ended; one that failed stops its container.
    pub(super) fn finish_hooks(&mut self) {
        let names: Vec<String> = self.hooks.keys().cloned().collect();
        for name in names {
            let Some(result) = self.hooks.get_mut(&name).and_then(HookRun::result) else {
                continue;
            };
            self.hooks.remove(&name);
            let Err(error) = result else { continue };
            let Some((reference, container)) = pod::find(&self.pod, &name) else { continue };
            tracing::debug!(container = %name, %error, "post-start hook failed");
            let message = "PostStartHook failed".to_owned();
            let reason = "FailedPostStartHook";
            self.container_event(reference, &container, EventKind::Warning, reason, message);
            let error = StartError::new("PostStartHookError", error.to_string());
            self.start_errors.insert(name.clone(), error);
            if let Some(status) = self.observed.container(&name) {
                let id = status.id.clone();
                let grace = podlife::grace::of_pod(&self.pod);
                self.begin_kill(&id, &name, grace, Some("FailedPostStartHook".to_owned()));
            }
        }
    }
}
