//! Watch: a cursor into a cache's events, filtered and framed for one client.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use api::object::Object;
use api::selector::{FieldSelector, LabelSelector};
use api::status::Status;
use bytes::Bytes;
use codec::MediaType;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::cache::{Cache, CacheEvent, Cursor, EventKind, TooOld, admits};
use crate::call::Call;
use crate::limits::{
    BOOKMARK_PERIOD, CHUNK_BYTES, WATCH_BATCH_MAX, WATCH_DURATION_DEFAULT, WATCH_DURATION_MAX,
};
use crate::read::selectors;
use crate::respond::{Answer, Body, BodyError, Form, answer, stream};
use crate::server::Server;

/// Marks the bookmark behind the initial events of a watch list (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
/// Beside it: an empty list in the form that the client asked for.
const LIST_BLUEPRINT: &str = "kubernetes.io/initial-events-list-blueprint";

/// Which objects and namespaces a watcher sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Empty for all.
    pub namespace: String,
    /// Labels.
    pub labels: LabelSelector,
    /// Fields.
    pub fields: FieldSelector,
}

impl Filter {
    /// Whether the object is shown.
    pub(crate) fn admits(&self, object: &Object) -> bool {
        admits(&self.namespace, &self.labels, &self.fields, object)
    }

    /// How this watcher sees an event: an object that starts to fit is added, one that ceases to fit is
    /// deleted (and shown as it was when it still fitted).
    pub(crate) fn see(&self, event: &CacheEvent) -> Option<(EventKind, Arc<Object>)> {
        self.see_change(event.kind, &event.object, event.previous.as_ref())
    }

    /// As [`Filter::see`], of the two objects in the version that is watched.
    fn see_change(
        &self,
        kind: EventKind,
        object: &Arc<Object>,
        previous: Option<&Arc<Object>>,
    ) -> Option<(EventKind, Arc<Object>)> {
        let now = || Arc::clone(object);
        let fits = self.admits(object);
        let fitted = previous.is_some_and(|previous| self.admits(previous));
        match (kind, fitted, fits) {
            (EventKind::Added, _, true) | (EventKind::Modified, false, true) => {
                Some((EventKind::Added, now()))
            }
            (EventKind::Modified, true, true) => Some((EventKind::Modified, now())),
            (EventKind::Modified, true, false) => {
                Some((EventKind::Deleted, Arc::new(previous?.at_revision(object.revision))))
            }
            (EventKind::Deleted, true, _) => Some((EventKind::Deleted, now())),
            _ => None,
        }
    }
}

/// Where a watch begins.
struct Start {
    initial: VecDeque<Arc<Object>>,
    cursor: Cursor,
    /// The revision that the initial objects are complete for.
    revision: u64,
}

struct Watcher {
    server: Arc<Server>,
    cache: Arc<Cache>,
    form: Form,
    filter: Filter,
    initial: VecDeque<Arc<Object>>,
    initial_bookmark: Option<u64>,
    cursor: Cursor,
    changes: tokio::sync::watch::Receiver<u64>,
    ends_at: Instant,
    bookmark_at: Option<Instant>,
    /// At the earlier of the two. It lives as long as the watch: making a timer takes the lock of all timers.
    alarm: Pin<Box<Sleep>>,
    /// Likewise; when the server stops.
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
    /// Tables carry their column definitions only once.
    first_table: bool,
}

/// Frames that go to the client together. Nearly always that is one event, whose frame all watchers share.
#[derive(Default)]
struct Chunk {
    shared: Bytes,
    bytes: Vec<u8>,
}

