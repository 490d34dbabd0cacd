//! Conversion between the versions of a custom resource by a webhook (`ConversionReview`).
//!
//! Definitions with the strategy `None` have no [`Conversion`]: there the versions differ in `apiVersion`
//! only. What was converted once is kept, so that a list or a watch asks the webhook about each
//! version of an object once; all of it is forgotten with the definition's next change.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::meta;
use api::name;
use api::object::{self, Object};
use api::resource::{Resource, StrategyRef};
use api::status::Status;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::handle::text;
use crate::limits::{CONVERSION_BATCH_MAX, CONVERTED_KEPT_MAX};
use crate::server::Server;
use crate::webhook::{CallError, call};

const GROUP: &str = "apiextensions.k8s.io";
/// Versions of the review that we speak.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// How long the webhook may take, as upstream's client allows.
const TIMEOUT: Duration = Duration::from_secs(30);

/// UID, revision, and the `apiVersion` converted to.
type Key = (Box<str>, u64, String);

/// How the objects of one definition get from version to version.
#[derive(Debug)]
pub(crate) struct Conversion {
    /// `spec.conversion.webhook`.
    config: Value,
    kept: Mutex<HashMap<Key, Arc<Object>>>,
}

impl Conversion {
    /// The webhook of a definition, if it has one.
    pub(crate) fn of(definition: &Value) -> Option<Arc<Self>> {
        let is_webhook = text(definition, "/spec/conversion/strategy") == "Webhook";
        let config = definition.pointer("/spec/conversion/webhook").filter(|_| is_webhook)?;
        Some(Arc::new(Self { config: config.clone(), kept: Mutex::default() }))
    }

    fn review_version(&self) -> Option<&str> {
        let versions = self.config.get("conversionReviewVersions").and_then(Value::as_array)?;
        versions.iter().filter_map(Value::as_str).find(|have| REVIEW_VERSIONS.contains(have))
    }

    fn known(&self, object: &Object, to: &str) -> Option<Arc<Object>> {
        let key = (object.uid.clone(), object.revision, to.to_owned());
        self.kept.lock().get(&key).cloned()
    }

    fn keep(&self, object: &Arc<Object>, to: &str) {
        let mut kept = self.kept.lock();
        if kept.len() >= CONVERTED_KEPT_MAX {
            kept.clear();
        }
        kept.insert((object.uid.clone(), object.revision, to.to_owned()), Arc::clone(object));
    }

    /// Values in the version `to`; those that have it already are left alone.
    pub(crate) async fn values(
        &self,
        server: &Server,
        mut values: Vec<Value>,
        to: &str,
    ) -> Result<Vec<Value>, Status> {
        let differs: Vec<usize> =
            (0..values.len()).filter(|at| text(&values[*at], "/apiVersion") != to).collect();
        for batch in differs.chunks(CONVERSION_BATCH_MAX) {
            let from: Vec<&Value> = batch.iter().map(|at| &values[*at]).collect();
            let converted = self.ask(server, &from, to).await.map_err(failure)?;
            for (at, value) in batch.iter().zip(converted) {
                values[*at] = value;
            }
        }
        Ok(values)
    }

    async fn ask(&self, server: &Server, from: &[&Value], to: &str) -> Result<Vec<Value>, String> {
        let Some(review) = self.review_version() else {
            return Err("no supported conversion review versions".to_owned());
        };
        let kind = kind_of(from.first().copied().unwrap_or(&Value::Null));
        let uid = uuid::Uuid::new_v4().to_string();
        let api_version = format!("{GROUP}/{review}");
        let request = json!({
            "kind": "ConversionReview", "apiVersion": api_version,
            "request": {"uid": uid, "desiredAPIVersion": to, "objects": from},
        });
        let answer = call(server, &self.config, "/clientConfig", &request, TIMEOUT).await;
        let failed = |why: &str| format!("conversion webhook for {kind} failed: {why}");
        let answer = answer.map_err(|error: CallError| failed(&error.to_string()))?;
        let expected = (review == "v1").then_some(uid.as_str());
        let converted = converted_objects(&answer, expected).map_err(|why| failed(&why))?;
        if converted.len() != from.len() {
            return Err(format!(
                "conversion webhook for {kind} returned {} objects, expected {}",
                converted.len(),
                from.len()
            ));
        }
        let pairs = from.iter().zip(converted).enumerate();
        pairs.map(|(index, (from, value))| checked(from, value, to, index)).collect()
    }
}

