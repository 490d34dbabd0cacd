//! A real registry in the cluster's network: Debian's `docker-registry`, with or without a password, and what
//! tests put into it.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::network::output;
use crate::{Cluster, Namespace, wait_until};

/// The user that a registry with a password knows.
pub const USER: &str = "alice";
/// Her password.
pub const PASSWORD: &str = "secret";
/// The line of her in the registry's file of users: bcrypt, the only form that it takes.
const HTPASSWD: &str = "alice:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A running registry. Dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    port: u16,
    folder: PathBuf,
    password: bool,
}

/// An image in a registry.
#[derive(Debug)]
pub struct Pushed {
    /// Digest of its manifest.
    pub digest: String,
    /// Digest of its only layer.
    pub layer: String,
}

impl Registry {
    /// Starts a registry on a port of the node.
    ///
    /// # Errors
    /// The environment variable `DOCKER_REGISTRY` names no program, or it does not start.
    pub fn start(cluster: &Cluster, port: u16, password: bool) -> Result<Self> {
        let program = std::env::var_os("DOCKER_REGISTRY")
            .context("DOCKER_REGISTRY names no program: run these tests with `cargo xtask test`")?;
        let folder = cluster.folder().join(format!("registry-{port}"));
        std::fs::create_dir_all(&folder)?;
        let config = folder.join("config.yml");
        std::fs::write(folder.join("htpasswd"), HTPASSWD)?;
        std::fs::write(&config, configuration(&folder, port, password))?;
        let log = std::fs::File::create(folder.join("log"))?;
        let mut command = cluster.command(&program.to_string_lossy());
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().context("start the registry")?;
        let address = format!("{}:{port}", cluster.network().address());
        let registry = Self { process, port, folder, password };
        wait_until("the registry answers", Duration::from_secs(20), || {
            TcpStream::connect(&address).map(drop).map_err(|error| error.to_string())
        });
        Ok(registry)
    }

    /// Host and port on the node's loopback, which needs no TLS.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Puts an image of one layer (a tar) under a name and a tag.
    ///
    /// # Errors
    /// The registry refuses.
    pub fn push(&self, network: &Namespace, name: &str, tag: &str, layer: &[u8]) -> Result<Pushed> {
        let layer_digest = digest(layer);
        let config = serde_json::to_vec(&json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"] },
            "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(&config),
                "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer_digest,
                "size": layer.len(),
            }],
        }))?;
        self.push_blob(network, name, layer)?;
        self.push_blob(network, name, &config)?;
        let url = format!("http://{}/v2/{name}/manifests/{tag}", self.address());
        self.put(network, &url, MANIFEST_TYPE, &manifest)?;
        Ok(Pushed { digest: digest(&manifest), layer: layer_digest })
    }

    fn push_blob(&self, network: &Namespace, name: &str, blob: &[u8]) -> Result<()> {
        let start = format!("http://{}/v2/{name}/blobs/uploads/", self.address());
        let mut post = self.curl(network);
        post.args(["--request", "POST", "--output", "/dev/null", "--dump-header", "-", &start]);
        let answer = output(&mut post)?;
        let header = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
        };
        let place =
            answer.lines().find_map(header).context("the registry names no place to upload to")?;
        let separator = if place.contains('?') { '&' } else { '?' };
        let url = format!("{place}{separator}digest={}", digest(blob));
        self.put(network, &url, "application/octet-stream", blob)
    }

    fn put(&self, network: &Namespace, url: &str, content_type: &str, body: &[u8]) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(body)?;
        let mut put = self.curl(network);
        put.args(["--request", "PUT", "--header", &format!("Content-Type: {content_type}")]);
        put.arg("--data-binary").arg(format!("@{}", file.path().display())).arg(url);
        output(&mut put).map(drop)
    }

    fn curl(&self, network: &Namespace) -> std::process::Command {
        let mut command = network.command("curl");
        command.args(["--silent", "--show-error", "--fail", "--max-time", "30"]);
        if self.password {
            command.args(["--user", &format!("{USER}:{PASSWORD}")]);
        }
        command
    }

    /// Replaces what the registry holds under a digest, behind its back.
    ///
    /// # Errors
    /// It holds no such thing.
    pub fn falsify(&self, digest: &str, content: &[u8]) -> Result<()> {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.folder.join("data/docker/registry/v2/blobs/sha256");
        let file = blobs.join(&hex[..2]).join(hex).join("data");
        anyhow::ensure!(file.exists(), "the registry has no {}", file.display());
        std::fs::write(&file, content).with_context(|| format!("write {}", file.display()))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        if let Err(error) = ended {
            crate::cluster::note(&format!("cannot end the registry: {error}"));
        }
    }
}

/// The digest of bytes, as registries write it.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn configuration(folder: &Path, port: u16, password: bool) -> String {
    let root = folder.join("data");
    let mut text = format!(
        "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: :{port}\n",
        root.display()
    );
    if password {
        let users = folder.join("htpasswd");
        text += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", users.display());
    }
    text
}