impl Chunk {
    fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.bytes.is_empty()
    }

    /// Adds a frame that others hold, too.
    fn share(&mut self, frame: &Bytes) {
        if self.is_empty() {
            self.shared = frame.clone();
        } else {
            self.bytes().extend_from_slice(frame);
        }
    }

    /// Where a frame of one's own is added.
    fn bytes(&mut self) -> &mut Vec<u8> {
        let shared = std::mem::take(&mut self.shared);
        self.bytes.extend_from_slice(&shared);
        &mut self.bytes
    }

    fn finish(self) -> Bytes {
        if self.bytes.is_empty() { self.shared } else { self.bytes.into() }
    }
}

impl Server {
    /// A watch of the call's collection.
    ///
    /// # Errors
    /// The parameters are wrong, or the encoding cannot be streamed.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        call: &Call,
        form: &Form,
    ) -> Result<Answer, Status> {
        let (watcher, media_type) = self.watcher(call, form).await?;
        Ok(answer(200, media_type, watcher.into_body()))
    }

    /// The frames of a watch one by one, for clients on a WebSocket.
    ///
    /// # Errors
    /// As [`Server::watch`].
    pub(crate) async fn watch_body(
        self: &Arc<Self>,
        call: &Call,
        form: &Form,
    ) -> Result<Body, Status> {
        Ok(self.watcher(call, form).await?.0.into_body())
    }

    async fn watcher(
        self: &Arc<Self>,
        call: &Call,
        form: &Form,
    ) -> Result<(Watcher, &'static str), Status> {
        let (labels, fields) = selectors(call)?;
        let namespace = match (call.resource.is_namespaced(), &call.info.namespace) {
            (true, namespace) => namespace.clone(),
            (false, _) => String::new(),
        };
        let filter = Filter { namespace, labels, fields };
        let Some(media_type) = form.accept.media.stream_content_type() else {
            return Err(Status::not_acceptable(
                "only the following media types are accepted: application/json, application/vnd.kubernetes.protobuf;stream=watch",
            ));
        };
        let duration = match call.query.text("timeoutSeconds").parse::<u64>() {
            Ok(seconds) if seconds > 0 => Duration::from_secs(seconds).min(WATCH_DURATION_MAX),
            _ => WATCH_DURATION_DEFAULT,
        };
        let bookmarks = call.query.flag("allowWatchBookmarks");
        crate::list_options::check(&call.query, true)?;
        let wants_initial = call.query.flag("sendInitialEvents");
        let cache = self.cache_of(&call.resource);
        let changes = cache.subscribe();
        let started = self.begin(call, &cache, &filter, wants_initial).await?;
        let now = Instant::now();
        let (start, ended) = match started {
            Ok(start) => (start, None),
            Err(too_old) => {
                let start = Start { initial: VecDeque::new(), cursor: cache.end(), revision: 0 };
                (start, Some(too_old))
            }
        };
        let ends_at = now + duration;
        let bookmark_at = bookmarks.then(|| now + BOOKMARK_PERIOD);
        let alarm_at = bookmark_at.map_or(ends_at, |at| at.min(ends_at));
        let mut watcher = Watcher {
            server: Arc::clone(self),
            cache,
            form: form.clone(),
            filter,
            initial: start.initial,
            initial_bookmark: (wants_initial && bookmarks).then_some(start.revision),
            cursor: start.cursor,
            changes,
            ends_at,
            bookmark_at,
            alarm: Box::pin(tokio::time::sleep_until(alarm_at)),
            stop: Box::pin(self.scope.cancelled()),
            ended: false,
            first_table: true,
        };
        if let Some(too_old) = ended {
            watcher.cursor = Cursor::lost();
            tracing::debug!(resource = ?call.resource, oldest = too_old.oldest, "a watch is too old");
        }
        Ok((watcher, media_type))
    }

    async fn begin(
        &self,
        call: &Call,
        cache: &Cache,
        filter: &Filter,
        wants_initial: bool,
    ) -> Result<Result<Start, TooOld>, Status> {
        let version = call.query.text("resourceVersion");
        let revision: u64 = match version {
            "" => 0,
            text => text.parse().map_err(|_| {
                let path = api::field::Path::new("resourceVersion");
                let error = api::field::Error::invalid(&path, text, "invalid resource version");
                Status::invalid("meta.k8s.io", "ListOptions", "", &[error])
            })?,
        };
        if !wants_initial && revision > 0 {
            // Another server may have told of it before it came here; what is behind it is to be shown,
            // not what leads up to it. One that never comes is waited for by the watch itself.
            let wait = self.caches.applied(revision);
            let _there = tokio::time::timeout(crate::limits::FRESH_READ_MAX, wait).await;
            let cursor = cache.cursor_after(revision);
            return Ok(cursor.map(|cursor| Start { initial: VecDeque::new(), cursor, revision }));
        }
        if version.is_empty() {
            self.fresh().await?;
        } else if revision > 0 {
            self.not_older_than(revision).await?;
        }
        let as_of = self.caches.revision();
        let converts = self.conversion_of(&call.resource).is_some();
        let (mut initial, cursor) =
            cache.snapshot(&filter.namespace, |object| converts || filter.admits(object));
        if converts {
            initial = self.converted(&call.resource, initial).await?;
            initial.retain(|object| filter.admits(object));
        }
        let newest = initial.iter().map(|object| object.revision).max().unwrap_or(0);
        Ok(Ok(Start { initial: initial.into(), cursor, revision: as_of.max(newest) }))
    }
}

