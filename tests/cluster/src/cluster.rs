//! One running server: its binary, its folder, its network, its life and its end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::network::output;
use crate::{Kubectl, Namespace, wait_until};

/// How long a server may take to say that it is ready.
const READY_MAX: Duration = Duration::from_secs(90);
/// How long a server may take to end.
const END_MAX: Duration = Duration::from_secs(20);

/// How full the disk is belongs to the machine that tests run on: it must neither evict their pods nor remove
/// their images.
pub const WHATEVER_THE_DISK: [&str; 4] =
    ["--eviction-hard", "memory.available<100Mi", "--image-gc-high-threshold", "100"];

/// How a cluster is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The program; without one, that of the environment variable `KEELSON_BINARY`.
    pub binary: Option<PathBuf>,
    /// Further arguments for `keelson server`.
    pub arguments: Vec<String>,
}

/// A cluster of one node. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    arguments: Vec<String>,
    // Before the folder: fields are dropped in order, and the namespace's last user is gone by then.
    network: Namespace,
    folder: tempfile::TempDir,
    server: Option<Child>,
    spawned: Instant,
}

impl Cluster {
    /// Starts a server on an empty folder and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready; the message has the end of its log.
    pub fn start(options: Options) -> Result<Self> {
        Self::start_in(Namespace::create()?, options)
    }

    /// The same in a network that the test has made.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_in(network: Namespace, options: Options) -> Result<Self> {
        let binary = options.binary.map_or_else(binary, Ok)?;
        let folder = tempfile::Builder::new().prefix("keelson-test-").tempdir()?;
        let arguments = options.arguments;
        let spawned = Instant::now();
        let mut cluster = Self { binary, arguments, network, folder, server: None, spawned };
        cluster.start_server()?;
        Ok(cluster)
    }

    /// Starts with the defaults.
    ///
    /// # Panics
    /// It does not start: a test cannot go on.
    #[track_caller]
    pub fn new() -> Self {
        match Self::start(Options::default()) {
            Ok(cluster) => cluster,
            Err(error) => panic!("start a cluster: {error:#}"),
        }
    }

    /// Starts with the defaults and with both test images: [`crate::busybox::IMAGE`] and [`crate::pods::SELF`].
    ///
    /// # Panics
    /// It does not start: a test cannot go on.
    #[track_caller]
    pub fn with_images() -> Self {
        let cluster = Self::new();
        let built = crate::busybox::archive(cluster.folder(), &[crate::busybox::IMAGE])
            .and_then(|archive| cluster.image(&["import", &archive.to_string_lossy()]))
            .and_then(|_| cluster.image(&["build-self", crate::pods::SELF]));
        if let Err(error) = built {
            panic!("import the images: {error:#}");
        }
        cluster
    }

    /// Starts the server again (after [`Cluster::stop_server`] or [`Cluster::kill_server`]).
    ///
    /// # Errors
    /// It does not become ready; the message has the end of its log.
    pub fn start_server(&mut self) -> Result<()> {
        let log = File::options().append(true).create(true).open(self.log())?;
        let already = self.log_text().matches("ready:").count();
        let mut command = self.network.command(&self.binary);
        command.arg("server").arg("--data-dir").arg(self.data_dir());
        command.arg("--write-kubeconfig").arg(self.kubeconfig()).args(["--node-name", "node1"]);
        command.args(WHATEVER_THE_DISK).args(&self.arguments).current_dir(self.folder.path());
        command.stdout(log.try_clone()?).stderr(log);
        self.spawned = Instant::now();
        let child = command.spawn().context("start the server")?;
        let child = self.server.insert(child);
        let end = Instant::now() + READY_MAX;
        let state = wait_until("the server answers or ends", READY_MAX * 2, || {
            let text =
                std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
            if text.matches("ready:").count() > already {
                return Ok(Ok(()));
            }
            match child.try_wait() {
                Ok(Some(status)) => Ok(Err(format!("it ended: {status}"))),
                Err(error) => Ok(Err(error.to_string())),
                Ok(None) if Instant::now() > end => Ok(Err("it is not ready in time".to_owned())),
                Ok(None) => Err("starting".to_owned()),
            }
        });
        state.or_else(|state| bail!("{state}; the end of its log:\n{}", tail(&self.log_text(), 40)))
    }

    /// Asks the server to end, and waits; its pods go on.
    ///
    /// # Errors
    /// It does not end in time, or not with success.
    pub fn stop_server(&mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        kill(pid(&server), Signal::SIGTERM).context("signal the server")?;
        let status = wait_until("the server ends", END_MAX, || match server.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        if !status.success() {
            bail!(
                "the server ended with {status}; the end of its log:\n{}",
                tail(&self.log_text(), 40)
            );
        }
        Ok(())
    }

    /// Kills the server where it stands; its pods go on.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn kill_server(&mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        server.kill().context("kill the server")?;
        server.wait().context("wait for the server")?;
        Ok(())
    }

    /// Stops every pod and removes what the node put on the machine (`keelson reset`).
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn reset(&self) -> Result<()> {
        let mut command = self.network.command(&self.binary);
        output(command.arg("reset").arg("--data-dir").arg(self.data_dir())).map(drop)
    }

    /// A subcommand of `keelson image` on this node.
    ///
    /// # Errors
    /// What it says.
    pub fn image(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.network.command(&self.binary);
        output(command.arg("image").args(arguments).arg("--data-dir").arg(self.data_dir()))
    }

    /// Upstream's kubectl on this cluster, in namespace `default`.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(self.kubeconfig(), self.network.path())
    }

    /// A page, asked for in the node's network.
    ///
    /// # Errors
    /// What curl says.
    pub fn fetch(&self, address: &str) -> Result<String> {
        output(self.network.command("curl").args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "5",
            address,
        ]))
    }

    /// The process of the server, while it runs.
    pub fn server_pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// When the server that runs was started.
    pub fn spawned(&self) -> Instant {
        self.spawned
    }

    /// A program in the node's network.
    pub fn command(&self, program: &str) -> Command {
        self.network.command(program)
    }

    /// The node's network.
    pub fn network(&self) -> &Namespace {
        &self.network
    }

    /// The program under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The folder of everything of this cluster; tests may put files there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the server keeps its state.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig.yaml")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// What the server has said so far.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            note(&format!("the end of the server's log:\n{}", tail(&self.log_text(), 60)));
        }
        let ended = [self.kill_server(), self.reset()];
        for error in ended.into_iter().filter_map(Result::err) {
            note(&format!("cannot clean up: {error:#}"));
        }
    }
}

/// The program under test, as the environment names it.
fn binary() -> Result<PathBuf> {
    let path = std::env::var_os("KEELSON_BINARY")
        .context("KEELSON_BINARY names no program: run these tests with `cargo xtask test`")?;
    Ok(PathBuf::from(path))
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

/// The command lines of processes that name a folder, but not our own.
pub fn processes_naming(folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let lines = entries.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_string_lossy().parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        (pid != std::process::id() && line.contains(folder)).then_some(line)
    });
    lines.collect()
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Tells the person who reads the test's output.
#[expect(clippy::print_stderr, reason = "a test's notes are read on its standard error")]
pub fn note(line: &str) {
    eprintln!("{line}");
}
