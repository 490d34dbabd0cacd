//! Create and update: the pipeline that every kind goes through.
//!
//! complete → admit → prepare → validate → admit → commit → show. The kind's part comes from its
//! strategy; what is particular to a subresource comes in as [`Part`]. Deletion is in `delete`.

use std::sync::Arc;

use admission::Operation;
use api::field;
use api::meta;
use api::object::{self, Object};
use api::resource::Resource;
use api::status::Status;
use serde_json::Value;
use store::{Compare, Operation as StoreOperation, Revision, Transaction, TransactionResult};

use crate::allocate::Claims;
use crate::cache::store_key;
use crate::call::{Call, WriteOptions};
use crate::limits::{BODY_BYTES_MAX, GENERATE_NAME_TRIES, WRITE_TRIES_MAX};
use crate::metadata;
use crate::persistent_volume;
use crate::server::Server;

/// The result of a write: the object as it is (or, in a dry run, would be) stored.
#[derive(Clone, Debug)]
pub struct Written {
    /// In storage form.
    pub object: Arc<Object>,
    /// Whether it is new.
    pub created: bool,
}

/// Which part of an object a request may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status.
    Main,
    /// The status (and metadata).
    Status,
    /// Whatever the caller's change does: bindings, scale, finalize and the like.
    Internal,
}

/// Where doubled owners were found that the client did not send, or sent in a patch.
const AFTER_MUTATION: &str = " after mutating admission happens";

fn drop_double_owners(call: &Call, object: &mut Value, when: &str) {
    if let Some(warning) = metadata::drop_double_owners(object, when) {
        call.warn(warning);
    }
}

impl Server {
    /// Stores a new object given in the row's version.
    ///
    /// # Errors
    /// The answer to the client.
    pub async fn create(
        &self,
        call: &Call,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let resource = &*call.resource;
        metadata::check_type(&self.registry.table(), resource, &mut object)?;
        metadata::check_namespace(resource, &mut object, &call.info.namespace)?;
        let now = self.clock.now();
        metadata::prepare_for_create(resource, &mut object, now, &mut self.random.lock());
        drop_double_owners(call, &mut object, "");
        resource.strategy.default(&mut object);
        // Owners are those of what the client wrote: what admission and allocation add is nobody's.
        self.settle_form(resource, &mut object);
        self.track_fields(call, &mut object, None, options).await?;
        let null = Value::Null;
        let mut request = call.admission(Operation::Create, object, None, &null, options, now);
        self.admit_mutating(call, &mut request).await?;
        let mut object = std::mem::take(&mut request.object);
        drop_double_owners(call, &mut object, AFTER_MUTATION);
        resource.strategy.default(&mut object);
        resource.strategy.prepare_for_create(&mut object);
        persistent_volume::note_phase(resource, &mut object, None, now);
        self.settle_form(resource, &mut object);
        let mut errors = metadata::validate(resource, &object);
        errors.extend(resource.strategy.validate(&object));
        self.check_admission_kinds(call, &object, None, &mut errors);
        errors.extend(crate::custom::definition_faults(resource, &object, None));
        refuse_invalid(resource, &object, &errors)?;
        for warning in resource.strategy.warnings(&object, None) {
            call.warn(warning);
        }
        request.object = object;
        self.admit_validating(call, &mut request).await?;
        let object = request.object;
        if !crate::allocate::is_service(resource) {
            return self.commit_new(call, object, options, &Claims::default()).await;
        }
        for _ in 0..WRITE_TRIES_MAX {
            let mut object = object.clone();
            let claims = self.claim(call, &mut object, None, options)?;
            let result = self.commit_new(call, object, options, &claims).await;
            let are_refused = claims.are_refused();
            claims.settle(result.is_ok());
            // Another server was first with what was claimed, not with the object.
            if !are_refused {
                return result;
            }
            self.allocators.scatter(self.random.lock().unit());
        }
        Err(Status::stale(&resource.group, &resource.plural, &call.info.name))
    }

