//! Field ownership: who last set which field (`metadata.managedFields`).
//!
//! The rules are `patch::managers`; here is what they need to know of a request. Server-side apply
//! decides on ownership itself (`patching::apply`).

use std::sync::Arc;

use api::field;
use api::meta;
use api::resource::Resource;
use api::status::Status;
use parking_lot::Mutex;
use patch::managers::{self, Versions, Write};
use schema::Schema;
use serde_json::{Map, Value, json};

use crate::call::{Call, WriteOptions};
use crate::custom::Conversion;
use crate::limits::MANAGER_BYTES_MAX;
use crate::metadata::seconds;
use crate::registry::Table;
use crate::server::Server;

impl Server {
    /// Brings the record of field ownership up to date with a write.
    pub(crate) async fn track_fields(
        &self,
        call: &Call,
        object: &mut Value,
        old: Option<&Value>,
        options: &WriteOptions,
    ) -> Result<(), Status> {
        if is_apply(call) {
            return Ok(());
        }
        let context = Context::of(self, call);
        let write = context.write(call, &options.manager);
        let list = start(call, object, old);
        let update = || match old {
            Some(old) => managers::update(old, object, list, false, &write),
            None => {
                let empty = empty_form(&call.resource, &context.schema);
                managers::update(&empty, object, list, true, &write)
            }
        };
        let mut owners = update();
        while self.add_views(&context.views).await? {
            owners = update();
        }
        set_owners(object, owners);
        Ok(())
    }

    /// Has a webhook make the views that were looked for in vain; whether there are new ones.
    pub(crate) async fn add_views(&self, views: &Option<Arc<Views>>) -> Result<bool, Status> {
        let Some(views) = views else { return Ok(false) };
        let missed = std::mem::take(&mut *views.missed.lock());
        if missed.is_empty() || views.made.lock().len() >= VIEWS_MAX {
            return Ok(false);
        }
        for (object, api_version) in missed {
            let made = views.conversion.values(self, vec![object.clone()], &api_version).await?;
            if let Some(view) = made.into_iter().next() {
                views.made.lock().push((object, api_version, view));
            }
        }
        Ok(true)
    }
}

/// Most views of one write: two objects in each of a few versions.
const VIEWS_MAX: usize = 32;

/// Objects in other versions, where only a webhook can tell what they are there. The rules of ownership do
/// not wait: what they lack is noted, and they are asked again when it is there.
pub(crate) struct Views {
    conversion: Arc<Conversion>,
    /// The object, the version, and the object in that version.
    made: Mutex<Vec<(Value, String, Value)>>,
    missed: Mutex<Vec<(Value, String)>>,
}

impl Views {
    /// Those of a row whose objects a webhook converts.
    pub(crate) fn of(server: &Server, resource: &Resource) -> Option<Arc<Self>> {
        let conversion = server.conversion_of(resource)?;
        Some(Arc::new(Self { conversion, made: Mutex::default(), missed: Mutex::default() }))
    }

    fn find(&self, object: &Value, api_version: &str) -> Option<Value> {
        let made = self.made.lock();
        let found = made.iter().find(|(from, to, _)| to == api_version && from == object);
        if found.is_none() {
            self.missed.lock().push((object.clone(), api_version.to_owned()));
        }
        found.map(|(_, _, view)| view.clone())
    }
}

/// Writes `managedFields`, or removes it when nobody owns anything.
pub(crate) fn set_owners(object: &mut Value, owners: Option<Value>) {
    match owners {
        Some(owners) => meta::set(object, "managedFields", owners),
        None => meta::remove(object, "managedFields"),
    }
}

/// Keeps a client's wish to forget all owners through the normal form, which has no empty lists: a list
/// of one empty entry means the same.
pub(crate) fn keep_reset(object: &mut Value) {
    if managers::is_reset(meta::get(object, "managedFields")) {
        meta::set(object, "managedFields", json!([{}]));
    }
}

/// The record that a write starts from: the client's where it has a usable one (only through the object
/// itself), else the present one. A client may also have it forgotten.
fn start<'a>(call: &Call, object: &'a Value, old: Option<&'a Value>) -> Option<&'a Value> {
    let present = old.and_then(|old| meta::get(old, "managedFields"));
    let given = meta::get(object, "managedFields");
    if !call.subresource().is_empty() || given == present {
        return present;
    }
    if managers::is_reset(given) {
        return None;
    }
    let usable = |list: &&Value| managers::decode(list).is_ok_and(|managers| !managers.is_empty());
    given.filter(usable).or(present)
}

