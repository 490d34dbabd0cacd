//! `cargo xtask conformance`: upstream's own suite against a fresh cluster.
//!
//! The suite's binary and its images are given from outside; nothing of them is part of this repository. What comes
//! out is a table per SIG and `docs/CONFORMANCE.md`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use cluster_tests::agent::{Agent, Segment};
use cluster_tests::{Cluster, Namespace, Options};

use crate::process::{print, release_binary, root, say, shown};

mod report;

/// What every conformance test has in its name.
const CONFORMANCE: &str = r"\[Conformance\]";
/// These change the node or need it for themselves: they run alone, after the others.
const ALONE: &str = r"\[Serial\]|\[Slow\]|\[Disruptive\]";

/// `cargo xtask conformance`.
#[derive(Debug, Args)]
pub(crate) struct ConformanceArguments {
    /// Upstream's `e2e.test`; a `ginkgo` beside it is used for several processes
    #[arg(long)]
    e2e: PathBuf,
    /// Folder of image archives (*.tar) that the suite needs
    #[arg(long)]
    images: PathBuf,
    /// Only tests whose whole names match this (Go regular expression)
    #[arg(long, default_value = CONFORMANCE)]
    focus: String,
    /// No tests whose whole names match this
    #[arg(long)]
    skip: Option<String>,
    /// Nodes of the cluster, 1 or 2; upstream asks for two
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    nodes: u8,
    /// Processes that share the tests
    #[arg(long, default_value_t = 4)]
    procs: u32,
    /// kubectl for the suite [default: the one beside the suite, then that of the path]
    #[arg(long)]
    kubectl: Option<PathBuf>,
    /// The program to test [default: the release binary, built first]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Folder for the suite's log and report
    #[arg(long, default_value = "target/conformance")]
    out: PathBuf,
    /// Longest time for the suite, as Go writes it
    #[arg(long, default_value = "6h")]
    timeout: String,
}

/// Runs the task.
///
/// # Errors
/// The suite cannot run, or a test failed.
pub(crate) fn run(arguments: &ConformanceArguments) -> Result<()> {
    let e2e = arguments
        .e2e
        .canonicalize()
        .with_context(|| format!("find {}", arguments.e2e.display()))?;
    let binary = match &arguments.binary {
        Some(binary) => {
            binary.canonicalize().with_context(|| format!("find {}", binary.display()))?
        }
        None => release_binary()?,
    };
    let out = root().join(&arguments.out);
    std::fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
    // Dropped in the reverse order: the agent leaves first.
    let segment = if arguments.nodes > 1 { Some(Segment::create()?) } else { None };
    let cluster = start(binary, segment.as_ref())?;
    let join = |segment: &Segment| Agent::join(&cluster, segment, "node2");
    let agent = segment.as_ref().map(join).transpose()?;
    import(&cluster, agent.as_ref(), &arguments.images)?;
    let started = Instant::now();
    let mut results = report::Results::default();
    for part in parts(arguments) {
        let junit = run_suite(&cluster, &e2e, arguments, &part, &out)?;
        results.read(&junit)?;
    }
    std::fs::write(out.join("server.log"), cluster.log_text()).context("keep the server's log")?;
    drop(agent);
    drop(cluster);
    finish(&results, arguments, started.elapsed(), &out)
}

/// The server, on the segment if there is one.
fn start(binary: PathBuf, segment: Option<&Segment>) -> Result<Cluster> {
    let options = Options { binary: Some(binary), ..Options::default() };
    let Some(segment) = segment else { return Cluster::start(options) };
    let network = Namespace::create()?;
    segment.connect(&network, 1)?;
    let arguments = vec!["--node-ip".to_owned(), segment.address(1)];
    Cluster::start_in(network, Options { arguments, ..options })
}

/// One run of the suite.
struct Part {
    name: &'static str,
    focus: String,
    skip: Option<String>,
    procs: u32,
}

/// What can run side by side first, then what runs alone.
fn parts(arguments: &ConformanceArguments) -> Vec<Part> {
    let whole = |name, focus: &str, skip: Option<String>, procs| Part {
        name,
        focus: focus.to_owned(),
        skip,
        procs,
    };
    if arguments.procs <= 1 || arguments.focus != CONFORMANCE {
        return vec![whole("tests", &arguments.focus, arguments.skip.clone(), arguments.procs)];
    }
    let with_alone =
        arguments.skip.as_ref().map_or_else(|| ALONE.to_owned(), |skip| format!("{skip}|{ALONE}"));
    let alone_focus = r"(\[Serial\]|\[Slow\]|\[Disruptive\]).*\[Conformance\]";
    vec![
        whole("parallel", CONFORMANCE, Some(with_alone), arguments.procs),
        whole("alone", alone_focus, arguments.skip.clone(), 1),
    ]
}

