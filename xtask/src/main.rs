//! Workshop tasks: `cargo xtask <task>`.
//!
//! One file per task. What each task needs of the machine is named by it when it is missing; nothing is skipped
//! in silence.

use anyhow::Result;
use clap::{Parser, Subcommand};

mod conformance;
mod demo;
mod gen_code;
mod process;
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
    /// Run benchmarks against a cluster; see bench/RESULTS.md.
    Bench {
        /// Arguments of the runner
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Install what the tests need, then run all of them, those against the release binary included.
    Test(test::TestArguments),
}

fn main() -> Result<()> {
    match Command::parse().task {
        Task::Gen(arguments) => gen_code::run(&arguments),
        Task::Verify => verify::verify(),
        Task::Fix => verify::fix(),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Conformance(arguments) => conformance::run(&arguments),
        Task::Bench { arguments } => {
            let runner = ["run", "--release", "--quiet", "--package", "bench", "--"];
            process::run(process::cargo().args(runner).args(&arguments))
        }
        Task::Test(arguments) => test::run(&arguments),
    }
}
