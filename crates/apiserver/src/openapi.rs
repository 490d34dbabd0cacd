//! `/openapi/v2` and `/openapi/v3`: rendered from the table and the schemas when they are asked for.
//!
//! A document of version 3 is made anew only when its own group and version have changed. Rendered
//! documents are large and asked for in bursts: those that nobody asks for are let go, and rendered again.

use std::collections::HashMap;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, ETAG, EXPIRES, HeaderValue, IF_NONE_MATCH, LOCATION, VARY,
};
use http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use schema::openapi::{Resource, Subresource};
use sha2::Digest as _;

use crate::registry::Table;
use crate::respond::{Answer, full, json_answer, text_answer};
use crate::server::Server;

const VERSION: &str = "v1.37.0";
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// How long a rendered document is kept after somebody asked for it.
const DOCUMENT_SECONDS_KEPT: i64 = 60;
/// How long clients may keep a document whose hash they named: a year.
const CACHED_FOR: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Verbs of the subresources that connect streams, as methods.
const CONNECTING: &[&str] = &["exec", "attach", "portforward", "proxy"];

/// What has been rendered: every document's hash for good, the documents themselves while they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By document: what it was made of, and its hash.
    hashes: HashMap<String, (u64, String)>,
    bodies: HashMap<String, Body>,
    /// Whether somebody looks after the bodies.
    attended: bool,
}

#[derive(Debug)]
struct Body {
    of: u64,
    bytes: Bytes,
    used: Timestamp,
}

impl Documents {
    /// A document that is made of the state `of`, and its hash.
    fn get(
        &self,
        server: &Arc<Server>,
        key: &str,
        of: u64,
        render: impl FnOnce() -> Vec<u8>,
    ) -> (Bytes, String) {
        let now = server.clock.now();
        let mut kept = self.kept.lock();
        let known = kept.bodies.get_mut(key).filter(|body| body.of == of);
        let bytes = match known {
            Some(body) => {
                body.used = now;
                body.bytes.clone()
            }
            None => {
                let bytes = Bytes::from(render());
                let body = Body { of, bytes: bytes.clone(), used: now };
                kept.bodies.insert(key.to_owned(), body);
                bytes
            }
        };
        let hash = kept.hash(key, of, || hash(&bytes));
        if !std::mem::replace(&mut kept.attended, true) {
            server.scope.spawn_until_cancelled("OpenAPI documents", attend(Arc::clone(server)));
        }
        (bytes, hash)
    }

    /// The hash of a document. One that is rendered only for that is not kept.
    fn hash_of(&self, key: &str, of: u64, render: impl FnOnce() -> Vec<u8>) -> String {
        self.kept.lock().hash(key, of, || hash(&render()))
    }

    /// Lets go what nobody has asked for lately; whether something is left.
    fn let_go(&self, now: Timestamp) -> bool {
        let mut kept = self.kept.lock();
        kept.bodies
            .retain(|_, body| now.duration_since(body.used).as_secs() < DOCUMENT_SECONDS_KEPT);
        kept.attended = !kept.bodies.is_empty();
        kept.bodies.shrink_to_fit();
        kept.attended
    }
}

impl Kept {
    fn hash(&mut self, key: &str, of: u64, make: impl FnOnce() -> String) -> String {
        if let Some((have, hash)) = self.hashes.get(key)
            && *have == of
        {
            return hash.clone();
        }
        let hash = make();
        self.hashes.insert(key.to_owned(), (of, hash.clone()));
        hash
    }
}

fn hash(document: &[u8]) -> String {
    sha2::Sha512::digest(document).iter().map(|byte| format!("{byte:02X}")).collect()
}

