//! Making, starting and changing containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cri::{
    ContainerConfig, ContainerEventType, Error, LinuxContainerResources,
    LinuxContainerSecurityContext, LinuxContainerUser, NamespaceMode, ProfileType, Result,
};
use images::ImageRecord;
use linux::cgroup::Limits;
use linux::overlay::Overlay;

use super::{Container, Runtime, Sandbox, blocking, call_error, lock, new_id};
use crate::limits::START_TIMEOUT;
use crate::record::{ContainerRecord, SandboxRecord};
use crate::rootfs::Rootfs;
use crate::shim::protocol::{Answer, Call, Exit, StartContainer};
use crate::spec::{self, SpecError, capabilities, seccomp, user};

const SIGTERM: i32 = 15;
/// The exit code of a container whose program could not be started (containerd's).
const EXIT_START_ERROR: i32 = 128;

impl Runtime {
    pub(super) async fn make_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
    ) -> Result<String> {
        let sandbox = self.sandbox(sandbox_id)?;
        let sandbox_record = sandbox.record();
        if !sandbox_record.ready {
            let text = format!("sandbox container {sandbox_id:?} is not running");
            return Err(Error::FailedPrecondition(text));
        }
        let container = self.reserve_container(&sandbox_record, config)?;
        let _change = container.change.lock().await;
        let id = lock(&container.record).id.clone();
        let made = {
            let (runtime, container) = (self.clone(), Arc::clone(&container));
            let sandbox_record = sandbox_record.clone();
            blocking(move || runtime.prepare_container(&sandbox_record, &container)).await
        };
        if let Err(error) = made {
            self.erase_container(&id).await?;
            return Err(error);
        }
        self.publish(&id, &sandbox_record, ContainerEventType::Created);
        Ok(id)
    }

    /// The identity of a container can be taken only once within its sandbox.
    fn reserve_container(
        &self,
        sandbox: &SandboxRecord,
        config: &ContainerConfig,
    ) -> Result<Arc<Container>> {
        let id = new_id();
        let log_path = (!config.log_path.is_empty() && !sandbox.config.log_directory.is_empty())
            .then(|| PathBuf::from(&sandbox.config.log_directory).join(&config.log_path));
        let record = ContainerRecord {
            cgroup: format!("{}/{id}", sandbox.cgroup_parent()),
            id,
            sandbox_id: sandbox.id.clone(),
            config: config.clone(),
            log_path,
            created_at: self.now(),
            ..ContainerRecord::default()
        };
        let mut state = lock(&self.inner.state);
        let taken = state.containers.values().find(|other| {
            let other = lock(&other.record);
            other.sandbox_id == record.sandbox_id && other.config.metadata == config.metadata
        });
        if let Some(taken) = taken {
            let name = format!("{}_{}", config.metadata.name, config.metadata.attempt);
            let id = lock(&taken.record).id.clone();
            return Err(Error::AlreadyExists(format!(
                "failed to reserve container name {name:?}: name {name:?} is reserved for {id:?}"
            )));
        }
        let container = Container::new(record.clone());
        state.containers.insert(record.id, Arc::clone(&container));
        Ok(container)
    }

    /// The root file system and everything that the shim needs.
    fn prepare_container(&self, sandbox: &SandboxRecord, container: &Container) -> Result<()> {
        let mut record = container.record();
        let image = self.find_image(&record.config.image.image)?;
        record.image_id = image.id.to_string();
        record.image_ref = image.digests.first().cloned().unwrap_or_else(|| image.id.to_string());
        let directory = self.inner.paths.container(&record.id);
        fs::create_dir_all(&directory).map_err(|e| Error::internal("create container", &e))?;
        self.inner
            .store
            .hold(&record.id, &image)
            .map_err(|error| Error::internal("hold image", &error))?;
        self.save_container(&record)?;
        self.mount_rootfs(&record.id, &image)?;
        let rootfs = self.inner.paths.rootfs(&record.id);
        let root = Rootfs::open(&rootfs).map_err(|e| Error::internal("open rootfs", &e))?;
        let user = self.resolve_user(&record, &image, &root)?;
        let directory_inside = spec::working_directory(&record.config, &image.config);
        root.make_directory(&directory_inside)
            .map_err(|e| Error::internal("create working directory", &e))?;
        (record.stop_signal, record.stop_signal_name) = stop_signal(&record.config, &image);
        record.user = LinuxContainerUser {
            uid: i64::from(user.uid),
            gid: i64::from(user.gid),
            supplemental_groups: user.groups.iter().map(|group| i64::from(*group)).collect(),
        };
        self.write_bundle(sandbox, &record, &image, &user)?;
        self.save_container(&record)?;
        *lock(&container.record) = record;
        Ok(())
    }

    fn find_image(&self, name: &str) -> Result<ImageRecord> {
        let found = self.inner.store.resolve(name).map_err(|e| super::image::image_error(&e))?;
        found.ok_or_else(|| Error::NotFound(format!("failed to resolve image {name:?}: not found")))
    }

    /// Mounts the root file system, unless it is mounted.
    pub(super) fn mount_rootfs(&self, id: &str, image: &ImageRecord) -> Result<()> {
        let directory = self.inner.paths.container(id);
        let (upper, work) = (directory.join("upper"), directory.join("work"));
        let rootfs = self.inner.paths.rootfs(id);
        for path in [&upper, &work, &rootfs] {
            fs::create_dir_all(path).map_err(|e| Error::internal("create rootfs", &e))?;
        }
        let lower = self.inner.store.layer_directories(image);
        let empty = directory.join("empty");
        let lower = if lower.is_empty() {
            fs::create_dir_all(&empty).map_err(|e| Error::internal("create rootfs", &e))?;
            vec![empty]
        } else {
            lower
        };
        let overlay = Overlay { lower: &lower, upper: Some((&upper, &work)) };
        linux::overlay::mount(&overlay, &rootfs).map_err(|e| Error::internal("mount rootfs", &e))
    }

    fn resolve_user(
        &self,
        record: &ContainerRecord,
        image: &ImageRecord,
        root: &Rootfs,
    ) -> Result<user::User> {
        let read = |path| root.read_text(path).map_err(|e| Error::internal("read", &e));
        let (passwd, group) = (read("/etc/passwd")?, read("/etc/group")?);
        let security = &record.config.linux.security_context;
        user::resolve(security, image.user(), &passwd, &group).map_err(|e| spec_error(&e))
    }

    fn write_bundle(
        &self,
        sandbox: &SandboxRecord,
        record: &ContainerRecord,
        image: &ImageRecord,
        user: &user::User,
    ) -> Result<()> {
        let files = self.sandbox_files(sandbox);
        let hostname = self.hostname(sandbox);
        let input = spec::Input {
            config: &record.config,
            image: &image.config,
            user,
            cgroup: &record.cgroup,
            hostname: &hostname,
            files: &files,
            pid_namespace: self.pid_namespace(sandbox, &record.config)?,
            swap_accounted: self.inner.swap_accounted,
            open_files_max: self.inner.open_files_max,
            cgroup_namespace: self.has_cgroup_namespaces(),
        };
        let spec = spec::build(&input).map_err(|error| spec_error(&error))?;
        let security = &record.config.linux.security_context;
        let mut privileges = capabilities::build(security).map_err(|error| spec_error(&error))?;
        let directory = self.inner.paths.container(&record.id);
        privileges.seccomp = self
            .seccomp_filters(security, privileges.bounding, &directory)
            .map_err(|error| spec_error(&error))?;
        let write = |name: &str, value: serde_json::Result<Vec<u8>>| {
            let bytes = value.map_err(|e| Error::internal(name, &e))?;
            fs::write(directory.join(name), bytes).map_err(|e| Error::internal(name, &e))
        };
        write("config.json", serde_json::to_vec(&spec))?;
        write("privileges.json", serde_json::to_vec(&privileges))
    }

    /// Compiles the container's seccomp profile; answers the files with the filters.
    fn seccomp_filters(
        &self,
        security: &LinuxContainerSecurityContext,
        capabilities: u64,
        directory: &Path,
    ) -> std::result::Result<Vec<PathBuf>, SpecError> {
        let wanted = security.seccomp.as_ref().filter(|_| !security.privileged);
        let Some(wanted) = wanted else { return Ok(Vec::new()) };
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| SpecError::Io { action, path, source }
        };
        let profile = match wanted.profile_type {
            ProfileType::Unconfined => return Ok(Vec::new()),
            ProfileType::RuntimeDefault => seccomp::default_profile(capabilities),
            ProfileType::Localhost => {
                let path = Path::new(&wanted.localhost_ref);
                seccomp::Profile::parse(&fs::read(path).map_err(io("read", path))?)?
            }
        };
        let programs = profile.compile()?;
        let files = programs.iter().enumerate().map(|(index, program)| {
            let path = directory.join(format!("seccomp-{index}.bpf"));
            fs::write(&path, program.as_bytes()).map_err(io("write", &path))?;
            Ok(path)
        });
        files.collect()
    }

    /// The process namespace that the container joins.
    fn pid_namespace(
        &self,
        sandbox: &SandboxRecord,
        config: &ContainerConfig,
    ) -> Result<Option<PathBuf>> {
        let options = &config.linux.security_context.namespace_options;
        let of = |pid: i32| Some(PathBuf::from(format!("/proc/{pid}/ns/pid")));
        match options.pid {
            NamespaceMode::Container | NamespaceMode::Node => Ok(None),
            NamespaceMode::Pod => {
                let pause = sandbox.pause_pid.ok_or_else(|| {
                    Error::InvalidArgument("the sandbox has no shared process namespace".to_owned())
                })?;
                Ok(of(pause))
            }
            NamespaceMode::Target => {
                let target = self.container(&options.target_id)?.record();
                if target.sandbox_id != sandbox.id || target.pid == 0 || target.exit.is_some() {
                    return Err(Error::FailedPrecondition(format!(
                        "invalid target container: container {:?} is not running - in state {:?}",
                        target.id,
                        target.state()
                    )));
                }
                Ok(of(target.pid))
            }
        }
    }

    pub(super) async fn run_container(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let _change = container.change.lock().await;
        let record = container.record();
        if record.state() != cri::ContainerState::Created {
            return Err(Error::FailedPrecondition(format!(
                "failed to set starting state for container {id:?}: container is in {:?} state",
                record.state()
            )));
        }
        let sandbox = self.sandbox(&record.sandbox_id)?;
        match self.start_in_shim(&sandbox, &record).await {
            Ok((pid, started_at)) => {
                self.note_start(&container, &sandbox.record(), pid, started_at)
            }
            Err(error) => {
                self.note_start_error(&container, &error)?;
                Err(error)
            }
        }
    }

    async fn start_in_shim(
        &self,
        sandbox: &Sandbox,
        record: &ContainerRecord,
    ) -> Result<(i32, i64)> {
        let sandbox_record = sandbox.record();
        if !sandbox_record.ready {
            return Err(Error::FailedPrecondition(format!(
                "sandbox container {:?} is not running",
                sandbox_record.id
            )));
        }
        let shim = sandbox.shim()?;
        let config = &record.config;
        let pid_mode = config.linux.security_context.namespace_options.pid;
        let start = StartContainer {
            container_id: record.id.clone(),
            bundle: self.inner.paths.container(&record.id),
            log_path: record.log_path.clone(),
            cgroup: record.cgroup.clone(),
            tty: config.tty,
            stdin: config.stdin,
            stdin_once: config.stdin_once,
            own_pid_namespace: pid_mode == NamespaceMode::Container,
            oom_score_adj: i32::try_from(config.linux.resources.oom_score_adj).ok(),
        };
        let cgroup = self.cgroup(&record.cgroup)?;
        let rules = spec::device_rules(config).map_err(|error| spec_error(&error))?;
        blocking(move || {
            cgroup.create().map_err(|e| Error::internal("create cgroup", &e))?;
            match rules {
                Some(rules) => cgroup
                    .confine_devices(&rules)
                    .map_err(|e| Error::internal("confine devices", &e)),
                None => Ok(()),
            }
        })
        .await?;
        let call = shim.call_with(Call::Start(start), Vec::new(), START_TIMEOUT);
        let (answer, _) = call.await.map_err(|error| {
            let context = "failed to create containerd task: failed to create shim task: OCI \
                           runtime create failed: unable to start container process";
            call_error(context, &error)
        })?;
        let Answer::Started { pid, started_at, warnings } = answer else {
            return Err(Error::Internal("the shim answered something else".to_owned()));
        };
        for warning in warnings {
            tracing::warn!(container_id = record.id, warning, "container started with less");
        }
        Ok((pid, started_at))
    }

    /// The container may have ended before the answer arrived; its end stays noted, and is told after its start.
    fn note_start(
        &self,
        container: &Container,
        sandbox: &SandboxRecord,
        pid: i32,
        started_at: i64,
    ) -> Result<()> {
        let mut record = lock(&container.record);
        record.pid = pid;
        record.started_at = started_at;
        self.save_container(&record)?;
        self.publish(&record.id, sandbox, ContainerEventType::Started);
        if record.exit.is_some() {
            self.publish(&record.id, sandbox, ContainerEventType::Stopped);
        }
        Ok(())
    }

    fn note_start_error(&self, container: &Container, error: &Error) -> Result<()> {
        let exit = Exit { exit_code: EXIT_START_ERROR, finished_at: self.now(), oom_killed: false };
        let mut record = lock(&container.record);
        record.reason = cri::REASON_START_ERROR.to_owned();
        record.message = error.to_string();
        record.exit = Some(exit.clone());
        container.exited.send_replace(Some(exit));
        self.save_container(&record)
    }

    /// A container ended, says its shim.
    pub(super) fn note_exit(&self, id: &str, exit: Exit) {
        let Ok(container) = self.container(id) else { return };
        let sandbox = self.sandbox(&container.record().sandbox_id).map(|sandbox| sandbox.record());
        {
            let mut record = lock(&container.record);
            if record.exit.is_some() {
                return;
            }
            record.exit = Some(exit.clone());
            if record.started_at == 0 {
                record.started_at = exit.finished_at;
            }
            if let Err(error) = self.save_container(&record) {
                tracing::warn!(container_id = id, %error, "the end of a container is not noted");
            }
            // One whose start has not been answered yet is told to have ended after that.
            if let (Ok(sandbox), true) = (sandbox, record.pid != 0) {
                self.publish(id, &sandbox, ContainerEventType::Stopped);
            }
        }
        container.exited.send_replace(Some(exit));
    }

    pub(super) async fn update_resources(
        &self,
        id: &str,
        wanted: &LinuxContainerResources,
    ) -> Result<()> {
        let container = self.container(id)?;
        let _change = container.change.lock().await;
        let record = container.record();
        if record.state() == cri::ContainerState::Exited {
            let text = format!("failed to update resources: container {id:?} has exited");
            return Err(Error::FailedPrecondition(text));
        }
        let cgroup = self.cgroup(&record.cgroup)?;
        let new = limits(wanted, self.inner.swap_accounted);
        if record.pid != 0 {
            blocking(move || {
                cgroup.set(&new).map_err(|e| Error::internal("failed to update resources", &e))
            })
            .await?;
        }
        let mut record = lock(&container.record);
        merge(&mut record.config.linux.resources, wanted);
        self.save_container(&record)
    }
}

