//! Deletion: graceful, with finalizers and propagation policies, of one object or a collection.

use std::sync::Arc;

use admission::Operation;
use api::field;
use api::meta;
use api::object::Object;
use api::resource::Resource;
use api::status::Status;
use serde_json::{Value, json};

use crate::cache::admits;
use crate::call::{Call, WriteOptions};
use crate::limits::WRITE_TRIES_MAX;
use crate::list_options;
use crate::metadata::seconds;
use crate::server::Server;

/// `meta/v1 DeleteOptions`, from body and query.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Seconds to end in peace; `None` for the object's own.
    pub grace_seconds: Option<i64>,
    /// The object must have this UID.
    pub uid: Option<String>,
    /// The object must have this revision.
    pub revision: Option<String>,
    /// `Orphan`, `Background`, `Foreground`; `None` for the kind's default.
    pub propagation: Option<String>,
    /// Everything but the commit.
    pub dry_run: bool,
}

/// What a deletion did.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is gone; its last state.
    Gone(Arc<Object>),
    /// The object is marked and waits for its grace period or finalizers.
    Marked(Arc<Object>),
}

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

impl DeleteOptions {
    /// Reads the options from a body (null where there is none) and the query.
    ///
    /// # Errors
    /// An option is not understood, or two contradict each other.
    pub fn read(call: &Call, body: &Value) -> Result<Self, Status> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let query = |key: &str| call.query.get(key).map(str::to_owned);
        let grace_query = list_options::integer(&call.query, "gracePeriodSeconds")?;
        let orphan = body.get("orphanDependents").and_then(Value::as_bool).or_else(|| {
            call.query.get("orphanDependents").map(|_| call.query.flag("orphanDependents"))
        });
        let mut propagation =
            text(body.get("propagationPolicy")).or_else(|| query("propagationPolicy"));
        let path = field::Path::new("propagationPolicy");
        let mut faults = Vec::new();
        match propagation.as_deref() {
            Some(policy) if orphan.is_some() => {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                faults.push(field::Error::invalid(&path, policy, why));
            }
            None | Some("Orphan" | "Background" | "Foreground") => {}
            Some(policy) => {
                let known = &["Foreground", "Background", "Orphan", "nil"];
                faults.push(field::Error::not_supported(&path, policy, known));
            }
        }
        let in_body = body.get("dryRun").and_then(Value::as_array).into_iter().flatten();
        let asked = in_body.filter_map(Value::as_str).chain(call.query.all("dryRun"));
        let asked: Vec<&str> = asked.filter(|value| !value.is_empty()).collect();
        // What is not understood must never be taken for a deletion in earnest.
        for unknown in asked.iter().filter(|value| **value != "All") {
            let path = field::Path::new("dryRun");
            faults.push(field::Error::not_supported(&path, *unknown, &["All"]));
        }
        if !faults.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &faults));
        }
        if propagation.is_none() {
            propagation =
                orphan.map(|orphan| if orphan { "Orphan" } else { "Background" }.to_owned());
        }
        Ok(Self {
            grace_seconds: body.get("gracePeriodSeconds").and_then(Value::as_i64).or(grace_query),
            uid: text(body.pointer("/preconditions/uid")),
            revision: text(body.pointer("/preconditions/resourceVersion")),
            propagation,
            dry_run: !asked.is_empty(),
        })
    }

    fn to_json(&self) -> Value {
        let mut out = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if let Some(seconds) = self.grace_seconds {
            out["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(policy) = &self.propagation {
            out["propagationPolicy"] = json!(policy);
        }
        out
    }
}

impl Server {
    /// Deletes the object of a call.
    ///
    /// # Errors
    /// The answer to the client.
    pub async fn delete(&self, call: &Call, options: &DeleteOptions) -> Result<Deleted, Status> {
        warn_of_orphans(call, options);
        let mut seen: Option<Arc<Object>> = None;
        for _ in 0..WRITE_TRIES_MAX {
            let present = match (self.present(call).await, seen.take()) {
                (Ok(present), _) => present,
                // Somebody else has let it go meanwhile, so that it is gone as asked.
                (Err(status), Some(last)) if status.code == 404 => return Ok(Deleted::Gone(last)),
                (Err(status), _) => return Err(status),
            };
            seen = Some(Arc::clone(&present));
            if let Some(deleted) = self.try_delete(call, options, &present).await? {
                return Ok(deleted);
            }
        }
        let resource = &call.resource;
        Err(Status::stale(&resource.group, &resource.plural, &call.info.name))
    }

