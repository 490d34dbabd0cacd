//! The two services that the kubelet calls, as traits. In one process a call is a call; a gRPC client and
//! server implement and use the same traits.

use async_trait::async_trait;

use crate::*;

/// Sandboxes and containers (`runtime.v1.RuntimeService`).
#[async_trait]
pub trait RuntimeService: Send + Sync + std::fmt::Debug {
    /// Name and version.
    async fn version(&self) -> Result<Version>;

    /// Conditions and abilities.
    async fn status(&self) -> Result<RuntimeStatus>;

    /// Tells the runtime the node's pod CIDR (`UpdateRuntimeConfig`).
    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<()>;

    /// Makes and starts a sandbox, connected to the network; answers its id.
    async fn run_pod_sandbox(&self, config: &PodSandboxConfig, handler: &str) -> Result<String>;

    /// Kills what still runs in the sandbox and gives its addresses back. Idempotent.
    async fn stop_pod_sandbox(&self, sandbox_id: &str) -> Result<()>;

    /// Removes the sandbox and its containers. Idempotent; an unknown id is a success.
    async fn remove_pod_sandbox(&self, sandbox_id: &str) -> Result<()>;

    /// The sandbox and its containers at one moment.
    async fn pod_sandbox_status(&self, sandbox_id: &str) -> Result<PodSandboxStatusResponse>;

    /// Sandboxes, also those not ready.
    async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>>;

    /// Makes a container without starting it; answers its id.
    async fn create_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<String>;

    /// Starts a created container.
    async fn start_container(&self, container_id: &str) -> Result<()>;

    /// Asks the container to end, kills it after `timeout` seconds, and returns when it has ended.
    /// Idempotent; an unknown id is a success.
    async fn stop_container(&self, container_id: &str, timeout: i64) -> Result<()>;

    /// Removes the container, killing it first if it must. Idempotent; an unknown id is a success. The
    /// log stays: the kubelet removes it.
    async fn remove_container(&self, container_id: &str) -> Result<()>;

    /// Containers in any state.
    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>>;

    /// Everything about one container.
    async fn container_status(&self, container_id: &str) -> Result<ContainerStatus>;

    /// Changes the limits of a container; what is not specified stays.
    async fn update_container_resources(
        &self,
        container_id: &str,
        resources: &LinuxContainerResources,
    ) -> Result<()>;

    /// Writes to a new file at the same path from now on, after the old one was moved away.
    async fn reopen_container_log(&self, container_id: &str) -> Result<()>;

    /// Runs a command and waits for it; [`Error::DeadlineExceeded`] when it was killed for its timeout.
    async fn exec_sync(&self, request: &ExecSyncRequest) -> Result<ExecSyncResponse>;

    /// Runs a command with streams.
    async fn exec(&self, request: &ExecRequest) -> Result<Streams>;

    /// Joins the streams of the container's first process.
    async fn attach(&self, request: &AttachRequest) -> Result<Streams>;

    /// Connects to a TCP port inside the sandbox.
    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<BoxDuplex>;

    /// What a container uses.
    async fn container_stats(&self, container_id: &str) -> Result<ContainerStats>;

    /// What the running containers use.
    async fn list_container_stats(
        &self,
        filter: &ContainerStatsFilter,
    ) -> Result<Vec<ContainerStats>>;

    /// What a sandbox uses.
    async fn pod_sandbox_stats(&self, sandbox_id: &str) -> Result<PodSandboxStats>;

    /// What the ready sandboxes use.
    async fn list_pod_sandbox_stats(
        &self,
        filter: &PodSandboxStatsFilter,
    ) -> Result<Vec<PodSandboxStats>>;

    /// Events from now on (`GetContainerEvents`).
    async fn events(&self) -> Result<EventStream>;
}

/// Images (`runtime.v1.ImageService`).
#[async_trait]
pub trait ImageService: Send + Sync + std::fmt::Debug {
    /// Images on the node.
    async fn list_images(&self, filter: &ImageFilter) -> Result<Vec<Image>>;

    /// One image; `None` when it is not on the node. [`Error::InvalidArgument`] for a name that is none.
    async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>>;

    /// Pulls the image and answers the reference to put into [`ContainerConfig::image`] (its id). When the
    /// registry does not answer, the message begins with [`error::REGISTRY_UNAVAILABLE`].
    async fn pull_image(&self, image: &ImageSpec, auth: Option<&AuthConfig>) -> Result<String>;

    /// Removes the image under all its names when named by id, under this name otherwise. Idempotent.
    async fn remove_image(&self, image: &ImageSpec) -> Result<()>;

    /// Where images are stored and how much that takes.
    async fn image_fs_info(&self) -> Result<ImageFsInfo>;
}
