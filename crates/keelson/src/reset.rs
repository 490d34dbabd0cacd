//! `keelson reset`: stops every pod and leaves nothing behind.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use podnet::BridgeNetwork;

use crate::config::DATA_DIR;
use crate::node::{RUN_DIR, cgroup_root, run_dir};
use crate::serving::KUBECONFIG_NOTE;
use crate::{kubeconfig, pki};

/// `keelson reset`.
#[derive(Debug, Args)]
pub(crate) struct ResetArguments {
    /// Folder for all state
    #[arg(long, short = 'd', default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// Keep the images
    #[arg(long)]
    keep_images: bool,
}

/// Removes every process, mount, control group, link, route, rule and file of a node.
///
/// # Errors
/// All that could not be removed; the rest is gone all the same.
pub(crate) async fn run(arguments: ResetArguments) -> anyhow::Result<()> {
    let data_dir = std::path::absolute(&arguments.data_dir)
        .with_context(|| format!("find {}", arguments.data_dir.display()))?;
    let mut failures: Vec<anyhow::Error> = Vec::new();
    let mut note = |result: anyhow::Result<()>| failures.extend(result.err());
    note(runtime::reset(&data_dir, &run_dir(&data_dir)).context("stop the pods"));
    note(runtime::reset_group(&cgroup_root(&data_dir)).context("remove the control groups"));
    note(linux::mount::unmount_below(&data_dir).map(drop).context("unmount volumes"));
    note(reset_network(&data_dir));
    note(reset_proxy());
    note(remove_kubeconfig(&data_dir));
    if arguments.keep_images {
        note(remove_but(&data_dir, "images"));
    } else {
        note(remove(&data_dir));
    }
    note(remove(&run_dir(&data_dir)));
    // Other nodes of this machine may have theirs there.
    let _in_use = std::fs::remove_dir(RUN_DIR);
    if failures.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = failures.iter().map(|error| format!("{error:#}")).collect();
    bail!("not everything could be removed:\n{}", list.join("\n"));
}

/// Removes the administrator's kubeconfig, wherever it was written, unless it is another cluster's by now.
fn remove_kubeconfig(data_dir: &Path) -> anyhow::Result<()> {
    let Some(path) = pki::read(&data_dir.join(KUBECONFIG_NOTE))? else { return Ok(()) };
    let path = Path::new(path.trim());
    let authority = pki::read(&data_dir.join("pki").join("server-ca.crt"))?;
    let (Some(authority), Some(text)) = (authority, pki::read(path)?) else { return Ok(()) };
    if !kubeconfig::is_of(&text, &authority) {
        return Ok(());
    }
    std::fs::remove_file(path).with_context(|| format!("remove {}", path.display()))
}

fn reset_network(data_dir: &Path) -> anyhow::Result<()> {
    let config = podnet::Config::new(data_dir.join("network").join("pods.json"));
    let network = BridgeNetwork::open(config).context("open the pod network")?;
    network.reset().context("remove the pod network")
}

fn reset_proxy() -> anyhow::Result<()> {
    proxy::Proxy::remove().context("remove the rules of Services")
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn remove_but(folder: &Path, kept: &str) -> anyhow::Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries.flatten().filter(|entry| entry.file_name() != kept) {
        let path = entry.path();
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}
