//! Lists of many objects: from memory and consistent, by one client and by several.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hyper::Method;

use crate::bare;
use crate::fill::{empty, fill};
use crate::measure::{Measurement, repeat};
use crate::raw::Raw;
use crate::verbs::path;
use crate::workload::{Context, List, Resource};

/// Objects of a page of the paged list.
const PAGE: usize = 500;
/// Between two looks at the server's memory.
const PAUSE: Duration = Duration::from_millis(20);

/// Fills the namespace, lists it whole and by pages, measures a bare sender of as many bytes, empties it.
pub(crate) async fn run(context: &Context, step: &List) -> Result<Vec<Measurement>> {
    let raw = &Raw::connect(&context.target, context.connections).await?;
    let path = path(context, Resource::Configmaps);
    fill(context, raw, step.objects, step.bytes).await?;
    let filled = context.server.resident_mib()?;
    let mut results = Vec::new();
    let mut bytes = 0;
    for clients in &step.clients {
        for (what, query) in [("from memory", "?resourceVersion=0"), ("consistent", "")] {
            let name = format!("list {what}, {clients} clients");
            let (measured, each) =
                transfer(context, raw, &name, &format!("{path}{query}"), step.requests, *clients)
                    .await?;
            ensure!(each > step.objects * step.bytes, "a list has only {each} bytes");
            bytes = each;
            let grown = measured.1 - filled;
            results
                .push(measured.0.with("server_mib_filled", filled).with("server_mib_grown", grown));
        }
        let page = format!("{path}?limit={PAGE}");
        let name = format!("list first page, {clients} clients");
        let (measured, _) = transfer(context, raw, &name, &page, step.requests, *clients).await?;
        results.push(measured.0);
    }
    let sender = bare::Sender::start(bytes, 0, 0)?;
    let bare = Raw::connect(sender.target(), context.connections).await?;
    for clients in &step.clients {
        let name = format!("bare sender of a list, {clients} clients");
        let (measured, _) =
            transfer(context, &bare, &name, bare::LIST, step.requests, *clients).await?;
        results.push(measured.0);
    }
    drop(sender);
    empty(context, raw, step.objects).await?;
    Ok(results)
}

/// The result with the most memory that the server had meanwhile, and the bytes of one answer.
async fn transfer(
    context: &Context,
    raw: &Raw,
    name: &str,
    path: &str,
    requests: usize,
    clients: usize,
) -> Result<((Measurement, f64), usize)> {
    let received = AtomicUsize::new(0);
    let received = &received;
    let cpu = context.server.cpu()?;
    let start = Instant::now();
    let all = repeat(name, requests, clients, |_| async move {
        let length = raw.call(Method::GET, path, None).await?;
        received.fetch_add(length, Ordering::Relaxed);
        Ok(())
    });
    let (measured, most) = with_memory(context, all).await?;
    let (bytes, seconds) = (received.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
    let used = context.server.cpu()?.saturating_sub(cpu).as_secs_f64();
    let measured = measured
        .with("mb_per_second", bytes as f64 / 1e6 / seconds)
        .with("mb_each", bytes as f64 / 1e6 / requests.max(1) as f64)
        .with("server_cpu_us_per_request", used / requests.max(1) as f64 * 1e6);
    Ok(((measured, most), bytes / requests.max(1)))
}

/// Watches the server's memory while something runs.
#[expect(clippy::disallowed_methods, reason = "a pause between two looks at another process")]
async fn with_memory(
    context: &Context,
    work: impl Future<Output = Result<Measurement>>,
) -> Result<(Measurement, f64)> {
    let mut work = std::pin::pin!(work);
    let mut most = context.server.resident_mib()?;
    loop {
        tokio::select! {
            done = &mut work => return Ok((done?, most.max(context.server.resident_mib()?))),
            () = tokio::time::sleep(PAUSE) => most = most.max(context.server.resident_mib()?),
        }
    }
}
