//! The part of a write that is the same for every kind: names, identity, timestamps, finalizers.

use std::collections::HashSet;

use api::field::{Error, Path};
use api::meta;
use api::name;
use api::resource::{NameRule, Resource, StrategyRef};
use api::status::Status;
use clock::Random;
use jiff::Timestamp;
use serde_json::Value;

use crate::limits::{ANNOTATIONS_BYTES_MAX, GENERATE_NAME_BASE_MAX};
use crate::registry::Table;

/// Length of the suffix behind `generateName`.
const SUFFIX_LENGTH: usize = 5;

/// A timestamp as Kubernetes writes it: whole seconds.
pub(crate) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Checks kind and version of a body against the row, and fills them in when missing.
pub(crate) fn check_type(
    table: &Table,
    resource: &Resource,
    object: &mut Value,
) -> Result<(), Status> {
    let expected = resource.api_version();
    for (key, want) in [("kind", &*resource.kind), ("apiVersion", expected.as_str())] {
        if object.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
            meta::object_mut(object).insert(key.to_owned(), want.into());
        }
    }
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    if kind == &*resource.kind && api_version == expected {
        return Ok(());
    }
    Err(Status::bad_request(wrong_type(table, resource, kind, api_version)))
}

/// Why an object is none of a row's, in upstream's words.
fn wrong_type(table: &Table, resource: &Resource, kind: &str, api_version: &str) -> String {
    let want = &resource.kind;
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let refused =
        |why: String| format!("{kind} in version {version:?} cannot be handled as a {want}: {why}");
    if let Some(unknown) = unknown_kind(table, kind, api_version) {
        return refused(unknown);
    }
    if kind == &**want {
        let expected = resource.api_version();
        return format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        );
    }
    let internal = |group: &str| match group.split('.').next().unwrap_or_default() {
        "" => "core".to_owned(),
        first => first.to_owned(),
    };
    let package = internal(&resource.group);
    refused(format!("converting ({version}.{kind}) to ({package}.{want}): unknown conversion"))
}

/// What upstream says of a kind that there is none of; `None` for one that is served.
pub(crate) fn unknown_kind(table: &Table, kind: &str, api_version: &str) -> Option<String> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    table.find_kind(group, version, kind).is_none().then(|| {
        format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        )
    })
}

/// Refuses an object of another name than the path's.
pub(crate) fn check_url_name(call: &crate::call::Call, object: &Value) -> Result<(), Status> {
    let (name, wanted) = (meta::name(object), &call.info.name);
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        )));
    }
    if name == wanted { Ok(()) } else { Err(other_name(name, wanted)) }
}

/// 400: the object's name is not the one of the path.
pub(crate) fn other_name(name: &str, wanted: &str) -> Status {
    Status::bad_request(format!(
        "the name of the object ({name}) does not match the name on the URL ({wanted})"
    ))
}

