//! A container runtime in memory. A container ends when the test says so, or by itself when its command
//! is `exit <code> <seconds>`; one whose command is `stubborn` ends only by force.

mod executed;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clock::Clock;
use cri::*;
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<String, (PodSandboxStatus, PodSandboxConfig)>,
    containers: BTreeMap<String, (ContainerStatus, ContainerConfig)>,
    made: u64,
    log: Vec<String>,
    images: Vec<Image>,
    pull_failures: BTreeMap<String, Error>,
    exec: BTreeMap<String, VecDeque<i32>>,
    /// Commands that cannot be run.
    broken: Vec<String>,
    /// Commands that were run with streams.
    executed: Vec<String>,
    /// What those commands have read, when they have ended.
    typed: VecDeque<Vec<u8>>,
    /// Bytes of writable layers by the containers' names.
    layers: BTreeMap<String, u64>,
    /// How often figures were asked for.
    measured: usize,
    network_down: bool,
    pod_cidr: String,
}

impl State {
    /// What the running containers of a sandbox use.
    fn container_stats(&self, sandbox: &str) -> Vec<ContainerStats> {
        let all = self.containers.values().map(|(status, _)| status);
        let running = all.filter(|status| {
            status.pod_sandbox_id == sandbox && status.state == ContainerState::Running
        });
        let stats = running.map(|status| ContainerStats {
            attributes: ContainerAttributes {
                id: status.id.clone(),
                metadata: status.metadata.clone(),
                ..ContainerAttributes::default()
            },
            writable_layer: Some(FilesystemUsage {
                used_bytes: Some(self.layers.get(&status.metadata.name).copied().unwrap_or(0)),
                ..FilesystemUsage::default()
            }),
            ..ContainerStats::default()
        });
        stats.collect()
    }
}

/// See the module's text.
pub(crate) struct FakeRuntime {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<ContainerEvent>,
    changes: watch::Sender<u64>,
    clock: Clock,
}

impl std::fmt::Debug for FakeRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeRuntime")
    }
}