/// 500 as upstream gives it for errors that have no reason.
fn failure(message: String) -> Status {
    Status::failure(500, "", message)
}

/// Group, version and kind as Go prints them.
fn kind_of(value: &Value) -> String {
    format!("{}, Kind={}", group_version(value), text(value, "/kind"))
}

fn group_version(value: &Value) -> &str {
    text(value, "/apiVersion")
}

/// What a review answers; `uid` is what it must answer to.
fn converted_objects(answer: &Value, uid: Option<&str>) -> Result<Vec<Value>, String> {
    let expected = format!("{GROUP}/v1");
    if uid.is_some()
        && (text(answer, "/kind") != "ConversionReview" || group_version(answer) != expected)
    {
        return Err(format!(
            "expected webhook response of {expected}, Kind=ConversionReview, got {}",
            kind_of(answer)
        ));
    }
    let response = answer.get("response").filter(|response| response.is_object());
    let response = response.ok_or("no response provided")?;
    let have = text(response, "/uid");
    if let Some(uid) = uid.filter(|uid| *uid != have) {
        return Err(format!("expected response.uid={uid:?}, got {have:?}"));
    }
    let status = text(response, "/result/status");
    if status != "Success" {
        return Err(match text(response, "/result/message") {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.to_owned(),
        });
    }
    let objects = response.get("convertedObjects").and_then(Value::as_array);
    Ok(objects.cloned().unwrap_or_default())
}

/// A converted object is the same object: its metadata comes from the original, but for labels and
/// annotations.
fn checked(from: &Value, mut value: Value, to: &str, index: usize) -> Result<Value, String> {
    let kind = kind_of(from);
    let invalid = |why: String| {
        Err(format!(
            "conversion webhook for {kind} returned invalid converted object at index {index}: {why}"
        ))
    };
    let have = group_version(&value).to_owned();
    if have != to {
        return invalid(format!("invalid groupVersion (expected {to}, received {have})"));
    }
    let (wanted, have) = (text(from, "/kind"), text(&value, "/kind"));
    if wanted != have {
        return invalid(format!("invalid kind (expected {wanted}, received {have})"));
    }
    for (what, field) in [("name", "name"), ("namespace", "namespace"), ("UID", "uid")] {
        let (wanted, have) = (meta::text(from, field), meta::text(&value, field));
        if wanted != have {
            return invalid(format!("must have the same {what}: {wanted} != {have}"));
        }
    }
    match restored(from, &value) {
        Ok(metadata) => {
            value["metadata"] = metadata;
            Ok(value)
        }
        Err(why) => Err(format!(
            "conversion webhook for {kind} returned invalid metadata in object at index {index}: {why}"
        )),
    }
}

fn restored(from: &Value, converted: &Value) -> Result<Value, String> {
    let given = converted.get("metadata").ok_or("missing metadata in converted object")?;
    let given = given.as_object().ok_or("invalid metadata in converted object")?;
    let mut metadata = from.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        match given.get(field) {
            None | Some(Value::Null) => drop(metadata.remove(field)),
            Some(Value::Object(map)) => {
                check_texts(field, map)?;
                metadata.insert(field.to_owned(), Value::Object(map.clone()));
            }
            Some(_) => return Err(format!("invalid metadata.{field} in converted object")),
        }
    }
    Ok(Value::Object(metadata))
}

fn check_texts(field: &str, map: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in map {
        let Some(value) = value.as_str() else {
            return Err(format!("metadata.{field}[{key}] must be a string"));
        };
        let is_label = field == "labels";
        let checked = if is_label { key.clone() } else { key.to_lowercase() };
        let key_fault = name::qualified(&checked).map_err(|faults| faults.join("; "));
        let value_fault = if is_label { name::label_value(value) } else { Ok(()) };
        for (shown, fault) in [(key.as_str(), key_fault), (value, value_fault)] {
            if let Err(fault) = fault {
                return Err(format!("metadata.{field}: Invalid value: {shown:?}: {fault}"));
            }
        }
    }
    Ok(())
}

/// The `apiVersion` that an object is stored in.
fn stored_version(object: &Object) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        #[serde(default)]
        api_version: String,
    }
    object.decode::<Head>().map(|head| head.api_version).unwrap_or_default()
}

impl Server {
    /// The webhook that converts a row's objects; `None` for nearly all rows.
    pub(crate) fn conversion_of(&self, resource: &Resource) -> Option<Arc<Conversion>> {
        // Built-in kinds are not looked up.
        if !matches!(resource.strategy, StrategyRef::Shared(_)) {
            return None;
        }
        let table = self.registry.table();
        table.conversion(&resource.storage_group, &resource.storage_plural).cloned()
    }

