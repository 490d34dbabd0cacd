//! Measures the embedded store: `store_bench DIRECTORY [open|writes|load|churn|watch]...`, one JSON line for each figure.
//!
//! `open`: an empty store. `writes`: durable writes per second and latency at 1, 64 and 512 tasks, values
//! of 1 and 4 KiB. `load`: a million objects of 1 KiB: start to serving, resident memory, ranges, disk.
//! `churn`: a thousand objects written over and over: disk used, and then what an idle store writes.
//! `watch`: ten thousand watchers of one prefix at 500 writes per second.
#![expect(clippy::print_stdout, reason = "the figures are the output")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails has to stop")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::embedded::{EmbeddedOptions, EmbeddedStore};
use store::{KeyRange, Operation, RangeRequest, Revision, Store, Transaction, TransactionResult};

const WRITE_SECONDS: u64 = 5;
const OBJECTS: u64 = 1_000_000;
const WATCHERS: usize = 10_000;
const WATCH_WRITES_PER_SECOND: u64 = 500;

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().expect("a directory"));
    let chosen: Vec<_> = arguments.collect();
    let wants = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    if wants("open") {
        open_empty(&directory.join("open")).await;
    }
    if wants("writes") {
        for value_bytes in [1024, 4096] {
            for tasks in [1, 64, 512] {
                let path = directory.join(format!("writes-{tasks}-{value_bytes}"));
                writes(&path, tasks, value_bytes).await;
            }
        }
    }
    if wants("load") {
        load(&directory.join("load")).await;
    }
    if wants("churn") {
        churn(&directory.join("churn")).await;
    }
    if wants("watch") {
        watch(&directory.join("watch"), 0).await;
        watch(&directory.join("watch"), WATCHERS).await;
    }
}

fn put(key: String, value: Bytes) -> Operation {
    Operation::Put { key: key.into(), value, lease: None }
}

async fn commit(store: &EmbeddedStore, operations: Vec<Operation>) -> u64 {
    let transaction = Transaction { compares: vec![], operations };
    match store.transact(transaction).await.unwrap() {
        TransactionResult::Committed { revision } => revision.0,
        conflict => panic!("{conflict:?}"),
    }
}

async fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(EmbeddedOptions::new(path)).await.unwrap()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    milliseconds(sorted[at.min(sorted.len() - 1)])
}

async fn open_empty(path: &Path) {
    for case in ["create", "open again"] {
        let begin = Instant::now();
        let store = open(path).await;
        let opened = milliseconds(begin.elapsed());
        let begin = Instant::now();
        store.close().await;
        let closed = milliseconds(begin.elapsed());
        println!(r#"{{"case":"{case}","open_ms":{opened:.1},"close_ms":{closed:.1}}}"#);
    }
}

async fn writes(path: &Path, tasks: usize, value_bytes: usize) {
    let store = open(path).await;
    let end = Instant::now() + Duration::from_secs(WRITE_SECONDS);
    let (begin, written_before) = (Instant::now(), written());
    let running: Vec<_> = (0..tasks)
        .map(|task| tokio::spawn(write_until(store.clone(), end, task, value_bytes)))
        .collect();
    let mut latencies = Vec::new();
    for task in running {
        latencies.extend(task.await.unwrap());
    }
    let rate = latencies.len() as f64 / begin.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let (p50, p99) = (percentile(&latencies, 0.5), percentile(&latencies, 0.99));
    let bytes = (written() - written_before) / latencies.len() as u64;
    println!(
        r#"{{"case":"writes","tasks":{tasks},"value_bytes":{value_bytes},"per_second":{rate:.0},"p50_ms":{p50:.3},"p99_ms":{p99:.3},"max_ms":{:.3},"disk_bytes_per_write":{bytes}}}"#,
        percentile(&latencies, 1.0)
    );
    store.close().await;
}

async fn write_until(
    store: EmbeddedStore,
    end: Instant,
    task: usize,
    value_bytes: usize,
) -> Vec<Duration> {
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let key = format!("/registry/bench/{task}/{}", latencies.len() % 1000);
        let value = Bytes::from(vec![b'x'; value_bytes]);
        let begin = Instant::now();
        commit(&store, vec![put(key, value)]).await;
        latencies.push(begin.elapsed());
    }
    latencies
}

