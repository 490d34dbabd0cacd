//! Lifecycle hooks: a command, a request, a connection or a pause around a container's life.

use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use cri::{ExecSyncRequest, RuntimeService};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use tokio::sync::oneshot;

use crate::probes::{http, target};

/// A hook that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error("{0}")]
    Exec(String),
    #[error("Http lifecycle hook failed: {0}")]
    Http(String),
    #[error("Tcp lifecycle hook failed: {0}")]
    Tcp(String),
    #[error("the hook did not end within the grace period")]
    TimedOut,
    #[error("the hook was given up")]
    GivenUp,
}

/// The container that a hook is for.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) runtime: Arc<dyn RuntimeService>,
    pub(crate) clock: Clock,
    pub(crate) container_id: String,
    pub(crate) container: Container,
    pub(crate) pod_ip: String,
}

/// A hook under way.
#[derive(Debug)]
pub(crate) struct HookRun {
    receiver: oneshot::Receiver<Result<(), HookError>>,
}

impl HookRun {
    pub(crate) fn is_pending(&self) -> bool {
        self.receiver.is_empty() && !self.receiver.is_terminated()
    }

    /// The result, once, when there is one.
    pub(crate) fn result(&mut self) -> Option<Result<(), HookError>> {
        match self.receiver.try_recv() {
            Ok(result) => Some(result),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(HookError::GivenUp)),
        }
    }
}

/// Runs a hook in a task of its own.
pub(crate) fn start(
    scope: &task::Scope,
    call: Call,
    hook: LifecycleHandler,
    wake: impl FnOnce() + Send + 'static,
) -> HookRun {
    let (sender, receiver) = oneshot::channel();
    scope.spawn_until_cancelled("lifecycle hook", async move {
        let result = run(&call, &hook).await;
        // A worker that has turned to stopping no longer listens.
        let _nobody_waits = sender.send(result);
        wake();
    });
    HookRun { receiver }
}

/// Runs a hook to its end.
pub(crate) async fn run(call: &Call, hook: &LifecycleHandler) -> Result<(), HookError> {
    if let Some(exec) = &hook.exec {
        return run_command(call, exec.command.clone().unwrap_or_default()).await;
    }
    if let Some(get) = &hook.http_get {
        let request = http::Request::of(get, &call.container, &call.pod_ip)
            .map_err(|error| HookError::Http(error.to_string()))?;
        let mut progress = http::Progress::default();
        http::send(&request, &mut progress)
            .await
            .map_err(|error| HookError::Http(error.to_string()))?;
        return Ok(());
    }
    if let Some(socket) = &hook.tcp_socket {
        let host = socket.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&call.pod_ip);
        let port = target::port(&socket.port, &call.container)
            .map_err(|error| HookError::Tcp(error.to_string()))?;
        tokio::net::TcpStream::connect((host, port))
            .await
            .map_err(|error| HookError::Tcp(error.to_string()))?;
        return Ok(());
    }
    if let Some(sleep) = &hook.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        call.clock.sleep(Duration::from_secs(seconds)).await;
    }
    Ok(())
}

async fn run_command(call: &Call, cmd: Vec<String>) -> Result<(), HookError> {
    let text = cmd.join(" ");
    let request = ExecSyncRequest { container_id: call.container_id.clone(), cmd, timeout: 0 };
    match call.runtime.exec_sync(&request).await {
        Ok(answer) if answer.exit_code == 0 => Ok(()),
        Ok(answer) => Err(HookError::Exec(format!(
            "command '{text}' exited with {}: {}",
            answer.exit_code,
            String::from_utf8_lossy(&answer.stderr)
        ))),
        Err(error) => Err(HookError::Exec(error.rpc_text())),
    }
}