impl FakeRuntime {
    pub(crate) fn new(clock: Clock) -> Self {
        let image = Image {
            id: "sha256:1".into(),
            repo_tags: vec!["image:1".into()],
            size: 7,
            ..Image::default()
        };
        let state = State { images: vec![image], ..State::default() };
        Self {
            state: Arc::new(Mutex::new(state)),
            events: broadcast::Sender::new(256),
            changes: watch::Sender::new(0),
            clock,
        }
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What was done, in order.
    pub(crate) fn log(&self) -> Vec<String> {
        self.state.lock().log.clone()
    }

    pub(crate) fn fail_pulls(&self, image: &str, error: Option<Error>) {
        let mut state = self.state.lock();
        match error {
            Some(error) => state.pull_failures.insert(image.to_owned(), error),
            None => state.pull_failures.remove(image),
        };
    }

    /// The exit codes of the next runs of a command; the last one stays.
    pub(crate) fn script_exec(&self, command: &str, codes: &[i32]) {
        self.state.lock().exec.insert(command.to_owned(), codes.iter().copied().collect());
    }

    /// Makes runs of a command impossible.
    pub(crate) fn break_exec(&self, command: &str) {
        self.state.lock().broken.push(command.to_owned());
    }

    /// Commands that were run with streams.
    pub(crate) fn executed(&self) -> Vec<String> {
        self.state.lock().executed.clone()
    }

    /// What the next command with streams had read when it ended.
    pub(crate) async fn typed(&self) -> Vec<u8> {
        let mut changes = self.changes();
        loop {
            if let Some(typed) = self.state.lock().typed.pop_front() {
                return typed;
            }
            changes.changed().await.unwrap();
        }
    }

    /// Fills the writable layers of containers of that name.
    pub(crate) fn fill_layer(&self, name: &str, bytes: u64) {
        self.state.lock().layers.insert(name.to_owned(), bytes);
    }

    /// How often figures were asked for.
    pub(crate) fn measured(&self) -> usize {
        self.state.lock().measured
    }

    pub(crate) fn set_network_down(&self, down: bool) {
        self.state.lock().network_down = down;
    }

    pub(crate) fn pod_cidr(&self) -> String {
        self.state.lock().pod_cidr.clone()
    }

    /// The newest container of that name.
    pub(crate) fn container(&self, name: &str) -> Option<(ContainerStatus, ContainerConfig)> {
        let state = self.state.lock();
        let all = state.containers.values().filter(|(status, _)| status.metadata.name == name);
        all.max_by_key(|(status, _)| status.metadata.attempt).cloned()
    }

    pub(crate) fn containers(&self) -> usize {
        self.state.lock().containers.len()
    }

    pub(crate) fn sandboxes(&self) -> Vec<PodSandboxStatus> {
        self.state.lock().sandboxes.values().map(|(status, _)| status.clone()).collect()
    }

    /// Ends the newest container of that name.
    pub(crate) fn end(&self, name: &str, code: i32) {
        let id = self.container(name).unwrap().0.id;
        self.end_id(&id, code);
    }

    /// A sandbox dies with everything in it.
    pub(crate) fn kill_sandbox(&self) {
        let ids: Vec<String> = {
            let mut state = self.state.lock();
            for (status, _) in state.sandboxes.values_mut() {
                status.state = PodSandboxState::NotReady;
            }
            state.containers.keys().cloned().collect()
        };
        for id in ids {
            self.end_id(&id, 137);
        }
    }

    fn nanos(&self) -> i64 {
        i64::try_from(self.clock.now().as_nanosecond()).unwrap()
    }

    fn end_id(&self, id: &str, code: i32) {
        let now = self.nanos();
        let ended = {
            let mut state = self.state.lock();
            let Some((status, _)) = state.containers.get_mut(id) else { return };
            if status.state != ContainerState::Running {
                return;
            }
            status.state = ContainerState::Exited;
            status.exit_code = code;
            status.finished_at = now;
            status.reason = if code == 0 { "Completed".into() } else { "Error".into() };
            status.clone()
        };
        self.tell(&ended.id, &ended.pod_sandbox_id, ContainerEventType::Stopped);
    }

    fn tell(&self, id: &str, sandbox: &str, event_type: ContainerEventType) {
        let pod_uid =
            self.state.lock().sandboxes.get(sandbox).map(|(it, _)| it.metadata.uid.clone());
        // Nobody listens while the kubelet is restarting.
        let _nobody = self.events.send(ContainerEvent {
            container_id: id.to_owned(),
            pod_sandbox_id: sandbox.to_owned(),
            pod_uid: pod_uid.unwrap_or_default(),
            event_type,
            created_at: self.nanos(),
        });
        self.changes.send_modify(|count| *count += 1);
    }

    fn note(&self, text: String) {
        self.state.lock().log.push(text);
        self.changes.send_modify(|count| *count += 1);
    }

    fn clone_handle(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            events: self.events.clone(),
            changes: self.changes.clone(),
            clock: self.clock.clone(),
        }
    }
}

#[async_trait]
impl RuntimeService for FakeRuntime {
    async fn version(&self) -> Result<Version> {
        Ok(Version {
            runtime_name: "fake".into(),
            runtime_version: "1".into(),
            ..Version::default()
        })
    }

    async fn status(&self) -> Result<RuntimeStatus> {
        let down = self.state.lock().network_down;
        let condition = |kind: &str, status| RuntimeCondition {
            r#type: kind.into(),
            status,
            reason: "NetworkPluginNotReady".into(),
            message: "no CIDR".into(),
        };
        Ok(RuntimeStatus {
            conditions: vec![condition(RUNTIME_READY, true), condition(NETWORK_READY, !down)],
            ..RuntimeStatus::default()
        })
    }

    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<()> {
        let mut state = self.state.lock();
        state.pod_cidr = pod_cidr.to_owned();
        state.network_down = false;
        Ok(())
    }

