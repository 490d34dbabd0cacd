//! The shim: the small process that a pod's containers hang on, so that they outlive the server.
//!
//! It is the program itself, executed again before it has made a thread, a runtime or a logger. It owns the
//! pod's namespaces, starts containers in short-lived forks (where libcontainer does its work and leaves its
//! memory), reaps everything below it, writes the logs, notes how containers ended, and answers on a unix
//! socket. It decides nothing. Not here: the server's side of the socket ([`crate::client`]).

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod container;
mod executor;
mod output;
mod pause;
pub mod protocol;
mod server;
mod setup;
pub mod wire;
mod worker;
pub mod zygote;

/// What a shim is told at its start, in a file whose path is its only argument.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimConfig {
    /// Id of the sandbox.
    pub sandbox_id: String,
    /// Whether it leaves the host's network namespace.
    pub new_network: bool,
    /// Whether it leaves the host's IPC namespace.
    pub new_ipc: bool,
    /// Host name; `None` keeps the host's and its UTS namespace.
    pub hostname: Option<String>,
    /// Whether the pod's containers share a process namespace.
    pub shared_pid: bool,
    /// Sysctls of the new namespaces, by dotted name.
    pub sysctls: Vec<(String, String)>,
    /// Where libcontainer keeps its state.
    pub oci_root: PathBuf,
}

/// The argument that makes the process a zygote.
pub const ZYGOTE_ARGUMENT: &str = "--zygote";

/// Runs the shim and never returns. Call it first in `main`, before anything makes a thread.
///
/// `arguments` are those after the subcommand: [`ZYGOTE_ARGUMENT`], or the path of a configuration. The
/// socket is standard input; what goes wrong before it can be served is written to standard error.
pub fn main(arguments: &[OsString]) -> ! {
    let code = match run(arguments) {
        Ok(()) => 0,
        Err(message) => {
            use std::io::Write;
            // Nobody is left to tell when even this fails.
            let _unheard = writeln!(std::io::stderr(), "{message}");
            1
        }
    };
    linux::process::exit_now(code)
}

fn run(arguments: &[OsString]) -> Result<(), String> {
    let [path] = arguments else { return Err("usage: shim CONFIG".to_owned()) };
    if path == ZYGOTE_ARGUMENT {
        return zygote::run();
    }
    let bytes = std::fs::read(path).map_err(|error| format!("read {path:?}: {error}"))?;
    let config: ShimConfig =
        serde_json::from_slice(&bytes).map_err(|error| format!("parse {path:?}: {error}"))?;
    let ready = setup::set_up(&config)?;
    server::Server::new(config, ready).run().map_err(|error| format!("shim: {error}"))
}
