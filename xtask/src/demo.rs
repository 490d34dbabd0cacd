//! `cargo xtask demo`: from a clone to a running web service, with nothing but Rust and root.
//!
//! Builds the release binary, starts a one-node cluster, applies `examples/hello`, waits until it is ready and asks
//! its Service for a page. The cluster goes on running; `--stop` ends it and leaves nothing behind.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::ApiResource;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde::Deserialize as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::process::{print, program, release_binary, root, run as run_command, say};
use crate::servers;

/// Where the example's manifest is.
const MANIFEST: &str = "examples/hello/hello.yaml";
/// The image that the manifest names.
const IMAGE: &str = "keelson.local/hello:latest";
/// The example's namespace, and the name of everything in it.
const NAME: &str = "hello";
/// How long the server may take until it is ready.
const SERVER_READY_MAX: Duration = Duration::from_secs(90);
/// How long the example may take until it is ready.
const EXAMPLE_READY_MAX: Duration = Duration::from_secs(120);
/// How long the server may take to end.
const END_MAX: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// `cargo xtask demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Folder for everything that the demo writes
    #[arg(long, default_value = "/var/lib/keelson-demo")]
    folder: PathBuf,
    /// Port of the API server
    #[arg(long, default_value_t = 6443)]
    port: u16,
    /// The program to run [default: the release binary, built first]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// End the demo's cluster and remove everything
    #[arg(long)]
    stop: bool,
}

