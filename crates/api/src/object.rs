//! A committed object: immutable bytes, plus the few parsed fields that reads need.
//!
//! The bytes are JSON in storage form with an empty `metadata.resourceVersion`, because the revision is
//! known only after the commit; readers splice it in ([`Object::write_json`]). Whoever wants the object
//! as a typed struct asks [`Object::typed`], which decodes once per object version and shares the result.

use std::any::Any;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::meta;

/// The values by which a list or watch may select, beside the labels: path and value.
pub type SelectableFields = Vec<(&'static str, Box<str>)>;

/// One version of one object.
pub struct Object {
    /// Empty for cluster-scoped objects.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.labels`, sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Values for field selectors other than name and namespace.
    pub fields: SelectableFields,
    /// The revision that committed this version; 0 when not committed yet.
    pub revision: u64,
    json: Bytes,
    revision_at: u32,
    typed: RwLock<Typed>,
    other_encoding: OnceLock<Bytes>,
}

/// What stands before the revision.
const REVISION_HEAD: &str = "\"resourceVersion\":\"";
/// As how many types a version is kept.
const FORMS_MAX: usize = 2;

/// The decoded form of a version, which takes several times the memory of its bytes.
#[derive(Default)]
enum Typed {
    #[default]
    Unknown,
    /// As one or two types: what a controller sees, and the tree that admission reads.
    Shared(Vec<Arc<dyn Any + Send + Sync>>),
    /// A newer version took this one's place: whoever still wants it decodes it for himself.
    Superseded,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}@{}", self.namespace, self.name, self.revision)
    }
}

/// An object's JSON in storage form, with the place where its revision belongs.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// JSON with an empty `metadata.resourceVersion`.
    pub json: Bytes,
    revision_at: u32,
}

/// Encodes `value` for storage. `kind` and `apiVersion` come first, then `metadata`, then the rest.
pub fn encode(value: &Value) -> Encoded {
    let empty = Map::new();
    let top = value.as_object().unwrap_or(&empty);
    let mut out = Vec::with_capacity(4096);
    let mut revision_at = 0;
    out.push(b'{');
    for key in ["kind", "apiVersion"] {
        if let Some(value) = top.get(key) {
            write_entry(&mut out, key, value);
        }
    }
    write_key(&mut out, "metadata");
    write_metadata(&mut out, top.get("metadata"), &mut revision_at);
    for (key, value) in top {
        if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
            write_entry(&mut out, key, value);
        }
    }
    out.push(b'}');
    // A buffer that grew has room for half as much again, which would be kept for as long as the object is.
    Encoded { json: out.into_boxed_slice().into(), revision_at }
}

fn write_metadata(out: &mut Vec<u8>, metadata: Option<&Value>, revision_at: &mut u32) {
    out.push(b'{');
    write_key(out, "resourceVersion");
    out.extend_from_slice(b"\"\"");
    *revision_at = u32::try_from(out.len() - 1).unwrap_or(0);
    for (key, value) in metadata.and_then(Value::as_object).into_iter().flatten() {
        if key != "resourceVersion" {
            write_entry(out, key, value);
        }
    }
    out.push(b'}');
}

fn write_key(out: &mut Vec<u8>, key: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    write_json(out, key);
    out.push(b':');
}

fn write_entry(out: &mut Vec<u8>, key: &str, value: &Value) {
    write_key(out, key);
    write_json(out, value);
}

fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value)
        .expect("a JSON tree has string keys and a Vec takes all bytes");
}

/// The head that [`encode`] writes, up to the revision, is searched only within the metadata's first key.
fn find_revision(json: &[u8]) -> Option<u32> {
    const MARK: &[u8] = b"\"metadata\":{\"resourceVersion\":\"\"";
    let at = json.windows(MARK.len()).position(|window| window == MARK)?;
    u32::try_from(at + MARK.len() - 1).ok()
}

