//! All objects in memory, fed by the store's watch; every read is answered from here.
//!
//! One [`Cache`] per place in the store holds the newest version of each object and a bounded ring of
//! recent events. A watcher is only a cursor into that ring: an event is held, and framed, once however
//! many watch it, and a watcher that falls behind the ring's end is cut off. [`Caches`] applies the
//! store's batches in order and says up to which revision that has happened.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use api::object::{Object, SelectableFields};
use bytes::Bytes;
use clock::Clock;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use store::{
    Event, EventBatch, KeyRange, KeyValue, ProgressRequester, RangeRequest, Revision, Store,
    StoreError,
};
use tokio::sync::watch;

use crate::by_place::ByPlace;
use crate::limits::{
    EVENT_ON_ITS_WAY_MAX, STORE_RETRY_PAUSE, WATCH_AGEING_PERIOD, WATCH_BYTES_KEPT_MAX,
    WATCH_EVENTS_KEPT_LEAST, WATCH_EVENTS_KEPT_MAX,
};
use crate::registry::Registry;

/// First segment of every key.
const ROOT: &str = "/registry/";
/// Keys below this are no objects: notes that servers on one store leave each other.
pub(crate) const NOTES: &str = "/registry/.keelson/";
/// What the empty core group is called in keys.
const CORE: &str = "core";
/// Keys read from the store at once while loading.
const LOAD_PAGE: usize = 10_000;

/// The key of an object in the store; `namespace` is empty for cluster-scoped ones.
pub fn store_key(group: &str, plural: &str, namespace: &str, name: &str) -> Bytes {
    let group = if group.is_empty() { CORE } else { group };
    let key = if namespace.is_empty() {
        [ROOT, group, "/", plural, "/", name].concat()
    } else {
        [ROOT, group, "/", plural, "/", namespace, "/", name].concat()
    };
    Bytes::from(key)
}

/// The keys of a collection; `namespace` is empty for all.
pub fn store_range(group: &str, plural: &str, namespace: &str) -> KeyRange {
    KeyRange::prefix(store_key(group, plural, namespace, "").to_vec())
}

/// What happened, as a watch says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// `ADDED`.
    Added,
    /// `MODIFIED`.
    Modified,
    /// `DELETED`.
    Deleted,
}

