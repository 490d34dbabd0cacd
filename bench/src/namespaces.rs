//! Namespaces that come and go, as test suites and preview environments make them.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;

use crate::bench_namespace;
use crate::measure::{Measurement, repeat};
use crate::verbs::config_map;
use crate::workload::{Context, Namespaces};

/// Measures a namespace from its creation, over its account and one object in it, to its end.
pub(crate) async fn run(context: &Context, step: &Namespaces) -> Result<Vec<Measurement>> {
    let whole =
        repeat("namespace created, filled, gone", step.count, step.concurrency, async |index| {
            let name = bench_namespace::create(&context.client, false).await?;
            let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &name);
            maps.create(&PostParams::default(), &config_map(index, 64))
                .await
                .context("fill a namespace")?;
            bench_namespace::delete(&context.client, &name).await
        });
    Ok(vec![whole.await?])
}