async fn attend(server: Arc<Server>) {
    let pause = std::time::Duration::from_secs(DOCUMENT_SECONDS_KEPT.unsigned_abs());
    loop {
        server.clock.sleep(pause).await;
        if !server.documents.let_go(server.clock.now()) {
            return;
        }
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
                let document = server.documents.get(server, &key, table.generation, render);
                return Some(document_answer(V2_PROTOBUF, document, headers));
            }
            let render = || schema::openapi::v2(&rows(&table), &theirs, VERSION);
            Some(document_answer(
                "application/json",
                server.documents.get(server, &format!("v2 {key}"), table.generation, render),
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

/// The rows of one group and version, and what tells them from those that were there before.
fn rows_in<'a>(table: &'a Table, group: &str, version: &str) -> (Vec<Resource<'a>>, u64) {
    let mut stamps = std::hash::DefaultHasher::new();
    let rows = table.rows.iter().filter(|row| row.group == group && row.version == version);
    let rows = rows.inspect(|row| table.stamp(row).hash(&mut stamps));
    (rows.map(|row| resource(table, row)).collect(), stamps.finish())
}

fn key_of(group: &str, version: &str) -> String {
    format!("v3 {group}/{version}")
}

fn group_version(
    server: &Arc<Server>,
    table: &Table,
    group: &str,
    version: &str,
    headers: &HeaderMap,
) -> Option<Answer> {
    let (rows, of) = rows_in(table, group, version);
    rows.first()?;
    let render = || schema::openapi::v3_for_group_version(group, version, &rows, VERSION);
    let document = server.documents.get(server, &key_of(group, version), of, render);
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
            let (rows, of) = rows_in(table, &group, &version);
            let render = || schema::openapi::v3_for_group_version(&group, &version, &rows, VERSION);
            let hash = server.documents.hash_of(&key_of(&group, &version), of, render);
            entries.push((path, hash));
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

/// An answer to someone who named the document's hash: the same for ever, or elsewhere.
pub(crate) fn cached(mut answer: Answer, path: &str, hash: &str, now: Timestamp) -> Answer {
    let etag = answer.headers().get(ETAG).and_then(|etag| etag.to_str().ok());
    let Some(present) = etag.map(|etag| etag.trim_matches('"').to_owned()) else { return answer };
    if hash != present {
        let mut moved = text_answer(301, "");
        if let Ok(place) = HeaderValue::from_str(&format!("{path}?hash={present}")) {
            moved.headers_mut().insert(LOCATION, place);
        }
        return moved;
    }
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    let ends = now.checked_add(CACHED_FOR).unwrap_or(now);
    let ends = ends.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(ends) = HeaderValue::from_str(&ends) {
        headers.insert(EXPIRES, ends);
    }
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
        selectable_fields: selectable_fields(table, row),
    }
}

/// The fields by which a custom resource can be selected; those of built-in kinds are not published.
fn selectable_fields(table: &Table, row: &api::resource::Resource) -> Vec<&'static str> {
    if !table.is_custom(row) {
        return Vec::new();
    }
    let fields = row.strategy.selectable_fields(&serde_json::Value::Null);
    fields.into_iter().map(|(path, _)| path).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_outlive_their_documents() {
        let mut kept = Kept::default();
        assert_eq!(kept.hash("v3 a/v1", 1, || "A".to_owned()), "A");
        assert_eq!(kept.hash("v3 a/v1", 1, || "B".to_owned()), "A");
        assert_eq!(kept.hash("v3 a/v1", 2, || "B".to_owned()), "B");
    }

    #[test]
    fn documents_are_let_go_when_nobody_asks() {
        let documents = Documents::default();
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let body = Body { of: 1, bytes: Bytes::from_static(b"x"), used: at(100) };
        documents.kept.lock().bodies.insert("v2".to_owned(), body);
        assert!(documents.let_go(at(100 + DOCUMENT_SECONDS_KEPT - 1)));
        assert!(!documents.let_go(at(100 + DOCUMENT_SECONDS_KEPT)));
    }

    #[test]
    fn a_document_whose_hash_is_named_is_the_same_for_ever() {
        let now = Timestamp::from_second(0).unwrap();
        let answer = || {
            document_answer("application/json", (Bytes::new(), "H".to_owned()), &HeaderMap::new())
        };
        let shown = |answer: &Answer, name: http::HeaderName| {
            let value = answer.headers().get(name);
            value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
        };
        let same = cached(answer(), "/openapi/v3/api/v1", "H", now);
        assert_eq!(same.status(), 200);
        assert_eq!(shown(&same, CACHE_CONTROL), "public, immutable");
        assert_eq!(shown(&same, EXPIRES), "Fri, 01 Jan 1971 00:00:00 GMT");
        let other = cached(answer(), "/openapi/v3/api/v1", "old", now);
        assert_eq!(other.status(), 301);
        assert_eq!(shown(&other, LOCATION), "/openapi/v3/api/v1?hash=H");
        let none = cached(json_answer(404, &serde_json::Value::Null), "/openapi/v3/x", "H", now);
        assert_eq!(none.status(), 404);
    }
}
