//! Custom resources: definitions become rows of the table.
//!
//! One loop follows the definitions, level-triggered: it accepts names, serves what is established,
//! keeps the conditions, and on deletion empties the resource before it lets the definition go.

mod defaulting;
mod rows;
mod strategy;
mod validation;

use std::sync::Arc;

use api::meta;
use api::object::Object;
use api::status::Status;
use serde_json::{Value, json};

use crate::call::WriteOptions;
use crate::delete::DeleteOptions;
use crate::handle::text;
use crate::metadata::seconds;
use crate::server::Server;
use crate::write::Part;

pub(crate) use rows::ScalePaths;

const GROUP: &str = "apiextensions.k8s.io";
const PLURAL: &str = "customresourcedefinitions";
/// Holds a definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How long the loop rests after a failure before it looks at everything again.
const RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

impl Server {
    /// Serves the definitions that are stored already, and follows all later changes.
    pub(crate) async fn start_custom_resources(self: &Arc<Self>) {
        let cache = self.caches.place(GROUP, PLURAL);
        let mut changes = cache.subscribe();
        changes.borrow_and_update();
        let healthy = self.reconcile_definitions().await;
        let server = Arc::clone(self);
        self.scope.spawn_until_cancelled("custom resource definitions", async move {
            let mut healthy = healthy;
            loop {
                if healthy {
                    if changes.changed().await.is_err() {
                        return;
                    }
                } else {
                    server.clock.sleep(RETRY_PAUSE).await;
                }
                changes.borrow_and_update();
                healthy = server.reconcile_definitions().await;
            }
        });
    }

    /// One look at all definitions; whether everything succeeded.
    async fn reconcile_definitions(self: &Arc<Self>) -> bool {
        let definitions = self.caches.place(GROUP, PLURAL).list("", |_| true);
        let mut healthy = true;
        let names: Vec<&str> = definitions.iter().map(|definition| &*definition.name).collect();
        for gone in self.registry.custom_names() {
            if !names.contains(&gone.as_str()) {
                self.registry.set_custom(&gone, "", Vec::new());
            }
        }
        for definition in &definitions {
            if let Err(status) = self.reconcile_definition(definition, &definitions).await {
                tracing::debug!(name = &*definition.name, %status, "a definition is not settled");
                healthy = false;
            }
        }
        healthy
    }

    async fn reconcile_definition(
        self: &Arc<Self>,
        object: &Arc<Object>,
        all: &[Arc<Object>],
    ) -> Result<(), Status> {
        let definition = object.to_value();
        if meta::is_deleting(&definition) {
            return self.clean_up(object, &definition).await;
        }
        let conflict = name_conflict(&definition, all);
        let established = conflict.is_none() || is_true(&definition, "Established");
        // The UID tells a definition that was deleted and made again from its namesake.
        let version = format!("{}/{}", object.uid, meta::generation(&definition));
        if established && self.registry.custom_version(&object.name).as_ref() != Some(&version) {
            let rows = rows::of(&definition).map_err(Status::internal)?;
            self.registry.set_custom(&object.name, &version, rows);
            let group = text(&definition, "/spec/group");
            let plural = text(&definition, "/spec/names/plural");
            if let Some(row) = self.registry.table().at_place(group, plural) {
                self.caches.place(group, plural).reindex(|tree| {
                    row.strategy.default(tree);
                    row.strategy.selectable_fields(tree)
                });
            }
        }
        self.report(&definition, conflict).await
    }

