//! Several servers without nodes on one etcd, in one network namespace.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::network::output;
use crate::{Kubectl, Namespace, wait_until};

const READY_MAX: Duration = Duration::from_secs(90);
const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_PORT: u16 = 2379;

/// An etcd member and its servers. Dropping it ends them all.
#[derive(Debug)]
pub struct ControlPlane {
    binary: PathBuf,
    etcd_program: PathBuf,
    etcd: Option<Child>,
    servers: Vec<Option<Child>>,
    network: Namespace,
    folder: tempfile::TempDir,
}

impl ControlPlane {
    /// Starts etcd, and room for some servers.
    ///
    /// # Errors
    /// The environment names no programs (`KEELSON_BINARY`, `KEELSON_ETCD`), or etcd cannot be started.
    pub fn start(servers: usize) -> Result<Self> {
        let program = |name: &str| {
            let message = "names no program: run these tests with `cargo xtask test`";
            std::env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} {message}"))
        };
        let (binary, etcd_program) = (program("KEELSON_BINARY")?, program("KEELSON_ETCD")?);
        let folder = tempfile::Builder::new().prefix("keelson-test-").tempdir()?;
        let network = Namespace::create()?;
        let servers = (0..servers).map(|_| None).collect();
        let mut this = Self { binary, etcd_program, etcd: None, servers, network, folder };
        this.run_etcd()?;
        Ok(this)
    }

    fn run_etcd(&mut self) -> Result<()> {
        let path = self.folder.path().join("etcd.log");
        let log = File::options().create(true).append(true).open(path)?;
        let listen = format!("http://0.0.0.0:{ETCD_PORT}");
        let etcd = self
            .network
            .command(&self.etcd_program)
            .arg("--data-dir")
            .arg(self.folder.path().join("etcd"))
            .args(["--logger", "zap"])
            .args(["--listen-client-urls", &listen, "--advertise-client-urls", ETCD])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.etcd = Some(etcd.context("start etcd")?);
        Ok(())
    }

    /// Kills etcd and starts it again with what it has: every connection to it breaks.
    ///
    /// # Errors
    /// It cannot be killed or started.
    pub fn restart_etcd(&mut self) -> Result<()> {
        if let Some(mut etcd) = self.etcd.take() {
            etcd.kill().context("kill etcd")?;
            etcd.wait().context("wait for etcd")?;
        }
        self.run_etcd()
    }

    /// Sends a signal to etcd.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn signal_etcd(&self, signal: Signal) -> Result<()> {
        let Some(etcd) = &self.etcd else { bail!("etcd does not run") };
        kill(Pid::from_raw(i32::try_from(etcd.id())?), signal).context("signal etcd")
    }

    /// Makes etcd forget what was before a revision.
    ///
    /// # Errors
    /// It does not answer, or refuses: what it says.
    pub fn compact_etcd(&self, revision: u64) -> Result<()> {
        let address: SocketAddr = format!("{}:{ETCD_PORT}", self.network.address()).parse()?;
        let mut stream = TcpStream::connect(address).context("connect to etcd")?;
        let body = format!("{{\"revision\":\"{revision}\"}}");
        write!(
            stream,
            "POST /v3/kv/compaction HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("hear from etcd")?;
        if answer.lines().next().is_some_and(|line| line.contains(" 200 ")) {
            return Ok(());
        }
        bail!("etcd does not compact: {answer}")
    }

    /// Sends a signal to a server that runs.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn signal_server(&self, at: usize, signal: Signal) -> Result<()> {
        let Some(server) = &self.servers[at] else { bail!("server {at} does not run") };
        kill(Pid::from_raw(i32::try_from(server.id())?), signal).context("signal a server")
    }

    /// Where a server keeps its state.
    pub fn data_dir(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("data{at}"))
    }

    /// The folder of everything; tests may put files there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn kubeconfig(&self, at: usize) -> PathBuf {
        // A folder each: kubectl's cache lies beside the file.
        self.data_dir(at).join("kubeconfig.yaml")
    }

    /// A server's node name, which its identity begins with when it leads.
    pub fn node_name(at: usize) -> String {
        format!("server{at}")
    }

    /// Runs a server until it is ready.
    ///
    /// # Errors
    /// It ends instead, or is not ready in time: the end of its log.
    pub fn run_server(&mut self, at: usize) -> Result<()> {
        self.run_server_in(at, &self.data_dir(at))
    }

    /// The same with another data folder than its own.
    ///
    /// # Errors
    /// As for its own.
    pub fn run_server_in(&mut self, at: usize, data_dir: &Path) -> Result<()> {
        let path = self.folder.path().join(format!("server{at}.log"));
        let log = File::create(&path)?;
        let mut command = self.network.command(&self.binary);
        command.arg("server").arg("--disable-agent").arg("--data-dir").arg(data_dir);
        command.arg("--write-kubeconfig").arg(self.kubeconfig(at));
        command.args(["--node-name", &Self::node_name(at), "--etcd-servers", ETCD]);
        command.args(["--https-listen-port", &(6443 + at).to_string()]);
        let child = command.stdout(log.try_clone()?).stderr(log).spawn().context("start it")?;
        let child = self.servers[at].insert(child);
        let text = || std::fs::read_to_string(&path).unwrap_or_default();
        let is_ready = wait_until("the server is ready or ends", READY_MAX, || {
            if text().contains("ready:") {
                return Ok(true);
            }
            match child.try_wait() {
                Ok(None) => Err(text()),
                Ok(Some(_)) => Ok(false),
                Err(error) => Err(error.to_string()),
            }
        });
        if !is_ready {
            self.servers[at] = None;
            bail!("it ended: {}", text());
        }
        Ok(())
    }

    /// Kills a server where it stands.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill_server(&mut self, at: usize) -> Result<()> {
        let Some(mut server) = self.servers[at].take() else { return Ok(()) };
        server.kill().context("kill a server")?;
        server.wait().context("wait for a server")?;
        Ok(())
    }

    /// kubectl on one of the servers.
    pub fn kubectl(&self, at: usize) -> Kubectl {
        Kubectl::new(self.kubeconfig(at), self.network.path())
    }

    /// Another command of the program.
    ///
    /// # Errors
    /// What it says.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        output(self.network.command(&self.binary).args(arguments))
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for child in self.servers.iter_mut().chain([&mut self.etcd]) {
            if let Some(mut child) = child.take() {
                // What has ended already cannot be killed.
                let _gone = child.kill();
                let _gone = child.wait();
            }
        }
    }
}
