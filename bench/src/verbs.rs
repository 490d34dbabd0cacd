//! One verb at a time on many objects.

use anyhow::Result;
use bytes::Bytes;
use hyper::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use crate::measure::{Measurement, repeat};
use crate::raw::Raw;
use crate::workload::{Context, Resource, Verbs};

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

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

/// The text of an object; `fill` is what its payload consists of.
pub(crate) fn text(resource: Resource, index: usize, bytes: usize, fill: &str) -> Bytes {
    let name = name(index);
    let payload = fill.repeat(bytes);
    let value = match resource {
        Resource::Configmaps => json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name}, "data": {"payload": payload}}),
        // What admission would add at its creation is said, or an update would take it away.
        Resource::Pods => json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "annotations": {"payload": payload}},
            "spec": {"serviceAccountName": "default", "automountServiceAccountToken": false,
                "containers": [{"name": "main", "image": "nothing.example/pulled:1"}]}}),
    };
    Bytes::from(value.to_string())
}

/// Where the objects of a namespace are.
pub(crate) fn path(context: &Context, resource: Resource) -> String {
    format!("/api/v1/namespaces/{}/{}", context.namespace, resource.plural())
}

/// Creates, gets, updates, patches and deletes.
pub(crate) async fn run(context: &Context, step: &Verbs) -> Result<Vec<Measurement>> {
    let raw = &Raw::connect(&context.target, context.connections).await?;
    let path = path(context, step.resource);
    let mut results = Vec::new();
    for verb in ["create", "get", "update", "patch", "delete"] {
        let cpu = context.server.cpu()?;
        let measured = repeat(verb, step.objects, step.concurrency, |index| {
            let object = format!("{path}/{}", name(index));
            let body = |fill| Some((JSON, text(step.resource, index, step.bytes, fill)));
            let (method, at, body) = match verb {
                "create" => (Method::POST, path.clone(), body("x")),
                "get" => (Method::GET, object, None),
                "update" => (Method::PUT, object, body("y")),
                "patch" => (Method::PATCH, object, Some((MERGE_PATCH, labels()))),
                _ => (Method::DELETE, object, None),
            };
            async move { raw.call(method, &at, body).await.map(drop) }
        })
        .await?;
        let used = context.server.cpu()?.saturating_sub(cpu).as_secs_f64();
        let per_request = used / step.objects.max(1) as f64 * 1e6;
        results.push(
            measured
                .renamed(format!("{} {verb}", step.resource.plural()))
                .with("server_cpu_us_per_request", per_request)
                .with("server_mib", context.server.resident_mib()?),
        );
    }
    Ok(results)
}

fn labels() -> Bytes {
    let change: Value = json!({"metadata": {"labels": {"patched": "true"}}});
    Bytes::from(change.to_string())
}