    async fn commit_new(
        &self,
        call: &Call,
        mut object: Value,
        options: &WriteOptions,
        claims: &Claims,
    ) -> Result<Written, Status> {
        let resource = &*call.resource;
        let generated =
            !meta::text(&object, "generateName").is_empty() && call.info.name.is_empty();
        let mut tries = if generated { GENERATE_NAME_TRIES } else { 1 };
        loop {
            tries -= 1;
            let name = meta::name(&object).to_owned();
            let again = (tries > 0).then(|| object.clone());
            let committed = self.commit_claiming(resource, object, None, options, claims);
            if let Some(object) = committed.await? {
                return Ok(Written { object, created: true });
            }
            let Some(again) = again.filter(|_| !claims.are_refused()) else {
                return Err(Status::already_exists(&resource.group, &resource.plural, &name));
            };
            object = again;
            meta::remove(&mut object, "name");
            metadata::generate_name(&mut object, &mut self.random.lock());
        }
    }

    /// Changes an object. `change` makes the new object (in the row's version) out of the present one;
    /// it runs again when a concurrent write comes first, unless the new object names a revision.
    ///
    /// # Errors
    /// The answer to the client.
    pub async fn update(
        &self,
        call: &Call,
        part: Part,
        options: &WriteOptions,
        change: impl Fn(&Value) -> Result<Value, Status> + Send + Sync,
    ) -> Result<Written, Status> {
        for _ in 0..WRITE_TRIES_MAX {
            let present = self.present(call).await?;
            if let Some(written) = self.try_update(call, part, options, &change, &present).await? {
                return Ok(written);
            }
            self.wait_for_newer(&present).await;
        }
        let resource = &call.resource;
        Err(Status::stale(&resource.group, &resource.plural, &call.info.name))
    }

    /// The object of a call as it is now.
    ///
    /// # Errors
    /// 404.
    pub async fn present(&self, call: &Call) -> Result<Arc<Object>, Status> {
        self.fresh().await?;
        let namespace = if call.resource.is_namespaced() { &*call.info.namespace } else { "" };
        self.cache_of(&call.resource)
            .get(namespace, &call.info.name)
            .ok_or_else(|| call.not_found())
    }

    async fn wait_for_newer(&self, present: &Object) {
        // The commit failed on a revision that the cache has not applied yet.
        if let Ok(revision) = self.store.revision().await {
            self.caches.applied(revision.0.max(present.revision)).await;
        }
    }

    async fn try_update(
        &self,
        call: &Call,
        part: Part,
        options: &WriteOptions,
        change: &(impl Fn(&Value) -> Result<Value, Status> + Send + Sync),
        present: &Arc<Object>,
    ) -> Result<Option<Written>, Status> {
        let resource = &*call.resource;
        let old = self.value_of(resource, present).await?;
        let mut new = change(&old)?;
        crate::managed::keep_reset(&mut new);
        metadata::check_type(&self.registry.table(), resource, &mut new)?;
        metadata::check_namespace(resource, &mut new, &call.info.namespace)?;
        check_identity(call, &new, &old)?;
        check_revision(call, &new, &old)?;
        metadata::prepare_for_update(&mut new, &old);
        let new = self.admit_update(call, part, options, new, &old).await?;
        if same_but_for_managers(&new, &old) && !self.is_outdated(resource, present) {
            return Ok(Some(Written { object: Arc::clone(present), created: false }));
        }
        let mut new = new;
        let claims = self.claim(call, &mut new, Some(&old), options)?;
        let gone = meta::is_deleting(&new) && self.may_vanish(resource, &new);
        let committed = if gone && !options.dry_run {
            // The answer shows the object as this last change leaves it.
            let last = WriteOptions { dry_run: true, ..options.clone() };
            let shown = self.commit(resource, new, Some(present), &last).await?;
            self.remove(resource, present).await?.and(shown)
        } else {
            self.commit_claiming(resource, new, Some(present), options, &claims).await?
        };
        if claims.are_refused() {
            self.allocators.scatter(self.random.lock().unit());
        }
        claims.settle(committed.is_some());
        // Someone else was first: the change is made again to the newer object. One that names a
        // revision is refused then.
        Ok(committed.map(|object| Written { object, created: false }))
    }

