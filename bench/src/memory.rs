//! What many objects cost in memory: when the last is created, and once the server has had time to tidy up.

use std::time::Duration;

use anyhow::Result;

use crate::fill::{empty, fill};
use crate::measure::Measurement;
use crate::raw::Raw;
use crate::workload::{Context, Memory};

/// Creates ConfigMaps, looks twice, deletes them.
#[expect(clippy::disallowed_methods, reason = "the pause is what is measured")]
pub(crate) async fn run(context: &Context, step: &Memory) -> Result<Vec<Measurement>> {
    let raw = &Raw::connect(&context.target, context.connections).await?;
    let filled = fill(context, raw, step.objects, step.bytes).await?;
    let at_once = context.server.resident_mib()?;
    tokio::time::sleep(Duration::from_secs(step.settle_seconds)).await;
    let settled = context.server.resident_mib()?;
    empty(context, raw, step.objects).await?;
    let result = filled.renamed(format!("memory of {} configmaps", step.objects));
    Ok(vec![result.with("server_mib", at_once).with("server_mib_settled", settled)])
}
