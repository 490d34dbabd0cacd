//! Putting a kubelet together and running it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use client::{Client, Recorder, WatchScope};
use cri::{ImageService, RuntimeService};
use k8s_openapi::api::core::v1::{Pod, Service};
use podlife::container::Place;
use podlife::resources::NodeFacts;

use crate::config::Config;
use crate::events::Events;
use crate::node::machine;
use crate::pods::{self, Registry};
use crate::pulls::Pulls;
use crate::references::References;
use crate::shared::{Readiness, Shared};
use crate::status_writer::StatusWriter;
use crate::tokens::Tokens;
use crate::{cgroups, eviction, image_gc, logs, node};

/// Why a kubelet cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A directory cannot be made.
    #[error("cannot create {path}")]
    Directory {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The runtime does not answer.
    #[error("the container runtime does not answer")]
    Runtime(#[from] cri::Error),
    /// The machine cannot be looked at.
    #[error("cannot read the facts of this machine")]
    Machine(#[from] machine::MachineError),
    /// The groups of all pods cannot be made.
    #[error("cannot make the control groups of pods")]
    Cgroups(#[from] linux::cgroup::CgroupError),
}

/// A running kubelet; cheap to clone. It ends with the scope that it was started in; containers go on.
#[derive(Clone, Debug)]
pub struct Kubelet {
    pub(crate) shared: Arc<Shared>,
}

impl Kubelet {
    /// Starts a kubelet in `scope`.
    ///
    /// # Errors
    /// The node is not fit: see [`StartError`].
    pub async fn start(
        config: Config,
        client: Client,
        runtime: Arc<dyn RuntimeService>,
        images: Arc<dyn ImageService>,
        scope: &task::Scope,
    ) -> Result<Self, StartError> {
        for path in [config.root.join("pods"), config.pod_logs(), config.container_logs()] {
            linux::directory::create_spread(&path).map_err(|source| StartError::Directory {
                path: path.display().to_string(),
                source,
            })?;
        }
        let facts = machine::facts()?;
        let cgroups = if config.manage_cgroups {
            let cgroups = linux::cgroup::Cgroups::detect()?;
            cgroups::make_classes(&cgroups, &config.cgroup_prefix)?;
            Some(cgroups)
        } else {
            None
        };
        let version = runtime.version().await?;
        let shared =
            Self::put_together(config, client, (runtime, images), scope, facts, cgroups, version);
        let kubelet = Self { shared: Arc::new(shared) };
        kubelet.set_going(scope);
        Ok(kubelet)
    }

    /// Starts a kubelet and runs until `scope` ends.
    ///
    /// # Errors
    /// The node is not fit: see [`StartError`].
    pub async fn run(
        config: Config,
        client: Client,
        runtime: Arc<dyn RuntimeService>,
        images: Arc<dyn ImageService>,
        scope: &task::Scope,
    ) -> Result<(), StartError> {
        let _kubelet = Self::start(config, client, runtime, images, scope).await?;
        scope.cancelled().await;
        Ok(())
    }

    fn put_together(
        config: Config,
        client: Client,
        (runtime, images): (Arc<dyn RuntimeService>, Arc<dyn ImageService>),
        scope: &task::Scope,
        facts: NodeFacts,
        cgroups: Option<linux::cgroup::Cgroups>,
        version: cri::Version,
    ) -> Shared {
        let clock = config.clock.clone();
        let recorder =
            Recorder::start(&client, clock.clone(), &config.component, &config.node_name, scope);
        let events = Events::new(recorder);
        let registry = Arc::new(Registry::default());
        let own = WatchScope::all::<Pod>().fields(format!("spec.nodeName={}", config.node_name));
        let waking = Arc::clone(&registry);
        let references =
            References::new(client.clone(), scope.clone(), move |uid| waking.wake(uid));
        let place = Place {
            pod_logs: config.pod_logs().display().to_string(),
            root: config.root.display().to_string(),
            cgroup_prefix: config.cgroup_prefix.clone(),
            node: facts,
        };
        Shared {
            pods: client.informer_of::<Pod>(own),
            services: client.informer::<Service>(),
            tokens: Tokens::new(client.clone(), clock.clone()),
            pulls: Pulls::new(Arc::clone(&images), events.clone(), scope.clone()),
            statuses: StatusWriter::start(&client, scope),
            pressure: parking_lot::Mutex::default(),
            node_changed: Arc::default(),
            readiness: ArcSwap::from_pointee(Readiness::default()),
            runtime_name: version.runtime_name,
            host_ips: config.node_ips.iter().map(ToString::to_string).collect(),
            scope: scope.clone(),
            references,
            registry,
            events,
            runtime,
            images,
            place,
            cgroups,
            clock,
            client,
            config,
        }
    }

    fn set_going(&self, scope: &task::Scope) {
        let shared = &self.shared;
        shared.registry.bind(shared);
        pods::follow_api(shared);
        let following = Arc::clone(shared);
        scope.supervise("runtime events", move || pods::follow_runtime(Arc::clone(&following)));
        scope.spawn_until_cancelled("node status", node::run(Arc::clone(shared)));
        scope.spawn_until_cancelled("log rotation", logs::rotation::run(Arc::clone(shared)));
        scope.spawn_until_cancelled("eviction", eviction::run(Arc::clone(shared)));
        scope.spawn_until_cancelled("storage limits", eviction::watch_limits(Arc::clone(shared)));
        scope.spawn_until_cancelled("image removal", image_gc::run(Arc::clone(shared)));
    }
}
