//! Logs, commands, attachments and forwarded ports, over any set of streams: the framing that carries
//! the streams to a client is somebody else's business.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use cri::{
    AttachRequest, BoxDuplex, BoxRead, BoxWrite, ContainerState, ContainerStatus, ExecRequest,
    TerminalSize,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::StatusCode;
use k8s_openapi::api::core::v1::{Container, Pod};
use podlife::observed::{Observed, pod_labels};
use podlife::pod;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::{mpsc, oneshot};

use super::{LogOptions, RequestError};
use crate::Kubelet;
use crate::limits::{FAREWELL_MAX, INPUT_LINGER_MAX};
use crate::logs::read;

/// Which container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod; empty for any.
    pub uid: String,
    /// Name of the container; empty for the only one.
    pub container: String,
}

/// Which streams a client wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// The command of an exec.
    pub command: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// The client's ends of the streams of a command.
pub struct ClientStreams {
    /// What the client types.
    pub stdin: Option<BoxRead>,
    /// What the client shows.
    pub stdout: Option<BoxWrite>,
    /// What the client shows as errors.
    pub stderr: Option<BoxWrite>,
    /// Receives one `Status` in JSON at the end.
    pub error: BoxWrite,
    /// Sizes of the client's terminal: one JSON object `{"Width":…,"Height":…}` per line.
    pub resize: Option<BoxRead>,
}

impl std::fmt::Debug for ClientStreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientStreams")
    }
}

/// Streams that the runtime opens when they are joined with a client's: a client that has not agreed on a
/// protocol yet must not start anything, and hears of what cannot start in the session.
pub struct Session {
    opening: BoxFuture<'static, cri::Result<cri::Streams>>,
    /// What is attempted, in the words for a failure.
    attempt: &'static str,
    /// Whether the client leaves when it has nothing more to type, while the process goes on.
    ends_with_input: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

impl Kubelet {
    pub(crate) fn find_pod(&self, target: &Target) -> Result<Arc<Pod>, RequestError> {
        let missing = || RequestError::not_found(format!("pod \"{}\" not found", target.pod));
        let pod = self.shared.pods.get(&target.namespace, &target.pod).ok_or_else(missing)?;
        let same = target.uid.is_empty() || target.uid == pod::uid(&pod);
        if same { Ok(pod) } else { Err(missing()) }
    }

    fn find_container(&self, pod: &Pod, name: &str) -> Result<Container, RequestError> {
        if name.is_empty() {
            return match pod::spec(pod).containers.as_slice() {
                [only] => Ok(only.clone()),
                _ => Err(RequestError::bad(format!(
                    "a container name must be specified for pod {}",
                    pod::name(pod)
                ))),
            };
        }
        pod::find(pod, name).map(|(_, container)| container).ok_or_else(|| {
            let text = format!("container \"{name}\" not found in pod \"{}\"", pod::name(pod));
            RequestError::not_found(text)
        })
    }

    async fn history(&self, pod: &Pod, name: &str) -> Result<Vec<ContainerStatus>, RequestError> {
        let filter = cri::PodSandboxFilter {
            label_selector: pod_labels(pod::uid(pod)),
            ..cri::PodSandboxFilter::default()
        };
        let runtime = &self.shared.runtime;
        let mut containers = Vec::new();
        let listed = runtime.list_pod_sandboxes(&filter).await;
        for sandbox in listed.map_err(|error| RequestError::internal(&error))? {
            match runtime.pod_sandbox_status(&sandbox.id).await {
                Ok(answer) => containers.extend(answer.containers_statuses),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(RequestError::internal(&error)),
            }
        }
        Ok(Observed::new(Vec::new(), containers).history(name).cloned().collect())
    }

    async fn running(&self, target: &Target) -> Result<(Container, String), RequestError> {
        let pod = self.find_pod(target)?;
        let container = self.find_container(&pod, &target.container)?;
        let history = self.history(&pod, &container.name).await?;
        let running = history.into_iter().find(|it| it.state == ContainerState::Running);
        let missing = || {
            let text = format!("container not found (\"{}\")", container.name);
            RequestError::new(StatusCode::INTERNAL_SERVER_ERROR, text)
        };
        let id = running.ok_or_else(missing)?.id;
        Ok((container, id))
    }