/// Puts the namespace of the path into the object, or refuses another one.
pub(crate) fn check_namespace(
    resource: &Resource,
    object: &mut Value,
    namespace: &str,
) -> Result<(), Status> {
    if !resource.is_namespaced() {
        meta::remove(object, "namespace");
        return Ok(());
    }
    let have = meta::namespace(object);
    if have.is_empty() {
        meta::set(object, "namespace", namespace);
    } else if have != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Gives a new object its name, identity and birth date, and drops what only the server may set.
pub(crate) fn prepare_for_create(
    resource: &Resource,
    object: &mut Value,
    now: Timestamp,
    random: &mut Random,
) {
    let metadata = meta::map_mut(object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"]
    {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), seconds(now).into());
    metadata.remove("generation");
    if resource.has_generation {
        metadata.insert("generation".into(), 1.into());
    }
    if resource.has_status {
        meta::object_mut(object).remove("status");
    }
    generate_name(object, random);
}

/// Replaces an empty name by `generateName` with a random suffix.
pub(crate) fn generate_name(object: &mut Value, random: &mut Random) {
    let base = meta::text(object, "generateName");
    if base.is_empty() || !meta::name(object).is_empty() {
        return;
    }
    let mut end = base.len().min(GENERATE_NAME_BASE_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let name = format!("{}{}", &base[..end], random.name_suffix(SUFFIX_LENGTH));
    meta::set(object, "name", name);
}

/// Restores what an updater may not touch.
pub(crate) fn prepare_for_update(object: &mut Value, old: &Value) {
    let preserved = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ];
    for field in preserved {
        match meta::get(old, field) {
            Some(value) => meta::set(object, field, value.clone()),
            None => meta::remove(object, field),
        }
    }
    meta::remove(object, "selfLink");
}

/// Whether anything but metadata and status differs: what bumps the generation.
pub(crate) fn spec_differs(new: &Value, old: &Value) -> bool {
    fn part(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
        let map = value.as_object().into_iter().flatten();
        map.filter(|(key, _)| {
            !matches!(key.as_str(), "metadata" | "status" | "kind" | "apiVersion")
        })
    }
    !part(new).eq(part(old))
}

/// Faults of the metadata of a new object.
pub(crate) fn validate(resource: &Resource, object: &Value) -> Vec<Error> {
    let path = Path::new("metadata");
    let mut errors = Vec::new();
    let generate = meta::text(object, "generateName");
    let name_path = path.child("name");
    let object_name = meta::name(object);
    if object_name.is_empty() {
        let detail = if generate.is_empty() { "name or generateName is required" } else { "" };
        errors.push(Error::required(&name_path, detail));
    } else if let Err(fault) = check_name(resource.name_rule, object_name) {
        errors.push(Error::invalid(&name_path, object_name, fault));
    }
    validate_maps(object, &path, &mut errors);
    validate_finalizers(object, &path, &mut errors);
    if is_of_core_rules(resource) {
        validate_known_finalizers(object, &path, &mut errors);
    }
    validate_owners(object, &path, &mut errors);
    errors
}

/// Whether upstream holds the metadata of a kind against the rules of its core group, and not only the general ones.
fn is_of_core_rules(resource: &Resource) -> bool {
    !matches!(resource.strategy, StrategyRef::Shared(_))
        && !matches!(&*resource.group, "apiextensions.k8s.io" | "apiregistration.k8s.io")
}

fn validate_known_finalizers(object: &Value, path: &Path, errors: &mut Vec<Error>) {
    let path = path.child("finalizers");
    for (index, finalizer) in meta::finalizers(object).into_iter().enumerate() {
        if !name::is_standard_finalizer(finalizer) && !finalizer.contains('/') {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(Error::invalid(&path.index(index), finalizer, why));
        }
    }
}

/// Whether a name fits the rule.
pub(crate) fn check_name(rule: NameRule, text: &str) -> Result<(), String> {
    match rule {
        NameRule::Subdomain => name::subdomain(text),
        NameRule::Label => name::label(text),
        NameRule::Label1035 => name::label_1035(text),
        NameRule::PathSegment => name::path_segment(text),
        NameRule::Own => Ok(()),
    }
}

/// The text must be a qualified name; `shown` is what the faults show.
fn qualified(path: &Path, text: &str, shown: &str, errors: &mut Vec<Error>) {
    let faults = name::qualified(text).err().into_iter().flatten();
    errors.extend(faults.map(|fault| Error::invalid(path, shown, fault)));
}

fn validate_maps(object: &Value, path: &Path, errors: &mut Vec<Error>) {
    let entries =
        |field: &str| meta::get(object, field).and_then(Value::as_object).into_iter().flatten();
    let labels = path.child("labels");
    for (key, value) in entries("labels") {
        qualified(&labels, key, key, errors);
        let text = value.as_str().unwrap_or_default();
        if let Err(fault) = name::label_value(text) {
            errors.push(Error::invalid(&labels, text, fault));
        }
    }
    let annotations = path.child("annotations");
    let mut size = 0;
    for (key, value) in entries("annotations") {
        qualified(&annotations, &key.to_lowercase(), key, errors);
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_BYTES_MAX {
        errors.push(Error::too_long(&annotations, ANNOTATIONS_BYTES_MAX));
    }
}

fn validate_finalizers(object: &Value, path: &Path, errors: &mut Vec<Error>) {
    let path = path.child("finalizers");
    let finalizers = meta::finalizers(object);
    for finalizer in &finalizers {
        qualified(&path, finalizer, finalizer, errors);
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        let value = Value::from(finalizers.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>());
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(Error::invalid(&path, value, detail));
    }
}

fn validate_owners(object: &Value, path: &Path, errors: &mut Vec<Error>) {
    // Upstream's paths do not tell which of the owners it is.
    let path = path.child("ownerReferences");
    let owners = meta::get(object, "ownerReferences").and_then(Value::as_array);
    let mut controller: Option<String> = None;
    for owner in owners.into_iter().flatten() {
        let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
        let version = text("apiVersion").rsplit('/').next().unwrap_or_default();
        let parts = [
            ("apiVersion", version, "version"),
            ("kind", text("kind"), "kind"),
            ("name", text("name"), "name"),
            ("uid", text("uid"), "uid"),
        ];
        for (field, part, what) in parts {
            if part.is_empty() {
                let detail = format!("{what} must not be empty");
                errors.push(Error::invalid(&path.child(field), text(field), detail));
            }
        }
        if (text("apiVersion"), text("kind")) == ("v1", "Event") {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(Error::invalid(&path, owner.clone(), detail));
        }
        if owner.get("controller") != Some(&Value::Bool(true)) {
            continue;
        }
        let shown = format!("{}/{}", text("kind"), text("name"));
        match &controller {
            None => controller = Some(shown),
            Some(first) => {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {shown}"
                );
                let all = meta::get(object, "ownerReferences").cloned().unwrap_or_default();
                errors.push(Error::invalid(&path, all, detail));
            }
        }
    }
}

/// Drops owners that are there twice; says so for a `Warning` header. `when` goes on behind "duplicate entries".
pub(crate) fn drop_double_owners(object: &mut Value, when: &str) -> Option<String> {
    let owners = meta::get(object, "ownerReferences")?.as_array()?;
    let mut seen = HashSet::new();
    let (kept, doubles): (Vec<&Value>, Vec<&Value>) =
        owners.iter().partition(|owner| seen.insert(*owner));
    if doubles.is_empty() {
        return None;
    }
    let uids: Vec<&str> = doubles.iter().filter_map(|owner| owner["uid"].as_str()).collect();
    let warning = format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        uids.join(", ")
    );
    let kept: Vec<Value> = kept.into_iter().cloned().collect();
    meta::set(object, "ownerReferences", kept);
    Some(warning)
}