fn import(cluster: &Cluster, agent: Option<&Agent>, folder: &Path) -> Result<()> {
    let mut archives: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tar"))
        .collect();
    archives.sort();
    if archives.is_empty() {
        bail!("{} holds no *.tar", folder.display());
    }
    for archive in archives {
        say(&format!("importing {}", archive.display()));
        let archive = archive.canonicalize()?;
        let import = ["import", &archive.to_string_lossy()];
        cluster.image(&import)?;
        agent.map(|agent| agent.image(&import)).transpose()?;
    }
    Ok(())
}

fn run_suite(
    cluster: &Cluster,
    e2e: &Path,
    arguments: &ConformanceArguments,
    part: &Part,
    out: &Path,
) -> Result<PathBuf> {
    let junit = out.join(format!("{}.xml", part.name));
    let log = out.join(format!("{}.log", part.name));
    if junit.exists() {
        std::fs::remove_file(&junit).with_context(|| format!("remove {}", junit.display()))?;
    }
    let mut command = suite_command(cluster, e2e, arguments, part, &junit);
    let file = File::create(&log).with_context(|| format!("write {}", log.display()))?;
    command.stdout(file.try_clone()?).stderr(file).env("KUBECONFIG", cluster.kubeconfig());
    say(&format!("$ {} > {}", shown(&command), log.display()));
    let status = command.status().context("start the suite")?;
    if !junit.exists() {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        bail!(
            "the suite wrote no report ({status}); the end of its log:\n{}",
            cluster_tests::cluster::tail(&text, 30)
        );
    }
    Ok(junit)
}

/// The suite's flags are those of upstream's conformance runs on a cluster that no cloud provides.
fn suite_command(
    cluster: &Cluster,
    e2e: &Path,
    arguments: &ConformanceArguments,
    part: &Part,
    junit: &Path,
) -> Command {
    let beside =
        |name: &str| e2e.parent().map(|folder| folder.join(name)).filter(|file| file.exists());
    let kubectl =
        arguments.kubectl.clone().or_else(|| beside("kubectl")).unwrap_or_else(|| "kubectl".into());
    let ginkgo = beside("ginkgo").filter(|_| part.procs > 1);
    let prefix = if ginkgo.is_some() { "--" } else { "--ginkgo." };
    let mut command = cluster.command(&ginkgo.as_deref().unwrap_or(e2e).to_string_lossy());
    if ginkgo.is_some() {
        command.arg("run").arg(format!("--procs={}", part.procs));
        command.arg(format!("--output-dir={}", junit.parent().unwrap_or(junit).display()));
        command.arg(format!(
            "--junit-report={}",
            junit.file_name().unwrap_or_default().to_string_lossy()
        ));
        command.arg("-v");
    } else {
        command.arg(format!("--ginkgo.junit-report={}", junit.display())).arg("--ginkgo.v");
    }
    command.arg(format!("{prefix}focus={}", part.focus));
    command.args(part.skip.as_ref().map(|skip| format!("{prefix}skip={skip}")));
    command.arg(format!("{prefix}no-color")).arg(format!("{prefix}timeout={}", arguments.timeout));
    if ginkgo.is_some() {
        command.arg(e2e).arg("--");
    }
    command.arg(format!("--kubeconfig={}", cluster.kubeconfig().display()));
    command.arg(format!("--kubectl-path={}", kubectl.display()));
    command.args(["--provider=local", "--allowed-not-ready-nodes=0", "--disable-log-dump=true"]);
    command
}

fn finish(
    results: &report::Results,
    arguments: &ConformanceArguments,
    took: Duration,
    out: &Path,
) -> Result<()> {
    let table = results.table();
    print(&table);
    std::fs::write(out.join("failures.txt"), results.messages()).context("write the failures")?;
    say(&format!("the messages of failed tests are in {}", out.join("failures.txt").display()));
    if arguments.focus == CONFORMANCE && arguments.skip.is_none() {
        let page = root().join("docs").join("CONFORMANCE.md");
        std::fs::write(&page, results.page(took, arguments.nodes))
            .with_context(|| format!("write {}", page.display()))?;
    }
    match results.failed() {
        0 => Ok(()),
        failed => bail!("{failed} tests failed"),
    }
}