    /// The log of a container, piece by piece; dropping the receiver ends the reading.
    ///
    /// # Errors
    /// There is no such pod, container or log.
    pub async fn logs(
        &self,
        target: &Target,
        options: LogOptions,
    ) -> Result<mpsc::Receiver<Bytes>, RequestError> {
        let pod = self.find_pod(target)?;
        let container = self.find_container(&pod, &target.container)?;
        let history = self.history(&pod, &container.name).await?;
        let (name, pod_name) = (&container.name, pod::name(&pod));
        let begun = |it: &&ContainerStatus| it.state != ContainerState::Created;
        let chosen = if options.previous {
            let mut ended = history.iter().filter(|it| it.state == ContainerState::Exited);
            let newest_ended = history.first().is_some_and(|it| it.state == ContainerState::Exited);
            // While the container waits for its next run, the run before is the last one.
            let skip = usize::from(newest_ended && !self.is_waiting(&pod, name));
            ended.nth(skip).ok_or_else(|| {
                RequestError::bad(format!(
                    "previous terminated container \"{name}\" in pod \"{pod_name}\" not found"
                ))
            })?
        } else {
            history.iter().find(begun).ok_or_else(|| {
                let reason = self.waiting_reason(&pod, name);
                RequestError::bad(format!(
                    "container \"{name}\" in pod \"{pod_name}\" is waiting to start: {reason}"
                ))
            })?
        };
        let source = read::Source {
            path: chosen.log_path.clone().into(),
            container_id: chosen.id.clone(),
            runtime: Arc::clone(&self.shared.runtime),
        };
        let (sender, receiver) = mpsc::channel(16);
        self.shared.scope.spawn_until_cancelled("log", read::send(source, options, sender));
        Ok(receiver)
    }

    fn waiting_reason(&self, pod: &Pod, name: &str) -> String {
        let signals = self.shared.registry.get(pod::uid(pod));
        let status = signals.map(|signals| signals.status.lock().clone()).unwrap_or_default();
        let mut all = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .chain(&status.ephemeral_container_statuses)
            .flatten();
        let found = all.find(|it| it.name == name).and_then(|it| it.state.clone()?.waiting);
        let Some(waiting) = found else { return "ContainerCreating".to_owned() };
        waiting.message.or(waiting.reason).unwrap_or_default()
    }

    fn is_waiting(&self, pod: &Pod, name: &str) -> bool {
        let signals = self.shared.registry.get(pod::uid(pod));
        let status = signals.map(|signals| signals.status.lock().clone()).unwrap_or_default();
        let mut all =
            status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        all.any(|it| it.name == name && it.state.as_ref().is_some_and(|it| it.waiting.is_some()))
    }

    /// A command in a container, to be started.
    ///
    /// # Errors
    /// There is no such container.
    pub async fn exec(
        &self,
        target: &Target,
        options: &StreamOptions,
    ) -> Result<Session, RequestError> {
        let (_, container_id) = self.running(target).await?;
        let request = ExecRequest {
            container_id,
            cmd: options.command.clone(),
            tty: options.tty,
            stdin: options.stdin,
            stdout: options.stdout,
            stderr: options.stderr && !options.tty,
        };
        let runtime = Arc::clone(&self.shared.runtime);
        let opening = async move { runtime.exec(&request).await }.boxed();
        Ok(Session { opening, attempt: "executing command in container", ends_with_input: false })
    }

    /// A container's first process, to be joined.
    ///
    /// # Errors
    /// There is no such container.
    pub async fn attach(
        &self,
        target: &Target,
        options: &StreamOptions,
    ) -> Result<Session, RequestError> {
        let (container, container_id) = self.running(target).await?;
        let tty = container.tty.unwrap_or(false);
        let request = AttachRequest {
            container_id,
            tty,
            stdin: options.stdin,
            stdout: options.stdout,
            stderr: options.stderr && !tty,
        };
        let runtime = Arc::clone(&self.shared.runtime);
        let opening = async move { runtime.attach(&request).await }.boxed();
        // A process whose input ends with the client's is followed to its own end, as containerd does it.
        let closes_input = container.stdin_once.unwrap_or(false) && !tty;
        let ends_with_input = options.stdin && !closes_input;
        Ok(Session { opening, attempt: "attaching to container", ends_with_input })
    }

