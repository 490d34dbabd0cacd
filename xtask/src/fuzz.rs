//! `cargo xtask fuzz`: builds the fuzzer with coverage counters and lets it search each target for a while.
//!
//! The targets and what they may cost are the package `fuzz`. Not here: its tests, which run with all others.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::process::{cargo, output, print, program, root, run as run_command, say};

/// Counters on all branches, and the operands of comparisons; stable compilers know these passes too. Not linked
/// statically, for the engine looks up the functions of the C library that it listens to.
const COVERAGE: &str = "-C passes=sancov-module \
    -C llvm-args=-sanitizer-coverage-level=3 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
    -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares";
/// A target that has this many findings is not searched further.
const FINDINGS_MAX: usize = 5;
/// The largest file that a target may write, in blocks of 512 bytes: what unpacks stays small.
const FILE_BLOCKS_MAX: u32 = 8192;

/// `cargo xtask fuzz`.
#[derive(Debug, Args)]
pub(crate) struct FuzzArguments {
    /// The targets [default: all]
    targets: Vec<String>,
    /// How long each target is searched
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// How many targets are searched at the same time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Where the build, inputs and findings are kept [default: target/fuzz]
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// What became of one target.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    executions: u64,
    seconds: u64,
    inputs: usize,
    findings: usize,
}

/// Runs the task.
///
/// # Errors
/// The fuzzer cannot be built or started, or something was found.
pub(crate) fn run(arguments: &FuzzArguments) -> Result<()> {
    let folder = arguments.folder.clone().unwrap_or_else(|| root().join("target").join("fuzz"));
    let fuzzer = build(&folder.join("target"))?;
    let known = output(program(&fuzzer).arg("list"))?;
    let known: Vec<&str> = known.lines().collect();
    if let Some(other) = arguments.targets.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no target {other}: there are {}", known.join(", "));
    }
    let wanted = arguments.targets.iter().map(String::as_str);
    let wanted = if arguments.targets.is_empty() { known } else { wanted.collect() };
    let waiting = Mutex::new(VecDeque::from(wanted));
    let found = Mutex::new(0);
    print(&format!(
        "{:<12} {:>7} {:>12} {:>9} {:>7} {:>8}",
        "target", "seconds", "executions", "/second", "corpus", "findings"
    ));
    std::thread::scope(|scope| {
        let worker = || -> Result<()> {
            while let Some(target) = next(&waiting) {
                let outcome = search(&fuzzer, target, &folder.join(target), arguments.seconds)?;
                print(&line(target, &outcome));
                if let Ok(mut found) = found.lock() {
                    *found += outcome.findings;
                }
            }
            Ok(())
        };
        let workers: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(_) => bail!("a worker panicked"),
        })
    })?;
    match found.into_inner() {
        Ok(0) => Ok(()),
        _ => bail!("something was found: see {}/*/findings and the logs beside", folder.display()),
    }
}

fn next<'a>(waiting: &Mutex<VecDeque<&'a str>>) -> Option<&'a str> {
    waiting.lock().ok()?.pop_front()
}

fn line(target: &str, outcome: &Outcome) -> String {
    let Outcome { executions, seconds, inputs, findings } = outcome;
    let rate = executions / (*seconds).max(1);
    format!("{target:<12} {seconds:>7} {executions:>12} {rate:>9} {inputs:>7} {findings:>8}")
}

/// Builds the fuzzer beside the normal build, for its flags are others.
fn build(target_folder: &Path) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--profile", "fuzz", "--package", "fuzz", "--features", "engine"]);
    command.arg("--target-dir").arg(target_folder).env("RUSTFLAGS", COVERAGE);
    run_command(&mut command)?;
    let messages = output(command.args(["--quiet", "--message-format", "json"]))?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo names no executable for the package fuzz")
}

/// Searches until the time is over, past a few findings.
fn search(fuzzer: &Path, target: &str, folder: &Path, seconds: u64) -> Result<Outcome> {
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let began = Instant::now();
    let mut outcome = Outcome::default();
    while outcome.findings < FINDINGS_MAX {
        let left = Duration::from_secs(seconds).saturating_sub(began.elapsed()).as_secs();
        if left == 0 {
            break;
        }
        let log = folder.join(format!("log-{}", outcome.findings));
        let (executions, whole) = once(fuzzer, target, folder, left, &log)?;
        outcome.executions += executions;
        if !whole {
            outcome.findings += 1;
            say(&format!("{target}: found something, see {}", log.display()));
        }
    }
    outcome.seconds = began.elapsed().as_secs();
    let inputs = std::fs::read_dir(folder.join("corpus")).context("count the corpus")?;
    outcome.inputs = inputs.count();
    Ok(outcome)
}

/// One process of the fuzzer; how many inputs it ran and whether it came to its end.
fn once(
    fuzzer: &Path,
    target: &str,
    folder: &Path,
    seconds: u64,
    log: &Path,
) -> Result<(u64, bool)> {
    let limits = format!("trap '' XFSZ; ulimit -f {FILE_BLOCKS_MAX}; exec \"$@\"");
    let mut child = program("sh")
        .args(["-c", &limits, "sh"])
        .arg(fuzzer)
        .arg(target)
        .arg(folder)
        .arg(seconds.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", fuzzer.display()))?;
    let pipe = child.stderr.take().context("the fuzzer has no standard error")?;
    let mut text = String::new();
    let mut executions = 0;
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        executions = executed(&line).unwrap_or(executions);
        text.push_str(&line);
        text.push('\n');
    }
    std::fs::write(log, text).with_context(|| format!("write {}", log.display()))?;
    let status = child.wait().context("wait for the fuzzer")?;
    Ok((executions, status.success()))
}

/// How many inputs were run, as the engine says now and then (`#1024 NEW cov: …`) and at its end.
fn executed(line: &str) -> Option<u64> {
    if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
        return number.trim().parse().ok();
    }
    line.strip_prefix('#')?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_lines_are_read() {
        let cases = [
            ("#1024\tNEW    cov: 5 ft: 6 corp: 2/7b", Some(1024)),
            ("stat::number_of_executed_units: 99", Some(99)),
            ("stat::average_exec_per_sec:     7", None),
            ("INFO: Seed: 1", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(executed(text), expected, "{text}");
        }
    }

    #[test]
    fn a_target_is_one_line() {
        let outcome = Outcome { executions: 6000, seconds: 60, inputs: 7, findings: 1 };
        let expected = "json              60         6000       100       7        1";
        assert_eq!(line("json", &outcome), expected);
    }
}
