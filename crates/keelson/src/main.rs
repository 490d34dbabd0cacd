//! The program: one multi-call binary, and the story of a process from arguments to exit code.

mod agent;
mod audit;
mod backend;
mod config;
mod dialer;
mod front_proxy;
mod hello;
mod housekeeping;
mod image;
mod join;
mod kubeconfig;
mod lead;
mod logging;
mod manifests;
mod network;
mod node;
mod node_routes;
mod pki;
mod recover;
mod renewal;
mod reset;
mod server;
mod serving;
mod snapshot;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: linux::memory::Allocator = linux::memory::Allocator;

/// Exit code for a configuration that cannot be used (`EX_USAGE`).
const EXIT_USAGE: u8 = 64;

/// Kubernetes, whole, in one program.
#[derive(Debug, Parser)]
#[command(name = "keelson", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[expect(clippy::large_enum_variant, reason = "there is one, for as long as it takes to start")]
#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole cluster on this machine.
    Server(config::ServerArguments),
    /// Run this machine as a further node of a cluster.
    Agent(config::AgentArguments),
    /// Import, pull, list and remove images.
    Image(image::ImageArguments),
    /// Serve a page with the pod's name, for examples and tests.
    #[command(hide = true)]
    Hello(hello::HelloArguments),
    /// Save the state, put it back, or check what was saved.
    Snapshot(snapshot::SnapshotArguments),
    /// Repair a damaged store, up to the last good commit.
    Recover(recover::RecoverArguments),
    /// Stop every pod and leave no process, mount, link, rule or file behind.
    Reset(reset::ResetArguments),
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // The shim must come before anything makes a thread or a runtime.
    if arguments.get(1).is_some_and(|first| first == "shim") {
        runtime::shim::main(&arguments[2..]);
    }
    match Arguments::parse_from(&arguments).command {
        Command::Server(arguments) => match config::ServerConfig::read(arguments) {
            Ok(config) => report(run(server::run(config))),
            Err(error) => {
                report_error(&error);
                ExitCode::from(EXIT_USAGE)
            }
        },
        Command::Agent(arguments) => match config::AgentConfig::read(arguments) {
            Ok(config) => report(run(agent::run(config))),
            Err(error) => {
                report_error(&error);
                ExitCode::from(EXIT_USAGE)
            }
        },
        Command::Image(arguments) => report(image::run(arguments)),
        Command::Hello(arguments) => report(run(hello::run(arguments))),
        Command::Snapshot(arguments) => report(run(snapshot::run(arguments))),
        Command::Recover(arguments) => report(recover::run(&arguments)),
        Command::Reset(arguments) => report(run(reset::run(arguments))),
    }
}

fn run(story: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(story)
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report_error(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last words of a process belong on its standard error")]
fn report_error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
