//! An API server in memory: objects as trees, requests through a tower service, watches through
//! [`client::Source`].

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use api::object::{self, Object};
use client::{Source, Update, WatchScope};
use clock::Clock;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http_body_util::{BodyExt as _, Full};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

type Key = (String, String, String);

struct Watcher {
    scope: WatchScope,
    sender: mpsc::Sender<Update>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, (Value, u64)>,
    revision: u64,
    /// Every version of every pod, the oldest first.
    versions: Vec<Value>,
    watchers: Vec<Watcher>,
    requests: Vec<String>,
}

/// See the module's text; cheap to clone.
#[derive(Clone)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
    clock: Clock,
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn to_object(value: &Value, revision: u64) -> Arc<Object> {
    Arc::new(Object::new(value, object::encode(value), Vec::new(), revision))
}

fn selected(scope: &WatchScope, plural: &str, value: &Value) -> bool {
    let fields = scope.fields.split(',').filter(|field| !field.is_empty());
    scope.plural == plural
        && (scope.namespace.is_empty() || scope.namespace == text(value, "/metadata/namespace"))
        && fields.into_iter().all(|field| {
            let (path, wanted) = field.split_once('=').unwrap();
            text(value, &format!("/{}", path.replace('.', "/"))) == wanted
        })
}

impl FakeApi {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { state: Arc::default(), changes: watch::Sender::new(0), clock }
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The requests so far, as `METHOD /path`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().requests.clone()
    }

    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.state.lock().objects.get(&key).map(|(value, _)| value.clone())
    }

    pub(crate) fn list(&self, plural: &str) -> Vec<Value> {
        let state = self.state.lock();
        let mut found: Vec<&(Value, u64)> = state
            .objects
            .iter()
            .filter(|((have, _, _), _)| have == plural)
            .map(|(_, entry)| entry)
            .collect();
        found.sort_by_key(|(value, _)| text(value, "/metadata/creation").to_owned());
        found.into_iter().map(|(value, _)| value.clone()).collect()
    }

    pub(crate) fn pod(&self, name: &str) -> Option<Pod> {
        self.get("pods", "ns", name).map(|value| serde_json::from_value(value).unwrap())
    }

    /// Every version of every pod so far.
    pub(crate) fn pod_versions(&self) -> Vec<Pod> {
        let versions = self.state.lock().versions.clone();
        versions.into_iter().map(|value| serde_json::from_value(value).unwrap()).collect()
    }

    /// Creates or replaces an object.
    pub(crate) fn put(&self, plural: &str, mut value: Value) -> Value {
        let mut state = self.state.lock();
        state.revision += 1;
        let revision = state.revision;
        let metadata = &mut value["metadata"];
        metadata["resourceVersion"] = json!(revision.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{revision}"));
        }
        if metadata["creationTimestamp"].is_null() {
            let now = self.clock.now();
            metadata["creationTimestamp"] = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            metadata["creation"] = json!(format!("{revision:09}"));
        }
        let key = (
            plural.to_owned(),
            text(&value, "/metadata/namespace").to_owned(),
            text(&value, "/metadata/name").to_owned(),
        );
        state.objects.insert(key, (value.clone(), revision));
        if plural == "pods" {
            state.versions.push(value.clone());
        }
        let object = to_object(&value, revision);
        state.watchers.retain(|watcher| {
            !selected(&watcher.scope, plural, &value)
                || watcher.sender.try_send(Update::Applied(Arc::clone(&object))).is_ok()
        });
        drop(state);
        self.changes.send_modify(|count| *count += 1);
        value
    }

    /// Changes an object in place.
    pub(crate) fn edit(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
        edit: impl Fn(&mut Value),
    ) {
        let mut value = self.get(plural, namespace, name).unwrap();
        edit(&mut value);
        self.put(plural, value);
    }

    pub(crate) fn remove(&self, plural: &str, namespace: &str, name: &str) {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let mut state = self.state.lock();
        state.revision += 1;
        let revision = state.revision;
        let Some((value, _)) = state.objects.remove(&key) else { return };
        let object = to_object(&value, revision);
        state.watchers.retain(|watcher| {
            !selected(&watcher.scope, plural, &value)
                || watcher.sender.try_send(Update::Deleted(Arc::clone(&object))).is_ok()
        });
        drop(state);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Asks for a graceful deletion, as a user does.
    pub(crate) fn delete_pod(&self, name: &str, grace: i64) {
        let now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.edit("pods", "ns", name, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!(now);
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        });
    }

    pub(crate) fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let (code, value) = api.handle(&parts, &body);
                let response = http::Response::builder()
                    .status(code)
                    .header("content-type", "application/json")
                    .body(Full::new(bytes::Bytes::from(value.to_string())))
                    .unwrap();
                Ok::<_, Infallible>(response)
            }
        });
        kube::Client::new(service, "default")
    }

    fn handle(&self, parts: &http::request::Parts, body: &[u8]) -> (u16, Value) {
        let path = parts.uri.path().to_owned();
        self.state.lock().requests.push(format!("{} {path}", parts.method));
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let rest = if segments[0] == "api" { &segments[2..] } else { &segments[3..] };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let plural = rest[0];
        let name = rest.get(1).copied().unwrap_or_default();
        let sub = rest.get(2).copied().unwrap_or_default();
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        match (parts.method.as_str(), sub) {
            ("POST", "token") => (201, token(&self.clock, &value)),
            ("POST", _) => self.create(plural, namespace, value),
            ("GET", _) if name.is_empty() => {
                (200, json!({"items": self.list(plural), "metadata": {}}))
            }
            ("GET", _) => {
                self.get(plural, namespace, name).map_or_else(|| missing(name), |it| (200, it))
            }
            ("PUT", _) => (200, self.put(plural, value)),
            ("PATCH", _) => self.patch(plural, (namespace, name), sub, &value),
            ("DELETE", _) => self.delete(plural, namespace, name, &value),
            _ => (405, json!({})),
        }
    }

    fn create(&self, plural: &str, namespace: &str, mut value: Value) -> (u16, Value) {
        if !namespace.is_empty() {
            value["metadata"]["namespace"] = json!(namespace);
        }
        let name = text(&value, "/metadata/name").to_owned();
        if self.get(plural, namespace, &name).is_some() {
            return (
                409,
                status(409, "AlreadyExists", &format!("{plural} \"{name}\" already exists")),
            );
        }
        (201, self.put(plural, value))
    }

    fn patch(
        &self,
        plural: &str,
        (namespace, name): (&str, &str),
        sub: &str,
        patch: &Value,
    ) -> (u16, Value) {
        let Some(mut value) = self.get(plural, namespace, name) else { return missing(name) };
        let uid = text(patch, "/metadata/uid");
        if !uid.is_empty() && uid != text(&value, "/metadata/uid") {
            return (409, status(409, "Conflict", "the uid in the precondition does not match"));
        }
        if sub == "status" {
            merge(&mut value["status"], &patch["status"]);
        } else {
            merge(&mut value, patch);
        }
        (200, self.put(plural, value))
    }

    fn delete(&self, plural: &str, namespace: &str, name: &str, options: &Value) -> (u16, Value) {
        let Some(value) = self.get(plural, namespace, name) else { return missing(name) };
        let uid = text(options, "/preconditions/uid");
        if !uid.is_empty() && uid != text(&value, "/metadata/uid") {
            return (409, status(409, "Conflict", "the uid in the precondition does not match"));
        }
        self.remove(plural, namespace, name);
        (200, value)
    }
}

