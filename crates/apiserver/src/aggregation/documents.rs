//! The OpenAPI documents of backends: theirs of version 3 are passed on, what they add to version 2 is
//! fetched when somebody asks for it, and kept until their documents change.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::backend::Backend;
use super::remote::Remote;
use crate::handle::text;
use crate::openapi::document_answer;
use crate::respond::Answer;
use crate::server::Server;

/// How long a backend may take to send a document.
const DOCUMENT_MAX: Duration = Duration::from_secs(10);

/// What backends add to the document of version 2, by the name of their objects.
#[derive(Default)]
pub(crate) struct Fetched(Mutex<HashMap<String, Part>>);

#[derive(Clone)]
struct Part {
    /// Hash of the backend's document of version 3 when this was fetched.
    of: Option<String>,
    part: Arc<Value>,
}

/// The hash of a backend's own document, as its index of version 3 tells it.
pub(super) async fn hash_of(server: &Server, backend: &Backend) -> Option<String> {
    let fetched =
        backend.fetch(server, "/openapi/v3", "application/json", DOCUMENT_MAX).await.ok()?;
    let index: Value = serde_json::from_slice(&fetched.body).ok()?;
    let entry = index.get("paths")?.get(backend.root().trim_start_matches('/'))?;
    let url = text(entry, "/serverRelativeURL");
    Some(url.split_once("hash=").map_or(url, |(_, hash)| hash).to_owned())
}

/// Answers for a document that a backend has; makes sure that what backends add to the others is there.
pub(crate) async fn answer(
    server: &Arc<Server>,
    path: &str,
    headers: &HeaderMap,
) -> Option<Answer> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["openapi", "v3", "apis", group, version] => {
            let backend = server.aggregation.backend(group, version)?;
            own_document(server, &backend, path, headers).await
        }
        ["openapi", "v2"] => {
            let remotes = server.aggregation.remotes();
            let fetching = remotes.iter().map(|remote| fetch(server, remote));
            futures::future::join_all(fetching).await;
            None
        }
        _ => None,
    }
}

async fn own_document(
    server: &Server,
    backend: &Backend,
    path: &str,
    headers: &HeaderMap,
) -> Option<Answer> {
    let path = format!("/{}", path.trim_matches('/'));
    let fetched = backend.fetch(server, &path, "application/json", DOCUMENT_MAX).await;
    let fetched = fetched.ok().filter(|fetched| fetched.code == 200)?;
    let remotes = server.aggregation.remotes.lock();
    let hash = remotes.get(&backend.name).and_then(|remote| remote.document_hash.clone());
    Some(document_answer("application/json", (fetched.body, hash.unwrap_or_default()), headers))
}

async fn fetch(server: &Server, remote: &Remote) {
    let Some(backend) = server.aggregation.backend(&remote.group, &remote.version) else { return };
    let known = server.aggregation.documents.0.lock().get(&backend.name).cloned();
    if known.is_some_and(|known| known.of == remote.document_hash) {
        return;
    }
    let fetched = backend.fetch(server, "/openapi/v2", "application/json", DOCUMENT_MAX).await;
    let Ok(fetched) = fetched else { return };
    let document: Value = serde_json::from_slice(&fetched.body).unwrap_or_default();
    let part = Part { of: remote.document_hash.clone(), part: Arc::new(part(&backend, document)) };
    server.aggregation.documents.0.lock().insert(backend.name.clone(), part);
}

/// What of a backend's document is its own: the paths of its group, and the definitions that no
/// built-in kind has.
fn part(backend: &Backend, mut document: Value) -> Value {
    let root = backend.root();
    let own_path = |path: &str| {
        path.strip_prefix(&root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mut take = |field: &str| match document.get_mut(field).map(Value::take) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let paths: Map<String, Value> =
        take("paths").into_iter().filter(|(path, _)| own_path(path)).collect();
    let definitions: Map<String, Value> = take("definitions")
        .into_iter()
        .filter(|(name, _)| schema::builtin(name).is_none())
        .collect();
    Value::Object(Map::from_iter([
        ("paths".to_owned(), Value::Object(paths)),
        ("definitions".to_owned(), Value::Object(definitions)),
    ]))
}

impl super::Aggregation {
    /// What backends add to the document of version 2, and a key that changes with it.
    pub(crate) fn document_parts(&self) -> (Vec<Arc<Value>>, String) {
        if self.is_empty() {
            return (Vec::new(), String::new());
        }
        let (fetched, remotes) = (self.documents.0.lock(), self.remotes.lock());
        let mut names: Vec<&String> =
            fetched.keys().filter(|name| remotes.contains_key(*name)).collect();
        names.sort();
        let key = names
            .iter()
            .map(|name| format!("{name}={}", fetched[*name].of.as_deref().unwrap_or_default()));
        let key = key.collect::<Vec<_>>().join(",");
        (names.into_iter().map(|name| Arc::clone(&fetched[name].part)).collect(), key)
    }
}
