//! The built-in runtime: CRI's two services over shims, cgroups and the image store.
//!
//! This file holds what all calls share; each group of calls has a file of its own. Every change to one
//! sandbox or container is made under its lock, so that calls of a hasty kubelet queue up.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clock::Clock;
use cri::{ContainerEvent, ContainerEventType, Error, PodNetwork, Result};
use images::{Puller, RegistryOptions, Store};
use linux::cgroup::{Cgroups, Version};
use tokio::sync::{broadcast, mpsc, watch};

use crate::client::{CallError, ShimClient, ShimEvent};
use crate::limits::EVENTS_MAX;
use crate::paths::Paths;
use crate::record::{ContainerRecord, SandboxRecord};
use crate::shim::protocol::Exit;
use crate::zygote::Zygote;

mod calls;
mod container;
mod exec;
mod image;
mod list;
mod recovery;
mod sandbox;
mod stats;
mod stop;
mod terminal;

/// How the runtime is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program's data directory.
    pub data_dir: PathBuf,
    /// The program's run directory, empty after a boot (`/run/keelson`).
    pub run_dir: PathBuf,
    /// The command that leads to [`crate::shim::main`]; an argument is appended.
    pub shim_command: Vec<OsString>,
    /// How registries are reached.
    pub registries: RegistryOptions,
}

impl Options {
    /// The usual: the running program itself is the shim.
    pub fn new(data_dir: impl Into<PathBuf>, run_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            run_dir: run_dir.into(),
            shim_command: vec![OsString::from("/proc/self/exe"), OsString::from("shim")],
            registries: RegistryOptions::default(),
        }
    }
}

/// The runtime; cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) paths: Paths,
    pub(crate) zygote: Zygote,
    pub(crate) store: Store,
    pub(crate) puller: Puller,
    pub(crate) cgroups: Cgroups,
    pub(crate) network: Option<Arc<dyn PodNetwork>>,
    pub(crate) clock: Clock,
    pub(crate) scope: task::Scope,
    pub(crate) boot_id: String,
    pub(crate) swap_accounted: bool,
    pub(crate) open_files_max: u64,
    pub(crate) state: Mutex<State>,
    pub(crate) events: broadcast::Sender<ContainerEvent>,
    pub(crate) shim_events: mpsc::Sender<ShimEvent>,
}

/// Everything that exists.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) sandboxes: HashMap<String, Arc<Sandbox>>,
    pub(crate) containers: HashMap<String, Arc<Container>>,
}

/// A sandbox.
pub(crate) struct Sandbox {
    pub(crate) record: Mutex<SandboxRecord>,
    pub(crate) shim: Mutex<Option<ShimClient>>,
    /// Held by whoever changes the sandbox.
    pub(crate) change: tokio::sync::Mutex<()>,
}

/// A container.
pub(crate) struct Container {
    pub(crate) record: Mutex<ContainerRecord>,
    /// How it ended, for those who wait for it.
    pub(crate) exited: watch::Sender<Option<Exit>>,
    /// Held by whoever changes the container.
    pub(crate) change: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("paths", &self.inner.paths).finish_non_exhaustive()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sandbox {
    pub(crate) fn new(record: SandboxRecord) -> Arc<Self> {
        let (record, shim) = (Mutex::new(record), Mutex::new(None));
        Arc::new(Self { record, shim, change: tokio::sync::Mutex::new(()) })
    }

    pub(crate) fn record(&self) -> SandboxRecord {
        lock(&self.record).clone()
    }

    pub(crate) fn shim(&self) -> Result<ShimClient> {
        let shim = lock(&self.shim).clone();
        shim.ok_or_else(|| {
            let id = lock(&self.record).id.clone();
            Error::FailedPrecondition(format!("sandbox {id:?} is not running"))
        })
    }
}

impl Container {
    pub(crate) fn new(record: ContainerRecord) -> Arc<Self> {
        let exited = watch::Sender::new(record.exit.clone());
        let record = Mutex::new(record);
        Arc::new(Self { record, exited, change: tokio::sync::Mutex::new(()) })
    }

    pub(crate) fn record(&self) -> ContainerRecord {
        lock(&self.record).clone()
    }
}

impl Runtime {
    /// Opens the runtime: finds the shims that run, adopts their containers, and removes what belongs to
    /// nobody. `network` is `None` when every pod uses the host's.
    pub async fn open(
        options: Options,
        network: Option<Arc<dyn PodNetwork>>,
        clock: Clock,
        scope: &task::Scope,
    ) -> Result<Self> {
        let store = {
            let root = options.data_dir.join("images");
            blocking(move || Store::open(root).map_err(|e| Error::internal("open images", &e)))
                .await?
        };
        let (shim_events, queue) = mpsc::channel(EVENTS_MAX);
        let inner = Inner {
            paths: Paths::new(&options.data_dir, &options.run_dir),
            zygote: Zygote::new(options.shim_command),
            puller: Puller::new(store.clone(), options.registries),
            store,
            cgroups: Cgroups::detect().map_err(|e| Error::internal("cgroups", &e))?,
            network,
            clock,
            scope: scope.child(),
            boot_id: boot_id(),
            swap_accounted: swap_is_accounted(),
            open_files_max: open_files_max(),
            state: Mutex::default(),
            events: broadcast::Sender::new(EVENTS_MAX),
            shim_events,
        };
        let runtime = Self { inner: Arc::new(inner) };
        runtime.recover().await?;
        runtime.inner.zygote.warm_up().await?;
        let listener = runtime.clone();
        runtime.inner.scope.spawn_until_cancelled("runtime events", async move {
            listener.listen(queue).await;
        });
        Ok(runtime)
    }