    async fn try_delete(
        &self,
        call: &Call,
        options: &DeleteOptions,
        present: &Arc<Object>,
    ) -> Result<Option<Deleted>, Status> {
        let resource = &*call.resource;
        check_preconditions(resource, present, options)?;
        let old = self.value_of(resource, present).await?;
        let write = WriteOptions { dry_run: options.dry_run, ..WriteOptions::default() };
        let admission_options = options.to_json();
        let now = self.clock.now();
        let mut request = call.admission(
            Operation::Delete,
            Value::Null,
            Some(&old),
            &admission_options,
            &write,
            now,
        );
        self.admit_mutating(call, &mut request).await?;
        self.admit_validating(call, &mut request).await?;
        let marked = mark(resource, old, options, now);
        if marked.vanishes && self.may_vanish(resource, &marked.object) {
            if options.dry_run {
                return Ok(Some(Deleted::Gone(Arc::clone(present))));
            }
            let Some(gone) = self.remove(resource, present).await? else { return Ok(None) };
            // What ends gracefully is marked first, however short its time.
            let gone = if is_graceful(resource) { shown_as(&marked.object, &gone) } else { gone };
            return Ok(Some(Deleted::Gone(gone)));
        }
        if !marked.changed {
            return Ok(Some(Deleted::Marked(Arc::clone(present))));
        }
        let committed = self.commit(resource, marked.object, Some(present), &write).await?;
        Ok(committed.map(Deleted::Marked))
    }

