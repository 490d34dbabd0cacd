//! A machine's network that nobody else uses: a namespace with one link to the outside.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with a link `uplink0` to this machine. Dropping it removes both.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    subnet: String,
}

impl Namespace {
    /// Makes a namespace with a default route through this machine.
    ///
    /// # Errors
    /// `ip` is missing or refuses.
    pub fn create() -> Result<Self> {
        // Two of 64 x 250 subnets, by process and by count, so that several test programs can run.
        let process = std::process::id();
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        let subnet = format!("10.{}.{}", 128 + process % 64, (process / 64 + count) % 250);
        let namespace = Self { name: format!("kt{process}n{count}"), subnet };
        namespace.set_up().with_context(|| format!("make network {}", namespace.name))?;
        Ok(namespace)
    }

    fn set_up(&self) -> Result<()> {
        let (name, host) = (self.name.as_str(), self.host_link());
        ip(&["netns", "add", name])?;
        ip(&["link", "add", &host, "type", "veth", "peer", "name", "uplink0", "netns", name])?;
        ip(&["addr", "add", &format!("{}/24", self.gateway()), "dev", &host])?;
        ip(&["link", "set", &host, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{}/24", self.address()), "dev", "uplink0"])?;
        ip(&["-n", name, "link", "set", "uplink0", "up"])?;
        ip(&["-n", name, "route", "add", "default", "via", &self.gateway()])
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn host_link(&self) -> String {
        format!("{}h", self.name)
    }

    /// This machine's end of the link: for the namespace it stands for the outside.
    pub fn gateway(&self) -> String {
        format!("{}.1", self.subnet)
    }

    /// The namespace's own address.
    pub fn address(&self) -> String {
        format!("{}.2", self.subnet)
    }

    /// Where the kernel shows the namespace.
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// A program, to be run inside. Unlike `ip netns exec` this keeps the mounts of control groups in sight.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// The links that the namespace holds, by name.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn links(&self) -> Result<Vec<String>> {
        let text = output(Command::new("ip").args(["-n", &self.name, "-o", "link", "show"]))?;
        let name = |line: &str| {
            let name = line.split(": ").nth(1)?;
            Some(name.split('@').next().unwrap_or(name).to_owned())
        };
        Ok(text.lines().filter_map(name).collect())
    }

    /// The tables of nftables in it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn tables(&self) -> Result<Vec<String>> {
        let namespace = File::open(self.path())?;
        let tables = linux::nft::Nftables::open_in(namespace.as_fd())?.tables()?;
        Ok(tables.iter().map(ToString::to_string).collect())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The namespace may be kept alive by a process a moment longer, its link need not be.
        let removed =
            [ip(&["link", "delete", &self.host_link()]), ip(&["netns", "delete", &self.name])];
        for error in removed.into_iter().filter_map(Result::err) {
            crate::cluster::note(&format!("cannot remove network {}: {error:#}", self.name));
        }
    }
}

/// Runs `ip`.
///
/// # Errors
/// It is missing or refuses.
pub(crate) fn ip(arguments: &[&str]) -> Result<()> {
    output(Command::new("ip").args(arguments)).map(drop)
}

/// Runs a command and gives what it printed.
///
/// # Errors
/// It cannot be started or fails; the message has what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("start {shown}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{shown}: {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
