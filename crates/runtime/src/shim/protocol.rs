//! What server and shim say to each other.
//!
//! A newer server talks to shims that an older one started: fields may be added with a default, never
//! removed or given another meaning.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// From the server to the shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back in the reply.
    pub id: u64,
    /// What to do.
    pub call: Call,
}

/// What a shim can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Answers [`Answer::State`].
    State,
    /// Starts a container; answers [`Answer::Started`] when its program runs.
    Start(StartContainer),
    /// Runs a command; takes the descriptors of [`StartExec`]; answers [`Answer::Exec`], with the terminal
    /// attached when there is one.
    Exec(StartExec),
    /// Copies a container's output into the descriptors that come along. Answers [`Answer::Done`], with the
    /// container's input (a pipe or the terminal) attached when asked for and open.
    Attach(Attach),
    /// Sends a signal to a container's first process.
    Signal {
        /// Container.
        container_id: String,
        /// Number.
        signal: i32,
    },
    /// Sends SIGKILL to a command.
    KillExec {
        /// Command.
        exec_id: String,
    },
    /// Opens the container's log again.
    ReopenLog {
        /// Container.
        container_id: String,
    },
    /// Connects to a port inside the pod's network; answers [`Answer::Done`] with the connection attached.
    Connect {
        /// Port.
        port: u16,
    },
    /// Forgets a container that has ended.
    Forget {
        /// Container.
        container_id: String,
    },
    /// Ends the shim. Containers that still run are killed.
    Exit,
}

/// A container to start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartContainer {
    /// Id.
    pub container_id: String,
    /// Directory with `config.json` and `privileges.json`; `exit.json` is written there.
    pub bundle: PathBuf,
    /// Log file; `None` drops the output.
    pub log_path: Option<PathBuf>,
    /// Its cgroup.
    pub cgroup: String,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its standard input stays open.
    pub stdin: bool,
    /// Whether standard input ends with the first attached client.
    pub stdin_once: bool,
    /// Whether it has a process namespace of its own, so that its processes end with the first.
    pub own_pid_namespace: bool,
    /// Value for `oom_score_adj`.
    pub oom_score_adj: Option<i32>,
}

/// A command to run in a container. The descriptors that come along are those of the streams that are set,
/// in this order; a terminal takes the place of all three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartExec {
    /// Id of the command, chosen by the server.
    pub exec_id: String,
    /// Container.
    pub container_id: String,
    /// The process in the form of the OCI specification.
    pub process: String,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether a descriptor for standard input comes along.
    pub stdin: bool,
    /// Whether a descriptor for standard output comes along.
    pub stdout: bool,
    /// Whether a descriptor for standard error comes along.
    pub stderr: bool,
}

/// Which streams to join.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attach {
    /// Container.
    pub container_id: String,
    /// Whether to answer with the container's input.
    pub stdin: bool,
    /// Whether a descriptor for standard output comes along.
    pub stdout: bool,
    /// Whether a descriptor for standard error comes along.
    pub stderr: bool,
}

/// From the shim to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The end of a request.
    Reply {
        /// That of the request.
        id: u64,
        /// How it went.
        result: Result<Answer, Failure>,
    },
    /// Something that was not asked for.
    Event(Event),
}

/// What a request answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing but success.
    Done,
    /// All containers.
    State(State),
    /// A container runs.
    Started {
        /// Process id on the host.
        pid: i32,
        /// Nanoseconds since 1970.
        started_at: i64,
        /// What could not be done but is no reason to fail.
        warnings: Vec<String>,
    },
    /// A command runs.
    Exec {
        /// Process id on the host.
        pid: i32,
    },
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whether the container or command does not exist (any more).
    #[serde(default)]
    pub not_found: bool,
    /// For a person.
    pub message: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A container ended.
    ContainerExited {
        /// Container.
        container_id: String,
        /// How.
        exit: Exit,
    },
    /// A command ended.
    ExecExited {
        /// Command.
        exec_id: String,
        /// Exit code.
        exit_code: i32,
    },
}

/// How a container ended; also the content of `exit.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// Exit code, 128 + n after signal n.
    pub exit_code: i32,
    /// Nanoseconds since 1970.
    pub finished_at: i64,
    /// Whether the kernel killed a process of it for want of memory.
    pub oom_killed: bool,
}

/// What a shim knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Process id of the shim.
    pub pid: i32,
    /// First process of the shared process namespace.
    pub pause_pid: Option<i32>,
    /// Containers that were started.
    pub containers: Vec<ContainerState>,
}

/// A started container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// Id.
    pub container_id: String,
    /// First process; 0 while it is being started.
    pub pid: i32,
    /// Nanoseconds since 1970.
    pub started_at: i64,
    /// How it ended.
    pub exit: Option<Exit>,
}

/// What a container may do: the content of `privileges.json`. libcontainer is not told, because seccomp has
/// to come before capabilities are given up and only its own filters, which need a C library, do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessPrivileges {
    /// Capability bits.
    pub bounding: u64,
    /// Capability bits.
    pub permitted: u64,
    /// Capability bits.
    pub inheritable: u64,
    /// Capability bits.
    pub ambient: u64,
    /// Files with compiled filters, in the order of installation.
    pub seccomp: Vec<PathBuf>,
}