    /// Keeps names, conditions and stored versions in the status.
    async fn report(&self, definition: &Value, conflict: Option<String>) -> Result<(), Status> {
        let now = seconds(self.clock.now());
        let status = wanted_status(definition, conflict.as_deref(), &now);
        if definition.get("status") == Some(&status) {
            return Ok(());
        }
        let call = self.own_call(GROUP, "v1", PLURAL, "", meta::name(definition))?;
        let options =
            WriteOptions { manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
        let conflict = conflict.as_deref();
        let change = |old: &Value| {
            let mut new = old.clone();
            new["status"] = wanted_status(old, conflict, &now);
            if !meta::finalizers(old).contains(&CLEANUP) && !meta::is_deleting(old) {
                let mut finalizers: Vec<String> =
                    meta::finalizers(old).into_iter().map(str::to_owned).collect();
                finalizers.push(CLEANUP.to_owned());
                meta::set(&mut new, "finalizers", finalizers);
            }
            Ok(new)
        };
        self.update(&call, Part::Internal, &options, change).await.map(|_| ())
    }

    /// Deletes a dying definition's objects; when none is left, stops serving it and lets it go.
    async fn clean_up(
        self: &Arc<Self>,
        object: &Arc<Object>,
        definition: &Value,
    ) -> Result<(), Status> {
        if !meta::finalizers(definition).contains(&CLEANUP) {
            return Ok(());
        }
        let (group, plural) =
            (text(definition, "/spec/group"), text(definition, "/spec/names/plural"));
        let cache = self.caches.place(group, plural);
        let row = self.registry.table().at_place(group, plural).cloned();
        if let Some(row) = row {
            for instance in cache.list("", |_| true) {
                let call = self.own_call(
                    group,
                    &row.version,
                    plural,
                    &instance.namespace,
                    &instance.name,
                )?;
                match self.delete(&call, &DeleteOptions::default()).await {
                    Err(status) if status.code != 404 => return Err(status),
                    _ => {}
                }
            }
        }
        if !cache.is_empty() {
            return Err(Status::internal("custom objects are still being deleted"));
        }
        self.registry.set_custom(&object.name, "", Vec::new());
        let call = self.own_call(GROUP, "v1", PLURAL, "", &object.name)?;
        let options =
            WriteOptions { manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
        let change = |old: &Value| {
            let mut new = old.clone();
            let kept: Vec<String> = meta::finalizers(old)
                .into_iter()
                .filter(|finalizer| *finalizer != CLEANUP)
                .map(str::to_owned)
                .collect();
            meta::set(&mut new, "finalizers", kept);
            Ok(new)
        };
        match self.update(&call, Part::Internal, &options, change).await {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }
}

fn condition<'a>(definition: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array)?;
    conditions.iter().find(|condition| text(condition, "/type") == kind)
}

fn is_true(definition: &Value, kind: &str) -> bool {
    condition(definition, kind).is_some_and(|condition| text(condition, "/status") == "True")
}

/// Every name that a definition claims in its group.
fn claimed(definition: &Value) -> Vec<String> {
    let names = definition.pointer("/spec/names");
    let one = |key: &str| names.and_then(|names| names.get(key)).and_then(Value::as_str);
    let mut claimed: Vec<String> =
        ["plural", "singular"].into_iter().filter_map(one).map(str::to_owned).collect();
    let short = names.and_then(|names| names.get("shortNames")).and_then(Value::as_array);
    claimed.extend(short.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    claimed.retain(|name| !name.is_empty());
    claimed
}

/// Why a definition's names cannot be had: another, accepted before, has one of them.
fn name_conflict(definition: &Value, all: &[Arc<Object>]) -> Option<String> {
    if is_true(definition, "NamesAccepted") {
        return None;
    }
    let (group, wanted) = (text(definition, "/spec/group"), claimed(definition));
    let kind = text(definition, "/spec/names/kind");
    for other in all.iter().filter(|other| *other.name != *meta::name(definition)) {
        let other = other.to_value();
        if text(&other, "/spec/group") != group || !is_true(&other, "NamesAccepted") {
            continue;
        }
        if let Some(name) = claimed(&other).into_iter().find(|name| wanted.contains(name)) {
            return Some(format!("{name:?} is already in use"));
        }
        if text(&other, "/spec/names/kind") == kind {
            return Some(format!("{kind:?} is already in use"));
        }
    }
    None
}

fn wanted_status(definition: &Value, conflict: Option<&str>, now: &str) -> Value {
    let accepted = match conflict {
        None => ("True", "NoConflicts", "no conflicts found".to_owned()),
        Some(why) => ("False", "ShortNamesConflict", why.to_owned()),
    };
    let established = if conflict.is_none() {
        ("True", "InitialNamesAccepted", "the initial names have been accepted".to_owned())
    } else {
        ("False", "NotAccepted", "not all names are accepted".to_owned())
    };
    let mut conditions: Vec<Value> = definition
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for (kind, (status, reason, message)) in
        [("NamesAccepted", accepted), ("Established", established)]
    {
        let old = conditions.iter_mut().find(|condition| text(condition, "/type") == kind);
        let fresh = json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": now});
        match old {
            Some(old) if text(old, "/status") == status => {}
            Some(old) => *old = fresh,
            None => conditions.push(fresh),
        }
    }
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    let storage = versions.into_iter().flatten().find(|v| v["storage"] == json!(true));
    let storage = storage.map(|version| text(version, "/name").to_owned()).unwrap_or_default();
    let mut stored: Vec<String> = definition
        .pointer("/status/storedVersions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if !stored.contains(&storage) {
        stored.push(storage);
    }
    json!({
        "acceptedNames": definition.pointer("/spec/names").cloned().unwrap_or_default(),
        "conditions": conditions,
        "storedVersions": stored,
    })
}