impl EventKind {
    /// The word on the wire.
    pub fn text(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change of one object.
#[derive(Debug)]
pub struct CacheEvent {
    /// What happened to the object itself (a watcher with a selector may see it otherwise).
    pub kind: EventKind,
    /// The version now; for deletions the last one, at the deletion's revision.
    pub object: Arc<Object>,
    /// The version before, unless created.
    pub previous: Option<Arc<Object>>,
    /// Of each kind as which somebody watched it; none for most events.
    frames: OnceLock<Box<[OnceLock<Bytes>; 3]>>,
}

impl CacheEvent {
    /// What the event keeps in memory: the object, and the frame that is made of it once somebody watches.
    fn bytes(&self) -> usize {
        2 * self.object.json_length() + std::mem::size_of::<Object>()
    }

    /// The line of a JSON watch that tells this event as `kind`, made once and shared.
    pub fn frame(&self, kind: EventKind) -> &Bytes {
        let frames = self.frames.get_or_init(Box::default);
        frames[kind as usize].get_or_init(|| {
            let mut out = Vec::with_capacity(self.object.json_length() + 40);
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(kind.text().as_bytes());
            out.extend_from_slice(b"\",\"object\":");
            self.object.write_json(&mut out);
            out.extend_from_slice(b"}\n");
            out.into()
        })
    }
}

#[derive(Default)]
struct State {
    /// By `namespace/name`, or `name`.
    objects: BTreeMap<Box<str>, Arc<Object>>,
    ring: VecDeque<Arc<CacheEvent>>,
    ring_bytes: usize,
    /// Sequence number behind the newest event at the last [`Cache::age`].
    seen_before: u64,
    /// Sequence number of the ring's first event.
    first: u64,
    /// All events after this revision are in the ring.
    complete_after: u64,
    /// Keys of objects whose stored bytes differ from what is shown, since [`Cache::reindex`].
    renewed: HashSet<Box<str>>,
}

/// The objects of one place in the store.
pub struct Cache {
    state: RwLock<State>,
    /// Sequence number behind the newest event.
    end: watch::Sender<u64>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

/// A watcher's place in the ring.
#[derive(Clone, Copy, Debug)]
pub struct Cursor(u64);

impl Cursor {
    /// A place that every ring has moved past, for a watch that must end at once.
    pub fn lost() -> Self {
        Self(0)
    }
}

/// The revision asked for is older than what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOld {
    /// The oldest revision from which a watch can start.
    pub oldest: u64,
}

fn object_key(namespace: &str, name: &str) -> Box<str> {
    if namespace.is_empty() { name.into() } else { [namespace, "/", name].concat().into() }
}

impl Cache {
    fn new(complete_after: u64) -> Self {
        // Sequence numbers start above the one that `Cursor::lost` has.
        let state = State { complete_after, first: 1, ..State::default() };
        Self { state: RwLock::new(state), end: watch::Sender::new(0) }
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.state.read().objects.get(&object_key(namespace, name)).cloned()
    }

    /// All objects of a namespace (or all, when empty) that `admit` admits, in key order.
    pub fn list(&self, namespace: &str, admit: impl Fn(&Object) -> bool) -> Vec<Arc<Object>> {
        let state = self.state.read();
        if namespace.is_empty() {
            return state.objects.values().filter(|object| admit(object)).cloned().collect();
        }
        let prefix = format!("{namespace}/");
        let from: Box<str> = prefix.as_str().into();
        let range = state.objects.range(from..);
        range
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(_, object)| object)
            .filter(|object| admit(object))
            .cloned()
            .collect()
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects as of now with the cursor behind them, taken together.
    pub fn snapshot(
        &self,
        namespace: &str,
        admit: impl Fn(&Object) -> bool,
    ) -> (Vec<Arc<Object>>, Cursor) {
        let state = self.state.read();
        let cursor = Cursor(state.first + state.ring.len() as u64);
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let from: Box<str> = prefix.as_str().into();
        let objects = state.objects.range(from..).take_while(|(key, _)| key.starts_with(&prefix));
        let objects = objects.map(|(_, object)| object).filter(|object| admit(object)).cloned();
        (objects.collect(), cursor)
    }

    /// The cursor before the first event with a revision greater than `revision`.
    ///
    /// # Errors
    /// Events after that revision have been dropped already.
    pub fn cursor_after(&self, revision: u64) -> Result<Cursor, TooOld> {
        let state = self.state.read();
        if revision < state.complete_after {
            return Err(TooOld { oldest: state.complete_after });
        }
        let at = state.ring.partition_point(|event| event.object.revision <= revision);
        Ok(Cursor(state.first + at as u64))
    }

    /// The cursor behind the newest event.
    pub fn end(&self) -> Cursor {
        let state = self.state.read();
        Cursor(state.first + state.ring.len() as u64)
    }

    /// Up to `max` events from a cursor on, and the cursor behind them; empty when there are none yet.
    ///
    /// # Errors
    /// The watcher was too slow: the ring has moved past its cursor.
    pub fn read(
        &self,
        cursor: Cursor,
        max: usize,
    ) -> Result<(Vec<Arc<CacheEvent>>, Cursor), TooOld> {
        let state = self.state.read();
        if cursor.0 < state.first {
            return Err(TooOld { oldest: state.complete_after });
        }
        let skip = usize::try_from(cursor.0 - state.first).unwrap_or(usize::MAX);
        let events: Vec<_> = state.ring.iter().skip(skip).take(max).cloned().collect();
        let next = Cursor(cursor.0 + events.len() as u64);
        Ok((events, next))
    }

    /// A receiver that is marked changed when events have been added.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    fn load(&self, object: Object) {
        let key = object_key(&object.namespace, &object.name);
        self.state.write().objects.insert(key, Arc::new(object));
    }

    /// Completes all objects and computes their selectable fields again, after their definition changed.
    /// What `renew` adds is shown from now on and stored with the object's next change.
    pub fn reindex(&self, renew: impl Fn(&mut Value) -> SelectableFields) {
        let mut state = self.state.write();
        let State { objects, renewed: renewed_keys, .. } = &mut *state;
        for (key, object) in objects.iter_mut() {
            let before = object.to_value();
            let mut value = before.clone();
            let fields = renew(&mut value);
            let renewed = if value == before {
                let mut same = object.at_revision(object.revision);
                same.fields = fields;
                same
            } else {
                renewed_keys.insert(key.clone());
                Object::new(&value, api::object::encode(&value), fields, object.revision)
            };
            *object = Arc::new(renewed);
        }
    }

    /// Whether an object is shown otherwise than it is stored, so that even a write that changes nothing
    /// changes what is stored.
    pub fn is_renewed(&self, object: &Object) -> bool {
        let state = self.state.read();
        !state.renewed.is_empty()
            && state.renewed.contains(&object_key(&object.namespace, &object.name))
    }

    fn put(&self, object: Object) {
        let object = Arc::new(object);
        let mut state = self.state.write();
        let key = object_key(&object.namespace, &object.name);
        state.renewed.remove(&key);
        let previous = state.objects.insert(key, Arc::clone(&object));
        previous.iter().for_each(|previous| previous.supersede());
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        state.push(CacheEvent { kind, object, previous, frames: OnceLock::new() });
    }

    fn delete(&self, namespace: &str, name: &str, revision: u64) {
        let mut state = self.state.write();
        let key = object_key(namespace, name);
        state.renewed.remove(&key);
        if let Some(previous) = state.objects.remove(&key) {
            previous.supersede();
            let object = Arc::new(previous.at_revision(revision));
            let (kind, previous) = (EventKind::Deleted, Some(previous));
            state.push(CacheEvent { kind, object, previous, frames: OnceLock::new() });
        }
    }

    /// Puts other objects in place of all; every cursor is lost.
    fn replace(&self, objects: BTreeMap<Box<str>, Arc<Object>>, revision: u64) {
        let mut state = self.state.write();
        state.first += state.ring.len() as u64 + 1;
        state.ring.clear();
        state.ring_bytes = 0;
        state.renewed.clear();
        state.objects = objects;
        state.complete_after = revision;
        drop(state);
        self.announce();
    }

    /// Drops the events that were there at the call before this one already, but for a few.
    fn age(&self) {
        let mut state = self.state.write();
        while state.first < state.seen_before && state.ring.len() > WATCH_EVENTS_KEPT_LEAST {
            state.pop();
        }
        state.seen_before = state.first + state.ring.len() as u64;
        let room = 2 * state.ring.len();
        state.ring.shrink_to(room);
    }

    fn announce(&self) {
        let state = self.state.read();
        let end = state.first + state.ring.len() as u64;
        drop(state);
        self.end.send_replace(end);
    }
}

impl State {
    fn push(&mut self, event: CacheEvent) {
        self.ring_bytes += event.bytes();
        self.ring.push_back(Arc::new(event));
        while self.ring.len() > WATCH_EVENTS_KEPT_MAX || self.ring_bytes > WATCH_BYTES_KEPT_MAX {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some(oldest) = self.ring.pop_front() else { return };
        self.ring_bytes -= oldest.bytes();
        self.first += 1;
        self.complete_after = oldest.object.revision;
    }
}

/// A write that is on its way. Dropping it, as a request does that is given up, forgets the write.
#[derive(Debug)]
pub struct Expected<'a> {
    caches: &'a Caches,
    key: Bytes,
    json: Bytes,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        let mut pending = self.caches.pending.lock();
        // Another write of the same object may have come after this one.
        if pending.get(&self.key).is_some_and(|own| own.stored().as_ptr() == self.json.as_ptr()) {
            pending.remove(&self.key);
        }
    }
}

