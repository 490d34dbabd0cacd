//! A member of etcd of its own, for one figure.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use store::etcd::{EtcdOptions, EtcdStore};

const START_MAX: Duration = Duration::from_secs(120);
/// Room for a million objects with their history.
const QUOTA_BYTES: &str = "8589934592";

/// See the module's documentation. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Member {
    server: String,
    process: Child,
}

impl Member {
    /// Starts etcd as it comes, with its data in `place`.
    pub(crate) fn start(program: &Path, place: &Path) -> Result<Self> {
        let port = || -> Result<u16> {
            Ok(TcpListener::bind("127.0.0.1:0").context("find a port")?.local_addr()?.port())
        };
        let client = format!("http://127.0.0.1:{}", port()?);
        let peer = format!("http://127.0.0.1:{}", port()?);
        let process = Command::new(program)
            .args(["--name", "bench", "--initial-cluster", &format!("bench={peer}")])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--quota-backend-bytes", QUOTA_BYTES, "--logger", "zap"])
            .arg("--data-dir")
            .arg(place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self { server: client, process })
    }

    /// A store on the member, once it answers.
    pub(crate) async fn store(&self) -> Result<EtcdStore> {
        let begin = Instant::now();
        loop {
            match EtcdStore::open(EtcdOptions::new(vec![self.server.clone()], "/bench/")).await {
                Ok(store) => return Ok(store),
                Err(error) if begin.elapsed() > START_MAX => bail!("etcd does not answer: {error}"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn end(mut self) -> Result<()> {
        self.process.kill().context("end etcd")?;
        self.process.wait().context("wait for etcd")?;
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Ended already, or ended by this.
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}
