//! `/openapi/v2` and `/openapi/v3`: rendered from the table and the schemas when first asked for, and kept
//! until the table changes.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use schema::openapi::{Resource, Subresource};
use sha2::Digest as _;

use crate::registry::Table;
use crate::respond::{Answer, full, json_answer};
use crate::server::Server;

const VERSION: &str = "v1.37.0";
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// Verbs of the subresources that connect streams, as methods.
const CONNECTING: &[&str] = &["exec", "attach", "portforward", "proxy"];

/// Documents of one generation of the table.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    generation: u64,
    documents: HashMap<String, (Bytes, String)>,
}

impl Documents {
    fn get(&self, table: &Table, key: &str, render: impl FnOnce() -> Vec<u8>) -> (Bytes, String) {
        let mut kept = self.kept.lock();
        if kept.generation != table.generation {
            *kept = Kept { generation: table.generation, documents: HashMap::new() };
        }
        let entry = kept.documents.entry(key.to_owned()).or_insert_with(|| {
            let document = Bytes::from(render());
            let hash: String =
                sha2::Sha512::digest(&document).iter().map(|byte| format!("{byte:02X}")).collect();
            (document, hash)
        });
        entry.clone()
    }
}

/// Answers an OpenAPI path; `None` where there is no such document.
pub(crate) fn answer(
    server: &Arc<Server>,
    segments: &[&str],
    headers: &HeaderMap,
) -> Option<Answer> {
    let table = server.registry.table();
    match segments {
        ["openapi", "v2"] => {
            let (theirs, key) = server.aggregation.document_parts();
            let theirs: Vec<&serde_json::Value> = theirs.iter().map(|part| &**part).collect();
            let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
            if accept.unwrap_or_default().contains("com.github.proto-openapi.spec.v2") {
                let render = || schema::openapi::v2_protobuf(&rows(&table), &theirs, VERSION);
                let key = format!("v2 protobuf {key}");
                let document = server.documents.get(&table, &key, render);
                return Some(document_answer(V2_PROTOBUF, document, headers));
            }
            let render = || schema::openapi::v2(&rows(&table), &theirs, VERSION);
            Some(document_answer(
                "application/json",
                server.documents.get(&table, &format!("v2 {key}"), render),
                headers,
            ))
        }
        ["openapi", "v3"] => Some(index(server, &table)),
        ["openapi", "v3", "api", version] => group_version(server, &table, "", version, headers),
        ["openapi", "v3", "apis", group, version] => {
            group_version(server, &table, group, version, headers)
        }
        _ => None,
    }
}

fn document_of(server: &Server, table: &Table, group: &str, version: &str) -> (Bytes, String) {
    let render = || schema::openapi::v3_for_group_version(group, version, &rows(table), VERSION);
    server.documents.get(table, &format!("v3 {group}/{version}"), render)
}

fn group_version(
    server: &Server,
    table: &Table,
    group: &str,
    version: &str,
    headers: &HeaderMap,
) -> Option<Answer> {
    table.rows.iter().find(|row| row.group == group && row.version == version)?;
    let document = document_of(server, table, group, version);
    Some(document_answer("application/json", document, headers))
}

/// The index names each document with its hash, so that clients may keep it forever.
fn index(server: &Server, table: &Table) -> Answer {
    let mut entries: Vec<(String, String)> = Vec::new();
    for (group, versions) in table.groups() {
        for version in versions {
            let path = match group.as_str() {
                "" => format!("api/{version}"),
                group => format!("apis/{group}/{version}"),
            };
            entries.push((path, document_of(server, table, &group, &version).1));
        }
    }
    for remote in server.aggregation.remotes() {
        let path = format!("apis/{}/{}", remote.group, remote.version);
        entries.retain(|(have, _)| *have != path);
        if let Some(hash) = &remote.document_hash {
            entries.push((path, hash.clone()));
        }
    }
    let pairs = entries.iter().map(|(path, hash)| (path.as_str(), hash.as_str()));
    json_answer(200, &schema::openapi::v3_index(pairs))
}

pub(crate) fn document_answer(
    media_type: &'static str,
    (document, hash): (Bytes, String),
    headers: &HeaderMap,
) -> Answer {
    let etag = format!("\"{hash}\"");
    let unchanged =
        headers.get(IF_NONE_MATCH).is_some_and(|have| have.as_bytes() == etag.as_bytes());
    let mut answer = crate::respond::answer(200, media_type, full(document));
    if unchanged {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        *answer.body_mut() = full("");
    }
    let headers = answer.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    answer
}

fn rows(table: &Table) -> Vec<Resource<'_>> {
    table.rows.iter().map(|row| resource(table, row)).collect()
}

fn resource<'a>(table: &Table, row: &'a api::resource::Resource) -> Resource<'a> {
    Resource {
        group: &row.group,
        version: &row.version,
        kind: &row.kind,
        list_kind: if row.virtual_only { "" } else { &row.list_kind },
        plural: &row.plural,
        namespaced: row.is_namespaced(),
        verbs: row.verbs.iter().collect(),
        subresources: row.subresources.iter().map(|sub| subresource(row, sub)).collect(),
        schema: table.custom_schema(row),
    }
}

fn subresource<'a>(
    row: &'a api::resource::Resource,
    sub: &'a api::resource::Subresource,
) -> Subresource<'a> {
    let own = sub.version.is_empty();
    let verbs =
        if CONNECTING.contains(&sub.name) { vec!["get", "create"] } else { sub.verbs.to_vec() };
    Subresource {
        name: sub.name,
        group: if own { &row.group } else { sub.group },
        version: if own { &row.version } else { sub.version },
        kind: if sub.kind.is_empty() { &row.kind } else { sub.kind },
        verbs,
    }
}