impl Object {
    /// Makes the committed object out of its parts; `value` is what `encoded` was made from.
    pub fn new(value: &Value, encoded: Encoded, fields: SelectableFields, revision: u64) -> Self {
        let labels = meta::get(value, "labels").and_then(Value::as_object);
        let labels = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or_default().into()))
            .collect();
        Self {
            namespace: meta::namespace(value).into(),
            name: meta::name(value).into(),
            uid: meta::uid(value).into(),
            labels,
            fields,
            revision,
            json: encoded.json,
            revision_at: encoded.revision_at,
            typed: RwLock::default(),
            other_encoding: OnceLock::new(),
        }
    }

    /// Reads back what [`encode`] wrote; `fields` computes the selectable fields from the tree.
    ///
    /// # Errors
    /// The bytes are not JSON, or not of the shape that [`encode`] writes.
    pub fn from_stored(
        json: Bytes,
        revision: u64,
        fields: impl FnOnce(&Value) -> SelectableFields,
    ) -> Result<Self, serde_json::Error> {
        let value: Value = serde_json::from_slice(&json)?;
        let encoded = match find_revision(&json) {
            Some(revision_at) => Encoded { json, revision_at },
            None => encode(&value),
        };
        let fields = fields(&value);
        Ok(Self::new(&value, encoded, fields, revision))
    }

    /// This version as it has been committed; `json` is the store's own copy of its bytes.
    #[must_use]
    pub fn committed(self, json: Bytes, revision: u64) -> Self {
        Self { json, revision, ..self }
    }

    /// The same content as of another revision: what a deletion reports.
    #[must_use]
    pub fn at_revision(&self, revision: u64) -> Self {
        Self {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            revision,
            json: self.json.clone(),
            revision_at: self.revision_at,
            typed: RwLock::default(),
            other_encoding: OnceLock::new(),
        }
    }

    /// The stored bytes: JSON with an empty `metadata.resourceVersion`.
    pub fn stored(&self) -> &Bytes {
        &self.json
    }

    /// Length of the JSON text, give or take the revision's digits.
    pub fn json_length(&self) -> usize {
        self.json.len() + 20
    }

    /// Appends the object's JSON with its revision.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let at = self.revision_at as usize;
        if self.revision == 0 {
            return self.write_without_revision(out, at);
        }
        out.extend_from_slice(&self.json[..at]);
        write_decimal(out, self.revision);
        out.extend_from_slice(&self.json[at..]);
    }

    /// Of what is not committed, as in a dry run.
    fn write_without_revision(&self, out: &mut Vec<u8>, at: usize) {
        let rest = &self.json[at + 1..];
        out.extend_from_slice(&self.json[..at - REVISION_HEAD.len()]);
        out.extend_from_slice(rest.strip_prefix(b",").unwrap_or(rest));
    }

    /// The object's JSON with its revision.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.json_length());
        self.write_json(&mut out);
        out
    }

    /// The object as a tree, with its revision.
    pub fn to_value(&self) -> Value {
        let mut value = serde_json::from_slice(&self.json).unwrap_or_default();
        if self.revision == 0 {
            meta::remove(&mut value, "resourceVersion");
        } else {
            meta::set(&mut value, "resourceVersion", self.revision.to_string());
        }
        value
    }

    /// The object as a typed struct: decoded at the first call, shared by all later ones until a newer version
    /// takes its place.
    ///
    /// # Errors
    /// The object does not fit the type.
    pub fn typed<K: DeserializeOwned + Send + Sync + 'static>(
        &self,
    ) -> Result<Arc<K>, serde_json::Error> {
        if let Typed::Shared(forms) = &*self.typed.read().unwrap_or_else(PoisonError::into_inner)
            && let Some(form) = forms.iter().find(|form| form.is::<K>())
            && let Ok(typed) = Arc::clone(form).downcast::<K>()
        {
            return Ok(typed);
        }
        let typed: Arc<K> = Arc::new(serde_json::from_slice(&self.to_json())?);
        // Losing the race to another decoder, or to other types, costs only the sharing.
        let mut place = self.typed.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *place {
            Typed::Unknown => *place = Typed::Shared(vec![Arc::clone(&typed) as _]),
            Typed::Shared(forms) if forms.len() < FORMS_MAX => forms.push(Arc::clone(&typed) as _),
            Typed::Shared(_) | Typed::Superseded => {}
        }
        drop(place);
        Ok(typed)
    }

    /// The object as a tree, with its revision, shared as [`Object::typed`] does it: for what is read again and again.
    pub fn tree(&self) -> Arc<Value> {
        self.typed().unwrap_or_default()
    }

    /// Says that a newer version took this one's place. Those who keep the old one for a while (the events
    /// of a watch) then keep its bytes only.
    pub fn supersede(&self) {
        *self.typed.write().unwrap_or_else(PoisonError::into_inner) = Typed::Superseded;
    }

    /// The object as a typed struct of the caller's own, not shared: for views of a part of it.
    ///
    /// # Errors
    /// The object does not fit the type.
    pub fn decode<K: DeserializeOwned>(&self) -> Result<K, serde_json::Error> {
        serde_json::from_slice(&self.to_json())
    }

    /// Another encoding of this version (protobuf), made by `make` at the first call only.
    pub fn other_encoding(&self, make: impl FnOnce(&Self) -> Bytes) -> &Bytes {
        self.other_encoding.get_or_init(|| make(self))
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(have, _)| (**have).cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }

    /// The value of a selectable field; `None` where the resource has no such field.
    pub fn field(&self, path: &str) -> Option<&str> {
        match path {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => Some(&self.namespace),
            _ => self.fields.iter().find(|(have, _)| *have == path).map(|(_, value)| &**value),
        }
    }
}

