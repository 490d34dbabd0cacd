//! Many watchers of one prefix while it is written to at a steady rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use serde_json::json;
use store::{Event, KeyRange, Watch};

use crate::measure::{percentile, print, put};
use crate::subject::Subject;

const WRITES_PER_SECOND: u64 = 500;

/// When each write was begun, in nanoseconds since `epoch`.
struct Sent {
    epoch: Instant,
    begun: Vec<AtomicU64>,
}

pub(crate) async fn run(subject: &Subject, watchers: usize, seconds: u64) -> Result<()> {
    let writes = WRITES_PER_SECOND * seconds;
    let begun = (0..writes).map(|_| AtomicU64::new(0)).collect();
    let sent = Arc::new(Sent { epoch: Instant::now(), begun });
    let store = subject.store(0);
    let first = store.revision().await?;
    let mut running = Vec::new();
    for _ in 0..watchers {
        let watch = store.watch(KeyRange::prefix("/registry/"), first).await?;
        running.push(tokio::spawn(receive(watch, Arc::clone(&sent))));
    }
    let mut latencies = Vec::new();
    let begin = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / WRITES_PER_SECOND));
    for (number, stamp) in sent.begun.iter().enumerate() {
        ticks.tick().await;
        let begin = Instant::now();
        let since = u64::try_from(sent.epoch.elapsed().as_nanos())?;
        stamp.store(since, Ordering::Release);
        // The number comes first, so that every watcher can check that it misses none.
        let mut value = (number as u64).to_le_bytes().to_vec();
        value.resize(1024, b'x');
        put(&*store, format!("/registry/{}", number % 100), Bytes::from(value)).await?;
        latencies.push(begin.elapsed());
    }
    let took = begin.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let mut delivered = Vec::new();
    for task in running {
        delivered.extend(task.await??);
    }
    delivered.sort_unstable();
    print(&json!({
        "case": "watch", "store": subject.name, "watchers": watchers, "writes": writes,
        "seconds": (took * 100.0).round() / 100.0,
        "write_p50_ms": percentile(&latencies, 0.5), "write_p99_ms": percentile(&latencies, 0.99),
        "delivered": delivered.len(), "delivery_p50_ms": percentile(&delivered, 0.5),
        "delivery_p99_ms": percentile(&delivered, 0.99), "delivery_max_ms": percentile(&delivered, 1.0),
    }));
    Ok(())
}

/// Takes every event once, in order.
async fn receive(mut watch: Watch, sent: Arc<Sent>) -> Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(sent.begun.len());
    while latencies.len() < sent.begun.len() {
        let batch = watch.next().await.context("the watch ended")??;
        for event in batch.events.iter() {
            let Event::Put { current, .. } = event else { continue };
            let number = current.value.first_chunk::<8>().map(|number| u64::from_le_bytes(*number));
            ensure!(number == Some(latencies.len() as u64), "an event is missing or twice");
            let begin = Duration::from_nanos(sent.begun[latencies.len()].load(Ordering::Acquire));
            latencies.push(sent.epoch.elapsed().saturating_sub(begin));
        }
    }
    Ok(latencies)
}
