//! The transport of components in the server's own process: a direct call, and the cached objects.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use admission::User;
use api::selector;
use client::limits::{WATCH_PAUSE_MAX, WATCH_PAUSE_MIN};
use client::{Client, Source, Update, WatchScope};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::header::{HeaderValue, USER_AGENT};
use http::{Request, Response};
use http_body_util::BodyExt as _;

use crate::cache::{Cache, Cursor, EventKind};
use crate::handle::{Connection, attributes};
use crate::limits::WATCH_BATCH_MAX;
use crate::request::RequestInfo;
use crate::respond::{Body, BodyError};
use crate::server::Server;
use crate::watch::Filter;

/// Calls the server as one user.
#[derive(Clone)]
struct Direct {
    server: Arc<Server>,
    connection: Connection,
    /// Under which it owns the fields that it writes.
    agent: HeaderValue,
}

/// The component that a user stands for: `system:kube-scheduler`, and the kubelet of `system:node:a`.
fn component(user: &str) -> &str {
    let name = user.strip_prefix("system:").unwrap_or(user);
    if name.starts_with("node:") { "kubelet" } else { name }
}

impl tower::Service<Request<kube::client::Body>> for Direct {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<kube::client::Body>) -> Self::Future {
        request.headers_mut().entry(USER_AGENT).or_insert_with(|| self.agent.clone());
        let (server, connection) = (Arc::clone(&self.server), self.connection.clone());
        let request =
            request.map(|body| body.map_err(|error| BodyError(error.into())).boxed_unsync());
        Box::pin(async move { Ok(server.handle(request, &connection).await) })
    }
}

/// The server's cached objects, without a copy, as far as a user may see them.
struct Shared {
    server: Arc<Server>,
    user: User,
}

/// Who follows what: the questions that a list with its watch would put to the authorizers.
struct Permission {
    server: Arc<Server>,
    user: User,
    watched: WatchScope,
}

impl Permission {
    /// Resolves as soon as the user may list and watch.
    async fn granted(&self) {
        let mut pause = WATCH_PAUSE_MIN;
        while let Err(reason) = self.check() {
            tracing::warn!(user = self.user.name, watched = ?self.watched, reason, "may not watch");
            self.server.clock.sleep(pause).await;
            pause = (pause * 2).min(WATCH_PAUSE_MAX);
        }
    }

    fn check(&self) -> Result<(), String> {
        let mut info = RequestInfo {
            is_resource: true,
            group: self.watched.group.clone(),
            version: self.watched.version.clone(),
            resource: self.watched.plural.clone(),
            namespace: self.watched.namespace.clone(),
            field_selector: self.watched.fields.clone(),
            ..RequestInfo::default()
        };
        for verb in ["list", "watch"] {
            verb.clone_into(&mut info.verb);
            self.server.authorize(&attributes(&self.user, &info))?;
        }
        Ok(())
    }
}

struct Following {
    /// Asked before the first look; `None` afterwards, as a watch that has begun goes on.
    permission: Option<Permission>,
    cache: Arc<Cache>,
    changes: tokio::sync::watch::Receiver<u64>,
    filter: Filter,
    cursor: Option<Cursor>,
    ready: std::collections::VecDeque<Update>,
}

impl Source for Shared {
    fn watch(&self, watched: WatchScope) -> BoxStream<'static, Update> {
        let table = self.server.registry.table();
        let row = table.find(&watched.group, &watched.version, &watched.plural);
        let Some(row) = row else {
            // Its definition may have gone since it was discovered: the end says that nothing will come.
            tracing::debug!(?watched, "no such resource");
            return futures::stream::empty().boxed();
        };
        let cache = self.server.cache_of(row);
        let selectors = selector::parse_labels(&watched.labels)
            .and_then(|labels| Ok((labels, selector::parse_fields(&watched.fields)?)));
        let (labels, fields) = match selectors {
            Ok(selectors) => selectors,
            Err(error) => {
                tracing::error!(?watched, %error, "a selector cannot be read");
                return futures::stream::pending().boxed();
            }
        };
        let filter = Filter { namespace: watched.namespace.clone(), labels, fields };
        let changes = cache.subscribe();
        let (server, user) = (Arc::clone(&self.server), self.user.clone());
        let following = Following {
            permission: Some(Permission { server, user, watched }),
            cache,
            changes,
            filter,
            cursor: None,
            ready: std::collections::VecDeque::new(),
        };
        futures::stream::unfold(following, |mut following| async move {
            following.next().await.map(|update| (update, following))
        })
        .boxed()
    }
}

impl Following {
    async fn next(&mut self) -> Option<Update> {
        if let Some(permission) = &self.permission {
            permission.granted().await;
            self.permission = None;
        }
        loop {
            if let Some(update) = self.ready.pop_front() {
                return Some(update);
            }
            self.changes.borrow_and_update();
            let Some(cursor) = self.cursor else {
                let (objects, cursor) = self
                    .cache
                    .snapshot(&self.filter.namespace, |object| self.filter.admits(object));
                self.cursor = Some(cursor);
                return Some(Update::Reset(objects));
            };
            match self.cache.read(cursor, WATCH_BATCH_MAX) {
                Err(_too_slow) => self.cursor = None,
                Ok((events, next)) => {
                    let waits = events.is_empty();
                    self.cursor = Some(next);
                    let seen = events.iter().filter_map(|event| self.filter.see(event));
                    self.ready.extend(seen.map(|(kind, object)| match kind {
                        EventKind::Deleted => Update::Deleted(object),
                        EventKind::Added | EventKind::Modified => Update::Applied(object),
                    }));
                    if waits && self.changes.changed().await.is_err() {
                        return None;
                    }
                }
            }
        }
    }
}

/// A client of `server` in its own process, with `user`'s rights. Its informers run in `scope`.
pub fn client(server: &Arc<Server>, user: User, scope: task::Scope) -> Client {
    let connection = Connection::of(user.clone());
    let agent = HeaderValue::from_str(component(&user.name));
    // A name that no header can have is nobody's field manager either.
    let agent = agent.unwrap_or(HeaderValue::from_static(""));
    let direct = Direct { server: Arc::clone(server), connection, agent };
    let kube = kube::Client::new(direct, "default");
    Client::new(kube, Arc::new(Shared { server: Arc::clone(server), user }), scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_stands_for_a_component() {
        for (user, name) in [
            ("system:kube-controller-manager", "kube-controller-manager"),
            ("system:node:a", "kubelet"),
            ("jane", "jane"),
        ] {
            assert_eq!(component(user), name);
        }
    }
}
