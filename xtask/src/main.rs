//! Workshop tasks: `cargo xtask <task>`.
//!
//! One file per task. What each task needs of the machine is named by it when it is missing; nothing is skipped
//! in silence.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

mod api_bench;
mod compare;
mod conformance;
mod demo;
mod fuzz;
mod gen_code;
mod node_bench;
mod process;
mod servers;
mod test;
#[cfg(test)]
mod tidy;
mod tools;
mod verify;

#[derive(Debug, Parser)]
#[command(name = "xtask", about = "Workshop tasks")]
struct Command {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Write the generated tables, or check them for drift.
    Gen(gen_code::GenArguments),
    /// Check format, lints and the rules of the tree; writes nothing.
    Verify,
    /// Mend what can be mended: format, lints, snapshots.
    Fix,
    /// Build, start a one-node cluster, run examples/hello on it and ask it for a page.
    Demo(demo::DemoArguments),
    /// Run upstream's conformance suite against a fresh cluster.
    Conformance(conformance::ConformanceArguments),
    /// Send the same requests to upstream's API server and to ours; see docs/COMPARISON.md.
    Compare(compare::CompareArguments),
    /// Run benchmarks against a cluster; see bench/RESULTS.md.
    Bench(BenchArguments),
    /// Feed the decoders with what nobody would send; see docs/FUZZING.md.
    Fuzz(fuzz::FuzzArguments),
    /// Install what the tests need, then run all of them, those against the release binary included.
    Test(test::TestArguments),
}

#[derive(Debug, Args)]
struct BenchArguments {
    /// Measure servers of its own instead: start, memory and processor at rest, pods, churn
    #[arg(long)]
    node: bool,
    /// Measure an API server of its own instead: verbs, lists, watches
    #[arg(long, conflicts_with = "node")]
    api: bool,
    /// With --node and --api: the program to measure [default: the release binary, built first]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// With --node and --api: the runner of workloads [default: built first]
    #[arg(long)]
    runner: Option<PathBuf>,
    /// With --api: upstream's kube-apiserver, to be measured in the same run
    #[arg(long, requires = "api")]
    kube_apiserver: Option<PathBuf>,
    /// With --api: the etcd for it
    #[arg(long, requires = "api", default_value = "etcd")]
    etcd: PathBuf,
    /// With --node: how many servers are started
    #[arg(long, default_value_t = 5)]
    starts: usize,
    /// Arguments of the runner, without --node and --api
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn bench(arguments: &BenchArguments) -> Result<()> {
    if arguments.node {
        return node_bench::NodeBench {
            binary: arguments.binary.as_deref(),
            starts: arguments.starts,
            label: "keelson",
            runner: arguments.runner.as_deref(),
        }
        .run();
    }
    if arguments.api {
        return api_bench::ApiBench {
            binary: arguments.binary.as_deref(),
            runner: arguments.runner.as_deref(),
            kube_apiserver: arguments.kube_apiserver.as_deref(),
            etcd: &arguments.etcd,
        }
        .run();
    }
    let runner = ["run", "--release", "--quiet", "--package", "bench", "--"];
    process::run(process::cargo().args(runner).args(&arguments.arguments))
}

fn main() -> Result<()> {
    match Command::parse().task {
        Task::Gen(arguments) => gen_code::run(&arguments),
        Task::Verify => verify::verify(),
        Task::Fix => verify::fix(),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Conformance(arguments) => conformance::run(&arguments),
        Task::Compare(arguments) => compare::run(&arguments),
        Task::Bench(arguments) => bench(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
    }
}