impl Watcher {
    fn into_body(self) -> Body {
        // Boxed, because it moves in and out of every step.
        stream(futures::stream::unfold(Box::new(self), |mut watcher| async move {
            watcher.next_chunk().await.map(|chunk| (Ok::<_, BodyError>(chunk), watcher))
        }))
    }

    async fn next_chunk(&mut self) -> Option<Bytes> {
        let mut out = Chunk::default();
        while !self.ended && out.is_empty() {
            if self.take_initial(out.bytes()) {
                break;
            }
            // Read before the events, so that a bookmark never runs ahead of them.
            let as_of = self.server.caches.revision();
            self.changes.borrow_and_update();
            if self.take_events(&mut out).await {
                // One that always has something to tell ends all the same.
                self.ended |= Instant::now() >= self.ends_at;
                continue;
            }
            self.wait(as_of, &mut out).await;
        }
        (!out.is_empty()).then(|| out.finish())
    }

    fn take_initial(&mut self, out: &mut Vec<u8>) -> bool {
        while out.len() < CHUNK_BYTES {
            let Some(object) = self.initial.pop_front() else { break };
            self.frame(out, EventKind::Added.text(), &object);
        }
        if self.initial.is_empty()
            && let Some(revision) = self.initial_bookmark.take()
        {
            self.bookmark(out, revision, true);
        }
        !out.is_empty()
    }

    /// Whether there was anything to read (shown or not).
    async fn take_events(&mut self, out: &mut Chunk) -> bool {
        match self.cache.read(self.cursor, WATCH_BATCH_MAX) {
            Ok((events, _)) if events.is_empty() => false,
            Ok((events, next)) => {
                self.cursor = next;
                if self.server.conversion_of(&self.form.resource).is_some() {
                    self.show_converted(out.bytes(), &events).await;
                } else {
                    events.iter().for_each(|event| self.show(out, event));
                }
                true
            }
            Err(TooOld { oldest }) => {
                let status = Status::expired(format!("too old resource version: {oldest}"));
                self.raw(out.bytes(), "ERROR", &status.to_json());
                self.ended = true;
                true
            }
        }
    }

