//! A second machine: an agent in a network namespace of its own, on one network with a cluster's server.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cluster::{WHATEVER_THE_DISK, note, tail};
use crate::network::{ip, output};
use crate::{Cluster, Namespace, wait_until};

/// How long an agent may take to join.
const READY_MAX: Duration = Duration::from_secs(60);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A bridge of this machine that stands for a wire between machines. Dropping it removes it.
#[derive(Debug)]
pub struct Segment {
    name: String,
    subnet: String,
}

impl Segment {
    /// Makes a bridge without ports.
    ///
    /// # Errors
    /// `ip` is missing or refuses.
    pub fn create() -> Result<Self> {
        let process = std::process::id();
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        let subnet = format!("10.{}.{}", 192 + process % 32, (process / 32 + count) % 250);
        let segment = Self { name: format!("kb{process}n{count}"), subnet };
        ip(&["link", "add", &segment.name, "type", "bridge"])?;
        ip(&["link", "set", &segment.name, "up"])?;
        Ok(segment)
    }

    /// The address of the machine with that number.
    pub fn address(&self, number: u8) -> String {
        format!("{}.{number}", self.subnet)
    }

    /// Connects a namespace by a link `seg0`, as the machine with that number.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn connect(&self, namespace: &Namespace, number: u8) -> Result<()> {
        let (name, near) = (namespace.name(), format!("{}p{number}", self.name));
        ip(&["link", "add", &near, "type", "veth", "peer", "name", "seg0", "netns", name])?;
        ip(&["link", "set", &near, "master", &self.name, "up"])?;
        let address = format!("{}/24", self.address(number));
        ip(&["-n", name, "addr", "add", &address, "dev", "seg0"])?;
        ip(&["-n", name, "link", "set", "seg0", "up"])
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let Err(error) = ip(&["link", "delete", &self.name]) {
            note(&format!("cannot remove segment {}: {error:#}", self.name));
        }
    }
}

/// A running agent. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct Agent {
    binary: PathBuf,
    network: Namespace,
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Agent {
    /// Joins a cluster whose server is the first machine of the segment, as the second.
    ///
    /// # Errors
    /// It does not join in time; the message has the end of its log.
    pub fn join(cluster: &Cluster, segment: &Segment, name: &str) -> Result<Self> {
        let token = std::fs::read_to_string(cluster.data_dir().join("join-token"))
            .context("read the token")?;
        let network = Namespace::create()?;
        segment.connect(&network, 2)?;
        let folder = tempfile::Builder::new().prefix("keelson-agent-").tempdir()?;
        let binary = cluster.binary().to_owned();
        let mut agent = Self { binary, network, folder, process: None };
        let log = File::options().append(true).create(true).open(agent.log())?;
        let mut command = agent.network.command(&agent.binary);
        command.arg("agent").arg("--data-dir").arg(agent.data_dir());
        command.args(["--server", &format!("https://{}:6443", segment.address(1))]);
        command.args(["--token", token.trim(), "--node-name", name]);
        command.args(["--node-ip", &segment.address(2)]).args(WHATEVER_THE_DISK);
        command.stdout(log.try_clone()?).stderr(log);
        agent.process = Some(command.spawn().context("start the agent")?);
        agent.wait_ready()?;
        Ok(agent)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let end = std::time::Instant::now() + READY_MAX;
        let state = wait_until("the agent joins or ends", READY_MAX * 2, || {
            if self.log_text().contains("ready:") {
                return Ok(Ok(()));
            }
            match self.process.as_mut().map(Child::try_wait) {
                Some(Ok(Some(status))) => Ok(Err(format!("it ended: {status}"))),
                _ if std::time::Instant::now() > end => Ok(Err("it did not join".to_owned())),
                _ => Err("joining".to_owned()),
            }
        });
        state.or_else(|state| bail!("{state}; the end of its log:\n{}", tail(&self.log_text(), 40)))
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("agent.log")
    }

    /// What it has said so far.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Where it keeps its state.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program on its machine.
    pub fn command(&self, program: &str) -> Command {
        self.network.command(program)
    }

    /// A subcommand of `keelson image` on its machine.
    ///
    /// # Errors
    /// What it says.
    pub fn image(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.network.command(&self.binary);
        output(command.arg("image").args(arguments).arg("--data-dir").arg(self.data_dir()))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            note(&format!("the end of the agent's log:\n{}", tail(&self.log_text(), 60)));
        }
        if let Some(mut process) = self.process.take() {
            let ended = process.kill().and_then(|()| process.wait());
            if let Err(error) = ended {
                note(&format!("cannot end the agent: {error}"));
            }
        }
        let mut command = self.network.command(&self.binary);
        let reset = output(command.arg("reset").arg("--data-dir").arg(self.data_dir()));
        if let Err(error) = reset {
            note(&format!("cannot reset the agent's node: {error:#}"));
        }
    }
}