    /// Runs a command to its end and answers what it wrote.
    ///
    /// # Errors
    /// There is no such container, or the command fails.
    pub async fn run_command(
        &self,
        target: &Target,
        command: Vec<String>,
    ) -> Result<Vec<u8>, RequestError> {
        let (_, container_id) = self.running(target).await?;
        let request = cri::ExecSyncRequest { container_id, cmd: command, timeout: 0 };
        let answer = self.shared.runtime.exec_sync(&request).await;
        let answer = answer.map_err(|error| RequestError::internal(&error))?;
        let mut output = answer.stdout;
        output.extend_from_slice(&answer.stderr);
        if answer.exit_code != 0 {
            let text = format!(
                "command terminated with exit code {}: {}",
                answer.exit_code,
                String::from_utf8_lossy(&output)
            );
            return Err(RequestError::new(StatusCode::INTERNAL_SERVER_ERROR, text));
        }
        Ok(output)
    }

    /// Connects to a port inside a pod.
    ///
    /// # Errors
    /// There is no such pod, it has no working sandbox, or nothing listens.
    pub async fn port_forward(
        &self,
        target: &Target,
        port: u16,
    ) -> Result<BoxDuplex, RequestError> {
        let pod = self.find_pod(target)?;
        let filter = cri::PodSandboxFilter {
            state: Some(cri::PodSandboxState::Ready),
            label_selector: pod_labels(pod::uid(&pod)),
            ..cri::PodSandboxFilter::default()
        };
        let listed = self.shared.runtime.list_pod_sandboxes(&filter).await;
        let listed = listed.map_err(|error| RequestError::internal(&error))?;
        let newest = listed.iter().max_by_key(|it| it.metadata.attempt).ok_or_else(|| {
            RequestError::not_found(format!("pod not found (\"{}\")", target.pod))
        })?;
        let connected = self.shared.runtime.port_forward(&newest.id, port).await;
        connected.map_err(|error| RequestError::internal(&error))
    }
}

impl Session {
    /// Opens the streams and joins them with the client's until the process ends, and tells the client how it ended.
    /// A client that has `left` ends the session when the process has got what it typed, but not much later.
    pub async fn join(self, client: ClientStreams, left: impl Future<Output = ()>) {
        let Self { opening, attempt, ends_with_input } = self;
        let ClientStreams { stdin, stdout, stderr, mut error, resize } = client;
        let result = match opening.await {
            Ok(streams) => {
                let (delivered, delivery) = oneshot::channel();
                let typing = Typing { typed: stdin, delivered, ends_session: ends_with_input };
                let carrying = carry(streams, typing, [stdout, stderr], resize);
                tokio::select! {
                    result = carrying => result,
                    () = linger(left, delivery) => return,
                }
            }
            Err(refused) => Err(refused),
        };
        let text = status_of(attempt, result).to_string();
        // A client that has gone away does not read how it ended.
        let _gone = error.write_all(text.as_bytes()).await;
        let _gone = error.shutdown().await;
    }
}

/// What the client types.
struct Typing {
    typed: Option<BoxRead>,
    /// Dropped when the process has got all of it.
    delivered: oneshot::Sender<Infallible>,
    /// Whether the client leaves with it.
    ends_session: bool,
}

/// Resolves when a client has left for long enough: the process has got what was typed, and has had a moment to
/// make something of it.
async fn linger(left: impl Future<Output = ()>, delivery: oneshot::Receiver<Infallible>) {
    left.await;
    let _in_time = tokio::time::timeout(INPUT_LINGER_MAX, delivery).await;
    let _moment = tokio::time::timeout(FAREWELL_MAX, std::future::pending::<()>()).await;
}

/// Carries everything both ways until the process ends.
async fn carry(
    streams: cri::Streams,
    typing: Typing,
    [shown, shown_errors]: [Option<BoxWrite>; 2],
    sizes: Option<BoxRead>,
) -> cri::Result<i32> {
    let cri::Streams { stdin, stdout, stderr, resize, exit } = streams;
    let typing = async {
        copy_input(typing.typed, stdin).await;
        drop(typing.delivered);
        if !typing.ends_session {
            std::future::pending::<()>().await;
        }
    };
    let sizes = async {
        copy_sizes(sizes, resize).await;
        // The terminal keeps its last size.
        std::future::pending::<Infallible>().await
    };
    let outputs = async {
        tokio::join!(copy_output(stdout, shown), copy_output(stderr, shown_errors));
        exit.await
    };
    tokio::select! {
        // What the process has said already is told first.
        biased;
        result = outputs => result,
        () = typing => Ok(0),
        never = sizes => match never {},
    }
}

async fn copy_input(from: Option<BoxRead>, to: Option<BoxWrite>) {
    let (Some(mut from), Some(mut to)) = (from, to) else { return };
    // Either side may close at any time; then the process sees the end of its input.
    let _closed = tokio::io::copy(&mut from, &mut to).await;
    let _closed = to.shutdown().await;
}

async fn copy_output(from: Option<BoxRead>, to: Option<BoxWrite>) {
    let Some(mut from) = from else { return };
    if let Some(mut to) = to {
        let _closed = tokio::io::copy(&mut from, &mut to).await;
        let _closed = to.shutdown().await;
    }
    // That nobody listens must not kill the process before it has read what was typed.
    let _closed = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
}

async fn copy_sizes(from: Option<BoxRead>, to: Option<mpsc::Sender<TerminalSize>>) {
    let (Some(from), Some(to)) = (from, to) else { return };
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
        let number = |key: &str| value[key].as_u64().and_then(|it| u16::try_from(it).ok());
        if let (Some(width), Some(height)) = (number("Width"), number("Height"))
            && to.send(TerminalSize { width, height }).await.is_err()
        {
            return;
        }
    }
}

