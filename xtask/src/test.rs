//! `cargo xtask test`: every test there is, and one line at the end that counts them.
//!
//! First the tests of the workspace, then those that drive the release binary with upstream's tools.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use regex::Regex;

use crate::process::{cargo, print, program, release_binary, say, shown};
use crate::tools::Tools;

/// The package whose tests drive the release binary.
const CLUSTER_TESTS: &str = "cluster-tests";

/// `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    /// Only the tests that drive the release binary
    #[arg(long)]
    cluster_only: bool,
    /// Only the tests whose names contain this
    filter: Option<String>,
}

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Runs the task.
///
/// # Errors
/// Something that tests need is missing, or a test failed.
pub(crate) fn run(arguments: &TestArguments) -> Result<()> {
    let tools = Tools::install()?;
    let mut total = Count::default();
    let filter = arguments.filter.as_deref();
    if !arguments.cluster_only {
        let nextest = program("cargo-nextest").arg("--version").stdout(Stdio::null()).status();
        let mut tests = cargo();
        if nextest.is_ok_and(|status| status.success()) {
            tests.args(["nextest", "run", "--no-fail-fast", "--no-tests=warn"]);
        } else {
            tests.args(["test", "--no-fail-fast"]);
        }
        tests.args(["--workspace", "--exclude", CLUSTER_TESTS]);
        tests.env("KEELSON_BUSYBOX", &tools.busybox).env("KEELSON_ETCD", &tools.etcd);
        add(&mut total, counted(tests.args(filter))?);
    }
    let binary = release_binary()?;
    let size = binary.metadata().context("look at the release binary")?.len();
    say(&format!("{}: {:.1} MB", binary.display(), size as f64 / 1e6));
    let mut tests = cargo();
    tests.args(["test", "--no-fail-fast", "--package", CLUSTER_TESTS]).args(filter);
    // Clusters share the machine's two or more cores: one at a time keeps the times of probes meaningful.
    tests.args(["--", "--test-threads", "1"]);
    tests.env("KEELSON_BINARY", &binary).env("KUBECTL", &tools.kubectl);
    tests.env("DOCKER_REGISTRY", &tools.registry).env("BUSYBOX", &tools.busybox);
    tests.env("KEELSON_ETCD", &tools.etcd);
    add(&mut total, counted(&mut tests)?);
    print(&format!("{} passed, {} failed", total.passed, total.failed));
    if total.failed > 0 {
        bail!("{} tests failed", total.failed);
    }
    Ok(())
}

fn add(total: &mut Count, part: Count) {
    total.passed += part.passed;
    total.failed += part.failed;
}

/// Runs tests, shows what they print, and counts.
fn counted(command: &mut Command) -> Result<Count> {
    let text = shown(command);
    say(&format!("$ {text}"));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{text}`"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut count = std::thread::scope(|scope| {
        let errors = scope.spawn(|| stderr.map_or_else(Count::default, |pipe| follow(pipe, say)));
        let mut count = stdout.map_or_else(Count::default, |pipe| follow(pipe, print));
        if let Ok(part) = errors.join() {
            add(&mut count, part);
        }
        count
    });
    let status = child.wait().with_context(|| format!("wait for `{text}`"))?;
    if !status.success() && count.failed == 0 {
        // It did not compile, or a whole test program died: that is a failure which no summary counts.
        count.failed = 1;
    }
    Ok(count)
}

fn follow(pipe: impl Read, show: fn(&str)) -> Count {
    let mut count = Count::default();
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        show(&line);
        add(&mut count, summary(&line));
    }
    count
}

/// What a line says, if it is the summary of cargo's test harness or of nextest.
fn summary(line: &str) -> Count {
    let line = line.trim();
    let is_summary = line.starts_with("test result:")
        || (line.starts_with("Summary [") && line.contains("run:"));
    if !is_summary {
        return Count::default();
    }
    let number = |what: &str| {
        let pattern = Regex::new(&format!(r"(\d+) {what}")).ok();
        let found =
            pattern.and_then(|pattern| pattern.captures(line)?.get(1)?.as_str().parse().ok());
        found.unwrap_or(0)
    };
    Count { passed: number("passed"), failed: number("failed") + number("timed out") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_counted() {
        let cases = [
            ("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out", 12, 0),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored", 1, 2),
            (
                "     Summary [   1.5s] 9 tests run: 6 passed (1 slow), 2 failed, 1 timed out, 3 skipped",
                6,
                3,
            ),
            ("test store::passed ... ok", 0, 0),
            ("12 passed, 3 failed", 0, 0),
        ];
        for (line, passed, failed) in cases {
            assert_eq!(summary(line), Count { passed, failed }, "{line}");
        }
    }
}