    async fn admit_update(
        &self,
        call: &Call,
        part: Part,
        options: &WriteOptions,
        mut new: Value,
        old: &Value,
    ) -> Result<Value, Status> {
        let resource = &*call.resource;
        keep_part(resource, part, &mut new, old);
        if call.info.verb != "patch" {
            drop_double_owners(call, &mut new, "");
        }
        resource.strategy.default(&mut new);
        self.settle_form(resource, &mut new);
        self.track_fields(call, &mut new, Some(old), options).await?;
        let null = Value::Null;
        let now = self.clock.now();
        let mut request = call.admission(Operation::Update, new, Some(old), &null, options, now);
        self.admit_mutating(call, &mut request).await?;
        let mut new = std::mem::take(&mut request.object);
        drop_double_owners(call, &mut new, AFTER_MUTATION);
        metadata::prepare_for_update(&mut new, old);
        keep_part(resource, part, &mut new, old);
        resource.strategy.default(&mut new);
        match part {
            Part::Main => resource.strategy.prepare_for_update(&mut new, old),
            Part::Status => {
                resource.strategy.prepare_for_status_update(&mut new, old);
                persistent_volume::note_phase(resource, &mut new, Some(old), now);
            }
            Part::Internal => {
                resource.strategy.prepare_for_subresource_update(call.subresource(), &mut new, old);
            }
        }
        self.settle_form(resource, &mut new);
        if resource.has_generation && metadata::spec_differs(&new, old) {
            meta::set(&mut new, "generation", meta::generation(old) + 1);
        }
        let mut errors = metadata::validate_update(resource, &new, old);
        match part {
            Part::Main => {
                errors.extend(resource.strategy.validate_update(&new, old));
                errors.extend(crate::custom::definition_faults(resource, &new, Some(old)));
                self.check_admission_kinds(call, &new, Some(old), &mut errors);
            }
            Part::Status => errors.extend(resource.strategy.validate_status_update(&new, old)),
            Part::Internal => {
                let strategy = &resource.strategy;
                errors.extend(strategy.validate_subresource_update(call.subresource(), &new, old));
            }
        }
        refuse_invalid(resource, &new, &errors)?;
        if part == Part::Main || self.registry.table().is_custom(resource) {
            for warning in resource.strategy.warnings(&new, Some(old)) {
                call.warn(warning);
            }
        }
        request.object = new;
        self.admit_validating(call, &mut request).await?;
        Ok(request.object)
    }

    /// Brings a built-in object into the one form that upstream stores: no unset fields, no missing
    /// required ones.
    pub(crate) fn settle_form(&self, resource: &Resource, object: &mut Value) {
        let schema = self.registry.table().schema(resource);
        if let Some(definition) = schema.definition_name() {
            codec::go_form(object, definition);
        }
    }

    /// Writes an object given in the row's version; `None` when someone else was first (or, with no
    /// `present`, when it exists already).
    ///
    /// # Errors
    /// The store refused.
    pub async fn commit(
        &self,
        resource: &Resource,
        object: Value,
        present: Option<&Object>,
        options: &WriteOptions,
    ) -> Result<Option<Arc<Object>>, Status> {
        self.commit_claiming(resource, object, present, options, &Claims::default()).await
    }

