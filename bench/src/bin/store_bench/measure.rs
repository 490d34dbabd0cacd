//! What the system says about processes and folders, and how results are printed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use store::{Operation, Store, Transaction, TransactionResult};

/// One result as a line of JSON.
#[expect(clippy::print_stdout, reason = "results are the data of this program")]
pub(crate) fn print(result: &serde_json::Value) {
    println!("{result}");
}

/// Writes one key.
pub(crate) async fn put(store: &dyn Store, key: String, value: Bytes) -> Result<u64> {
    let operations = vec![Operation::Put { key: key.into(), value, lease: None }];
    commit(store, operations).await
}

/// Runs a transaction without comparisons.
pub(crate) async fn commit(store: &dyn Store, operations: Vec<Operation>) -> Result<u64> {
    match store.transact(Transaction { compares: Vec::new(), operations }).await? {
        TransactionResult::Committed { revision } => Ok(revision.0),
        TransactionResult::Conflict { .. } => bail!("a conflict where nothing is compared"),
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The value below which `share` of all sorted values lie.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a list that fits into memory"
)]
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).map_or(0.0, |value| milliseconds(*value))
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    number(&status, "VmRSS:").map(|kibibytes| kibibytes * 1024)
}

/// Bytes that a process has caused to be written.
pub(crate) fn written(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/io");
    let io = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    number(&io, "write_bytes:")
}

fn number(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find(|line| line.starts_with(name));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    word.and_then(|word| word.parse().ok()).with_context(|| format!("the system says no {name}"))
}

/// Bytes that the files under `path` occupy.
pub(crate) fn disk(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in std::fs::read_dir(path).with_context(|| format!("read {}", path.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { disk(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