/// Whether a request is a server-side apply.
pub(crate) fn is_apply(call: &Call) -> bool {
    call.info.verb == "patch" && is_apply_patch(&call.headers)
}

/// What a server-side apply sends, in CBOR.
pub(crate) const APPLY_CBOR: &str = "application/apply-patch+cbor";
/// The same in YAML, or JSON, which is YAML.
const APPLY_YAML: &str = "application/apply-patch+yaml";

/// Whether a body is what a server-side apply sends.
pub(crate) fn is_apply_patch(headers: &http::HeaderMap) -> bool {
    let media_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    [APPLY_YAML, APPLY_CBOR].iter().any(|known| media_type.eq_ignore_ascii_case(known))
}

/// An object of a kind in which nothing is set yet: what a new object is compared with.
pub(crate) fn empty_form(resource: &Resource, schema: &Schema) -> Value {
    let mut empty = Map::new();
    empty.insert("apiVersion".to_owned(), resource.api_version().into());
    empty.insert("kind".to_owned(), (&*resource.kind).into());
    let mut empty = Value::Object(empty);
    if let Some(definition) = schema.definition_name() {
        codec::go_form(&mut empty, definition);
    }
    empty
}

/// What the ownership rules need to know of a request.
pub(crate) struct Context {
    table: Arc<Table>,
    kind: String,
    api_version: String,
    time: String,
    pub(crate) schema: Schema,
    ignored: &'static [&'static str],
    /// Where a webhook converts.
    pub(crate) views: Option<Arc<Views>>,
}

impl Context {
    pub(crate) fn of(server: &Server, call: &Call) -> Self {
        let table = server.registry.table();
        let schema = table.schema(&call.resource);
        let ignored: &[&str] = match (&*call.resource.kind, call.subresource()) {
            // Who registers a node says how it is, but owns no more of it than others do.
            ("Node", "") => &["status"],
            // What is asked for never changes, so that there is nothing to own.
            ("CertificateSigningRequest", "") => &["spec", "status"],
            (_, "") if call.resource.has_status => &["status"],
            (_, "status") => &["spec"],
            _ => &[],
        };
        Self {
            schema,
            ignored,
            kind: call.resource.kind.to_string(),
            api_version: call.resource.api_version(),
            time: seconds(server.clock.now()),
            views: Views::of(server, &call.resource),
            table,
        }
    }

    pub(crate) fn write<'a>(&'a self, call: &'a Call, manager: &'a str) -> Write<'a> {
        Write {
            manager,
            api_version: &self.api_version,
            subresource: call.subresource(),
            time: &self.time,
            schema: &self.schema,
            ignored: self.ignored,
            versions: self,
        }
    }

    fn row(&self, api_version: &str) -> Option<&Arc<Resource>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.table.find_kind(group, version, &self.kind)
    }
}

impl Versions for Context {
    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, Schema)> {
        let from = self.row(object.get("apiVersion").and_then(Value::as_str)?)?;
        let to = self.row(api_version)?;
        let schema = self.table.schema(to);
        let mut object = object.clone();
        if from.version != to.version || from.group != to.group {
            if let Some(view) = self.views.as_ref().and_then(|v| v.find(&object, api_version)) {
                return Some((view, schema));
            }
            if !from.is_storage_form() {
                from.strategy.to_storage(&mut object);
            }
            if !to.is_storage_form() {
                to.strategy.from_storage(&mut object);
            }
        }
        meta::object_mut(&mut object).insert("apiVersion".to_owned(), to.api_version().into());
        Some((object, schema))
    }
}

/// What is wrong with the name of a field manager that a request gives.
pub(crate) fn manager_faults(manager: &str) -> Vec<field::Error> {
    let path = field::Path::new("fieldManager");
    let mut faults = Vec::new();
    if manager.len() > MANAGER_BYTES_MAX {
        faults.push(field::Error::too_long(&path, MANAGER_BYTES_MAX));
    }
    for (at, character) in manager.char_indices().filter(|(_, character)| character.is_control()) {
        let code = u32::from(character);
        let detail = format!("invalid character U+{code:04X} (at position {at})");
        faults.push(field::Error::invalid(&path, manager, detail));
    }
    faults
}
