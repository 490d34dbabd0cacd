//! Running other programs: shown to the person, checked for success, and where the repository is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("/")).to_owned()
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A program, to be run in the root of the repository.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    command
}

/// Says what is done, for the person who waits.
#[expect(clippy::print_stderr, reason = "progress is for the person at the terminal")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// Prints what was asked for.
#[expect(clippy::print_stdout, reason = "results are the data of these tasks")]
pub(crate) fn print(line: &str) {
    println!("{line}");
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let mut words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(name) = Path::new(&words[0]).file_name() {
        words[0] = name.to_string_lossy().into_owned();
    }
    words.join(" ")
}

/// Runs a command and fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = shown(command);
    say(&format!("$ {text}"));
    let status = command.status().with_context(|| format!("start `{text}`"))?;
    if !status.success() {
        bail!("`{text}` failed: {status}");
    }
    Ok(())
}

/// Runs a command and gives what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let text = shown(command);
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("start `{text}`"))?;
    if !output.status.success() {
        bail!("`{text}` failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("read what `{text}` printed"))
}

/// Builds the release binary and gives its path.
pub(crate) fn release_binary() -> Result<PathBuf> {
    release_program("keelson")
}

/// Builds a program of the workspace, which has its package's name, and gives its path.
pub(crate) fn release_program(package: &str) -> Result<PathBuf> {
    run(cargo().args(["build", "--release", "--package", package]))?;
    let messages = output(cargo().args([
        "build",
        "--quiet",
        "--release",
        "--package",
        package,
        "--message-format",
        "json",
    ]))?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == package)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo names no executable for the package {package}"))
}
