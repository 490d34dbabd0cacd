//! The manifests folder: what its files say is applied, and kept applied.
//!
//! A loop over facts: the files as they are, the objects as they are. Files are read when the kernel says that
//! they changed, and looked at again now and then; each object is watched, and applied again when it stops
//! saying what its manifest says. A file that cannot be used is named in the log and in an Event; its objects
//! stay as they were, and nothing else stops. Not here: making the objects right (the API server refuses).

mod apply;
mod documents;
mod files;
mod holds;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use client::{Client, EventKind, Recorder, Subject, Update};
use clock::Clock;
use futures::StreamExt as _;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;

use self::apply::Place;
use self::documents::{Fault, Identity};
use self::files::Files;
use self::memory::Memory;

/// Objects that may wait to be applied again.
const DIRTY_QUEUED_MAX: usize = 1024;
/// First pause before an object is tried again, and least pause between two applies of one.
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause before an object is tried again.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often the folder is looked at although nothing was heard of it.
const LOOK_PAUSE: Duration = Duration::from_secs(20);

/// What the folder needs to know.
pub(crate) struct Config {
    /// The folder; made when it is missing.
    pub folder: PathBuf,
    /// Where to write down what was applied.
    pub memory: PathBuf,
    /// What Events about files are about: a file is no object.
    pub subject: Subject,
}

/// Keeps the folder's manifests applied until `scope` ends.
///
/// # Errors
/// The folder cannot be made, or what an earlier run wrote down cannot be read.
pub(crate) fn start(
    config: Config,
    client: &Client,
    clock: Clock,
    scope: &task::Scope,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.folder)
        .with_context(|| format!("make {}", config.folder.display()))?;
    let (dirty, heard) = mpsc::channel(DIRTY_QUEUED_MAX);
    let keeper = Keeper {
        memory: Memory::open(config.memory)?,
        files: Files::new(config.folder),
        recorder: Recorder::start(client, clock.clone(), apply::FIELD_MANAGER, "", scope),
        subject: config.subject,
        client: client.clone(),
        scope: scope.child(),
        objects: BTreeMap::new(),
        said: BTreeMap::new(),
        look_at: clock.now(),
        clock,
        dirty,
    };
    scope.spawn_until_cancelled("manifests folder", keeper.run(heard));
    Ok(())
}

/// One object that some file asks for.
struct Kept {
    file: String,
    document: usize,
    value: Arc<Value>,
    /// When to apply it; `None`: it is as it should be.
    due: Option<Timestamp>,
    applied_at: Option<Timestamp>,
    pause: Duration,
    /// Watches the object for this value.
    watch: Option<task::Scope>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.cancel();
        }
    }
}

struct Keeper {
    files: Files,
    memory: Memory,
    client: Client,
    clock: Clock,
    recorder: Recorder,
    subject: Subject,
    scope: task::Scope,
    objects: BTreeMap<Identity, Kept>,
    /// The faults that were told last, by file: each is told once.
    said: BTreeMap<String, BTreeSet<String>>,
    look_at: Timestamp,
    dirty: mpsc::Sender<Identity>,
}

impl Keeper {
    async fn run(mut self, mut heard: mpsc::Receiver<Identity>) {
        loop {
            if self.look_at <= self.clock.now() {
                self.look();
            }
            self.apply_due().await;
            self.delete_leftovers().await;
            let next = self.next_time();
            let clock = self.clock.clone();
            tokio::select! {
                () = self.files.changed() => self.look_at = self.clock.now(),
                () = clock.sleep_until(next) => {}
                Some(identity) = heard.recv() => {
                    self.mark(&identity);
                    while let Ok(identity) = heard.try_recv() {
                        self.mark(&identity);
                    }
                }
            }
        }
    }

    fn next_time(&self) -> Timestamp {
        let due = self.objects.values().filter_map(|kept| kept.due).min();
        due.map_or(self.look_at, |due| due.min(self.look_at))
    }

    /// An object is not as it should be: it is applied soon, but not again and again at once.
    fn mark(&mut self, identity: &Identity) {
        let now = self.clock.now();
        let Some(kept) = self.objects.get_mut(identity) else { return };
        let earliest = kept.applied_at.map_or(now, |at| (at + RETRY_PAUSE_MIN).max(now));
        kept.due = Some(kept.due.map_or(earliest, |due| due.min(earliest)));
    }

    /// Reads the files and takes over what they ask for.
    fn look(&mut self) {
        let now = self.clock.now();
        self.look_at = now + LOOK_PAUSE;
        let changed = match self.files.look() {
            Ok(changed) => changed,
            Err(message) => {
                let folder = self.files.folder().display().to_string();
                self.complain(&folder, &Fault { document: 0, field: String::new(), message });
                return;
            }
        };
        let contents = self.files.contents();
        self.said.retain(|file, _| contents.contains_key(file) && !changed.contains(file));
        let mut wanted: BTreeMap<Identity, Kept> = BTreeMap::new();
        let mut faults: Vec<(String, Fault)> = Vec::new();
        for (file, content) in self.files.contents() {
            faults.extend(content.faults.iter().map(|fault| (file.clone(), fault.clone())));
            for document in &content.documents {
                let twice = wanted.iter().find(|(it, _)| it.is_same_object(&document.identity));
                if let Some((identity, first)) = twice {
                    let message = format!("{identity} is already in {}", first.file);
                    let fault =
                        Fault { document: document.number, field: "metadata.name".into(), message };
                    faults.push((file.clone(), fault));
                    continue;
                }
                let kept = Kept {
                    file: file.clone(),
                    document: document.number,
                    value: Arc::new(document.value.clone()),
                    due: Some(now),
                    applied_at: None,
                    pause: RETRY_PAUSE_MIN,
                    watch: None,
                };
                wanted.insert(document.identity.clone(), kept);
            }
        }
        for (identity, fresh) in &mut wanted {
            if let Some(old) = self.objects.get_mut(identity).filter(|it| it.value == fresh.value) {
                let (file, document) = (std::mem::take(&mut fresh.file), fresh.document);
                std::mem::swap(old, fresh);
                (fresh.file, fresh.document) = (file, document);
            }
        }
        self.objects = wanted;
        for (file, fault) in faults {
            self.complain(&file, &fault);
        }
    }