    async fn run_pod_sandbox(&self, config: &PodSandboxConfig, _handler: &str) -> Result<String> {
        let id = {
            let mut state = self.state.lock();
            state.made += 1;
            let id = format!("sandbox-{}", state.made);
            let on_host =
                config.linux.security_context.namespace_options.network == NamespaceMode::Node;
            let ip = format!("10.42.0.{}", state.made);
            let status = PodSandboxStatus {
                id: id.clone(),
                metadata: config.metadata.clone(),
                state: PodSandboxState::Ready,
                created_at: self.nanos(),
                network: (!on_host)
                    .then(|| PodSandboxNetworkStatus { ip, ..PodSandboxNetworkStatus::default() }),
                namespaces: config.linux.security_context.namespace_options.clone(),
                labels: config.labels.clone(),
                annotations: config.annotations.clone(),
                runtime_handler: String::new(),
            };
            state.sandboxes.insert(id.clone(), (status, config.clone()));
            id
        };
        self.note(format!("run sandbox {}", config.metadata.attempt));
        self.tell(&id, &id, ContainerEventType::Started);
        Ok(id)
    }

    async fn stop_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        let inside: Vec<String> = {
            let mut state = self.state.lock();
            if let Some((status, _)) = state.sandboxes.get_mut(sandbox_id) {
                status.state = PodSandboxState::NotReady;
            }
            let all = state.containers.values();
            all.filter(|(it, _)| it.pod_sandbox_id == sandbox_id)
                .map(|(it, _)| it.id.clone())
                .collect()
        };
        for id in inside {
            self.end_id(&id, 137);
        }
        self.note("stop sandbox".to_owned());
        Ok(())
    }

    async fn remove_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        {
            let mut state = self.state.lock();
            state.sandboxes.remove(sandbox_id);
            state.containers.retain(|_, (status, _)| status.pod_sandbox_id != sandbox_id);
        }
        self.note("remove sandbox".to_owned());
        Ok(())
    }

    async fn pod_sandbox_status(&self, sandbox_id: &str) -> Result<PodSandboxStatusResponse> {
        let state = self.state.lock();
        let missing = || Error::NotFound(sandbox_id.to_owned());
        let status = state.sandboxes.get(sandbox_id).ok_or_else(missing)?.0.clone();
        let containers_statuses = state
            .containers
            .values()
            .filter(|(it, _)| it.pod_sandbox_id == sandbox_id)
            .map(|(it, _)| it.clone())
            .collect();
        Ok(PodSandboxStatusResponse { status, containers_statuses, ..Default::default() })
    }

    async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>> {
        let state = self.state.lock();
        let fits = |labels: &BTreeMap<String, String>| {
            filter.label_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        let all = state.sandboxes.values().filter(|(it, _)| fits(&it.labels));
        Ok(all
            .map(|(it, _)| PodSandbox {
                id: it.id.clone(),
                metadata: it.metadata.clone(),
                state: it.state,
                created_at: it.created_at,
                labels: it.labels.clone(),
                ..PodSandbox::default()
            })
            .collect())
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<String> {
        let mut state = self.state.lock();
        state.made += 1;
        let id = format!("container-{}", state.made);
        let status = ContainerStatus {
            id: id.clone(),
            pod_sandbox_id: sandbox_id.to_owned(),
            metadata: config.metadata.clone(),
            state: ContainerState::Created,
            created_at: self.nanos(),
            image: ImageSpec::named(config.image.user_specified_image.clone()),
            image_ref: config.image.image.clone(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            mounts: config.mounts.clone(),
            log_path: format!("{}/{}", sandbox_config.log_directory, config.log_path),
            resources: Some(config.linux.resources.clone()),
            ..ContainerStatus::default()
        };
        state.containers.insert(id.clone(), (status, config.clone()));
        Ok(id)
    }

    async fn start_container(&self, container_id: &str) -> Result<()> {
        let now = self.nanos();
        let (status, config) = {
            let mut state = self.state.lock();
            let missing = || Error::NotFound(container_id.to_owned());
            let (status, config) = state.containers.get_mut(container_id).ok_or_else(missing)?;
            status.state = ContainerState::Running;
            status.started_at = now;
            (status.clone(), config.clone())
        };
        self.note(format!("start {}#{}", status.metadata.name, status.metadata.attempt));
        self.tell(container_id, &status.pod_sandbox_id, ContainerEventType::Started);
        if let [word, code, seconds] = config.command.as_slice()
            && word == "exit"
        {
            let (handle, id) = (self.clone_handle(), container_id.to_owned());
            let (code, pause) =
                (code.parse().unwrap(), Duration::from_secs(seconds.parse().unwrap()));
            tokio::spawn(async move {
                handle.clock.sleep(pause).await;
                handle.end_id(&id, code);
            });
        }
        Ok(())
    }

    async fn stop_container(&self, container_id: &str, timeout: i64) -> Result<()> {
        let Some((status, config)) = self.state.lock().containers.get(container_id).cloned() else {
            return Ok(());
        };
        self.note(format!("stop {} {timeout}", status.metadata.name));
        if config.command.first().is_some_and(|word| word == "stubborn") {
            self.clock.sleep(Duration::from_secs(u64::try_from(timeout).unwrap())).await;
            self.end_id(container_id, 137);
        } else {
            self.end_id(container_id, 143);
        }
        Ok(())
    }

    async fn remove_container(&self, container_id: &str) -> Result<()> {
        self.state.lock().containers.remove(container_id);
        Ok(())
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>> {
        let state = self.state.lock();
        let all = state.containers.values().map(|(it, _)| it);
        let all = all.filter(|it| filter.state.is_none_or(|state| state == it.state));
        Ok(all
            .map(|it| Container { id: it.id.clone(), state: it.state, ..Container::default() })
            .collect())
    }

    async fn container_status(&self, container_id: &str) -> Result<ContainerStatus> {
        let state = self.state.lock();
        let missing = || Error::NotFound(container_id.to_owned());
        state.containers.get(container_id).map(|(it, _)| it.clone()).ok_or_else(missing)
    }

    async fn update_container_resources(
        &self,
        container_id: &str,
        resources: &LinuxContainerResources,
    ) -> Result<()> {
        let mut state = self.state.lock();
        let missing = || Error::NotFound(container_id.to_owned());
        let (status, _) = state.containers.get_mut(container_id).ok_or_else(missing)?;
        status.resources = Some(resources.clone());
        let text = format!("resize {}", status.metadata.name);
        state.log.push(text);
        Ok(())
    }

    async fn reopen_container_log(&self, _container_id: &str) -> Result<()> {
        Ok(())
    }

    async fn exec_sync(&self, request: &ExecSyncRequest) -> Result<ExecSyncResponse> {
        let command = request.cmd.join(" ");
        self.note(format!("exec {command}"));
        if let Some(seconds) = command.strip_prefix("sleep ") {
            self.clock.sleep(Duration::from_secs(seconds.parse().unwrap())).await;
        }
        let mut state = self.state.lock();
        if state.broken.contains(&command) {
            return Err(Error::Unavailable("broken".into()));
        }
        let codes = state.exec.entry(command).or_default();
        let exit_code = if codes.len() > 1 { codes.pop_front() } else { codes.front().copied() };
        Ok(ExecSyncResponse {
            stdout: b"output".to_vec(),
            exit_code: exit_code.unwrap_or(0),
            ..ExecSyncResponse::default()
        })
    }

    async fn exec(&self, request: &ExecRequest) -> Result<Streams> {
        let command = request.cmd.join(" ");
        let process = Arc::clone(&self.state);
        {
            let mut state = self.state.lock();
            if state.broken.contains(&command) {
                return Err(Error::Internal(format!("failed to exec in container: no {command}")));
            }
            state.executed.push(command.clone());
        }
        let (near, far) = tokio::io::duplex(1024);
        let (read, write) = tokio::io::split(near);
        let (exit_sender, exit) = tokio::sync::oneshot::channel();
        let changes = self.changes.clone();
        let reads = request.stdin;
        tokio::spawn(async move {
            let typed = executed::run(&command, reads, far).await;
            process.lock().typed.extend(typed);
            changes.send_modify(|count| *count += 1);
            let _gone = exit_sender.send(Ok(3));
        });
        Ok(Streams {
            stdin: reads.then(|| -> BoxWrite { Box::pin(write) }),
            stdout: Some(Box::pin(read)),
            stderr: None,
            resize: None,
            exit: Box::pin(async move { exit.await.unwrap_or(Ok(1)) }),
        })
    }

    async fn attach(&self, _request: &AttachRequest) -> Result<Streams> {
        Err(Error::Unimplemented("attach".into()))
    }

    async fn port_forward(&self, _sandbox_id: &str, port: u16) -> Result<BoxDuplex> {
        let (near, mut far) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            let _closed = far.write_all(format!("port {port}").as_bytes()).await;
        });
        Ok(Box::pin(near))
    }

    async fn container_stats(&self, container_id: &str) -> Result<ContainerStats> {
        Err(Error::NotFound(container_id.to_owned()))
    }

    async fn list_container_stats(&self, _: &ContainerStatsFilter) -> Result<Vec<ContainerStats>> {
        Ok(Vec::new())
    }

    async fn pod_sandbox_stats(&self, sandbox_id: &str) -> Result<PodSandboxStats> {
        Err(Error::NotFound(sandbox_id.to_owned()))
    }

    async fn list_pod_sandbox_stats(
        &self,
        filter: &PodSandboxStatsFilter,
    ) -> Result<Vec<PodSandboxStats>> {
        let mut state = self.state.lock();
        state.measured += 1;
        let wanted = |labels: &BTreeMap<String, String>| {
            filter.label_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        let sandboxes = state.sandboxes.values().filter(|(it, _)| wanted(&it.labels));
        let stats = sandboxes.map(|(it, _)| PodSandboxStats {
            containers: state.container_stats(&it.id),
            attributes: PodSandboxAttributes {
                id: it.id.clone(),
                metadata: it.metadata.clone(),
                labels: it.labels.clone(),
                ..PodSandboxAttributes::default()
            },
            cpu: Some(CpuUsage {
                usage_core_nano_seconds: Some(5_000_000_000),
                ..CpuUsage::default()
            }),
            memory: Some(MemoryUsage { working_set_bytes: Some(4096), ..MemoryUsage::default() }),
            ..PodSandboxStats::default()
        });
        Ok(stats.collect())
    }

    async fn events(&self) -> Result<EventStream> {
        let receiver = self.events.subscribe();
        Ok(futures::stream::unfold(receiver, |mut receiver| async move {
            let event = receiver.recv().await.ok()?;
            Some((event, receiver))
        })
        .boxed())
    }
}

#[async_trait]
impl ImageService for FakeRuntime {
    async fn list_images(&self, _filter: &ImageFilter) -> Result<Vec<Image>> {
        Ok(self.state.lock().images.clone())
    }

    async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>> {
        let state = self.state.lock();
        let mut all = state.images.iter();
        Ok(all.find(|it| it.id == image.image || it.repo_tags.contains(&image.image)).cloned())
    }

    async fn pull_image(&self, image: &ImageSpec, auth: Option<&AuthConfig>) -> Result<String> {
        let user = auth.map(|auth| format!(" as {}", auth.username)).unwrap_or_default();
        self.note(format!("pull {}{user}", image.image));
        self.clock.sleep(Duration::from_secs(1)).await;
        let mut state = self.state.lock();
        if let Some(error) = state.pull_failures.get(&image.image) {
            return Err(error.clone());
        }
        let id = format!("sha256:{}", state.images.len() + 1);
        let pulled = Image {
            id: id.clone(),
            repo_tags: vec![image.image.clone()],
            size: 42,
            ..Image::default()
        };
        state.images.push(pulled);
        Ok(id)
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<()> {
        let mut state = self.state.lock();
        state.images.retain(|it| it.id != image.image);
        state.log.push(format!("remove image {}", image.image));
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<ImageFsInfo> {
        Ok(ImageFsInfo::default())
    }
}
