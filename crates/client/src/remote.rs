//! The object source over the wire: list in pages, watch from there, list again after a gap.

use std::sync::Arc;
use std::time::Duration;

use api::meta;
use api::object::{self, Object};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::limits::{
    LIST_PAGE, UPDATES_QUEUED_MAX, WATCH_PAUSE_MAX, WATCH_PAUSE_MIN, WATCH_SECONDS,
};
use crate::source::{Source, Update, WatchScope};

/// See the module's text.
#[derive(Clone)]
pub struct RemoteSource {
    kube: kube::Client,
}

impl std::fmt::Debug for RemoteSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RemoteSource")
    }
}

#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("cannot build the request")]
    Request(#[from] http::Error),
    #[error("the API server refused or the connection broke")]
    Api(#[source] Box<kube::Error>),
    #[error("the watch is too old and must start over: {0}")]
    Expired(String),
    #[error("nobody listens any more")]
    Closed,
}

impl From<kube::Error> for WatchError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

impl RemoteSource {
    /// A source that uses `kube`'s connection and identity.
    pub fn new(kube: kube::Client) -> Self {
        Self { kube }
    }
}

impl Source for RemoteSource {
    fn watch(&self, watched: WatchScope) -> BoxStream<'static, Update> {
        let (sender, mut receiver) = mpsc::channel(UPDATES_QUEUED_MAX);
        let kube = self.kube.clone();
        // Ends by itself when the receiving stream is dropped.
        tokio::spawn(follow(kube, watched, sender));
        futures::stream::poll_fn(move |context| receiver.poll_recv(context)).boxed()
    }
}

async fn follow(kube: kube::Client, watched: WatchScope, updates: mpsc::Sender<Update>) {
    // A server that is reached over the network keeps the machine's time.
    let clock = clock::Clock::system();
    let mut pause = WATCH_PAUSE_MIN;
    let mut from: Option<String> = None;
    loop {
        let began = tokio::time::Instant::now();
        let result = follow_once(&kube, &watched, &updates, &mut from).await;
        match result {
            Ok(()) => {}
            Err(WatchError::Closed) => return,
            Err(error) => {
                if matches!(error, WatchError::Expired(_)) {
                    from = None;
                }
                tracing::debug!(?watched, error = %error, "watch ended");
            }
        }
        pause = if began.elapsed() > WATCH_PAUSE_MAX { WATCH_PAUSE_MIN } else { pause };
        tokio::select! {
            () = clock.sleep(pause) => {}
            () = updates.closed() => return,
        }
        pause = (pause * 2).min(WATCH_PAUSE_MAX);
    }
}

/// Lists unless `from` says where to go on, then watches until the request ends.
async fn follow_once(
    kube: &kube::Client,
    watched: &WatchScope,
    updates: &mpsc::Sender<Update>,
    from: &mut Option<String>,
) -> Result<(), WatchError> {
    let mut revision = match from.take() {
        Some(revision) => revision,
        None => {
            let (objects, revision) = list(kube, watched).await?;
            updates.send(Update::Reset(objects)).await.map_err(|_| WatchError::Closed)?;
            revision
        }
    };
    let query = format!(
        "watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={revision}"
    );
    let request = http::Request::get(path(watched, &query)).body(Vec::new())?;
    let limit = Duration::from_secs(u64::from(WATCH_SECONDS) + 30);
    let mut events = kube.request_events::<Value>(request).await?.boxed();
    while let Ok(Some(event)) = tokio::time::timeout(limit, events.next()).await {
        let update = match event? {
            WatchEvent::Added(value) | WatchEvent::Modified(value) => {
                Some(Update::Applied(to_object(&value)))
            }
            WatchEvent::Deleted(value) => Some(Update::Deleted(to_object(&value))),
            WatchEvent::Bookmark(mark) => {
                revision.clone_from(&mark.metadata.resource_version);
                None
            }
            WatchEvent::Error(status) => return Err(WatchError::Expired(status.message)),
        };
        if let Some(update) = update {
            if let Update::Applied(object) | Update::Deleted(object) = &update {
                revision = object.revision.to_string();
            }
            updates.send(update).await.map_err(|_| WatchError::Closed)?;
        }
        *from = Some(revision.clone());
    }
    *from = Some(revision);
    Ok(())
}

async fn list(
    kube: &kube::Client,
    watched: &WatchScope,
) -> Result<(Vec<Arc<Object>>, String), WatchError> {
    let mut objects = Vec::new();
    let mut token = String::new();
    loop {
        let mut query = format!("limit={LIST_PAGE}");
        if !token.is_empty() {
            query.push_str("&continue=");
            query.push_str(&encode_query(&token));
        }
        let request = http::Request::get(path(watched, &query)).body(Vec::new())?;
        let page: Value = kube.request(request).await?;
        let kind = page["kind"].as_str().unwrap_or_default();
        let kind = kind.strip_suffix("List").unwrap_or(kind).to_owned();
        let version = page["apiVersion"].as_str().unwrap_or_default().to_owned();
        for item in page["items"].as_array().into_iter().flatten() {
            let mut item = item.clone();
            item["kind"] = Value::from(kind.as_str());
            item["apiVersion"] = Value::from(version.as_str());
            objects.push(to_object(&item));
        }
        token = meta::text(&page, "continue").to_owned();
        if token.is_empty() {
            return Ok((objects, meta::text(&page, "resourceVersion").to_owned()));
        }
    }
}

fn to_object(value: &Value) -> Arc<Object> {
    let revision = meta::text(value, "resourceVersion").parse().unwrap_or(0);
    Arc::new(Object::new(value, object::encode(value), Vec::new(), revision))
}

fn path(watched: &WatchScope, query: &str) -> String {
    let mut path = if watched.group.is_empty() {
        format!("/api/{}", watched.version)
    } else {
        format!("/apis/{}/{}", watched.group, watched.version)
    };
    if !watched.namespace.is_empty() {
        path.push_str("/namespaces/");
        path.push_str(&watched.namespace);
    }
    path.push('/');
    path.push_str(&watched.plural);
    path.push('?');
    path.push_str(query);
    for (key, value) in [("labelSelector", &watched.labels), ("fieldSelector", &watched.fields)] {
        if !value.is_empty() {
            path.push_str(&format!("&{key}={}", encode_query(value)));
        }
    }
    path
}

fn encode_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_the_scope_and_escape_the_selectors() {
        let scope = WatchScope {
            group: "apps".into(),
            version: "v1".into(),
            plural: "deployments".into(),
            namespace: "n".into(),
            labels: "a in (b,c)".into(),
            fields: String::new(),
        };
        assert_eq!(
            path(&scope, "watch=true"),
            "/apis/apps/v1/namespaces/n/deployments?watch=true&labelSelector=a%20in%20%28b%2Cc%29"
        );
    }
}
