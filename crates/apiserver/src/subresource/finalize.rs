//! `namespaces/finalize`: the namespace controller gives up its hold on a namespace.

use std::sync::Arc;

use api::status::Status;
use http::Request;

use crate::body;
use crate::call::Call;
use crate::handle::read_body;
use crate::respond::{Answer, Body as HttpBody};
use crate::server::Server;
use crate::write::Part;

/// PUT of the finalizers in the spec; everything else of the body is ignored.
pub(super) async fn answer(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
) -> Result<Answer, Status> {
    let body = read_body(call, request).await?;
    let options = call.write_options()?;
    let schema = server.registry.table().schema(&call.resource);
    let wanted = body::decode(call, &body, &schema, &options.field_validation)?;
    let written = server
        .update(call, Part::Internal, &options, |old| {
            let mut new = old.clone();
            new["spec"]["finalizers"] = wanted
                .pointer("/spec/finalizers")
                .cloned()
                .unwrap_or_else(|| Vec::<String>::new().into());
            Ok(new)
        })
        .await?;
    server.show(call, &written).await
}
