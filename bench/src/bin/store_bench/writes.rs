//! Durable writes: clients that each write one key after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use serde_json::json;
use store::Store;

use crate::measure::{percentile, print, put, written};
use crate::subject::Subject;

/// Keys of each client.
const KEYS: usize = 1000;

pub(crate) async fn run(
    subject: &Subject,
    clients: usize,
    value_bytes: usize,
    seconds: u64,
) -> Result<()> {
    let (begin, before) = (Instant::now(), written(subject.process())?);
    let end = begin + Duration::from_secs(seconds);
    let running: Vec<_> = (0..clients)
        .map(|client| tokio::spawn(write_until(subject.store(client), end, client, value_bytes)))
        .collect();
    let mut latencies = Vec::new();
    for client in running {
        latencies.extend(client.await??);
    }
    let rate = latencies.len() as f64 / begin.elapsed().as_secs_f64();
    let bytes = (written(subject.process())? - before) / latencies.len().max(1) as u64;
    latencies.sort_unstable();
    print(&json!({
        "case": "writes", "store": subject.name, "clients": clients, "value_bytes": value_bytes,
        "per_second": rate.round(), "p50_ms": percentile(&latencies, 0.5),
        "p99_ms": percentile(&latencies, 0.99), "max_ms": percentile(&latencies, 1.0),
        "disk_bytes_per_write": bytes,
    }));
    Ok(())
}

async fn write_until(
    store: Arc<dyn Store>,
    end: Instant,
    client: usize,
    value_bytes: usize,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let key = format!("/registry/bench/{client}/{}", latencies.len() % KEYS);
        let value = Bytes::from(vec![b'x'; value_bytes]);
        let begin = Instant::now();
        put(&*store, key, value).await?;
        latencies.push(begin.elapsed());
    }
    Ok(latencies)
}