fn write_decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Event",
            "involvedObject": {"resourceVersion": ""},
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "9",
                "labels": {"b": "2", "a": "1"}},
        })
    }

    #[test]
    fn the_revision_is_spliced_into_the_metadata() {
        let value = sample();
        let object = Object::new(&value, encode(&value), Vec::new(), 1234);
        let read: Value = serde_json::from_slice(&object.to_json()).unwrap();
        assert_eq!(read["metadata"]["resourceVersion"], "1234");
        assert_eq!(read["involvedObject"]["resourceVersion"], "");
        assert_eq!(read, object.to_value());
        assert_eq!(object.label("a"), Some("1"));
        assert_eq!(object.label("c"), None);
    }

    #[test]
    fn what_is_not_committed_has_no_revision() {
        for value in [sample(), json!({"kind": "A", "metadata": {}})] {
            let object = Object::new(&value, encode(&value), Vec::new(), 0);
            let read: Value = serde_json::from_slice(&object.to_json()).unwrap();
            assert_eq!(read["metadata"].get("resourceVersion"), None);
            assert_eq!(read, object.to_value());
        }
    }

    #[test]
    fn stored_bytes_read_back_the_same() {
        let value = sample();
        let first = Object::new(&value, encode(&value), Vec::new(), 7);
        let again = Object::from_stored(first.stored().clone(), 7, |_| Vec::new()).unwrap();
        assert_eq!(first.to_json(), again.to_json());
        assert_eq!(&*again.name, "a");
    }

    #[test]
    fn a_typed_object_is_decoded_once() {
        let value = sample();
        let object = Object::new(&value, encode(&value), Vec::new(), 7);
        let first: Arc<Value> = object.typed().unwrap();
        let second: Arc<Value> = object.typed().unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(*object.typed::<Map<String, Value>>().unwrap(), *first.as_object().unwrap());
        assert!(Arc::ptr_eq(&first, &object.tree()));
        object.supersede();
        let third: Arc<Value> = object.typed().unwrap();
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&third)), (2, 1));
    }
}
