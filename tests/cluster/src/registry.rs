//! A real registry in the cluster's network: Debian's `docker-registry`, with or without a password.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{Cluster, wait_until};

/// A running registry. Dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    /// Starts a registry on a port of the node.
    ///
    /// # Errors
    /// The environment variable `DOCKER_REGISTRY` names no program, or it does not start.
    pub fn start(cluster: &Cluster, port: u16) -> Result<Self> {
        let program = std::env::var_os("DOCKER_REGISTRY")
            .context("DOCKER_REGISTRY names no program: run these tests with `cargo xtask test`")?;
        let folder = cluster.folder().join(format!("registry-{port}"));
        std::fs::create_dir_all(&folder)?;
        let config = folder.join("config.yml");
        std::fs::write(&config, configuration(&folder, port))?;
        let log = std::fs::File::create(folder.join("log"))?;
        let mut command = cluster.command(&program.to_string_lossy());
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().context("start the registry")?;
        let address = format!("{}:{port}", cluster.network().address());
        let registry = Self { process, address };
        wait_until("the registry answers", Duration::from_secs(20), || {
            TcpStream::connect(&registry.address).map(drop).map_err(|error| error.to_string())
        });
        Ok(registry)
    }

    /// Host and port on the node's loopback, which needs no TLS.
    pub fn local_address(&self) -> String {
        self.address.replace(self.address.split(':').next().unwrap_or_default(), "localhost")
    }

    /// Host and port, as image names have them.
    pub fn address(&self) -> &str {
        &self.address
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

fn configuration(folder: &Path, port: u16) -> String {
    let root = folder.join("data");
    format!(
        "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: :{port}\n",
        root.display()
    )
}