    /// Writes an object together with its claims; `None` also when somebody else has what they claim.
    async fn commit_claiming(
        &self,
        resource: &Resource,
        object: Value,
        present: Option<&Object>,
        options: &WriteOptions,
        claims: &Claims,
    ) -> Result<Option<Arc<Object>>, Status> {
        let stored = self.to_storage(resource, object).await?;
        let (namespace, name) = (meta::namespace(&stored), meta::name(&stored));
        let place = (&*resource.storage_group, &*resource.storage_plural);
        let key = store_key(place.0, place.1, namespace, name);
        let table = self.registry.table();
        let row = table.at_place(place.0, place.1);
        let fields = row.map(|row| row.strategy.selectable_fields(&stored)).unwrap_or_default();
        let encoded = object::encode(&stored);
        if encoded.json.len() > BODY_BYTES_MAX {
            // Patch after patch it could grow without end.
            return Err(crate::body::too_large());
        }
        if options.dry_run {
            self.fresh().await?;
            if present.is_none() && self.cache_of(resource).get(namespace, name).is_some() {
                return Ok(None);
            }
            let revision = present.map_or(0, |present| present.revision);
            return Ok(Some(Arc::new(Object::new(&stored, encoded, fields, revision))));
        }
        let mod_revision = Revision(present.map_or(0, |present| present.revision));
        let mut transaction = Transaction {
            compares: vec![Compare { key: key.clone(), mod_revision }],
            operations: vec![StoreOperation::Put {
                key: key.clone(),
                value: encoded.json.clone(),
                lease: None,
            }],
        };
        claims.extend(&mut transaction);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let json = encoded.json.clone();
        let expected = self.caches.expect(key, Object::new(&stored, encoded, fields, 0));
        drop(stored);
        match self.store.transact(transaction).await {
            Ok(TransactionResult::Committed { revision }) => {
                self.caches.applied(revision.0).await;
                drop(expected);
                let object = self.cache_of(resource).get(&namespace, &name);
                if let Some(object) = object.filter(|object| object.revision == revision.0) {
                    return Ok(Some(object));
                }
                // Somebody was quick to change or remove it: the answer tells what was written.
                let fields = |tree: &Value| {
                    row.map(|row| row.strategy.selectable_fields(tree)).unwrap_or_default()
                };
                let object = Object::from_stored(json, revision.0, fields);
                Ok(Some(Arc::new(object.map_err(Status::internal)?)))
            }
            Ok(TransactionResult::Conflict { revision, present }) => {
                drop(expected);
                claims.judge(&present);
                if claims.are_refused() {
                    // So that the next choice knows of whoever was first.
                    self.caches.applied(revision.0).await;
                }
                Ok(None)
            }
            Err(error) => Err(crate::respond::store_failure(&error)),
        }
    }

    /// Deletes an object from the store if it is still this version: as it was, at the revision of its deletion.
    ///
    /// # Errors
    /// The store refused.
    pub async fn remove(
        &self,
        resource: &Resource,
        present: &Object,
    ) -> Result<Option<Arc<Object>>, Status> {
        let place = (&*resource.storage_group, &*resource.storage_plural);
        let key = store_key(place.0, place.1, &present.namespace, &present.name);
        let mut transaction = Transaction {
            compares: vec![Compare { key: key.clone(), mod_revision: Revision(present.revision) }],
            operations: vec![StoreOperation::Delete { key }],
        };
        if crate::allocate::is_service(resource) {
            Claims::release(&present.to_value()).extend(&mut transaction);
        }
        let result = self.store.transact(transaction).await;
        match result.map_err(|error| crate::respond::store_failure(&error))? {
            TransactionResult::Committed { revision } => {
                self.caches.applied(revision.0).await;
                self.release(resource, present);
                Ok(Some(Arc::new(present.at_revision(revision.0))))
            }
            TransactionResult::Conflict { .. } => Ok(None),
        }
    }

    /// An object in a row's version, with its revision.
    pub fn in_version(&self, resource: &Resource, object: &Object) -> Value {
        let mut value = object.to_value();
        if !resource.is_storage_form() {
            resource.strategy.from_storage(&mut value);
        }
        let map = meta::object_mut(&mut value);
        map.insert("apiVersion".into(), resource.api_version().into());
        map.insert("kind".into(), (&*resource.kind).into());
        value
    }

    /// A stored object in a row's version, with its revision.
    ///
    /// # Errors
    /// 500: a webhook that converts it failed.
    pub(crate) async fn value_of(
        &self,
        resource: &Resource,
        object: &Arc<Object>,
    ) -> Result<Value, Status> {
        let object = self.converted_one(resource, Arc::clone(object)).await?;
        Ok(self.in_version(resource, &object))
    }