/// All caches.
pub struct Caches {
    registry: Arc<Registry>,
    places: RwLock<ByPlace<Arc<Cache>>>,
    /// The newest write of each key that is on its way, so that it need not be parsed again.
    pending: Mutex<HashMap<Bytes, Object>>,
    applied: watch::Sender<u64>,
    /// Asks the store to say how far its watch is.
    progress: Mutex<Option<ProgressRequester>>,
    loaded_at: AtomicU64,
}

impl std::fmt::Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Caches@{}", *self.applied.borrow())
    }
}

/// A key of ours, taken apart.
fn split_key(key: &[u8]) -> Option<(&str, &str, &str, &str)> {
    if key.starts_with(NOTES.as_bytes()) {
        return None;
    }
    let text = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?;
    let mut parts = text.splitn(4, '/');
    let (group, plural) = (parts.next()?, parts.next()?);
    let group = if group == CORE { "" } else { group };
    match (parts.next()?, parts.next()) {
        (namespace, Some(name)) => Some((group, plural, namespace, name)),
        (name, None) => Some((group, plural, "", name)),
    }
}

impl Caches {
    /// Reads everything from the store, and follows it from there in `scope`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(
        registry: Arc<Registry>,
        store: Arc<dyn Store>,
        clock: Clock,
        scope: &task::Scope,
    ) -> Result<Arc<Self>, StoreError> {
        let range = KeyRange::prefix(ROOT.as_bytes().to_vec());
        let revision = store.revision().await?;
        let caches = Arc::new(Self {
            registry,
            places: RwLock::default(),
            pending: Mutex::default(),
            applied: watch::Sender::new(revision.0),
            progress: Mutex::default(),
            loaded_at: AtomicU64::new(revision.0),
        });
        let each = |caches: &Self, item: KeyValue| {
            caches.load_one(&item.key, item.value, item.mod_revision.0);
        };
        caches.read_all(&*store, revision, each).await?;
        let watch = caches.watch(&*store, &range, revision).await?;
        let feed = Arc::clone(&caches).follow(store, clock, range, watch);
        scope.spawn_until_cancelled("cache feed", feed);
        Ok(caches)
    }

    /// Lets go of old events, for ever: a burst must not stay in memory until the next one.
    pub async fn age(self: Arc<Self>, clock: Clock) {
        loop {
            clock.sleep(WATCH_AGEING_PERIOD).await;
            let places: Vec<_> =
                self.places.read().iter().map(|(_, _, cache)| Arc::clone(cache)).collect();
            places.iter().for_each(|place| place.age());
        }
    }

    async fn read_all(
        &self,
        store: &dyn Store,
        revision: Revision,
        mut each: impl FnMut(&Self, KeyValue),
    ) -> Result<(), StoreError> {
        let mut rest = KeyRange::prefix(ROOT.as_bytes().to_vec());
        loop {
            let request = RangeRequest { range: rest.clone(), revision, limit: LOAD_PAGE };
            let page = store.range(request).await?;
            let Some(last) = page.items.last().map(|item| item.key.clone()) else { break };
            page.items.into_iter().for_each(|item| each(self, item));
            if page.remaining == 0 {
                break;
            }
            let mut next = last.to_vec();
            next.push(0);
            rest.start = next.into();
        }
        Ok(())
    }

    async fn watch(
        &self,
        store: &dyn Store,
        range: &KeyRange,
        after: Revision,
    ) -> Result<store::Watch, StoreError> {
        let watch = store.watch(range.clone(), after).await?;
        *self.progress.lock() = Some(watch.progress_requester());
        Ok(watch)
    }

    /// Reads everything again, because the changes since have been compacted away. Whoever watches is
    /// cut off and lists again.
    async fn reload(&self, store: &dyn Store) -> Result<(), StoreError> {
        let revision = store.revision().await?;
        let mut places: ByPlace<BTreeMap<Box<str>, Arc<Object>>> = ByPlace::default();
        let each = |caches: &Self, item: KeyValue| {
            let Some((group, plural, ..)) = split_key(&item.key) else { return };
            if let Some(object) = caches.decode(&item.key, item.value.clone(), item.mod_revision.0)
            {
                let key = object_key(&object.namespace, &object.name);
                places.entry(group, plural, BTreeMap::new).insert(key, Arc::new(object));
            }
        };
        self.read_all(store, revision, each).await?;
        self.loaded_at.store(revision.0, Ordering::Release);
        places.iter().for_each(|(group, plural, _)| drop(self.place(group, plural)));
        for (group, plural, cache) in self.places.read().iter() {
            cache.replace(places.remove(group, plural).unwrap_or_default(), revision.0);
        }
        self.applied.send_replace(revision.0);
        Ok(())
    }

    /// Takes the store's watch up again where it ended.
    async fn take_up(
        &self,
        store: &dyn Store,
        range: &KeyRange,
    ) -> Result<store::Watch, StoreError> {
        let after = || Revision(*self.applied.borrow());
        match self.watch(store, range, after()).await {
            Err(StoreError::Compacted { .. }) => {
                tracing::warn!(after = %after(), "changes were missed; reading everything again");
                self.reload(store).await?;
                self.watch(store, range, after()).await
            }
            taken_up => taken_up,
        }
    }

    async fn follow(
        self: Arc<Self>,
        store: Arc<dyn Store>,
        clock: Clock,
        range: KeyRange,
        mut watch: store::Watch,
    ) {
        loop {
            match watch.next().await {
                Some(Ok(batch)) => self.apply(&batch),
                ended => {
                    let error = ended.and_then(Result::err).map(|error| error.to_string());
                    tracing::error!(error, "the store's watch ended; taking it up again");
                    match self.take_up(&*store, &range).await {
                        Ok(again) => watch = again,
                        Err(error) => {
                            tracing::error!(%error, "the store cannot be watched");
                            clock.sleep(STORE_RETRY_PAUSE).await;
                        }
                    }
                }
            }
        }
    }

    /// The cache of a place in the store, made when there is none.
    pub fn place(&self, group: &str, plural: &str) -> Arc<Cache> {
        if let Some(cache) = self.places.read().get(group, plural) {
            return Arc::clone(cache);
        }
        let mut places = self.places.write();
        Arc::clone(places.entry(group, plural, || Arc::new(Cache::new(self.loaded_at()))))
    }

    /// The revision up to which all caches are complete.
    pub fn revision(&self) -> u64 {
        *self.applied.borrow()
    }

    /// The revision at which everything was read last.
    pub(crate) fn loaded_at(&self) -> u64 {
        self.loaded_at.load(Ordering::Acquire)
    }

    /// Resolves when all caches are complete up to `revision`.
    pub async fn applied(&self, revision: u64) {
        if self.revision() < revision {
            // Boxed, because every request has room for it and few wait.
            Box::pin(self.until_applied(revision)).await;
        }
    }

    async fn until_applied(&self, revision: u64) {
        let mut applied = self.applied.subscribe();
        let there = applied.wait_for(|have| *have >= revision);
        if tokio::time::timeout(EVENT_ON_ITS_WAY_MAX, there).await.is_ok() {
            return;
        }
        // Perhaps the revision changed nothing of ours, on a store that others use too.
        if let Some(progress) = &*self.progress.lock() {
            progress.request();
        }
        // The sender lives in `self`.
        let _never_closed = applied.wait_for(|have| *have >= revision).await;
    }

    /// A receiver of the revision up to which all caches are complete.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Tells that `object` is about to be written under `key`, for as long as the answer lives.
    pub fn expect(&self, key: Bytes, object: Object) -> Expected<'_> {
        let expected = Expected { caches: self, key: key.clone(), json: object.stored().clone() };
        self.pending.lock().insert(key, object);
        expected
    }

    /// The object of `json`, which has been written under `key`, if it was written by this server.
    fn take_pending(&self, key: &[u8], json: &Bytes) -> Option<Object> {
        let mut pending = self.pending.lock();
        if pending.get(key)?.stored() != json {
            return None;
        }
        pending.remove(key)
    }

    fn fields_of(&self, group: &str, plural: &str, value: &Value) -> SelectableFields {
        let table = self.registry.table();
        table
            .at_place(group, plural)
            .map(|row| row.strategy.selectable_fields(value))
            .unwrap_or_default()
    }

    fn decode(&self, key: &[u8], value: Bytes, revision: u64) -> Option<Object> {
        let (group, plural, ..) = split_key(key)?;
        if let Some(object) = self.take_pending(key, &value) {
            // The store has its own copy, which it keeps: one is enough.
            return Some(object.committed(value, revision));
        }
        let fields = |tree: &Value| self.fields_of(group, plural, tree);
        match Object::from_stored(value, revision, fields) {
            Ok(object) => Some(object),
            Err(error) => {
                let key = String::from_utf8_lossy(key);
                tracing::error!(%key, %error, "a stored object is not readable");
                None
            }
        }
    }

    fn load_one(&self, key: &[u8], value: Bytes, revision: u64) {
        let Some((group, plural, ..)) = split_key(key) else { return };
        if let Some(object) = self.decode(key, value, revision) {
            self.place(group, plural).load(object);
        }
    }

    fn apply(&self, batch: &EventBatch) {
        let mut touched: Vec<Arc<Cache>> = Vec::new();
        for event in batch.events.iter() {
            let key = match event {
                Event::Put { current, .. } => &current.key,
                Event::Delete { key, .. } => key,
            };
            let Some((group, plural, namespace, name)) = split_key(key) else { continue };
            let cache = self.place(group, plural);
            match event {
                Event::Put { current, .. } => {
                    let revision = current.mod_revision.0;
                    if let Some(object) = self.decode(key, current.value.clone(), revision) {
                        cache.put(object);
                    }
                }
                Event::Delete { mod_revision, .. } => cache.delete(namespace, name, mod_revision.0),
            }
            if !touched.iter().any(|have| Arc::ptr_eq(have, &cache)) {
                touched.push(cache);
            }
        }
        self.applied.send_replace(batch.revision.0);
        for cache in touched {
            cache.announce();
        }
    }
}

/// Whether a list or watch with this scope and these selectors shows the object.
pub fn admits(
    namespace: &str,
    labels: &api::selector::LabelSelector,
    fields: &api::selector::FieldSelector,
    object: &Object,
) -> bool {
    (namespace.is_empty() || *object.namespace == *namespace)
        && labels.matches(|key| object.label(key))
        && fields.matches(object)
}
