//! A namespace full of ConfigMaps, for steps that measure something else than how it is filled.

use anyhow::Result;
use hyper::Method;

use crate::measure::{Measurement, repeat};
use crate::raw::Raw;
use crate::verbs::{name, path, text};
use crate::workload::{Context, Resource};

/// How many requests fill and empty the namespace at a time.
const CONCURRENCY: usize = 64;

/// Creates `objects` ConfigMaps with a payload of `bytes` each.
pub(crate) async fn fill(
    context: &Context,
    raw: &Raw,
    objects: usize,
    bytes: usize,
) -> Result<Measurement> {
    let path = path(context, Resource::Configmaps);
    repeat("fill", objects, CONCURRENCY, |index| {
        let body = Some(("application/json", text(Resource::Configmaps, index, bytes, "x")));
        let path = path.clone();
        async move { raw.call(Method::POST, &path, body).await.map(drop) }
    })
    .await
}

/// Deletes what [`fill`] created.
pub(crate) async fn empty(context: &Context, raw: &Raw, objects: usize) -> Result<()> {
    let path = path(context, Resource::Configmaps);
    repeat("empty", objects, CONCURRENCY, |index| {
        let at = format!("{path}/{}", name(index));
        async move { raw.call(Method::DELETE, &at, None).await.map(drop) }
    })
    .await?;
    Ok(())
}
