//! Subresources: parts of an object, and acts upon it.

mod binding;
mod connect;
mod eviction;
mod finalize;
mod scale;
mod token;

use std::sync::Arc;

use api::status::Status;
use http::Request;

use crate::call::Call;
use crate::patching;
use crate::respond::{Answer, Body as HttpBody};
use crate::server::Server;
use crate::write::Part;

pub(crate) use binding::bind;
pub(crate) use connect::{onward_headers, pass_on};

/// Answers a request on a subresource that the table lists.
///
/// # Errors
/// The answer to the client.
pub(crate) async fn answer(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
) -> Result<Answer, Status> {
    let verb = call.info.verb.as_str();
    let served = call.resource.subresource(call.subresource());
    let served = served.is_some_and(|sub| sub.verbs.contains(&verb));
    let connects = match call.subresource() {
        "proxy" => true,
        "exec" | "attach" | "portforward" => matches!(verb, "get" | "create"),
        "log" => verb == "get",
        _ => false,
    };
    if !served && !connects {
        return Err(Status::method_not_allowed());
    }
    match call.subresource() {
        "status" => part(server, call, request, Part::Status).await,
        "scale" => scale::answer(server, call, request).await,
        "finalize" => finalize::answer(server, call, request).await,
        "binding" => binding::answer(server, call, request).await,
        "eviction" => eviction::answer(server, call, request).await,
        "token" => token::answer(server, call, request).await,
        "approval" | "ephemeralcontainers" | "resize" => {
            part(server, call, request, Part::Internal).await
        }
        "log" | "exec" | "attach" | "portforward" | "proxy" => {
            connect::answer(server, call, request).await
        }
        _ => Err(Status::no_such_path()),
    }
}

/// Get, put and patch of a part of the object itself.
async fn part(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
    part: Part,
) -> Result<Answer, Status> {
    match call.info.verb.as_str() {
        "get" => {
            let form = server.form(call)?;
            form.object(server, 200, &*server.get(call).await?)
        }
        "update" => server.put(call, request, part).await,
        _ => patching::patch(server, call, request, part).await,
    }
}
