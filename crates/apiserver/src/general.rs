//! Paths that are not resources: discovery, health, version, metrics, OpenAPI.

use std::sync::Arc;

use api::status::Status;
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::discovery;
use crate::health;
use crate::request::{Query, RequestInfo};
use crate::respond::{self, Answer, full, json_answer, ordered_answer, text_answer};
use crate::server::Server;

/// Answers a path that is no resource.
///
/// # Errors
/// 404, 405.
pub(crate) async fn answer(
    server: &Arc<Server>,
    info: &RequestInfo,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Answer, Status> {
    let path = info.path.trim_end_matches('/');
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    if !matches!(info.verb.as_str(), "get" | "head" | "options") {
        return Err(Status::no_such_path());
    }
    let found = match segments.as_slice() {
        [""] => Some(json_answer(200, &json!({"paths": paths(server)}))),
        ["version"] => Some(json_answer(200, &discovery::version())),
        ["healthz" | "livez" | "readyz", rest @ ..] => {
            health::answer(server, segments[0], &rest.join("/"), query).await
        }
        ["api"] => Some(root_document(server, true, headers)),
        ["apis"] => Some(root_document(server, false, headers)),
        ["api", version] => resources(server, "", version),
        ["apis", group] => discovery::api_group(server, group).map(|group| ordered_answer(&group)),
        ["apis", group, version] => resources(server, group, version),
        ["openapi", ..] => crate::openapi::answer(server, &segments, headers),
        [".well-known", "openid-configuration"] => Some(json_answer(200, &openid(server))),
        ["openid", "v1", "jwks"] => {
            let keys = server.config.token_issuer.key_set().to_string();
            Some(respond::answer(200, "application/jwk-set+json", full(keys)))
        }
        ["metrics", "slis"] => Some(text_answer(200, server.health.render())),
        ["metrics"] => Some(text_answer(200, crate::metrics::render(server))),
        _ => None,
    };
    found.ok_or_else(Status::no_such_path)
}

fn resources(server: &Server, group: &str, version: &str) -> Option<Answer> {
    discovery::api_resources(server, group, version).map(|list| ordered_answer(&list))
}

fn paths(server: &Server) -> Vec<String> {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in server.registry.table().groups() {
        if !group.is_empty() {
            paths.push(format!("/apis/{group}"));
            paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
        }
    }
    for path in [
        "/healthz",
        "/livez",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ] {
        paths.push(path.to_owned());
    }
    paths.sort();
    paths
}

fn openid(server: &Server) -> Value {
    json!({
        "issuer": server.config.token_issuer.issuer(),
        "jwks_uri": format!("https://{}/openid/v1/jwks", server.config.advertise),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

/// `/api` and `/apis` in the classic or the aggregated form, with an ETag.
fn root_document(server: &Server, core: bool, headers: &HeaderMap) -> Answer {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let aggregated = accept.split(',').find_map(|clause| {
        let clause = clause.replace(' ', "");
        let wanted =
            clause.contains("g=apidiscovery.k8s.io") && clause.contains("as=APIGroupDiscoveryList");
        let json = clause.starts_with("application/json");
        match (wanted && json, clause.contains("v=v2beta1")) {
            (false, _) => None,
            (true, true) => Some("v2beta1"),
            (true, false) => Some("v2"),
        }
    });
    let Some(version) = aggregated else {
        let document =
            if core { discovery::api_versions(server) } else { discovery::api_groups(server) };
        return ordered_answer(&document);
    };
    let document = discovery::aggregated(server, core, version).to_string();
    let etag = discovery::etag(document.as_bytes());
    let unchanged =
        headers.get(IF_NONE_MATCH).is_some_and(|have| have.as_bytes() == etag.as_bytes());
    let media_type = if version == "v2" {
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    } else {
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
    };
    let mut answer = crate::respond::answer(200, media_type, full(document));
    if unchanged {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        *answer.body_mut() = full("");
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        answer.headers_mut().insert(ETAG, etag);
    }
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    answer
}
