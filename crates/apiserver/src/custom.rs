//! Custom resources: definitions become rows of the table.
//!
//! One loop follows the definitions, level-triggered: it accepts names, serves what is established,
//! keeps the conditions, and on deletion empties the resource before it lets the definition go.

mod conversion;
mod defaulting;
mod definition;
#[doc(hidden)]
pub mod fuzzing;
mod rows;
mod rules;
mod status;
mod strategy;
mod validation;

use std::collections::HashMap;
use std::sync::Arc;

use api::meta;
use api::object::Object;
use api::status::Status;
use serde_json::Value;

use crate::call::WriteOptions;
use crate::delete::DeleteOptions;
use crate::handle::text;
use crate::metadata::seconds;
use crate::server::Server;
use crate::write::Part;

pub(crate) use conversion::Conversion;
pub(crate) use definition::faults as definition_faults;
pub(crate) use rows::ScalePaths;

const GROUP: &str = "apiextensions.k8s.io";
const PLURAL: &str = "customresourcedefinitions";
/// Holds a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How long the loop rests after a failure before it looks at everything again.
const RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// The revisions at which definitions were found to be as they should be, by name.
type Settled = HashMap<Box<str>, u64>;

/// Whether the kind is that of definitions.
pub(crate) fn is_definition(resource: &api::resource::Resource) -> bool {
    &*resource.group == GROUP && &*resource.plural == PLURAL
}

impl Server {
    /// Serves the definitions that are stored already, and follows all later changes.
    pub(crate) async fn start_custom_resources(self: &Arc<Self>) {
        let cache = self.caches.place(GROUP, PLURAL);
        let mut changes = cache.subscribe();
        changes.borrow_and_update();
        let mut settled = Settled::new();
        let healthy = self.reconcile_definitions(&mut settled).await;
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
                healthy = server.reconcile_definitions(&mut settled).await;
            }
        });
    }

    /// One look at all definitions; whether everything succeeded.
    async fn reconcile_definitions(self: &Arc<Self>, settled: &mut Settled) -> bool {
        let definitions = self.caches.place(GROUP, PLURAL).list("", |_| true);
        let mut healthy = true;
        let names: Vec<&str> = definitions.iter().map(|definition| &*definition.name).collect();
        for gone in self.registry.custom_names() {
            if !names.contains(&gone.as_str()) {
                self.registry.set_custom(&gone, "", Vec::new());
            }
        }
        settled.retain(|name, _| names.contains(&&**name));
        for definition in &definitions {
            if settled.get(&definition.name) == Some(&definition.revision) {
                continue;
            }
            match self.reconcile_definition(definition).await {
                // One that waits for names is looked at again with every change of the others.
                Ok(true) => drop(settled.insert(definition.name.clone(), definition.revision)),
                Ok(false) => {}
                Err(status) => {
                    tracing::debug!(name = &*definition.name, %status, "a definition is not settled");
                    healthy = false;
                }
            }
        }
        healthy
    }

    /// Whether the definition needs no further look before it changes.
    async fn reconcile_definition(self: &Arc<Self>, object: &Arc<Object>) -> Result<bool, Status> {
        let definition = object.to_value();
        if meta::is_deleting(&definition) {
            return self.clean_up(object, &definition).await.map(|()| false);
        }
        let used = self.used_names(&definition);
        let mut settled = definition.clone();
        settled["status"] = status::wanted(&definition, &used, &seconds(self.clock.now()));
        if status::is_true(&settled, "Established") {
            self.serve_definition(object, &settled)?;
        }
        self.report(&definition, &used).await?;
        Ok(status::has_its_names(&settled))
    }

    /// The names that the other definitions of a group have; none where they do not matter.
    fn used_names(&self, definition: &Value) -> status::Used {
        let mut used = status::Used::default();
        if status::has_its_names(definition) {
            return used;
        }
        // Read anew: the definition before this one may just have been given its names.
        for other in self.caches.place(GROUP, PLURAL).list("", |_| true) {
            let other = other.to_value();
            let same_group = text(&other, "/spec/group") == text(definition, "/spec/group");
            if same_group && meta::name(&other) != meta::name(definition) {
                used.add(&other);
            }
        }
        used
    }

    /// Puts a definition's rows, as it is now, into the table.
    fn serve_definition(&self, object: &Object, definition: &Value) -> Result<(), Status> {
        // The UID tells a definition that was deleted and made again from its namesake.
        let names = definition.pointer("/status/acceptedNames").map(Value::to_string);
        let (generation, dying) = (meta::generation(definition), meta::is_deleting(definition));
        let version = format!("{}/{generation}/{dying}/{}", object.uid, names.unwrap_or_default());
        if self.registry.custom_version(&object.name).as_ref() != Some(&version) {
            let rows = rows::of(definition).map_err(Status::internal)?;
            self.registry.set_custom(&object.name, &version, rows);
            let group = text(definition, "/spec/group");
            let plural = text(definition, "/spec/names/plural");
            if let Some(row) = self.registry.table().at_place(group, plural) {
                let table = self.registry.table();
                self.caches.place(group, plural).reindex(|tree| {
                    table.settle_stored(row, tree);
                    row.strategy.selectable_fields(tree)
                });
            }
        }
        Ok(())
    }

    /// Keeps names, conditions and stored versions in the status.
    async fn report(&self, definition: &Value, used: &status::Used) -> Result<(), Status> {
        let now = seconds(self.clock.now());
        let status = status::wanted(definition, used, &now);
        if definition.get("status") == Some(&status) {
            return Ok(());
        }
        let call = self.own_call(GROUP, "v1", PLURAL, "", meta::name(definition))?;
        let options =
            WriteOptions { manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
        let change = |old: &Value| {
            let mut new = old.clone();
            new["status"] = status::wanted(old, used, &now);
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
        let established = status::is_true(definition, "Established");
        if established {
            self.serve_definition(object, definition)?;
        }
        if !status::is_true(definition, "Terminating") {
            self.set_condition(definition, &status::Condition::removing(), false).await?;
        }
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
        self.set_condition(definition, &status::Condition::removed(established), true).await
    }

    /// Sets a condition of a dying definition and, when all is done, lets it go.
    async fn set_condition(
        &self,
        definition: &Value,
        condition: &status::Condition,
        done: bool,
    ) -> Result<(), Status> {
        let call = self.own_call(GROUP, "v1", PLURAL, "", meta::name(definition))?;
        let options =
            WriteOptions { manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
        let now = seconds(self.clock.now());
        let change = |old: &Value| {
            let mut new = old.clone();
            let conditions = old.pointer("/status/conditions").and_then(Value::as_array);
            let mut conditions = conditions.cloned().unwrap_or_default();
            condition.set(&mut conditions, &now);
            new["status"]["conditions"] = conditions.into();
            if done {
                let kept = meta::finalizers(old).into_iter().filter(|name| *name != CLEANUP);
                let kept: Vec<String> = kept.map(str::to_owned).collect();
                meta::set(&mut new, "finalizers", kept);
            }
            Ok(new)
        };
        match self.update(&call, Part::Internal, &options, change).await {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }
}
