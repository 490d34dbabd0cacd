//! Many watchers of one namespace: events and bytes per second with a writer flat out, and the time from a write
//! to its event at every watcher when writes are slow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::bare;
use crate::measure::Measurement;
use crate::raw::Raw;
use crate::verbs::{name, path};
use crate::workload::{Context, Resource, Watch};

/// How long watchers may take to see all writes.
const MOST: Duration = Duration::from_secs(300);
/// Before the number that says when a write began, in nanoseconds since the run's start.
const SENT: &[u8] = b"\"sent\":\"";
/// Digits of that number: all have as many, so that a piece of it is not taken for the whole.
const DIGITS: usize = 20;

/// Watches on one connection: fewer than any server allows.
const WATCHES_PER_CONNECTION: usize = 50;

/// What one watcher, or all of them, received.
#[derive(Default)]
struct Received {
    bytes: usize,
    latencies: Vec<Duration>,
}

/// Writes, while all watch.
pub(crate) async fn run(context: &Context, step: &Watch) -> Result<Vec<Measurement>> {
    let writer = Raw::connect(&context.target, context.connections).await?;
    let path = path(context, Resource::Configmaps);
    let watch = format!("{path}?watch=true&resourceVersion={}", version(&writer, &path).await?);
    let epoch = Instant::now();
    let cpu = context.server.cpu()?;
    let raw = Raw::connect(&context.target, connections(step)).await?;
    let started = start(&raw, &watch, step, epoch).await?;
    let start = Instant::now();
    write(&writer, step, &path, epoch).await?;
    let received = finish(started).await?;
    let total = start.elapsed();
    let used = context.server.cpu()?.saturating_sub(cpu).as_secs_f64();
    let pace = step
        .writes_per_second
        .map_or_else(|| "flat out".to_owned(), |it| format!("{it} per second"));
    let events = received.latencies.len();
    let each = received.bytes / events.max(1);
    let measured =
        Measurement::new(format!("watch, writes {pace}"), step.watchers, total, received.latencies)
            .with("mb_per_second", received.bytes as f64 / 1e6 / total.as_secs_f64())
            .with("bytes_per_event", each as f64)
            .with("server_cpu_seconds", used)
            .with("server_mib", context.server.resident_mib()?);
    let mut results = vec![measured];
    if step.writes_per_second.is_none() {
        results.push(bare_sender(step, each).await?);
    }
    for index in 0..step.writes {
        writer.call(Method::DELETE, &format!("{path}/{}", name(index)), None).await?;
    }
    Ok(results)
}

/// As many bytes in as many pieces to as many readers, from a program that does nothing else.
async fn bare_sender(step: &Watch, bytes: usize) -> Result<Measurement> {
    let sender = bare::Sender::start(0, bytes, step.writes)?;
    let raw = Raw::connect(sender.target(), connections(step)).await?;
    let start = Instant::now();
    let started = self::start(&raw, bare::WATCH, step, start).await?;
    let received = finish(started).await?;
    let total = start.elapsed();
    Ok(Measurement::new("bare sender of a watch", step.watchers, total, received.latencies)
        .with("mb_per_second", received.bytes as f64 / 1e6 / total.as_secs_f64()))
}

fn connections(step: &Watch) -> usize {
    step.watchers.div_ceil(WATCHES_PER_CONNECTION).max(1)
}

async fn version(raw: &Raw, path: &str) -> Result<String> {
    let body = raw.stream(Method::GET, &format!("{path}?limit=1"), None).await?;
    let list: serde_json::Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
    let version = list["metadata"]["resourceVersion"].as_str();
    version.map(str::to_owned).context("the list has no revision")
}

async fn start(
    raw: &Raw,
    path: &str,
    step: &Watch,
    epoch: Instant,
) -> Result<JoinSet<Result<Received>>> {
    let ready = Arc::new(Barrier::new(step.watchers + 1));
    let mut watchers = JoinSet::new();
    for _ in 0..step.watchers {
        let body = raw.stream(Method::GET, path, None).await?;
        let (ready, events) = (Arc::clone(&ready), step.writes);
        watchers.spawn(async move {
            ready.wait().await;
            follow(body, events, epoch).await
        });
    }
    ready.wait().await;
    Ok(watchers)
}

async fn finish(mut watchers: JoinSet<Result<Received>>) -> Result<Received> {
    let mut all = Received::default();
    let joined = async {
        while let Some(one) = watchers.join_next().await {
            let one = one??;
            all.bytes += one.bytes;
            all.latencies.extend(one.latencies);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(MOST, joined).await.context("events are missing")??;
    Ok(all)
}

async fn write(raw: &Raw, step: &Watch, path: &str, epoch: Instant) -> Result<()> {
    let mut due = tokio::time::Instant::now();
    for index in 0..step.writes {
        if let Some(rate) = step.writes_per_second {
            tokio::time::sleep_until(due).await;
            due += Duration::from_secs(1) / rate;
        }
        let sent = format!("{:0DIGITS$}", epoch.elapsed().as_nanos());
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name(index)},
            "data": {"payload": "x".repeat(step.bytes), "sent": sent}});
        let body = Some(("application/json", Bytes::from(object.to_string())));
        raw.call(Method::POST, path, body).await?;
    }
    Ok(())
}

/// Reads a watch until all events have come. What is between two of them is only looked at for its time.
async fn follow(mut body: Incoming, events: usize, epoch: Instant) -> Result<Received> {
    let mut received = Received { latencies: Vec::with_capacity(events), bytes: 0 };
    let mut rest: Vec<u8> = Vec::new();
    while received.latencies.len() < events {
        let Some(frame) = body.frame().await else { bail!("a watch ended") };
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        received.bytes += data.len();
        let now = epoch.elapsed();
        // An event that fits its frame, as nearly all do, is not copied.
        let mut left: &[u8] = if rest.is_empty() {
            data
        } else {
            rest.extend_from_slice(data);
            &rest
        };
        while let Some(end) = memchr::memchr(b'\n', left) {
            let (line, after) = left.split_at(end + 1);
            left = after;
            if let Some(sent) = sent(line) {
                received.latencies.push(now.saturating_sub(sent));
            }
        }
        let left = left.to_vec();
        rest = left;
    }
    Ok(received)
}

/// When the write of an event began; `None` for what is no event of this run.
fn sent(line: &[u8]) -> Option<Duration> {
    let at = memchr::memmem::find(line, SENT)? + SENT.len();
    let digits = std::str::from_utf8(line.get(at..at + DIGITS)?).ok()?;
    digits.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_write_is_found_in_its_event() {
        let line = format!("{{\"data\":{{\"payload\":\"x\",\"sent\":\"{:020}\"}}}}\n", 1234);
        assert_eq!(sent(line.as_bytes()), Some(Duration::from_nanos(1234)));
        assert_eq!(sent(b"{\"type\":\"BOOKMARK\"}\n"), None);
        assert_eq!(sent(b"\"sent\":\"12"), None);
    }
}
