//! One verb at a time on many ConfigMaps.

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::measure::{Measurement, repeat};
use crate::workload::{Context, Verbs};

/// An object with a payload of a given size.
pub(crate) fn config_map(index: usize, bytes: usize) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name(index)), ..ObjectMeta::default() },
        data: Some([("payload".to_owned(), "x".repeat(bytes))].into()),
        ..ConfigMap::default()
    }
}

pub(crate) fn name(index: usize) -> String {
    format!("bench-{index:06}")
}

/// Creates, gets, updates, patches and deletes.
pub(crate) async fn run(context: &Context, step: &Verbs) -> Result<Vec<Measurement>> {
    let api: &Api<ConfigMap> = &Api::namespaced(context.client.clone(), &context.namespace);
    let (objects, concurrency, bytes) = (step.objects, step.concurrency, step.bytes);
    let create = repeat("create", objects, concurrency, async |index| {
        api.create(&PostParams::default(), &config_map(index, bytes)).await?;
        Ok(())
    })
    .await?;
    let get = repeat("get", objects, concurrency, async |index| {
        api.get(&name(index)).await?;
        Ok(())
    })
    .await?;
    let update = repeat("update", objects, concurrency, async |index| {
        let mut object = config_map(index, bytes);
        object.data = Some([("payload".to_owned(), "y".repeat(bytes))].into());
        api.replace(&name(index), &PostParams::default(), &object).await?;
        Ok(())
    })
    .await?;
    let patch = repeat("patch", objects, concurrency, async |index| {
        let change = json!({ "metadata": { "labels": { "patched": "true" } } });
        api.patch(&name(index), &PatchParams::default(), &Patch::Merge(change)).await?;
        Ok(())
    })
    .await?;
    let delete = repeat("delete", objects, concurrency, async |index| {
        api.delete(&name(index), &DeleteParams::default()).await?;
        Ok(())
    })
    .await?;
    Ok(vec![create, get, update, patch, delete])
}
