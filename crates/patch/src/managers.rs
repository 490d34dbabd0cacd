//! Who owns which fields of an object: `metadata.managedFields`, and how writes change it.
//!
//! Applying is in [`crate::apply`]; this file holds the entries and what a plain write does to them.

use std::borrow::Cow;
use std::sync::LazyLock;

use schema::Schema;
use serde_json::{Map, Value};

use crate::fields::{Changes, Element, FieldSet, FieldsError, compare};

/// Most entries of plain writes; beyond it the oldest ones of a version become one.
pub const UPDATE_ENTRIES_MAX: usize = 10;
/// Who owns what the oldest writers wrote.
const ANCIENT: &str = "ancient-changes";
/// Who a writer is that has no name.
const UNKNOWN: &str = "unknown";

/// Fields that are in no set: identity and what only the server writes.
static UNTRACKED: LazyLock<FieldSet> = LazyLock::new(|| {
    let mut set = FieldSet::new();
    for name in ["apiVersion", "kind", "metadata"] {
        set.insert(&[Element::field(name)]);
    }
    for name in [
        "clusterName",
        "creationTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    ] {
        set.insert(&[Element::field("metadata"), Element::field(name)]);
    }
    set
});

/// How a manager came to its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// Name of the manager.
    pub name: String,
    /// How it owns.
    pub operation: Operation,
    /// Version in which the fields are named.
    pub api_version: String,
    /// Subresource through which it wrote; empty for the object itself.
    pub subresource: String,
    /// When its set last changed, RFC 3339.
    pub time: Option<String>,
    /// What it owns.
    pub fields: FieldSet,
}

impl Manager {
    /// Whether two entries are the same owner's. An applier is the same in every version.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// What they are written in the order of where time does not decide.
    fn names(&self) -> (&str, &str, &str) {
        (&self.name, &self.api_version, &self.subresource)
    }

    /// What owners are sorted by where time does not decide.
    pub(crate) fn rank(&self) -> (&str, Operation, &str, &str) {
        let version = if self.operation == Operation::Apply { "" } else { &self.api_version };
        (&self.name, self.operation, version, &self.subresource)
    }
}

/// Why `managedFields` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManagersError {
    /// It is no list of objects.
    #[error("managedFields must be a list of objects")]
    Malformed,
    /// An entry's operation is unknown.
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    /// An entry names no version.
    #[error("apiVersion must not be empty")]
    NoVersion,
    /// An entry does not say the format of its fields.
    #[error("missing fieldsType in managed fields entry {0}")]
    NoFieldsType(usize),
    /// An entry's fields have an unknown format.
    #[error("invalid fieldsType {kind:?} in managed fields entry {index}")]
    FieldsType {
        /// The format.
        kind: String,
        /// Which entry.
        index: usize,
    },
    /// An entry's fields cannot be read.
    #[error("error decoding set")]
    Fields(#[source] FieldsError),
}

/// Reads `managedFields`.
///
/// # Errors
/// See [`ManagersError`].
pub fn decode(list: &Value) -> Result<Vec<Manager>, ManagersError> {
    let entries = list.as_array().ok_or(ManagersError::Malformed)?;
    let mut managers: Vec<Manager> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let manager = decode_entry(entry, index)?;
        match managers.iter_mut().find(|have| have.is_same(&manager)) {
            Some(have) => *have = manager,
            None => managers.push(manager),
        }
    }
    Ok(managers)
}

fn decode_entry(entry: &Value, index: usize) -> Result<Manager, ManagersError> {
    let entry = entry.as_object().ok_or(ManagersError::Malformed)?;
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let operation = match text("operation").as_str() {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err(ManagersError::Operation),
    };
    let api_version = text("apiVersion");
    if api_version.is_empty() {
        return Err(ManagersError::NoVersion);
    }
    match text("fieldsType") {
        kind if kind == "FieldsV1" => {}
        kind if kind.is_empty() => return Err(ManagersError::NoFieldsType(index)),
        kind => return Err(ManagersError::FieldsType { kind, index }),
    }
    let fields = match entry.get("fieldsV1") {
        None | Some(Value::Null) => FieldSet::new(),
        Some(fields) => FieldSet::from_json(fields).map_err(ManagersError::Fields)?,
    };
    let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
    let (name, subresource) = (text("manager"), text("subresource"));
    Ok(Manager { name, operation, api_version, subresource, time, fields })
}

/// Writes `managedFields`: appliers first, then by time and name. Nothing when nobody owns anything.
pub fn encode(mut managers: Vec<Manager>) -> Option<Value> {
    if managers.is_empty() {
        return None;
    }
    managers.sort_by(|a, b| {
        let order = (a.operation, &a.time).cmp(&(b.operation, &b.time));
        order.then_with(|| a.names().cmp(&b.names()))
    });
    Some(Value::Array(managers.into_iter().map(encode_entry).collect()))
}

