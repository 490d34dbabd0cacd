//! A thousand objects written over and over: the disk that takes, and what an idle store writes afterwards.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use serde_json::json;
use store::embedded::{EmbeddedOptions, EmbeddedStore};

use crate::measure::{disk, print, put, written};

const ROUNDS: u64 = 10;
const WRITERS: u64 = 64;
const WRITES_PER_ROUND: u64 = 100_000;
/// Time for the history to age and for the engine to tidy up, and then for doing nothing.
const SETTLE: Duration = Duration::from_secs(10);

#[expect(clippy::disallowed_methods, reason = "a pause between two looks, in a tool")]
pub(crate) async fn run(path: &Path) -> Result<()> {
    let mut options = EmbeddedOptions::new(path);
    (options.history_revisions_max, options.history_age_max) = (1000, Duration::from_secs(2));
    let store = EmbeddedStore::open(options).await?;
    let mut disk_bytes_max = 0;
    for round in 0..ROUNDS {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in 0..WRITES_PER_ROUND / WRITERS {
                        let key = format!("/registry/churn/{writer}/{}", (number + round) % 16);
                        put(&store, key, Bytes::from(vec![b'v'; 1024])).await?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for writer in writers {
            writer.await??;
        }
        disk_bytes_max = disk_bytes_max.max(disk(path)?);
    }
    tokio::time::sleep(SETTLE).await;
    let (disk_bytes, before) = (disk(path)?, written(std::process::id())?);
    tokio::time::sleep(SETTLE).await;
    print(&json!({
        "case": "churn", "store": "embedded", "writes": ROUNDS * WRITES_PER_ROUND,
        "live_bytes": WRITERS * 16 * 1024, "disk_bytes_max": disk_bytes_max, "disk_bytes": disk_bytes,
        "idle_bytes_written_in_10_s": written(std::process::id())? - before,
    }));
    store.close().await;
    Ok(())
}
