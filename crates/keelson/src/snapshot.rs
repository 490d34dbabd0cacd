//! `keelson snapshot save|restore|status`: the whole state as one file.
//!
//! A running server is asked through a socket in its data folder (`snapshot/socket.rs`); the store of one that
//! does not run is opened for the while; an etcd cluster is read directly.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use clock::Clock;
use store::snapshot::{SnapshotSummary, hex, restore_into, save, verify};
use tokio::io::AsyncWriteExt as _;

use crate::backend::{EtcdArguments, open_embedded, open_etcd};
use crate::config::DATA_DIR;

pub(crate) mod socket;

/// `keelson snapshot`.
#[derive(Debug, Args)]
pub(crate) struct SnapshotArguments {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// Save the state of a server, running or not, or of an etcd cluster.
    Save(Arguments),
    /// Put a snapshot back where there is no state.
    Restore(Arguments),
    /// Check a snapshot and say what it holds.
    Status(StatusArguments),
}

#[derive(Debug, Args)]
struct Arguments {
    /// The snapshot
    file: PathBuf,
    /// Folder for all state
    #[arg(long, short = 'd', default_value = DATA_DIR)]
    data_dir: PathBuf,
    #[command(flatten)]
    etcd: EtcdArguments,
}

#[derive(Debug, Args)]
struct StatusArguments {
    /// The snapshot
    file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The snapshot, the store or the disk is not as it has to be; the message names it.
pub(crate) async fn run(arguments: SnapshotArguments) -> anyhow::Result<()> {
    match arguments.command {
        SnapshotCommand::Save(arguments) => save_to(arguments).await,
        SnapshotCommand::Restore(arguments) => restore_from(arguments).await,
        SnapshotCommand::Status(arguments) => {
            let summary = verify(&arguments.file)
                .with_context(|| format!("check {}", arguments.file.display()))?;
            show(&summary);
            Ok(())
        }
    }
}

/// Writes beside the file and renames, so that whatever bears the name is whole.
async fn save_to(arguments: Arguments) -> anyhow::Result<()> {
    let file = &arguments.file;
    if file.try_exists().with_context(|| format!("look at {}", file.display()))? {
        bail!("{} exists already", file.display());
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let saved = write_part(&part, arguments).await;
    if saved.is_err() {
        // It is of no use; that it stays where it cannot be removed does no harm.
        let _left = std::fs::remove_file(&part);
    }
    let (summary, file) = saved?;
    std::fs::rename(&part, &file).with_context(|| format!("name the file {}", file.display()))?;
    show(&summary);
    Ok(())
}

async fn write_part(
    part: &Path,
    arguments: Arguments,
) -> anyhow::Result<(SnapshotSummary, PathBuf)> {
    let context = || format!("write {}", part.display());
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = options.open(part).await.with_context(context)?;
    let now = Clock::system().now();
    if let Some(etcd) = arguments.etcd.read()? {
        let store = open_etcd(&etcd).await?;
        save(&store, now, &mut out).await.context("save the state in etcd")?;
    } else if let Some(server) = socket::connect(&arguments.data_dir).await? {
        socket::receive(server, &mut out).await?;
    } else {
        if !arguments.data_dir.join("store").join("data").exists() {
            bail!("there is no store in {}", arguments.data_dir.display());
        }
        let store = open_embedded(&arguments.data_dir, true, Clock::system()).await?;
        save(&store, now, &mut out).await.context("save the store")?;
        store.close().await;
    }
    out.flush().await.with_context(context)?;
    out.sync_all().await.with_context(context)?;
    let summary = verify(part).context("check what was saved")?;
    Ok((summary, arguments.file))
}

async fn restore_from(arguments: Arguments) -> anyhow::Result<()> {
    let file = &arguments.file;
    let context = || format!("restore {}", file.display());
    let summary = if let Some(etcd) = arguments.etcd.read()? {
        let store = open_etcd(&etcd).await?;
        restore_into(&store, file).await.with_context(context)?
    } else {
        store::embedded::restore(&arguments.data_dir.join("store"), file).with_context(context)?
    };
    show(&summary);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the summary is the data of this command")]
fn show(summary: &SnapshotSummary) {
    println!("revision  {}", summary.revision);
    println!("created   {}", summary.created);
    println!("keys      {}", summary.keys);
    println!("bytes     {}", summary.bytes);
    println!("sha256    {}", hex(&summary.sha256));
}