    async fn to_storage(&self, resource: &Resource, mut object: Value) -> Result<Value, Status> {
        if !resource.is_storage_form() {
            resource.strategy.to_storage(&mut object);
            if let Some(conversion) = self.conversion_of(resource) {
                let to = resource.storage_api_version();
                let converted = conversion.values(self, vec![object], &to).await?;
                object = converted.into_iter().next().unwrap_or_default();
            }
        }
        let table = self.registry.table();
        let row = table.at_place(&resource.storage_group, &resource.storage_plural);
        let kind = row.map_or(&resource.kind, |row| &row.kind);
        let map = meta::object_mut(&mut object);
        map.insert("apiVersion".into(), resource.storage_api_version().into());
        map.insert("kind".into(), (&**kind).into());
        Ok(object)
    }
}

fn refuse_invalid(
    resource: &Resource,
    object: &Value,
    errors: &[field::Error],
) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    // Upstream names the group that the kind is kept in.
    let group = if resource.storage_plural == resource.plural {
        &resource.storage_group
    } else {
        &resource.group
    };
    Err(Status::invalid(group, &resource.kind, meta::name(object), errors))
}

/// Puts back the part of the object that this request may not change.
fn keep_part(resource: &Resource, part: Part, new: &mut Value, old: &Value) {
    match part {
        Part::Main if resource.has_status => copy_field(new, old, "status"),
        Part::Status => {
            let status = new.get("status").cloned();
            let metadata = new.get("metadata").cloned();
            *new = old.clone();
            let map = meta::object_mut(new);
            match status {
                Some(status) => map.insert("status".into(), status),
                None => map.remove("status"),
            };
            map.insert("metadata".into(), metadata.unwrap_or_default());
        }
        Part::Main | Part::Internal => {}
    }
}

fn copy_field(new: &mut Value, old: &Value, field: &str) {
    let map = meta::object_mut(new);
    match old.get(field) {
        Some(value) => map.insert(field.to_owned(), value.clone()),
        None => map.remove(field),
    };
}

fn check_identity(call: &Call, new: &Value, old: &Value) -> Result<(), Status> {
    let name = meta::name(new);
    if name != call.info.name {
        return Err(metadata::other_name(name, &call.info.name));
    }
    let (have, want) = (meta::uid(old), meta::uid(new));
    if !want.is_empty() && want != have {
        let why =
            format!("Precondition failed: UID in precondition: {want}, UID in object meta: {have}");
        let resource = &call.resource;
        return Err(Status::conflict(&resource.group, &resource.plural, name, &why));
    }
    Ok(())
}

/// Refuses a new object that names another revision than the present one.
fn check_revision(call: &Call, new: &Value, old: &Value) -> Result<(), Status> {
    let resource = &call.resource;
    let want = meta::text(new, "resourceVersion");
    let is_named = !want.is_empty() && want != "0";
    let is_whole = call.info.verb == "update" && matches!(call.subresource(), "" | "status");
    if !is_named && is_whole && resource.needs_revision {
        let path = field::Path::new("metadata").child("resourceVersion");
        // Upstream shows the number in Go's notation.
        let fault = field::Error::invalid(&path, 0, "0x0: must be specified for an update");
        let fault = field::Error { value: None, ..fault };
        return Err(Status::invalid(&resource.group, &resource.plural, meta::name(new), &[fault]));
    }
    if !is_named || want == meta::text(old, "resourceVersion") {
        return Ok(());
    }
    Err(Status::stale(&resource.group, &resource.plural, &call.info.name))
}

fn same_but_for_managers(new: &Value, old: &Value) -> bool {
    let (Some(new_map), Some(old_map)) = (new.as_object(), old.as_object()) else { return false };
    let rest_same = new_map.len() == old_map.len()
        && new_map.iter().all(|(key, value)| key == "metadata" || old_map.get(key) == Some(value));
    fn metadata(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
        let map = value.get("metadata").and_then(Value::as_object).into_iter().flatten();
        map.filter(|(key, _)| !matches!(key.as_str(), "managedFields" | "resourceVersion"))
    }
    let owners = |value| meta::get(value, "managedFields");
    rest_same
        && metadata(new).eq(metadata(old))
        && patch::managers::same_but_for_times(owners(new), owners(old))
}