/// Faults of changed metadata.
pub(crate) fn validate_update(resource: &Resource, new: &Value, old: &Value) -> Vec<Error> {
    let path = Path::new("metadata");
    let mut errors = Vec::new();
    let immutable = "field is immutable";
    for field in ["name", "namespace"] {
        if meta::text(new, field) != meta::text(old, field) {
            errors.push(Error::invalid(&path.child(field), meta::text(new, field), immutable));
        }
    }
    validate_maps(new, &path, &mut errors);
    validate_finalizers(new, &path, &mut errors);
    if is_of_core_rules(resource) {
        validate_known_finalizers(new, &path, &mut errors);
    }
    validate_owners(new, &path, &mut errors);
    if meta::is_deleting(old) {
        let had = meta::finalizers(old);
        let mut added: Vec<&str> = meta::finalizers(new)
            .into_iter()
            .filter(|finalizer| !had.contains(finalizer))
            .collect();
        added.sort_unstable();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.iter().map(|f| format!("\"{f}\"")).collect::<Vec<_>>().join(", ")
            );
            errors.push(Error::forbidden(&path.child("finalizers"), detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row() -> std::sync::Arc<Resource> {
        let all = api::kinds::all();
        all.iter().find(|row| row.plural == "configmaps").cloned().unwrap()
    }

    #[test]
    fn a_new_object_gets_its_identity() {
        let mut object = json!({"metadata": {"generateName": "a-", "uid": "mine",
            "deletionTimestamp": "2020-01-01T00:00:00Z"}});
        let now = "2026-01-02T03:04:05.6Z".parse().unwrap();
        prepare_for_create(&row(), &mut object, now, &mut Random::seeded(1));
        assert_eq!(meta::text(&object, "creationTimestamp"), "2026-01-02T03:04:05Z");
        assert_eq!(meta::name(&object).len(), 7);
        assert_ne!(meta::uid(&object), "mine");
        assert!(!meta::is_deleting(&object));
    }

    #[test]
    fn bad_metadata_is_named() {
        let object = json!({"metadata": {"name": "A", "labels": {"-x": "ok"},
            "ownerReferences": [{"kind": "K"}]}});
        let fields: Vec<String> =
            validate(&row(), &object).into_iter().map(|error| error.field).collect();
        assert_eq!(
            fields,
            [
                "metadata.name",
                "metadata.labels",
                "metadata.ownerReferences.apiVersion",
                "metadata.ownerReferences.name",
                "metadata.ownerReferences.uid"
            ]
        );
        let owner = |name: &str| {
            json!({"apiVersion": "v1", "kind": "K", "name": name, "uid": "u",
            "controller": true})
        };
        let object =
            json!({"metadata": {"name": "a", "ownerReferences": [owner("a"), owner("b")]}});
        let errors = validate(&row(), &object);
        assert_eq!(
            errors[0].detail,
            "Only one reference can have Controller set to true. Found \"true\" in references for K/a and K/b"
        );
    }

    #[test]
    fn owners_are_there_once() {
        let owner = |name: &str| json!({"name": name, "uid": "u-1"});
        let mut object =
            json!({"metadata": {"ownerReferences": [owner("a"), owner("b"), owner("a")]}});
        let warning = drop_double_owners(&mut object, " here").unwrap();
        assert!(warning.starts_with(
            ".metadata.ownerReferences contains duplicate entries here; API server dedups"
        ));
        assert!(warning.ends_with("duplicate UID(s) observed: u-1"));
        assert_eq!(object["metadata"]["ownerReferences"], json!([owner("a"), owner("b")]));
        assert_eq!(drop_double_owners(&mut object, ""), None);
    }

    #[test]
    fn finalizers_cannot_be_added_to_a_dying_object() {
        let old = json!({"metadata": {"name": "a", "deletionTimestamp": "2020-01-01T00:00:00Z"}});
        let mut new = old.clone();
        meta::set(&mut new, "finalizers", json!(["x.io/y"]));
        let errors = validate_update(&row(), &new, &old);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].reason(), "FieldValueForbidden");
    }
}
