//! The two servers that are compared: started on an empty folder, waited for, ended.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cluster_tests::cluster::tail;
use cluster_tests::wait_until;
use kube::config::{KubeConfigOptions, Kubeconfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::program;

/// How long a server may take to say that it is ready, and to end.
const READY_MAX: Duration = Duration::from_secs(120);
const END_MAX: Duration = Duration::from_secs(60);
/// Addresses of Services; nothing sends anything to them.
const SERVICE_RANGE: &str = "10.0.0.0/24";
/// What the client shows to upstream's server; it lives as long as the run.
const TOKEN: &str = "bench";

/// The processes of a server that is ready. Dropping it kills them.
pub(crate) struct Running {
    processes: Vec<Process>,
    kubeconfig: PathBuf,
}

struct Process {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().map(|process| process.child.id())
    }

    /// Asks every process to end, the last started first, and waits.
    pub(crate) fn end(mut self) -> Result<()> {
        for process in self.processes.iter_mut().rev() {
            let pid = i32::try_from(process.child.id()).context("a process id")?;
            kill(Pid::from_raw(pid), Signal::SIGTERM).context("signal a server")?;
            wait_until("the server ends", END_MAX, || match process.child.try_wait() {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err("it runs".to_owned()),
                Err(error) => Err(error.to_string()),
            });
        }
        Ok(())
    }

    /// Waits until the health check answers.
    fn ready(mut self) -> Result<Self> {
        let kubeconfig = self.kubeconfig.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let processes = &mut self.processes;
        let ended = wait_until("the server is ready or ends", READY_MAX, || {
            for process in processes.iter_mut() {
                if matches!(process.child.try_wait(), Ok(Some(_))) {
                    return Ok(Some(process.log.clone()));
                }
            }
            runtime.block_on(is_ready(&kubeconfig)).map_err(|error| format!("{error:#}"))?;
            Ok(None)
        });
        if let Some(log) = ended {
            let text = fs::read_to_string(&log).unwrap_or_default();
            bail!("a server ended; the end of its log:\n{}", tail(&text, 30));
        }
        Ok(self)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // One that has ended is only waited for.
            let _already = process.child.kill();
            let _ended = process.child.wait();
        }
    }
}

/// A client of the server that a kubeconfig names.
///
/// # Errors
/// The file cannot be read or understood.
pub(crate) async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let file = Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .context("understand the kubeconfig")?;
    kube::Client::try_from(config).context("make a client")
}

async fn is_ready(kubeconfig: &Path) -> Result<()> {
    let client = client(kubeconfig).await?;
    let request = http::Request::get("/readyz").body(Vec::new())?;
    client.request_text(request).await?;
    Ok(())
}

/// Our API server without node, controllers and scheduler.
pub(crate) fn keelson(binary: &Path, folder: &Path) -> Result<Running> {
    fs::create_dir_all(folder).context("make a folder")?;
    let kubeconfig = folder.join("kubeconfig.yaml");
    let mut command = program(binary);
    command.args(["server", "--disable-agent", "--disable-controller-manager"]);
    command.args(["--disable-scheduler", "--node-name", "bench", "--node-ip", "127.0.0.1"]);
    command.arg("--data-dir").arg(folder.join("data")).arg("--write-kubeconfig").arg(&kubeconfig);
    command.args(["--bind-address", "127.0.0.1", "--service-cidr", SERVICE_RANGE]);
    command.args(["--https-listen-port", &free_port()?.to_string()]);
    let processes = vec![spawn(command, &folder.join("keelson.log"))?];
    Running { processes, kubeconfig }.ready()
}

/// Upstream's kube-apiserver on an etcd of one member, both as they come, both durable.
pub(crate) fn upstream(kube_apiserver: &Path, etcd: &Path, folder: &Path) -> Result<Running> {
    fs::create_dir_all(folder).context("make a folder")?;
    let clients = format!("http://127.0.0.1:{}", free_port()?);
    let peers = format!("http://127.0.0.1:{}", free_port()?);
    let mut store = program(etcd);
    store.arg("--data-dir").arg(folder.join("etcd"));
    store.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    store.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    store.args(["--initial-cluster", &format!("default={peers}")]);
    let store = spawn(store, &folder.join("etcd.log"))?;
    let tokens = folder.join("tokens.csv");
    let (key, public) = (folder.join("accounts.key"), folder.join("accounts.pub"));
    fs::write(&tokens, format!("{TOKEN},bench,bench,system:masters\n")).context("write tokens")?;
    let pair = rcgen::KeyPair::generate().context("make a key")?;
    fs::write(&key, pair.serialize_pem()).context("write a key")?;
    fs::write(&public, pair.public_key_pem()).context("write a key")?;
    let port = free_port()?;
    let kubeconfig = folder.join("kubeconfig.yaml");
    fs::write(&kubeconfig, kubeconfig_text(port)).context("write a kubeconfig")?;
    let mut server = program(kube_apiserver);
    server.args(["--etcd-servers", &clients, "--bind-address", "127.0.0.1"]);
    server.args(["--secure-port", &port.to_string(), "--endpoint-reconciler-type", "none"]);
    server.arg("--cert-dir").arg(folder.join("certificates"));
    server.arg("--token-auth-file").arg(&tokens).args(["--authorization-mode", "RBAC"]);
    server.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
    server.arg("--service-account-key-file").arg(&public);
    server.arg("--service-account-signing-key-file").arg(&key);
    server.args(["--service-cluster-ip-range", SERVICE_RANGE]);
    let server = spawn(server, &folder.join("kube-apiserver.log"))?;
    Running { processes: vec![store, server], kubeconfig }.ready()
}

fn kubeconfig_text(port: u16) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: bench, cluster: {{server: 'https://127.0.0.1:{port}', insecure-skip-tls-verify: true}}}}]
users: [{{name: bench, user: {{token: {TOKEN}}}}}]
contexts: [{{name: bench, context: {{cluster: bench, user: bench}}}}]
current-context: bench
"
    )
}

fn spawn(mut command: Command, log: &Path) -> Result<Process> {
    let file = File::create(log).with_context(|| format!("write {}", log.display()))?;
    command.stdout(file.try_clone()?).stderr(file);
    let text = crate::process::shown(&command);
    let child = command.spawn().with_context(|| format!("start `{text}`"))?;
    Ok(Process { child, log: log.to_owned() })
}

/// A port that nobody listens on at this moment.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").context("find a port")?.local_addr()?.port())
}
