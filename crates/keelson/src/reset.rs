//! `keelson reset`: stops every pod and leaves nothing behind.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use podnet::BridgeNetwork;

use crate::config::DATA_DIR;
use crate::node::run_dir;

/// `keelson reset`.
#[derive(Debug, Args)]
pub struct ResetArguments {
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
pub async fn run(arguments: ResetArguments) -> anyhow::Result<()> {
    let data_dir = arguments.data_dir;
    let mut failures: Vec<anyhow::Error> = Vec::new();
    let mut note = |result: anyhow::Result<()>| failures.extend(result.err());
    note(runtime::reset(&data_dir, &run_dir(&data_dir)).context("stop the pods"));
    note(linux::mount::unmount_below(&data_dir).context("unmount volumes"));
    note(reset_network(&data_dir));
    note(reset_proxy());
    if arguments.keep_images {
        note(remove_but(&data_dir, "images"));
    } else {
        note(remove(&data_dir));
    }
    note(remove(&run_dir(&data_dir)));
    if failures.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = failures.iter().map(|error| format!("{error:#}")).collect();
    bail!("not everything could be removed:\n{}", list.join("\n"));
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
