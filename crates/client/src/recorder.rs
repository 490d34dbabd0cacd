//! Writing Events.
//!
//! [`Recorder::event`] never blocks and never fails: events wait in a bounded queue and are written by
//! one task. A repeat of a recent event raises its count instead of making a new object, as users of
//! `kubectl describe` expect.

use std::collections::HashMap;
use std::sync::Arc;

use clock::Clock;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

use crate::Client;
use crate::limits::{EVENTS_QUEUED_MAX, EVENTS_REMEMBERED_MAX};

/// `type` of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Something that is meant to happen.
    Normal,
    /// Something that someone should look at.
    Warning,
}

impl EventKind {
    fn text(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subject {
    /// `v1`, `apps/v1`, …
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Part of the object, e.g. `spec.containers{web}`.
    pub field_path: String,
}

impl Subject {
    /// A whole object.
    pub fn of<K: kube::Resource<DynamicType = ()>>(object: &K) -> Self {
        let metadata = object.meta();
        Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            field_path: String::new(),
        }
    }

    /// The same object, narrowed to a part.
    #[must_use]
    pub fn part(self, field_path: impl Into<String>) -> Self {
        Self { field_path: field_path.into(), ..self }
    }

    fn reference(&self) -> ObjectReference {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ObjectReference {
            api_version: text(&self.api_version),
            kind: text(&self.kind),
            namespace: text(&self.namespace),
            name: text(&self.name),
            uid: text(&self.uid),
            field_path: text(&self.field_path),
            ..ObjectReference::default()
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Note {
    subject: Subject,
    kind: EventKind,
    reason: String,
    message: String,
}

/// See the module's text; cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    notes: mpsc::Sender<Note>,
    component: Arc<str>,
}

impl Recorder {
    /// A recorder that writes as `component` (and `host`, where one is meant) until `scope` ends.
    pub fn start(
        client: &Client,
        clock: Clock,
        component: &str,
        host: &str,
        scope: &task::Scope,
    ) -> Self {
        let (notes, receiver) = mpsc::channel(EVENTS_QUEUED_MAX);
        let writer = Writer {
            client: client.clone(),
            clock,
            source: EventSource {
                component: Some(component.to_owned()),
                host: (!host.is_empty()).then(|| host.to_owned()),
            },
            known: HashMap::new(),
            made: 0,
        };
        scope.spawn_until_cancelled("event recorder", writer.run(receiver));
        Self { notes, component: component.into() }
    }

    /// Records an event.
    pub fn event(
        &self,
        subject: &Subject,
        kind: EventKind,
        reason: &str,
        message: impl Into<String>,
    ) {
        let note = Note {
            subject: subject.clone(),
            kind,
            reason: reason.to_owned(),
            message: message.into(),
        };
        if self.notes.try_send(note).is_err() {
            tracing::warn!(component = &*self.component, reason, "too many events; one dropped");
        }
    }
}

struct Written {
    name: String,
    count: i32,
}

struct Writer {
    client: Client,
    clock: Clock,
    source: EventSource,
    known: HashMap<Note, Written>,
    made: u64,
}

impl Writer {
    async fn run(mut self, mut notes: mpsc::Receiver<Note>) {
        while let Some(note) = notes.recv().await {
            if let Err(error) = self.write(note).await {
                tracing::debug!(%error, "cannot write an event");
            }
        }
    }

    async fn write(&mut self, note: Note) -> Result<(), kube::Error> {
        let namespace = match note.subject.namespace.as_str() {
            "" => "default",
            namespace => namespace,
        };
        let events = self.client.namespaced::<Event>(namespace);
        if let Some(written) = self.known.get_mut(&note) {
            written.count += 1;
            let patch = json!({"count": written.count, "lastTimestamp": self.clock.now()});
            let name = written.name.clone();
            match events.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    self.known.remove(&note);
                }
                result => return result.map(|_| ()),
            }
        }
        let event = self.make(&note, namespace);
        let name = event.metadata.name.clone().unwrap_or_default();
        events.create(&PostParams::default(), &event).await?;
        if self.known.len() >= EVENTS_REMEMBERED_MAX {
            self.known.clear();
        }
        self.known.insert(note, Written { name, count: 1 });
        Ok(())
    }

    fn make(&mut self, note: &Note, namespace: &str) -> Event {
        let now = self.clock.now();
        self.made += 1;
        let stamp = now.as_nanosecond().unsigned_abs().wrapping_add(u128::from(self.made));
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{stamp:x}", note.subject.name)),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: note.subject.reference(),
            type_: Some(note.kind.text().to_owned()),
            reason: Some(note.reason.clone()),
            message: Some(note.message.clone()),
            source: Some(self.source.clone()),
            reporting_component: self.source.component.clone(),
            reporting_instance: self.source.host.clone(),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            ..Event::default()
        }
    }
}
