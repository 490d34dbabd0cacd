//! Many objects: how long a store takes to serve them, what memory it needs, and how fast it reads ranges.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use serde_json::json;
use store::embedded::{EmbeddedOptions, EmbeddedStore};
use store::{KeyRange, Operation, RangeRequest, Revision, Store};

use crate::measure::{commit, disk, milliseconds, print, resident};
use crate::subject::{Kind, Subject};

const VALUE_BYTES: u64 = 1024;
/// Objects that one transaction loads.
const BATCH: u64 = 100;
const LOADERS: u64 = 32;
/// Reads of each range; the fastest counts, the first may find cold caches.
const READS: usize = 5;

/// Starting with nothing.
pub(crate) async fn open_empty(path: &Path) -> Result<()> {
    for case in ["create", "open again"] {
        let begin = Instant::now();
        let store = EmbeddedStore::open(EmbeddedOptions::new(path)).await?;
        let opened = milliseconds(begin.elapsed());
        let begin = Instant::now();
        store.close().await;
        let closed = milliseconds(begin.elapsed());
        print(&json!({"case": case, "store": "embedded", "open_ms": opened, "close_ms": closed}));
    }
    Ok(())
}

pub(crate) async fn run(kind: &Kind, place: &Path, objects: u64) -> Result<()> {
    let subject = Subject::start(kind, place).await?;
    fill(&subject, objects).await?;
    subject.end().await?;
    match kind {
        // Memory is measured in a process that has done nothing else.
        Kind::Embedded => {
            let program = std::env::current_exe().context("find this program")?;
            let mut again = std::process::Command::new(program);
            again.arg(place).arg("--objects").arg(objects.to_string()).arg("--loaded").arg(place);
            ensure!(again.status().context("start this program")?.success(), "it failed");
        }
        Kind::Etcd(_) => {
            let begin = Instant::now();
            let subject = Subject::start(kind, place).await?;
            let start_ms = milliseconds(begin.elapsed());
            ranges("etcd", &subject.store(0), objects).await?;
            let used = resident(subject.process())?;
            figures("etcd", objects, start_ms, used, used, disk(place)?);
            subject.end().await?;
        }
    }
    Ok(())
}

/// Opens what has been loaded, in a process of its own.
pub(crate) async fn embedded_start(place: &Path, objects: u64) -> Result<()> {
    let process = std::process::id();
    let before = resident(process)?;
    let begin = Instant::now();
    let store = EmbeddedStore::open(EmbeddedOptions::new(place)).await?;
    let start_ms = milliseconds(begin.elapsed());
    let total = resident(process)?;
    figures("embedded", objects, start_ms, total - before, total, disk(place)?);
    let store: Arc<dyn Store> = Arc::new(store);
    ranges("embedded", &store, objects).await
}

fn figures(store: &str, objects: u64, start_ms: f64, grown: u64, total: u64, disk: u64) {
    let stored = objects * (VALUE_BYTES + key(0).len() as u64);
    print(&json!({
        "case": "load", "store": store, "objects": objects, "stored_bytes": stored,
        "start_ms": start_ms, "resident_bytes": total,
        "resident_per_stored": (grown as f64 / stored as f64 * 1000.0).round() / 1000.0,
        "disk_bytes": disk,
    }));
}

fn key(number: u64) -> String {
    // Spread over the key space, as names of pods are.
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("/registry/pods/namespace-{}/pod-{spread:016x}", number % 100)
}

#[expect(clippy::cast_possible_truncation, reason = "small constants")]
async fn fill(subject: &Subject, objects: u64) -> Result<()> {
    let begin = Instant::now();
    let loaders: Vec<_> = (0..LOADERS)
        .map(|loader| {
            let store = subject.store(loader as usize);
            tokio::spawn(async move {
                for batch in (0..objects.div_ceil(BATCH)).filter(|batch| batch % LOADERS == loader)
                {
                    let numbers = batch * BATCH..objects.min((batch + 1) * BATCH);
                    let put = |number| Operation::Put {
                        key: key(number).into(),
                        value: Bytes::from(vec![b'v'; VALUE_BYTES as usize]),
                        lease: None,
                    };
                    commit(&*store, numbers.map(put).collect()).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for loader in loaders {
        loader.await??;
    }
    let rate = objects as f64 / begin.elapsed().as_secs_f64();
    print(&json!({
        "case": "fill", "store": subject.name, "objects": objects, "per_second": rate.round(),
        "per_transaction": BATCH,
    }));
    Ok(())
}

async fn ranges(name: &str, store: &Arc<dyn Store>, objects: u64) -> Result<()> {
    let newest = store.revision().await?;
    // Another revision than the newest, so that both ways of reading are measured.
    let later = commit(&**store, vec![Operation::Delete { key: key(0).into() }]).await?;
    ensure!(later > newest.0, "the deletion takes a revision");
    for (prefix, limit, at) in [
        ("/registry/", 10_000, Revision(0)),
        ("/registry/", 10_000, newest),
        ("/registry/pods/namespace-1/", 10_000, Revision(0)),
        ("/registry/", 500, Revision(0)),
    ] {
        let mut fastest = f64::MAX;
        let mut items = 0;
        for _ in 0..READS {
            let begin = Instant::now();
            let request = RangeRequest { range: KeyRange::prefix(prefix), revision: at, limit };
            items = store.range(request).await?.items.len();
            fastest = fastest.min(milliseconds(begin.elapsed()));
        }
        print(&json!({
            "case": "range", "store": name, "objects": objects, "prefix": prefix, "limit": limit,
            "revision": if at == Revision(0) { "newest" } else { "older" }, "items": items, "ms": fastest,
        }));
    }
    Ok(())
}