fn encode_entry(manager: Manager) -> Value {
    let mut entry = Map::new();
    let mut put = |key: &str, text: String| {
        if !text.is_empty() {
            entry.insert(key.to_owned(), Value::String(text));
        }
    };
    put("manager", manager.name);
    put("operation", manager.operation.as_str().to_owned());
    put("apiVersion", manager.api_version);
    put("time", manager.time.unwrap_or_default());
    put("fieldsType", "FieldsV1".to_owned());
    put("subresource", manager.subresource);
    entry.insert("fieldsV1".to_owned(), manager.fields.to_json());
    Value::Object(entry)
}

/// Whether a client asks to forget all owners: an empty list, or a list of one empty entry.
pub fn is_reset(list: Option<&Value>) -> bool {
    let empty = |entry: &Value| match entry {
        Value::Null => true,
        Value::Object(map) => map.values().all(|value| value.is_null() || value == ""),
        _ => false,
    };
    match list.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => empty(one),
        _ => false,
    }
}

/// Whether two lists differ in nothing but times.
pub fn same_but_for_times(a: Option<&Value>, b: Option<&Value>) -> bool {
    fn entries(list: Option<&Value>) -> Vec<&Map<String, Value>> {
        let entries = list.and_then(Value::as_array).into_iter().flatten();
        entries.filter_map(Value::as_object).collect()
    }
    fn rest(entry: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
        entry.iter().filter(|(key, _)| *key != "time")
    }
    let (mut a, b) = (entries(a), entries(b));
    a.len() == b.len()
        && b.iter().all(|entry| match a.iter().position(|have| rest(have).eq(rest(entry))) {
            Some(index) => {
                a.swap_remove(index);
                true
            }
            None => false,
        })
}

/// Objects in other versions than that of the request.
pub trait Versions: Sync {
    /// The object (which says its version) in another version, with that version's schema. `None` when
    /// there is no such version any more.
    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, Schema)>;
}

/// For kinds that have one version only.
#[derive(Clone, Copy, Debug)]
pub struct OneVersion;

impl Versions for OneVersion {
    fn convert(&self, _: &Value, _: &str) -> Option<(Value, Schema)> {
        None
    }
}

/// Who writes, how and when.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    /// Name of the manager.
    pub manager: &'a str,
    /// Version of the request, in which both objects are given.
    pub api_version: &'a str,
    /// Subresource of the request, or empty.
    pub subresource: &'a str,
    /// Now, RFC 3339 in whole seconds.
    pub time: &'a str,
    /// Schema of the objects.
    pub schema: &'a Schema,
    /// Top-level fields that this request cannot change, and so cannot own.
    pub ignored: &'a [&'a str],
    /// The way to other versions.
    pub versions: &'a dyn Versions,
}

impl std::fmt::Debug for Write<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Write");
        out.field("manager", &self.manager).field("api_version", &self.api_version);
        out.field("subresource", &self.subresource).finish_non_exhaustive()
    }
}

impl Write<'_> {
    /// The writer's entry, as yet without fields.
    pub(crate) fn entry(&self, operation: Operation) -> Manager {
        let name = if self.manager.is_empty() { UNKNOWN } else { self.manager };
        Manager {
            name: name.to_owned(),
            operation,
            api_version: self.api_version.to_owned(),
            subresource: self.subresource.to_owned(),
            time: None,
            fields: FieldSet::new(),
        }
    }

    pub(crate) fn is_tracked(&self, field: &str) -> bool {
        !self.ignored.contains(&field)
    }

    /// An object in a version, with the schema there.
    pub(crate) fn view<'v>(
        &self,
        object: &'v Value,
        api_version: &str,
    ) -> Option<(Cow<'v, Value>, Schema)> {
        let present = object.get("apiVersion").and_then(Value::as_str).unwrap_or(self.api_version);
        if present != api_version {
            let (object, schema) = self.versions.convert(object, api_version)?;
            return Some((Cow::Owned(object), schema));
        }
        if api_version == self.api_version {
            return Some((Cow::Borrowed(object), self.schema.clone()));
        }
        let (_, schema) = self.versions.convert(object, api_version)?;
        Some((Cow::Borrowed(object), schema))
    }

    fn changes(&self, old: &Value, new: &Value, schema: &Schema) -> Changes {
        let mut changes = compare(old, new, schema);
        changes.retain_top(|field| self.is_tracked(field));
        changes
    }
}

/// What a write does, in each version that an owner names fields in.
pub(crate) struct Effects<'a> {
    write: &'a Write<'a>,
    old: &'a Value,
    new: &'a Value,
    own: Changes,
    others: Vec<(String, Option<(Changes, Schema)>)>,
}