/// The `Status` that tells a client how its command ended, or that the attempt failed.
fn status_of(attempt: &str, result: cri::Result<i32>) -> Value {
    match result {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        // Upstream's runtimes tell it themselves: no call stands between, that would add its code.
        Err(error) => internal_error(&format!("error {attempt}: {error}")),
    }
}

/// The `Status` of a failure of the server.
pub(super) fn internal_error(cause: &str) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
        "message": format!("Internal error occurred: {cause}"),
        "details": {"causes": [{"message": cause}]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    /// What a client hears of a process that goes on, when it has typed all it has to.
    async fn heard(ends_with_input: bool) -> Option<String> {
        let (input, mut process) = tokio::io::duplex(64);
        let streams = cri::Streams {
            stdin: Some(Box::pin(input)),
            stdout: None,
            stderr: None,
            resize: None,
            exit: Box::pin(std::future::pending()),
        };
        let (error, mut told) = tokio::io::duplex(1024);
        let client = ClientStreams {
            stdin: Some(Box::pin(&b"typed"[..])),
            stdout: None,
            stderr: None,
            error: Box::pin(error),
            resize: None,
        };
        let opening = std::future::ready(Ok(streams)).boxed();
        let session = Session { opening, attempt: "attaching to container", ends_with_input };
        let joined = tokio::spawn(session.join(client, std::future::pending()));
        let mut typed = [0; 5];
        process.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"typed");
        let mut text = String::new();
        let all = told.read_to_string(&mut text);
        let heard = tokio::time::timeout(std::time::Duration::from_secs(1), all).await;
        joined.abort();
        heard.ok().map(|_| text)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_input_open_leaves_when_it_has_typed() {
        let status = json!({"metadata": {}, "status": "Success"}).to_string();
        assert_eq!(heard(true).await, Some(status));
        assert_eq!(heard(false).await, None);
    }
}
