//! The runtime service: each call of CRI, leading to the file that does it.

use async_trait::async_trait;
use cri::*;

use super::Runtime;

/// The name that a node reports as its container runtime.
const RUNTIME_NAME: &str = "keelson";

#[async_trait]
impl RuntimeService for Runtime {
    async fn version(&self) -> Result<Version> {
        Ok(Version {
            version: "0.1.0".to_owned(),
            runtime_name: RUNTIME_NAME.to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: "v1".to_owned(),
        })
    }

    async fn status(&self) -> Result<RuntimeStatus> {
        let ready = RuntimeCondition {
            r#type: RUNTIME_READY.to_owned(),
            status: true,
            ..RuntimeCondition::default()
        };
        let network = match &self.inner.network {
            Some(network) => network.ready().await,
            None => RuntimeCondition {
                r#type: NETWORK_READY.to_owned(),
                status: false,
                reason: "NetworkPluginNotReady".to_owned(),
                message: "Network plugin returns error: no pod network is configured".to_owned(),
            },
        };
        Ok(RuntimeStatus {
            conditions: vec![ready, network],
            runtime_handlers: vec![RuntimeHandler {
                name: String::new(),
                recursive_read_only_mounts: true,
                user_namespaces: false,
            }],
            supplemental_groups_policy: true,
            info: Default::default(),
        })
    }

    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<()> {
        // The pod network gets its range from whoever makes it.
        tracing::debug!(pod_cidr, "pod CIDR");
        Ok(())
    }

    async fn run_pod_sandbox(&self, config: &PodSandboxConfig, handler: &str) -> Result<String> {
        self.run_sandbox(config, handler).await
    }

    async fn stop_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        self.end_sandbox(sandbox_id).await
    }

    async fn remove_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        self.delete_sandbox(sandbox_id).await
    }

    async fn pod_sandbox_status(&self, sandbox_id: &str) -> Result<PodSandboxStatusResponse> {
        self.sandbox_status(sandbox_id)
    }

    async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>> {
        Ok(self.sandboxes(filter))
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        _: &PodSandboxConfig,
    ) -> Result<String> {
        self.make_container(sandbox_id, config).await
    }

    async fn start_container(&self, container_id: &str) -> Result<()> {
        self.run_container(container_id).await
    }

    async fn stop_container(&self, container_id: &str, timeout: i64) -> Result<()> {
        self.end_container(container_id, timeout).await
    }

    async fn remove_container(&self, container_id: &str) -> Result<()> {
        self.delete_container(container_id).await
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>> {
        Ok(self.containers(filter))
    }

    async fn container_status(&self, container_id: &str) -> Result<ContainerStatus> {
        self.status_of_container(container_id)
    }

    async fn update_container_resources(
        &self,
        container_id: &str,
        resources: &LinuxContainerResources,
    ) -> Result<()> {
        self.update_resources(container_id, resources).await
    }

    async fn reopen_container_log(&self, container_id: &str) -> Result<()> {
        let record = self.container(container_id)?.record();
        if record.state() != ContainerState::Running {
            return Err(Error::FailedPrecondition("container is not running".to_owned()));
        }
        let shim = self.sandbox(&record.sandbox_id)?.shim()?;
        let call = crate::shim::protocol::Call::ReopenLog { container_id: record.id };
        let reopened = shim.call(call).await;
        reopened.map_err(|error| super::call_error("failed to reopen container log", &error))?;
        Ok(())
    }

    async fn exec_sync(&self, request: &ExecSyncRequest) -> Result<ExecSyncResponse> {
        self.run_and_wait(request).await
    }

    async fn exec(&self, request: &ExecRequest) -> Result<Streams> {
        self.run_with_streams(request).await
    }

    async fn attach(&self, request: &AttachRequest) -> Result<Streams> {
        self.join_streams(request).await
    }

    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<BoxDuplex> {
        self.connect_port(sandbox_id, port).await
    }

    async fn container_stats(&self, container_id: &str) -> Result<ContainerStats> {
        self.stats_of_container(container_id).await
    }

    async fn list_container_stats(
        &self,
        filter: &ContainerStatsFilter,
    ) -> Result<Vec<ContainerStats>> {
        self.stats_of_containers(filter).await
    }

    async fn pod_sandbox_stats(&self, sandbox_id: &str) -> Result<PodSandboxStats> {
        self.stats_of_sandbox(sandbox_id).await
    }

    async fn list_pod_sandbox_stats(
        &self,
        filter: &PodSandboxStatsFilter,
    ) -> Result<Vec<PodSandboxStats>> {
        self.stats_of_sandboxes(filter).await
    }

    async fn events(&self) -> Result<EventStream> {
        let receiver = self.inner.events.subscribe();
        let events = tokio_stream::wrappers::BroadcastStream::new(receiver);
        // The stream ends at the first gap.
        Ok(Box::pin(tokio_stream::StreamExt::map_while(events, std::result::Result::ok)))
    }
}
