//! A small API server in memory: just enough of pods, nodes, claims and volumes for a scheduler.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use api::object::{self, Object};
use bytes::Bytes;
use client::{Client, Source, Update, WatchScope};
use clock::{Clock, Random};
use futures::{StreamExt as _, stream::BoxStream};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use scheduler::Config;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

type Key = (String, String, String);

#[derive(Default)]
struct Stored {
    objects: BTreeMap<Key, Arc<Object>>,
    watchers: Vec<(String, mpsc::Sender<Update>)>,
    revision: u64,
    log: Vec<String>,
    /// The node of each bound pod.
    bound: BTreeMap<String, String>,
    /// Bindings that are still to be refused, and how.
    refusals: Vec<(u16, String)>,
}

/// The server, shared by test and scheduler.
#[derive(Clone)]
pub(crate) struct Api {
    stored: Arc<Mutex<Stored>>,
    changed: watch::Sender<u64>,
}

impl Source for Api {
    fn watch(&self, scope: WatchScope) -> BoxStream<'static, Update> {
        let (sender, mut receiver) = mpsc::channel(100_000);
        let mut stored = self.stored.lock();
        let of_kind = stored.objects.iter().filter(|((plural, ..), _)| *plural == scope.plural);
        let listed = of_kind.map(|(_, object)| Arc::clone(object)).collect();
        sender.try_send(Update::Reset(listed)).unwrap();
        stored.watchers.push((scope.plural, sender));
        futures::stream::poll_fn(move |context| receiver.poll_recv(context)).boxed()
    }
}

impl Api {
    pub(crate) fn new() -> Self {
        Self { stored: Arc::default(), changed: watch::Sender::new(0) }
    }