/// What the image or the pod says, or SIGTERM.
fn stop_signal(config: &ContainerConfig, image: &ImageRecord) -> (i32, String) {
    let of_image = image.config.config().as_ref().and_then(|config| config.stop_signal().clone());
    let name = if config.stop_signal.is_empty() {
        of_image.unwrap_or_default()
    } else {
        config.stop_signal.clone()
    };
    match linux::process::signal_number(&name) {
        Some(number) => (number, name),
        None => (SIGTERM, "SIGTERM".to_owned()),
    }
}

fn limits(wanted: &LinuxContainerResources, swap_accounted: bool) -> Limits {
    let positive = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    let given = |number: i64| Some(number).filter(|number| *number != 0);
    let swap = match wanted.memory_swap_limit_in_bytes {
        0 => given(wanted.memory_limit_in_bytes),
        limit => Some(limit),
    };
    Limits {
        cpu_shares: positive(wanted.cpu_shares),
        cpu_quota_us: given(wanted.cpu_quota),
        cpu_period_us: positive(wanted.cpu_period),
        memory_bytes: given(wanted.memory_limit_in_bytes),
        memory_swap_bytes: swap.filter(|_| swap_accounted),
        pids: None,
        hugepages: wanted
            .hugepage_limits
            .iter()
            .map(|limit| (limit.page_size.clone(), limit.limit))
            .collect(),
        cpuset_cpus: wanted.cpuset_cpus.clone(),
        cpuset_mems: wanted.cpuset_mems.clone(),
        unified: wanted.unified.clone().into_iter().collect(),
    }
}

