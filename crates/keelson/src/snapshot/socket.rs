//! The socket in the data folder through which a running server hands out snapshots of its store.
//!
//! Only for the user that the server runs as, and root: a snapshot has every secret in it.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clock::Clock;
use store::snapshot::save;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::backend::AnyStore;

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("snapshot.sock")
}

/// Answers every connection with a snapshot, until the scope ends.
///
/// # Errors
/// The socket cannot be made.
pub(crate) fn serve(
    data_dir: &Path,
    store: AnyStore,
    clock: Clock,
    scope: &task::Scope,
) -> anyhow::Result<()> {
    let path = path(data_dir);
    // What an earlier server left; this one has the store.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", path.display()));
        }
        _ => {}
    }
    let listener = match UnixListener::bind(&path) {
        // The system takes about a hundred bytes; a longer folder is no reason not to serve.
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            tracing::warn!(path = %path.display(), %error, "no snapshots while this server runs");
            return Ok(());
        }
        bound => bound.with_context(|| format!("listen on {}", path.display()))?,
    };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("close {} to others", path.display()))?;
    let owner = std::fs::metadata(&path).context("look at the socket")?;
    let owner = std::os::unix::fs::MetadataExt::uid(&owner);
    scope.spawn_until_cancelled("snapshots", async move {
        // One at a time: each reads the whole store.
        loop {
            match listener.accept().await {
                Ok((client, _)) => answer(client, owner, &store, &clock).await,
                Err(error) => {
                    tracing::warn!(%error, "no connection for a snapshot");
                    clock.sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    });
    Ok(())
}

async fn answer(mut client: UnixStream, owner: u32, store: &AnyStore, clock: &Clock) {
    let is_allowed = client.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == owner);
    if !is_allowed {
        return;
    }
    match save(&**store, clock.now(), &mut client).await {
        Ok(summary) => tracing::info!(revision = %summary.revision, keys = summary.keys, "saved"),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "not saved"),
    }
    if let Err(error) = client.shutdown().await {
        tracing::debug!(%error, "who asked for a snapshot went away");
    }
}

/// Connects to the server in a data folder; `None` when none runs.
///
/// # Errors
/// There is one, but it cannot be reached.
pub(crate) async fn connect(data_dir: &Path) -> anyhow::Result<Option<UnixStream>> {
    let path = path(data_dir);
    match UnixStream::connect(&path).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("connect to {}", path.display())),
    }
}

/// Copies what the server hands out; whether it is a snapshot shows when it is checked.
///
/// # Errors
/// The connection or `out` failed.
pub(crate) async fn receive(
    mut server: UnixStream,
    out: &mut (impl AsyncWrite + Unpin),
) -> anyhow::Result<()> {
    tokio::io::copy(&mut server, out).await.context("copy the snapshot from the server")?;
    Ok(())
}
