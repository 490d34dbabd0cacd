//! Definitions of custom resources that come and go.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;

use crate::measure::{Measurement, repeat};
use crate::workload::{Context, Definitions};

/// How long a definition may take to be established, and to go.
const MOST: Duration = Duration::from_secs(60);

/// Measures a definition from its creation until it is established, and its end.
pub(crate) async fn run(context: &Context, step: &Definitions) -> Result<Vec<Measurement>> {
    let api: &Api<CustomResourceDefinition> = &Api::all(context.client.clone());
    let whole =
        repeat("definition established, gone", step.count, step.concurrency, async |index| {
            let plural = format!("things{index:04}");
            let name = format!("{plural}.{}.bench.keelson", context.namespace);
            let made = api.create(&PostParams::default(), &definition(context, &plural)?).await;
            let uid =
                made.context("create a definition")?.metadata.uid.context("there is no uid")?;
            let established = await_condition(api.clone(), &name, is_crd_established());
            tokio::time::timeout(MOST, established).await.context("it is not established")??;
            api.delete(&name, &DeleteParams::default()).await.context("delete a definition")?;
            let gone = await_condition(api.clone(), &name, conditions::is_deleted(&uid));
            tokio::time::timeout(MOST, gone).await.context("it does not go")??;
            Ok(())
        });
    Ok(vec![whole.await?])
}

fn definition(context: &Context, plural: &str) -> Result<CustomResourceDefinition> {
    let group = format!("{}.bench.keelson", context.namespace);
    let text = json!({"type": "string", "description": "A field like those of real definitions."});
    let fields = (0..40).map(|field| (format!("field{field}"), text.clone()));
    let spec: serde_json::Map<_, _> = fields.collect();
    Ok(serde_json::from_value(json!({
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "plural": plural, "kind": format!("Kind{plural}") },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "properties": { "spec": { "type": "object", "properties": spec } } } } }],
        },
    }))?)
}