impl<'a> Effects<'a> {
    pub(crate) fn new(write: &'a Write<'a>, old: &'a Value, new: &'a Value) -> Self {
        let own = write.changes(old, new, write.schema);
        Self { write, old, new, own, others: Vec::new() }
    }

    /// In the version of the request.
    pub(crate) const fn own(&self) -> &Changes {
        &self.own
    }

    /// In a version; `None` when it is served no more.
    pub(crate) fn in_version(&mut self, api_version: &str) -> Option<&Changes> {
        if api_version == self.write.api_version {
            return Some(&self.own);
        }
        let index = match self.others.iter().position(|(have, _)| have == api_version) {
            Some(index) => index,
            None => {
                let (write, old, new) = (self.write, self.old, self.new);
                let both = write.view(old, api_version).zip(write.view(new, api_version));
                let changes = both
                    .map(|((old, _), (new, schema))| (write.changes(&old, &new, &schema), schema));
                self.others.push((api_version.to_owned(), changes));
                self.others.len() - 1
            }
        };
        self.others[index].1.as_ref().map(|(changes, _)| changes)
    }
}

/// The owners of an object after a plain write. `list` is the `managedFields` to start from; `is_new`
/// when there was no object before, of which `old` is then the empty form.
///
/// Nothing is tracked for an object that nobody is recorded to own: it has been reset, or is older
/// than the records.
pub fn update(
    old: &Value,
    new: &Value,
    list: Option<&Value>,
    is_new: bool,
    write: &Write<'_>,
) -> Option<Value> {
    let effects = Effects::new(write, old, new);
    if effects.own().is_empty() {
        // Whoever looks at it in another version sees no difference either.
        return list.filter(|list| list.as_array().is_some_and(|list| !list.is_empty())).cloned();
    }
    let managers = list.and_then(|list| decode(list).ok()).unwrap_or_default();
    if managers.is_empty() && !is_new {
        return None;
    }
    encode(update_managers(effects, managers, write))
}

/// As [`update`], on entries, and whatever the object's past.
pub(crate) fn update_managers(
    mut effects: Effects<'_>,
    mut managers: Vec<Manager>,
    write: &Write<'_>,
) -> Vec<Manager> {
    reconcile(&mut managers, effects.new, write);
    managers.retain_mut(|manager| {
        let Some(changes) = effects.in_version(&manager.api_version) else { return false };
        disown(manager, changes);
        !manager.fields.is_empty()
    });
    let Changes { added: mut taken, modified, .. } = effects.own;
    taken.add(modified);
    if !taken.is_empty() {
        let mut entry = write.entry(Operation::Update);
        entry.fields = taken;
        entry.time = Some(write.time.to_owned());
        match managers.iter_mut().find(|manager| manager.is_same(&entry)) {
            Some(manager) => {
                manager.fields.add(entry.fields);
                manager.time = entry.time;
            }
            None => managers.push(entry),
        }
    }
    cap(&mut managers);
    managers
}

/// Takes from an owner what somebody else changed or removed.
pub(crate) fn disown(manager: &mut Manager, changes: &Changes) {
    for set in [&changes.added, &changes.modified, &changes.removed] {
        manager.fields.subtract(set);
    }
}

/// Brings sets under the schemas of today.
pub(crate) fn reconcile(managers: &mut [Manager], object: &Value, write: &Write<'_>) {
    for manager in managers {
        if manager.api_version == write.api_version {
            manager.fields.reconcile(write.schema);
        } else if let Some((_, schema)) = write.view(object, &manager.api_version) {
            manager.fields.reconcile(&schema);
        }
    }
}

/// Takes out of a set what is never tracked.
pub(crate) fn strip(fields: &FieldSet) -> FieldSet {
    fields.difference(&UNTRACKED)
}

/// Makes one entry of the oldest plain writes of each version when there are too many.
fn cap(managers: &mut Vec<Manager>) {
    let is_update = |manager: &&Manager| manager.operation == Operation::Update;
    let mut count = managers.iter().filter(is_update).count();
    if count <= UPDATE_ENTRIES_MAX {
        return;
    }
    let mut updates: Vec<Manager> = managers.iter().filter(is_update).cloned().collect();
    managers.retain(|manager| manager.operation != Operation::Update);
    updates.sort_by(|a, b| a.time.cmp(&b.time).then_with(|| a.rank().cmp(&b.rank())));
    let mut kept: Vec<Manager> = Vec::with_capacity(UPDATE_ENTRIES_MAX);
    for update in updates {
        let first = kept.iter_mut().find(|have| have.api_version == update.api_version);
        match first {
            Some(first) if count > UPDATE_ENTRIES_MAX || first.is_same(&update) => {
                ANCIENT.clone_into(&mut first.name);
                first.subresource.clear();
                first.fields.add(update.fields);
                first.time = update.time;
                count -= 1;
            }
            _ => kept.push(update),
        }
    }
    managers.extend(kept);
}

#[cfg(test)]
mod tests;