    /// Starts a scheduler on it; it ends with the returned scope.
    pub(crate) fn start(&self, config: Config) -> task::Scope {
        let scope = task::Scope::new();
        let api = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                Ok::<_, Infallible>(api.answer(&parts.method, parts.uri.path(), body))
            }
        });
        let kube = kube::Client::new(service, "default");
        let client = Client::new(kube, Arc::new(self.clone()), scope.clone());
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
        let run = scheduler::run(client, clock, Random::seeded(1), config, scope.clone());
        scope.spawn("scheduler", run);
        scope
    }

    /// Creates or replaces an object.
    pub(crate) fn put(&self, plural: &str, value: impl serde::Serialize) {
        self.write(plural, serde_json::to_value(value).unwrap());
    }

    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.stored.lock().objects.get(&key).map(|object| object.to_value())
    }

    /// The node of each bound pod.
    pub(crate) fn bound(&self) -> BTreeMap<String, String> {
        self.stored.lock().bound.clone()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.stored.lock().log.clone()
    }

    /// Refuses the next binding.
    pub(crate) fn refuse(&self, code: u16, message: &str) {
        self.stored.lock().refusals.push((code, message.to_owned()));
    }

    pub(crate) fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let mut stored = self.stored.lock();
        if let Some(object) = stored.objects.remove(&key) {
            if plural == "pods" {
                stored.bound.remove(name);
            }
            stored.tell(plural, &Update::Deleted(object));
        }
        drop(stored);
        self.changed.send_modify(|version| *version += 1);
    }

    /// Waits until `holds`.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !holds(self) {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(3600), wait).await.is_err() {
            panic!("{what} did not happen; bound: {:?}; log: {:#?}", self.bound(), self.log());
        }
    }

    pub(crate) async fn until_logged(&self, line: &str) {
        self.until(line, |api| api.log().iter().any(|have| have.contains(line))).await;
    }

    fn write(&self, plural: &str, mut value: Value) {
        let mut stored = self.stored.lock();
        stored.revision += 1;
        let revision = stored.revision;
        value["metadata"]["resourceVersion"] = revision.to_string().into();
        let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = (plural.to_owned(), text("namespace"), text("name"));
        let object = Arc::new(Object::new(&value, object::encode(&value), Vec::new(), revision));
        if plural == "pods"
            && let Some(node) = value["spec"]["nodeName"].as_str()
        {
            stored.bound.insert(key.2.clone(), node.to_owned());
        }
        stored.objects.insert(key, Arc::clone(&object));
        stored.tell(plural, &Update::Applied(object));
        drop(stored);
        self.changed.send_modify(|version| *version += 1);
    }

    fn note(&self, line: String) {
        self.stored.lock().log.push(line);
        self.changed.send_modify(|version| *version += 1);
    }

    fn answer(
        &self,
        method: &http::Method,
        path: &str,
        body: Value,
    ) -> http::Response<Full<Bytes>> {
        let parts: Vec<&str> = path.trim_start_matches("/api/v1/").split('/').collect();
        let answer = match (method.as_str(), &parts[..]) {
            ("POST", ["namespaces", _, "events"]) => {
                let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
                let about = body["involvedObject"]["name"].as_str().unwrap_or_default().to_owned();
                self.note(format!("event {about} {} {}", text("reason"), text("message")));
                Ok(body)
            }
            ("POST", ["namespaces", namespace, "pods", name, "binding"]) => {
                self.bind(namespace, name, &body)
            }
            ("PATCH", ["namespaces", namespace, "pods", name, "status"]) => {
                self.patch_status(namespace, name, &body)
            }
            ("DELETE", ["namespaces", namespace, "pods", name]) => {
                self.note(format!("delete {name}"));
                self.delete("pods", namespace, name);
                Ok(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            ("PUT", ["persistentvolumes", name]) => {
                self.note(format!("update volume {name}"));
                self.write("persistentvolumes", body.clone());
                Ok(body)
            }
            ("PUT", ["namespaces", _, "persistentvolumeclaims", name]) => {
                self.note(format!("update claim {name}"));
                self.write("persistentvolumeclaims", body.clone());
                Ok(body)
            }
            _ => Ok(body),
        };
        let (code, value) = match answer {
            Ok(value) => (200, value),
            Err((code, message)) => (
                code,
                json!({"kind": "Status", "apiVersion": "v1",
                "status": "Failure", "code": code, "message": message, "reason": ""}),
            ),
        };
        let body = Full::new(Bytes::from(value.to_string()));
        http::Response::builder().status(code).body(body).unwrap()
    }

    fn bind(&self, namespace: &str, name: &str, body: &Value) -> Result<Value, (u16, String)> {
        if let Some(refusal) = self.stored.lock().refusals.pop() {
            return Err(refusal);
        }
        let missing = || (404, format!("pods {name:?} not found"));
        let mut pod = self.get("pods", namespace, name).ok_or_else(missing)?;
        if !pod["spec"]["nodeName"].is_null() {
            return Err((409, format!("pod {name} is already assigned to a node")));
        }
        assert_eq!(body["metadata"]["uid"], pod["metadata"]["uid"]);
        pod["spec"]["nodeName"] = body["target"]["name"].clone();
        self.write("pods", pod);
        Ok(json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201}))
    }

    fn patch_status(
        &self,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value, (u16, String)> {
        let missing = || (404, format!("pods {name:?} not found"));
        let mut pod = self.get("pods", namespace, name).ok_or_else(missing)?;
        if pod["status"].is_null() {
            pod["status"] = json!({});
        }
        if let Some(nominated) = patch["status"].get("nominatedNodeName") {
            pod["status"]["nominatedNodeName"] = nominated.clone();
        }
        for condition in patch["status"]["conditions"].as_array().into_iter().flatten() {
            let mut all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            all.retain(|have| have["type"] != condition["type"]);
            all.push(condition.clone());
            pod["status"]["conditions"] = all.into();
            let text = |field: &str| condition[field].as_str().unwrap_or_default();
            let line = format!("{} {}={} {}", name, text("type"), text("status"), text("reason"));
            self.note(format!("condition {line}: {}", text("message")));
        }
        self.write("pods", pod.clone());
        Ok(pod)
    }
}

impl Stored {
    fn tell(&mut self, plural: &str, update: &Update) {
        self.watchers.retain(|(watched, watcher)| {
            watched != plural || watcher.try_send(update.clone()).is_ok()
        });
    }
}
