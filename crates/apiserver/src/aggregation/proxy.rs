//! Passing a request on to a backend, and its answer (or the upgraded stream) back.

use std::sync::Arc;

use admission::User;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::{HeaderMap, Request, Uri};

use super::backend::{Backend, set_identity};
use crate::respond::{Answer, Body, text_answer};
use crate::server::Server;
use crate::subresource::{onward_headers, pass_on};

/// Answers a request on a group that a backend serves.
pub(crate) async fn answer(
    server: &Arc<Server>,
    backend: &Backend,
    user: &User,
    request: Request<Body>,
) -> Answer {
    if !backend.available || backend.address(server).is_err() {
        return text_answer(503, "service unavailable\n");
    }
    let stream = match backend.dial(server).await {
        Ok(stream) => stream,
        Err(why) => return text_answer(503, format!("error trying to reach service: {why}\n")),
    };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let target: Uri = match path.parse() {
        Ok(target) => target,
        Err(error) => return text_answer(400, format!("{error}\n")),
    };
    let headers = headers_for(backend, user, request.headers());
    match pass_on(server, request, target, headers, Box::new(stream)).await {
        Ok(answer) => answer,
        Err(status) => text_answer(503, format!("{}\n", status.message)),
    }
}

/// The client's headers as its backend sees them: without its credentials, with its name.
fn headers_for(backend: &Backend, user: &User, headers: &HeaderMap) -> HeaderMap {
    let mut onward = onward_headers(headers);
    onward.remove(AUTHORIZATION);
    if let Ok(host) = HeaderValue::from_str(&backend.host()) {
        onward.insert(HOST, host);
    }
    set_identity(&mut onward, user);
    onward
}
