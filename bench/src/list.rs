//! Lists of many objects.

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};

use crate::measure::{Measurement, repeat};
use crate::verbs::{config_map, name};
use crate::workload::{Context, List};

/// Lists in pieces of this many for the paged list.
const PAGE: u32 = 500;

/// Fills the namespace, lists whole and by pages, empties it.
pub(crate) async fn run(context: &Context, step: &List) -> Result<Vec<Measurement>> {
    let api: &Api<ConfigMap> = &Api::namespaced(context.client.clone(), &context.namespace);
    repeat("fill", step.objects, step.concurrency, async |index| {
        api.create(&PostParams::default(), &config_map(index, step.bytes)).await?;
        Ok(())
    })
    .await?;
    let whole = repeat("list", step.requests, step.concurrency, async |_| {
        let list = api.list(&ListParams::default()).await?;
        anyhow::ensure!(list.items.len() >= step.objects, "only {} objects", list.items.len());
        Ok(())
    })
    .await?;
    let page = repeat("list-first-page", step.requests, step.concurrency, async |_| {
        api.list(&ListParams::default().limit(PAGE)).await?;
        Ok(())
    })
    .await?;
    repeat("empty", step.objects, step.concurrency, async |index| {
        api.delete(&name(index), &DeleteParams::default()).await?;
        Ok(())
    })
    .await?;
    Ok(vec![whole, page])
}