    /// Deletes all objects of a collection that the call selects; the last states of all of them.
    ///
    /// # Errors
    /// The first deletion that failed, but for those that found nothing left to do.
    pub async fn delete_collection(
        &self,
        call: &Call,
        options: &DeleteOptions,
    ) -> Result<Vec<Arc<Object>>, Status> {
        warn_of_orphans(call, options);
        self.fresh().await?;
        let (labels, fields) = crate::read::selectors(call)?;
        let namespace = call.info.namespace.as_str();
        let admitted = |object: &Object| admits(namespace, &labels, &fields, object);
        let objects = self.select(&call.resource, admitted, namespace).await?;
        let mut deleted = Vec::with_capacity(objects.len());
        for object in objects {
            let one = Call {
                info: crate::request::RequestInfo {
                    name: object.name.to_string(),
                    namespace: object.namespace.to_string(),
                    ..call.info.clone()
                },
                query: call.query.clone(),
                headers: call.headers.clone(),
                user: call.user.clone(),
                resource: Arc::clone(&call.resource),
                warnings: parking_lot::Mutex::default(),
                record: call.record.clone(),
            };
            match self.delete(&one, options).await {
                Ok(Deleted::Gone(object) | Deleted::Marked(object)) => deleted.push(object),
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        Ok(deleted)
    }

    /// Whether an object that is marked as deleted has nothing left to wait for.
    pub fn may_vanish(&self, resource: &Resource, object: &Value) -> bool {
        let grace = meta::get(object, "deletionGracePeriodSeconds").and_then(Value::as_i64);
        let spec_finalizers = object.pointer("/spec/finalizers").and_then(Value::as_array);
        let held_by_spec = resource.group.is_empty()
            && resource.plural == "namespaces"
            && spec_finalizers.is_some_and(|list| !list.is_empty());
        meta::finalizers(object).is_empty() && grace.unwrap_or(0) == 0 && !held_by_spec
    }
}

/// Who deletes a Job without further words seldom means to keep its pods.
fn warn_of_orphans(call: &Call, options: &DeleteOptions) {
    let resource = &call.resource;
    if (&*resource.group, &*resource.plural) == ("batch", "jobs") && options.propagation.is_none() {
        call.warn("child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning");
    }
}

fn check_preconditions(
    resource: &Resource,
    present: &Object,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let revision = present.revision.to_string();
    let checks = [
        ("UID", options.uid.as_deref(), &*present.uid, "deleted and then recreated"),
        ("ResourceVersion", options.revision.as_deref(), revision.as_str(), "modified"),
    ];
    for (what, want, have, fate) in checks {
        if let Some(want) = want.filter(|want| *want != have) {
            let why = format!(
                "the {what} in the precondition ({want}) does not match the {what} in record ({have}). The object might have been {fate}"
            );
            // Upstream names the kind here.
            return Err(Status::conflict(&resource.group, &resource.kind, &present.name, &why));
        }
    }
    Ok(())
}

struct Marked {
    object: Value,
    /// Whether nothing but finalizers keeps it.
    vanishes: bool,
    changed: bool,
}

/// The object as its deletion leaves it: finalizers by policy, deletion time and grace period.
fn mark(
    resource: &Resource,
    mut object: Value,
    options: &DeleteOptions,
    now: jiff::Timestamp,
) -> Marked {
    let mut changed = set_propagation(resource, &mut object, options);
    let grace = grace_seconds(resource, &object, options);
    let was_deleting = meta::is_deleting(&object);
    if !was_deleting && crate::custom::is_definition(resource) {
        hold_for_clean_up(&mut object);
    }
    let held = !meta::finalizers(&object).is_empty();
    if !was_deleting {
        let generation = meta::generation(&object);
        if generation > 0 {
            meta::set(&mut object, "generation", generation + 1);
        }
        if resource.group.is_empty() && resource.plural == "namespaces" {
            object["status"]["phase"] = json!("Terminating");
        }
    }
    let waits = |object: &Value| {
        meta::get(object, "deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0)
    };
    if !was_deleting || grace < waits(&object) {
        let at = now + jiff::SignedDuration::from_secs(grace);
        meta::set(&mut object, "deletionTimestamp", seconds(at));
        meta::set(&mut object, "deletionGracePeriodSeconds", grace);
        changed = true;
    }
    Marked { vanishes: !held && waits(&object) <= 0, changed, object }
}

/// The object as it has been marked, in place of the one that is gone.
fn shown_as(marked: &Value, gone: &Object) -> Arc<Object> {
    let encoded = api::object::encode(marked);
    Arc::new(Object::new(marked, encoded, gone.fields.clone(), gone.revision))
}

/// A definition goes when its objects have gone.
fn hold_for_clean_up(definition: &mut Value) {
    let mut finalizers: Vec<String> =
        meta::finalizers(definition).into_iter().map(str::to_owned).collect();
    if !finalizers.iter().any(|finalizer| finalizer == crate::custom::CLEANUP) {
        finalizers.push(crate::custom::CLEANUP.to_owned());
        meta::set(definition, "finalizers", finalizers);
    }
}

/// Only pods end gracefully.
fn is_graceful(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == "pods"
}

/// One that never ran or has ended needs no time.
fn grace_seconds(resource: &Resource, old: &Value, options: &DeleteOptions) -> i64 {
    if !is_graceful(resource) {
        return 0;
    }
    let unscheduled =
        old.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default().is_empty();
    let phase = old.pointer("/status/phase").and_then(Value::as_str);
    if unscheduled || matches!(phase, Some("Failed" | "Succeeded")) {
        return 0;
    }
    let own = old.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    let grace = options.grace_seconds.or(own).unwrap_or(30);
    if grace < 0 { 1 } else { grace }
}

/// Adds and drops the two finalizers that the garbage collector works on; whether that changed any.
fn set_propagation(resource: &Resource, object: &mut Value, options: &DeleteOptions) -> bool {
    let mut finalizers: Vec<String> =
        meta::finalizers(object).into_iter().map(str::to_owned).collect();
    let before = finalizers.clone();
    let wanted = match options.propagation.as_deref() {
        Some("Orphan") => Some(ORPHAN),
        Some("Foreground") => Some(FOREGROUND),
        Some(_) => None,
        None if finalizers.iter().any(|f| f == ORPHAN || f == FOREGROUND) => return false,
        None if resource.orphans_by_default && !meta::is_deleting(object) => Some(ORPHAN),
        None => None,
    };
    finalizers.retain(|finalizer| finalizer != ORPHAN && finalizer != FOREGROUND);
    finalizers.extend(wanted.map(str::to_owned));
    if finalizers == before {
        return false;
    }
    if finalizers.is_empty() {
        meta::remove(object, "finalizers");
    } else {
        meta::set(object, "finalizers", finalizers);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(plural: &str) -> Arc<Resource> {
        api::kinds::all().iter().find(|row| row.plural == plural).cloned().unwrap()
    }

    fn marked(plural: &str, old: Value, options: &DeleteOptions) -> (bool, Value) {
        let marked = mark(&row(plural), old, options, "2026-01-01T00:00:00Z".parse().unwrap());
        (marked.vanishes, marked.object)
    }

    #[test]
    fn a_plain_object_vanishes_at_once() {
        let (vanishes, _) =
            marked("configmaps", json!({"metadata": {}}), &DeleteOptions::default());
        assert!(vanishes);
    }

    #[test]
    fn a_finalizer_holds_the_object_back() {
        let old = json!({"metadata": {"finalizers": ["x/y"], "generation": 3}});
        let (vanishes, object) = marked("configmaps", old, &DeleteOptions::default());
        assert!(!vanishes);
        assert_eq!(meta::text(&object, "deletionTimestamp"), "2026-01-01T00:00:00Z");
        assert_eq!(meta::generation(&object), 4);
    }

    #[test]
    fn jobs_and_replication_controllers_leave_their_pods() {
        for plural in ["jobs", "replicationcontrollers"] {
            let (vanishes, object) =
                marked(plural, json!({"metadata": {}}), &DeleteOptions::default());
            assert_eq!((vanishes, meta::finalizers(&object)), (false, vec![ORPHAN]), "{plural}");
        }
    }

    #[test]
    fn policies_become_finalizers() {
        for (policy, finalizer) in [("Orphan", ORPHAN), ("Foreground", FOREGROUND)] {
            let options =
                DeleteOptions { propagation: Some(policy.to_owned()), ..DeleteOptions::default() };
            let (vanishes, object) = marked("configmaps", json!({"metadata": {}}), &options);
            assert!(!vanishes);
            assert_eq!(meta::finalizers(&object), [finalizer]);
        }
    }
}