    /// Stored objects in a row's version, as far as a webhook has to make it of them. What is left
    /// to [`Server::in_version`] is the word in `apiVersion`.
    ///
    /// # Errors
    /// 500: the webhook failed.
    pub(crate) async fn converted(
        &self,
        resource: &Resource,
        objects: Vec<Arc<Object>>,
    ) -> Result<Vec<Arc<Object>>, Status> {
        let Some(conversion) = self.conversion_of(resource) else { return Ok(objects) };
        let to = resource.api_version();
        let mut out = Vec::with_capacity(objects.len());
        let mut waiting: Vec<(usize, Arc<Object>)> = Vec::new();
        for (at, object) in objects.into_iter().enumerate() {
            let known = conversion.known(&object, &to);
            if known.is_none() && stored_version(&object) != to {
                waiting.push((at, Arc::clone(&object)));
            }
            out.push(known.unwrap_or(object));
        }
        let values = waiting.iter().map(|(_, object)| object.to_value()).collect();
        let values = conversion.values(self, values, &to).await?;
        for ((at, object), value) in waiting.iter().zip(values) {
            let fields = resource.strategy.selectable_fields(&value);
            let encoded = object::encode(&value);
            out[*at] = Arc::new(Object::new(&value, encoded, fields, object.revision));
            conversion.keep(&out[*at], &to);
        }
        Ok(out)
    }

    /// Whether an object is stored in a form that its definition has left behind, so that even a write
    /// that changes nothing is to be carried out.
    pub(crate) fn is_outdated(&self, resource: &Resource, object: &Object) -> bool {
        self.cache_of(resource).is_renewed(object)
            || self.conversion_of(resource).is_some()
                && stored_version(object) != resource.storage_api_version()
    }

    /// One object, as [`Server::converted`].
    ///
    /// # Errors
    /// 500: the webhook failed.
    pub(crate) async fn converted_one(
        &self,
        resource: &Resource,
        object: Arc<Object>,
    ) -> Result<Arc<Object>, Status> {
        let mut converted = self.converted(resource, vec![Arc::clone(&object)]).await?;
        Ok(converted.pop().unwrap_or(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foo(version: &str, labels: Value) -> Value {
        json!({"apiVersion": format!("a.b/{version}"), "kind": "Foo", "metadata": {
            "name": "x", "uid": "u", "resourceVersion": "7", "labels": labels}})
    }

    #[test]
    fn a_converted_object_keeps_its_identity() {
        let from = foo("v1", json!({"a": "b"}));
        let mut to = foo("v2", json!({"c": "d"}));
        meta::set(&mut to, "resourceVersion", "99");
        let converted = checked(&from, to, "a.b/v2", 0).unwrap();
        assert_eq!(meta::text(&converted, "resourceVersion"), "7");
        assert_eq!(converted.pointer("/metadata/labels"), Some(&json!({"c": "d"})));
    }

    #[test]
    fn faults_read_as_upstreams() {
        let from = foo("v1", json!({}));
        let mut other_uid = foo("v2", json!({}));
        meta::set(&mut other_uid, "uid", "w");
        let at = "conversion webhook for a.b/v1, Kind=Foo returned invalid converted object at index 0: ";
        for (to, expected) in [
            (foo("v3", json!({})), "invalid groupVersion (expected a.b/v2, received a.b/v3)"),
            (other_uid, "must have the same UID: u != w"),
        ] {
            assert_eq!(checked(&from, to, "a.b/v2", 0).unwrap_err(), format!("{at}{expected}"));
        }
    }

    #[test]
    fn answers_are_checked() {
        let review = |response: Value| {
            json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
                "response": response})
        };
        let cases = [
            (
                json!({}),
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got , Kind=",
            ),
            (review(Value::Null), "no response provided"),
            (review(json!({"uid": "w"})), r#"expected response.uid="u", got "w""#),
            (
                review(json!({"uid": "u", "result": {"status": "Failure"}})),
                "response.result.status was 'Failure', not 'Success'",
            ),
            (review(json!({"uid": "u", "result": {"status": "Failure", "message": "no"}})), "no"),
        ];
        for (answer, expected) in cases {
            assert_eq!(converted_objects(&answer, Some("u")).unwrap_err(), expected);
        }
        let good =
            review(json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": [1]}));
        assert_eq!(converted_objects(&good, Some("u")).unwrap(), [json!(1)]);
    }
}
