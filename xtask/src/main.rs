//! Workshop tasks: `cargo xtask <task>`.

use anyhow::Result;
use clap::{Parser, Subcommand};

mod gen_code;

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
}

fn main() -> Result<()> {
    match Command::parse().task {
        Task::Gen(arguments) => gen_code::run(&arguments),
    }
}