/// Runs the task.
///
/// # Errors
/// What could not be done, and what to do about it.
pub(crate) fn run(arguments: &DemoArguments) -> Result<()> {
    if !geteuid().is_root() {
        bail!(
            "a cluster needs root for its namespaces and networks: run `sudo -E env PATH=$PATH cargo xtask demo`"
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let demo = Demo::new(arguments);
    runtime.block_on(async { if arguments.stop { demo.stop().await } else { demo.start().await } })
}

struct Demo {
    binary: Option<PathBuf>,
    folder: PathBuf,
    port: u16,
}

impl Demo {
    fn new(arguments: &DemoArguments) -> Self {
        Self {
            binary: arguments.binary.clone(),
            folder: arguments.folder.clone(),
            port: arguments.port,
        }
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig.yaml")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("server.pid")
    }

    /// The program in the demo's own folder: a later build must not replace what runs.
    fn binary(&self) -> PathBuf {
        self.folder.join("keelson")
    }

    async fn start(&self) -> Result<()> {
        say("[1/5] building the release binary");
        let built = self.binary.clone().map_or_else(release_binary, Ok)?;
        if let Some(pid) = self.running() {
            say(&format!("[2/5] the cluster of an earlier demo runs as process {pid}"));
        } else {
            say(&format!("[2/5] starting a cluster in {}", self.folder.display()));
            self.start_server(&built).await?;
        }
        say(&format!("[3/5] making the image {IMAGE} from the binary"));
        let mut build = program(self.binary());
        build.args(["image", "build-self", IMAGE, "--data-dir"]).arg(self.data_dir());
        run_command(build.stdout(Stdio::null()))?;
        say(&format!("[4/5] applying {MANIFEST}"));
        let client = self.client().await?;
        apply(&client, &root().join(MANIFEST)).await?;
        wait_ready(&client).await?;
        say("[5/5] asking the Service for a page");
        self.show_page(&client).await
    }

    /// The process of an earlier demo, if it still is one.
    fn running(&self) -> Option<i32> {
        let pid: i32 = std::fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        (program == self.binary()).then_some(pid)
    }

    async fn start_server(&self, built: &Path) -> Result<()> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("make {}", self.folder.display()))?;
        std::fs::copy(built, self.binary())
            .with_context(|| format!("copy the binary to {}", self.binary().display()))?;
        let log =
            File::create(self.log()).with_context(|| format!("write {}", self.log().display()))?;
        let mut command = program(self.binary());
        command.arg("server").arg("--data-dir").arg(self.data_dir());
        command.arg("--write-kubeconfig").arg(self.kubeconfig());
        command.args(["--https-listen-port", &self.port.to_string()]);
        // In a process group of its own, so that Ctrl-C here does not end it.
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let mut server = command.spawn().context("start the server")?;
        std::fs::write(self.pid_file(), server.id().to_string())
            .with_context(|| format!("write {}", self.pid_file().display()))?;
        self.follow_log(&mut server).await
    }

    /// Shows what the server says until it is ready.
    #[expect(clippy::disallowed_methods, reason = "a pause between two looks, in a tool")]
    async fn follow_log(&self, server: &mut Child) -> Result<()> {
        let mut shown = 0;
        let following = async {
            loop {
                let ended = server.try_wait().context("look at the server")?;
                let text =
                    tokio::fs::read_to_string(self.log()).await.context("read the server's log")?;
                for line in text.lines().skip(shown) {
                    say(&format!("      {line}"));
                    shown += 1;
                }
                if text.contains("ready: ") {
                    return Ok(());
                }
                if let Some(status) = ended {
                    bail!("the server ended: {status}; its log is {}", self.log().display());
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let in_time = tokio::time::timeout(SERVER_READY_MAX, following).await;
        in_time.with_context(|| {
            format!("the server is not ready; its log is {}", self.log().display())
        })?
    }

    async fn client(&self) -> Result<Client> {
        // An error says that one is installed already, which is as good.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        servers::client(&self.kubeconfig()).await
    }

    async fn show_page(&self, client: &Client) -> Result<()> {
        let services: Api<Service> = Api::namespaced(client.clone(), NAME);
        let service = services.get(NAME).await.context("get the Service")?;
        let address =
            service.spec.and_then(|spec| spec.cluster_ip).context("the Service has no address")?;
        let page = fetch(&address).await?;
        print(&format!("http://{address}/ says: {}", page.trim()));
        say("");
        say("The cluster runs on. To use it with kubectl (or Helm, or any client of Kubernetes):");
        print(&format!("  export KUBECONFIG={}", self.kubeconfig().display()));
        print("  kubectl get pods --all-namespaces --output wide");
        say("To end it and remove all it made:");
        print("  cargo xtask demo --stop");
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "a pause between two looks, in a tool")]
    async fn stop(&self) -> Result<()> {
        if let Some(pid) = self.running() {
            kill(Pid::from_raw(pid), Signal::SIGTERM).context("signal the server")?;
            let ending = async {
                while self.running().is_some() {
                    tokio::time::sleep(PAUSE).await;
                }
            };
            tokio::time::timeout(END_MAX, ending).await.context("the server does not end")?;
        }
        if self.binary().exists() {
            run_command(program(self.binary()).args(["reset", "--data-dir"]).arg(self.data_dir()))?;
        }
        for file in [self.pid_file(), self.log(), self.kubeconfig(), self.binary()] {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("remove {}", file.display()));
                }
                _ => {}
            }
        }
        match std::fs::remove_dir(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Applies every document of a file, by server-side apply.
async fn apply(client: &Client, file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    for document in text.split("\n---\n") {
        let value: serde_json::Value = serde_saphyr::from_str(document)
            .with_context(|| format!("understand {}", file.display()))?;
        let object = DynamicObject::deserialize(&value).context("read a manifest")?;
        let types = object.types.clone().context("a manifest has no kind")?;
        let name = object.metadata.name.clone().context("a manifest has no name")?;
        let api = api_of(client, &types, object.metadata.namespace.as_deref())?;
        let parameters = PatchParams::apply("keelson-demo").force();
        api.patch(&name, &parameters, &Patch::Apply(&object))
            .await
            .with_context(|| format!("apply {} {name}", types.kind))?;
        say(&format!("      {} {name} applied", types.kind));
    }
    Ok(())
}

fn api_of(
    client: &Client,
    types: &TypeMeta,
    namespace: Option<&str>,
) -> Result<Api<DynamicObject>> {
    let kind = GroupVersionKind::try_from(types).context("understand a manifest's apiVersion")?;
    let resource = ApiResource::from_gvk(&kind);
    Ok(match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    })
}

/// Waits until all replicas are available, and says how many are whenever that changes.
#[expect(clippy::disallowed_methods, reason = "a pause between two looks, in a tool")]
async fn wait_ready(client: &Client) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAME);
    let mut said = String::new();
    let waiting = async {
        loop {
            let deployment = deployments.get(NAME).await.context("get the Deployment")?;
            let wanted = deployment.spec.replicas.unwrap_or(1);
            let ready = deployment.status.and_then(|status| status.available_replicas).unwrap_or(0);
            let line = format!("      {ready} of {wanted} pods ready");
            if line != said {
                say(&line);
                said.clone_from(&line);
            }
            if ready >= wanted {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(EXAMPLE_READY_MAX, waiting).await.context("the example is not ready")?
}

/// The page of a web server on port 80.
async fn fetch(address: &str) -> Result<String> {
    let asking = async {
        let mut stream = TcpStream::connect((address, 80)).await?;
        let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(SERVER_READY_MAX, asking)
        .await
        .with_context(|| format!("{address} does not answer"))?
        .with_context(|| format!("ask {address}"))?;
    let Some((head, page)) = answer.split_once("\r\n\r\n") else {
        bail!("{address} answered no page: {answer:?}");
    };
    if !head.starts_with("HTTP/1.1 200") {
        bail!("{address} answered {head}");
    }
    Ok(page.to_owned())
}