fn token(clock: &Clock, request: &Value) -> Value {
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
    let now = clock.now();
    let expires = now + std::time::Duration::from_secs(u64::try_from(seconds).unwrap());
    json!({"spec": request["spec"], "status": {
        "token": format!("token-{}", now.as_second()),
        "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}})
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": message})
}

fn missing(name: &str) -> (u16, Value) {
    (404, status(404, "NotFound", &format!("\"{name}\" not found")))
}

/// A merge patch in which lists of keyed objects are merged by key: enough of a strategic one.
fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else { return };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, change) in fields.iter().filter(|(key, _)| !key.starts_with('$')) {
        let merge_key = match key.as_str() {
            "conditions" => "type",
            "podIPs" | "hostIPs" => "ip",
            _ => "",
        };
        if change.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else if !merge_key.is_empty() {
            merge_list(&mut target[key], change, merge_key);
        } else if change.is_object() {
            merge(&mut target[key], change);
        } else {
            target[key] = change.clone();
        }
    }
    if let Some(addresses) = target.get_mut("addresses").and_then(Value::as_array_mut) {
        addresses.retain(|it| it["$patch"].is_null());
    }
}

fn merge_list(target: &mut Value, patch: &Value, key: &str) {
    if !target.is_array() {
        *target = json!([]);
    }
    let list = target.as_array_mut().unwrap();
    for item in patch.as_array().unwrap() {
        let at = list.iter().position(|have| have[key] == item[key]);
        match (at, item["$patch"].as_str()) {
            (Some(at), Some("delete")) => {
                list.remove(at);
            }
            (Some(at), _) => merge(&mut list[at], item),
            (None, _) => list.push(item.clone()),
        }
    }
}

impl Source for FakeApi {
    fn watch(&self, scope: WatchScope) -> BoxStream<'static, Update> {
        let (sender, mut receiver) = mpsc::channel(1024);
        let mut state = self.state.lock();
        let all = state
            .objects
            .iter()
            .filter(|((plural, _, _), (value, _))| selected(&scope, plural, value))
            .map(|(_, (value, revision))| to_object(value, *revision))
            .collect();
        sender.try_send(Update::Reset(all)).unwrap();
        state.watchers.push(Watcher { scope, sender });
        drop(state);
        futures::stream::poll_fn(move |context| receiver.poll_recv(context)).boxed()
    }
}