    async fn apply_due(&mut self) {
        let now = self.clock.now();
        let mut due: Vec<Identity> = self
            .objects
            .iter()
            .filter(|(_, kept)| kept.due.is_some_and(|due| due <= now))
            .map(|(identity, _)| identity.clone())
            .collect();
        due.sort_by_key(rank);
        for identity in due {
            self.apply(&identity).await;
        }
    }

    async fn apply(&mut self, identity: &Identity) {
        let Some(kept) = self.objects.get(identity) else { return };
        let (file, document, value) = (kept.file.clone(), kept.document, Arc::clone(&kept.value));
        let applied = self.try_apply(&file, identity, &value).await;
        let now = self.clock.now();
        let Some(kept) = self.objects.get_mut(identity) else { return };
        match applied {
            Ok(place) => {
                kept.due = None;
                kept.pause = RETRY_PAUSE_MIN;
                kept.applied_at = Some(now);
                if kept.watch.is_none() {
                    let watch = self.scope.child();
                    kept.watch = Some(watch.clone());
                    self.watch(&place, identity, value, &watch);
                }
            }
            Err(fault) => {
                kept.due = Some(now + kept.pause);
                kept.pause = (kept.pause * 2).min(RETRY_PAUSE_MAX);
                self.complain(&file, &Fault { document, ..fault });
            }
        }
    }

    async fn try_apply(
        &mut self,
        file: &str,
        identity: &Identity,
        value: &Value,
    ) -> Result<Place, Fault> {
        let place = Place::find(&self.client, identity).await?;
        self.memory.remember(file, identity, None).map_err(|error| unwritten(&error))?;
        let uid = apply::apply(&self.client, &place, &identity.name, value).await?;
        self.memory.remember(file, identity, Some(&uid)).map_err(|error| unwritten(&error))?;
        Ok(place)
    }

    /// Hears when the object stops saying what it should.
    fn watch(&self, place: &Place, identity: &Identity, value: Arc<Value>, scope: &task::Scope) {
        let mut updates = self.client.source().watch(place.watch(&identity.name));
        let (dirty, identity) = (self.dirty.clone(), identity.clone());
        scope.spawn_until_cancelled("watch of a manifest's object", async move {
            while let Some(update) = updates.next().await {
                let live = match update {
                    Update::Reset(objects) => objects.into_iter().next(),
                    Update::Applied(object) => Some(object),
                    Update::Deleted(_) => None,
                };
                let is_right = live.is_some_and(|object| {
                    let live = object.to_value();
                    // One that is about to go comes back when it is gone.
                    api::meta::get(&live, "deletionTimestamp").is_some()
                        || holds::holds(&value, &live)
                });
                if !is_right && dirty.send(identity.clone()).await.is_err() {
                    return;
                }
            }
        });
    }

    async fn delete_leftovers(&mut self) {
        let wanted: Vec<(&str, &Identity)> =
            self.objects.iter().map(|(identity, kept)| (&*kept.file, identity)).collect();
        let unclear = self.files.unclear();
        let leftovers = self.memory.leftovers(&wanted, &unclear);
        for leftover in leftovers {
            let (file, identity) = (&leftover.file, &leftover.identity);
            if !leftover.is_kept {
                if let Err(fault) = apply::delete(&self.client, identity, &leftover.uid).await {
                    let message = format!("cannot delete {identity}: {fault}");
                    self.complain(file, &Fault { document: 0, field: String::new(), message });
                    continue;
                }
                tracing::info!(file, %identity, "deleted with its manifest");
            }
            if let Err(error) = self.memory.forget(file, identity) {
                let message = format!("{error:#}");
                self.complain(file, &Fault { document: 0, field: String::new(), message });
            }
        }
    }

    /// Tells of a fault, once: in the log and in an Event.
    fn complain(&mut self, file: &str, fault: &Fault) {
        let text = fault.to_string();
        if !self.said.entry(file.to_owned()).or_default().insert(text.clone()) {
            return;
        }
        tracing::error!(
            file,
            document = fault.document,
            field = fault.field,
            "cannot apply a manifest: {}",
            fault.message
        );
        let message = format!("{file}: {text}");
        self.recorder.event(&self.subject, EventKind::Warning, "FailedManifest", message);
    }
}

fn unwritten(error: &anyhow::Error) -> Fault {
    Fault { document: 0, field: String::new(), message: format!("{error:#}") }
}

/// What others need comes first.
fn rank(identity: &Identity) -> u8 {
    match &*identity.kind {
        "Namespace" => 0,
        "CustomResourceDefinition" | "PriorityClass" | "StorageClass" => 1,
        "ServiceAccount" | "ConfigMap" | "Secret" | "ClusterRole" | "Role" => 2,
        "ClusterRoleBinding" | "RoleBinding" => 3,
        _ => 4,
    }
}