/// What is not specified stays.
fn merge(current: &mut LinuxContainerResources, wanted: &LinuxContainerResources) {
    let number = |current: &mut i64, wanted: i64| {
        if wanted != 0 {
            *current = wanted;
        }
    };
    number(&mut current.cpu_period, wanted.cpu_period);
    number(&mut current.cpu_quota, wanted.cpu_quota);
    number(&mut current.cpu_shares, wanted.cpu_shares);
    number(&mut current.memory_limit_in_bytes, wanted.memory_limit_in_bytes);
    number(&mut current.memory_swap_limit_in_bytes, wanted.memory_swap_limit_in_bytes);
    number(&mut current.oom_score_adj, wanted.oom_score_adj);
    for (current, wanted) in [
        (&mut current.cpuset_cpus, &wanted.cpuset_cpus),
        (&mut current.cpuset_mems, &wanted.cpuset_mems),
    ] {
        if !wanted.is_empty() {
            current.clone_from(wanted);
        }
    }
    if !wanted.hugepage_limits.is_empty() {
        current.hugepage_limits.clone_from(&wanted.hugepage_limits);
    }
    current.unified.extend(wanted.unified.clone());
}

pub(super) fn spec_error(error: &SpecError) -> Error {
    let text = format!("failed to generate container spec: {}", cri::error::chain(error));
    match error {
        SpecError::NoCommand | SpecError::Invalid(_) | SpecError::Seccomp(_) => {
            Error::InvalidArgument(text)
        }
        SpecError::Oci(_) | SpecError::Io { .. } => Error::Internal(text),
    }
}
