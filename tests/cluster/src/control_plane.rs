//! Several servers without nodes on one etcd, in one network namespace.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::network::output;
use crate::{Kubectl, Namespace, wait_until};

const READY_MAX: Duration = Duration::from_secs(90);
const ETCD: &str = "http://127.0.0.1:2379";

/// An etcd member and its servers. Dropping it ends them all.
#[derive(Debug)]
pub struct ControlPlane {
    binary: PathBuf,
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
        let (binary, etcd) = (program("KEELSON_BINARY")?, program("KEELSON_ETCD")?);
        let folder = tempfile::Builder::new().prefix("keelson-test-").tempdir()?;
        let network = Namespace::create()?;
        let log = File::create(folder.path().join("etcd.log"))?;
        let etcd = network
            .command(&etcd)
            .arg("--data-dir")
            .arg(folder.path().join("etcd"))
            .args(["--logger", "zap"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start etcd")?;
        let servers = (0..servers).map(|_| None).collect();
        Ok(Self { binary, etcd: Some(etcd), servers, network, folder })
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
        let path = self.folder.path().join(format!("server{at}.log"));
        let log = File::create(&path)?;
        let mut command = self.network.command(&self.binary);
        command.arg("server").arg("--disable-agent").arg("--data-dir").arg(self.data_dir(at));
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