async fn load(path: &Path) {
    if !path.exists() {
        let store = open(path).await;
        fill(&store).await;
        store.close().await;
        // Memory is measured in a process that has done nothing else.
        let program = std::env::current_exe().unwrap();
        let parent = path.parent().unwrap();
        let measured = std::process::Command::new(program).arg(parent).arg("load").status();
        assert!(measured.unwrap().success());
        return;
    }
    let before = resident();
    let begin = Instant::now();
    let store = open(path).await;
    let serving = milliseconds(begin.elapsed());
    let stored: u64 = OBJECTS * (1024 + key(0).len() as u64);
    let grown = resident() - before;
    println!(
        r#"{{"case":"load","objects":{OBJECTS},"start_ms":{serving:.0},"resident_bytes":{grown},"resident_per_stored":{:.3},"resident_total":{},"disk_bytes":{}}}"#,
        grown as f64 / stored as f64,
        resident(),
        disk(path)
    );
    for (limit, at) in [(10_000, 0), (10_000, OBJECTS), (500, 0), (0, 0)] {
        let begin = Instant::now();
        let request =
            RangeRequest { range: KeyRange::prefix("/registry/"), revision: Revision(at), limit };
        let found = store.range(request).await.unwrap();
        let took = milliseconds(begin.elapsed());
        println!(
            r#"{{"case":"range","limit":{limit},"revision":{at},"items":{},"remaining":{},"ms":{took:.2}}}"#,
            found.items.len(),
            found.remaining
        );
    }
    let begin = Instant::now();
    let range = KeyRange::prefix("/registry/pods/namespace-0/");
    let found = store.range(RangeRequest { range, revision: Revision(0), limit: 10_000 }).await;
    let (items, took) = (found.unwrap().items.len(), milliseconds(begin.elapsed()));
    println!(r#"{{"case":"range of 10000","items":{items},"ms":{took:.2}}}"#);
    store.close().await;
}

/// Writes a million versions of a thousand objects, with little history.
async fn churn(path: &Path) {
    let mut options = EmbeddedOptions::new(path);
    (options.history_revisions_max, options.history_age_max) = (1000, Duration::from_secs(2));
    let store = EmbeddedStore::open(options).await.unwrap();
    let mut disk_bytes_max = 0;
    for round in 0..10 {
        let tasks: Vec<_> = (0..64)
            .map(|task| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in 0..100_000 / 64 {
                        let value = Bytes::from(vec![b'v'; 1024]);
                        let key = format!("/registry/churn/{task}/{}", (number + round) % 16);
                        commit(&store, vec![put(key, value)]).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        disk_bytes_max = disk_bytes_max.max(disk(path));
    }
    // Time for the history to age and for the engine to tidy up.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (disk_bytes, written) = (disk(path), written());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let idle_bytes = self::written() - written;
    println!(
        r#"{{"case":"churn","live_bytes":{},"disk_bytes_max":{disk_bytes_max},"disk_bytes":{disk_bytes},"idle_bytes_written_in_10_s":{idle_bytes}}}"#,
        1024 * 1024
    );
    store.close().await;
}

/// Bytes that this process has caused to be written.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find(|line| line.starts_with("write_bytes:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn key(number: u64) -> String {
    // Spread over the key space, as names of pods are.
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("/registry/pods/namespace-{}/pod-{spread:016x}", number % 100)
}

async fn fill(store: &EmbeddedStore) {
    let begin = Instant::now();
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in (0..OBJECTS).filter(|number| number % 64 == task) {
                    let value = Bytes::from(vec![b'v'; 1024]);
                    commit(&store, vec![put(key(number), value)]).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rate = OBJECTS as f64 / begin.elapsed().as_secs_f64();
    println!(r#"{{"case":"fill","objects":{OBJECTS},"per_second":{rate:.0}}}"#);
}

async fn watch(path: &Path, watchers: usize) {
    let store = open(path).await;
    let epoch = Instant::now();
    let sent = Arc::new(
        (0..WATCH_WRITES_PER_SECOND * WRITE_SECONDS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>(),
    );
    let first = store.revision().await.unwrap();
    let mut running = Vec::new();
    for _ in 0..watchers {
        let mut watch = store.watch(KeyRange::prefix("/registry/"), first).await.unwrap();
        let sent = Arc::clone(&sent);
        running.push(tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(sent.len());
            while latencies.len() < sent.len() {
                let batch = watch.next().await.unwrap().unwrap();
                let at = (batch.revision.0 - first.0 - 1) as usize;
                assert_eq!(at, latencies.len(), "every event once, in order");
                let begin = Duration::from_nanos(sent[at].load(Ordering::Acquire));
                latencies.push((epoch.elapsed().saturating_sub(begin)).as_micros() as u32);
            }
            latencies
        }));
    }
    let mut latencies = Vec::new();
    let mut ticks =
        tokio::time::interval(Duration::from_micros(1_000_000 / WATCH_WRITES_PER_SECOND));
    for stamp in sent.iter() {
        ticks.tick().await;
        let begin = Instant::now();
        stamp.store(epoch.elapsed().as_nanos() as u64, Ordering::Release);
        let key = format!("/registry/{}", latencies.len() % 100);
        commit(&store, vec![put(key, Bytes::from(vec![b'x'; 1024]))]).await;
        latencies.push(begin.elapsed());
    }
    let took = epoch.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let mut delivered = Vec::new();
    for task in running {
        delivered.extend(task.await.unwrap());
    }
    delivered.sort_unstable();
    let delivery = |share: f64| {
        let at = ((delivered.len() as f64 * share) as usize).min(delivered.len().saturating_sub(1));
        delivered.get(at).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    };
    println!(
        r#"{{"case":"watch","watchers":{watchers},"writes":{},"seconds":{took:.2},"write_p50_ms":{:.3},"write_p99_ms":{:.3},"delivered":{},"delivery_p50_ms":{:.2},"delivery_p99_ms":{:.2},"delivery_max_ms":{:.2}}}"#,
        latencies.len(),
        percentile(&latencies, 0.5),
        percentile(&latencies, 0.99),
        delivered.len(),
        delivery(0.5),
        delivery(0.99),
        delivery(1.0)
    );
    store.close().await;
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Bytes that the files under `path` occupy.
fn disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => disk(&entry.path()),
            false => entry.metadata().unwrap().blocks() * 512,
        })
        .sum()
}