    /// The image store.
    pub fn images(&self) -> &Store {
        &self.inner.store
    }

    /// Handles what shims push, one event after the other.
    async fn listen(&self, mut queue: mpsc::Receiver<ShimEvent>) {
        while let Some(event) = queue.recv().await {
            match event {
                ShimEvent::Exited { container_id, exit } => self.note_exit(&container_id, exit),
                ShimEvent::Lost { sandbox_id } => self.shim_lost(&sandbox_id).await,
            }
        }
    }

    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.inner.clock.now().as_nanosecond()).unwrap_or(i64::MAX)
    }

    pub(crate) fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        let state = lock(&self.inner.state);
        find(&state.sandboxes, id).ok_or_else(|| {
            Error::NotFound(format!("an error occurred when try to find sandbox {id:?}: not found"))
        })
    }

    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>> {
        let state = lock(&self.inner.state);
        find(&state.containers, id).ok_or_else(|| {
            Error::NotFound(format!(
                "an error occurred when try to find container {id:?}: not found"
            ))
        })
    }

    pub(crate) fn containers_of(&self, sandbox_id: &str) -> Vec<Arc<Container>> {
        let state = lock(&self.inner.state);
        let of = |container: &&Arc<Container>| lock(&container.record).sandbox_id == sandbox_id;
        state.containers.values().filter(of).cloned().collect()
    }

    pub(crate) fn publish(
        &self,
        container_id: &str,
        sandbox: &SandboxRecord,
        event_type: ContainerEventType,
    ) {
        let event = ContainerEvent {
            container_id: container_id.to_owned(),
            pod_sandbox_id: sandbox.id.clone(),
            pod_uid: sandbox.config.metadata.uid.clone(),
            event_type,
            created_at: self.now(),
        };
        if self.inner.events.send(event).is_err() {
            tracing::trace!("nobody listens to container events");
        }
    }

    pub(crate) fn cgroup(&self, path: &str) -> Result<linux::cgroup::Cgroup> {
        self.inner.cgroups.group(path).map_err(|error| Error::InvalidArgument(error.to_string()))
    }

    pub(crate) fn has_cgroup_namespaces(&self) -> bool {
        self.inner.cgroups.version() == Version::V2
    }

    pub(crate) fn save_sandbox(&self, record: &SandboxRecord) -> Result<()> {
        let path = self.inner.paths.sandbox(&record.id).join("sandbox.json");
        crate::record::write(&path, record).map_err(|e| Error::internal("write sandbox", &e))
    }

    pub(crate) fn save_container(&self, record: &ContainerRecord) -> Result<()> {
        let path = self.inner.paths.container(&record.id).join("container.json");
        crate::record::write(&path, record).map_err(|e| Error::internal("write container", &e))
    }
}

/// The object with this id, or the only one whose id begins like this.
fn find<T>(objects: &HashMap<String, Arc<T>>, id: &str) -> Option<Arc<T>> {
    if let Some(object) = objects.get(id) {
        return Some(Arc::clone(object));
    }
    let mut matches = objects.iter().filter(|(known, _)| !id.is_empty() && known.starts_with(id));
    let first = matches.next()?;
    if matches.next().is_some() { None } else { Some(Arc::clone(first.1)) }
}

/// Runs work that waits for the disk or the kernel on a thread where that is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Internal(error.to_string())),
    }
}

pub(crate) fn call_error(context: &str, error: &CallError) -> Error {
    let message = format!("{context}: {error}");
    match error {
        CallError::Refused(failure) if failure.not_found => Error::NotFound(message),
        CallError::Refused(_) => Error::Internal(message),
        CallError::Gone => Error::Unavailable(message),
        CallError::Timeout(_) => Error::DeadlineExceeded(message),
    }
}

/// 64 hexadecimal digits, as the ids of other runtimes.
pub(crate) fn new_id() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Version 1 has the files only when the kernel accounts swap; version 2 always takes a limit.
fn swap_is_accounted() -> bool {
    let memory = std::path::Path::new("/sys/fs/cgroup/memory");
    !memory.exists() || memory.join("memory.memsw.limit_in_bytes").exists()
}

/// What containers may open: as much as this process may, but not more than programs that close every
/// possible descriptor at their start can bear.
fn open_files_max() -> u64 {
    const MAX: u64 = 1 << 20;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    limit.unwrap_or(MAX).min(MAX)
}