    /// Shows events in the watched version, all converted at once; where that fails, the watch ends.
    async fn show_converted(&mut self, out: &mut Vec<u8>, events: &[Arc<CacheEvent>]) {
        let both = events.iter().flat_map(|event| event.previous.iter().chain([&event.object]));
        let server = Arc::clone(&self.server);
        let converted = server.converted(&self.form.resource, both.cloned().collect()).await;
        let mut converted = match converted {
            Ok(converted) => converted.into_iter(),
            Err(status) => {
                self.raw(out, "ERROR", &status.to_json());
                self.ended = true;
                return;
            }
        };
        for event in events {
            let previous = event.previous.as_ref().and_then(|_| converted.next());
            let Some(object) = converted.next() else { return };
            let seen = self.filter.see_change(event.kind, &object, previous.as_ref());
            if let Some((kind, object)) = seen {
                self.frame(out, kind.text(), &object);
            }
        }
    }

    fn show(&mut self, out: &mut Chunk, event: &CacheEvent) {
        let Some((kind, object)) = self.filter.see(event) else { return };
        let shared = self.form.is_stored_json() && Arc::ptr_eq(&object, &event.object);
        if shared {
            out.share(event.frame(kind));
        } else {
            self.frame(out.bytes(), kind.text(), &object);
        }
    }

    async fn wait(&mut self, as_of: u64, out: &mut Chunk) {
        let changed = tokio::select! {
            biased;
            () = &mut self.stop => Some(false),
            () = &mut self.alarm => None,
            changed = self.changes.changed() => Some(changed.is_ok()),
        };
        match changed {
            Some(true) => {}
            Some(false) => self.ended = true,
            None if Instant::now() >= self.ends_at => {
                self.ended = true;
                if self.bookmark_at.is_some() {
                    self.bookmark(out.bytes(), as_of, false);
                }
            }
            None => {
                let next = Instant::now() + BOOKMARK_PERIOD;
                self.bookmark_at = Some(next);
                self.alarm.as_mut().reset(next.min(self.ends_at));
                self.bookmark(out.bytes(), as_of, false);
            }
        }
    }

    fn bookmark(&mut self, out: &mut Vec<u8>, revision: u64, initial_end: bool) {
        let resource = &self.form.resource;
        let mut object = json!({
            "kind": resource.kind, "apiVersion": resource.api_version(),
            "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null},
        });
        if initial_end {
            object["metadata"]["annotations"] = json!({INITIAL_EVENTS_END: "true"});
            // A kind without this encoding fails at its first object, or has none.
            if let Ok(blueprint) = self.form.list_blueprint() {
                object["metadata"]["annotations"][LIST_BLUEPRINT] = blueprint.into();
            }
        }
        let object = self.form.transform(object, &revision.to_string());
        self.raw(out, "BOOKMARK", &object);
    }

    fn frame(&mut self, out: &mut Vec<u8>, kind: &str, object: &Object) {
        if self.form.is_stored_json() {
            out.extend_from_slice(format!("{{\"type\":\"{kind}\",\"object\":").as_bytes());
            object.write_json(out);
            out.extend_from_slice(b"}\n");
            return;
        }
        self.form.now = self.server.clock.now();
        let value = self.form.value(&self.server, object);
        self.raw(out, kind, &value);
    }

    fn raw(&mut self, out: &mut Vec<u8>, kind: &str, object: &Value) {
        let mut object = object.clone();
        if object.get("columnDefinitions").is_some() {
            if !self.first_table {
                object["columnDefinitions"] = Value::Null;
            }
            self.first_table = false;
        }
        match self.form.accept.media {
            MediaType::Protobuf => match self.form.encode(&object) {
                Ok(bytes) => {
                    out.extend_from_slice(&codec::protobuf::encode_watch_event(kind, &bytes));
                }
                Err(status) => {
                    tracing::error!(%status, "a watch event has no protobuf form");
                    self.ended = true;
                }
            },
            MediaType::Cbor => {
                let event = json!({"type": kind, "object": object});
                out.extend_from_slice(&codec::cbor::encode(&event));
            }
            MediaType::Json | MediaType::Yaml => {
                out.extend_from_slice(
                    json!({"type": kind, "object": object}).to_string().as_bytes(),
                );
                out.push(b'\n');
            }
        }
    }
}
