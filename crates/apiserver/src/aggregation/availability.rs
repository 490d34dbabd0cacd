//! Whether the backends are there: the condition `Available` of their objects.
//!
//! Checked when an object, its Service or the Service's endpoints change, and now and then besides.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use serde_json::{Value, json};

use super::backend::Backend;
use super::remote::Remote;
use super::{GROUP, PLURAL};
use crate::call::WriteOptions;
use crate::handle::text;
use crate::metadata::seconds;
use crate::server::Server;
use crate::write::Part;

/// How long a backend may take to tell what it serves.
const ANSWER_MAX: Duration = Duration::from_secs(6);
/// How often backends are looked at that are all there.
const LOOK_PERIOD: Duration = Duration::from_secs(30);
/// How often they are looked at while one is away, and the least time between two looks.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// A verdict on one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    available: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self { available: false, reason, message: message.into() }
    }

    fn passed() -> Self {
        Self { available: true, reason: "Passed", message: "all checks passed".to_owned() }
    }

    fn status(&self) -> &'static str {
        if self.available { "True" } else { "False" }
    }
}

fn condition(object: &Value) -> Option<&Value> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array)?;
    conditions.iter().find(|condition| text(condition, "/type") == "Available")
}

/// Whether an `APIService` says that its backend is there.
pub(super) fn is_available(object: &Value) -> bool {
    condition(object).is_some_and(|condition| text(condition, "/status") == "True")
}

impl Server {
    /// Takes the backends from the objects as they are now.
    pub(super) fn load_backends(&self) {
        let known = self.aggregation.backends.load();
        let mut backends = HashMap::new();
        for object in self.caches.place(GROUP, PLURAL).list("", |_| true) {
            let object = object.to_value();
            let place = (
                text(&object, "/spec/group").to_owned(),
                text(&object, "/spec/version").to_owned(),
            );
            if let Some(backend) = Backend::of(self, &object, known.get(&place)) {
                backends.insert(place, Arc::new(backend));
            }
        }
        let mut remotes = self.aggregation.remotes.lock();
        remotes.retain(|name, _| backends.values().any(|backend| backend.name == *name));
        for backend in backends.values() {
            let absent = || Arc::new(Remote::unknown(backend));
            let remote = remotes.entry(backend.name.clone()).or_insert_with(absent);
            if !remote.is_of(backend) {
                *remote = Arc::new(remote.moved_to(backend));
            }
        }
        self.aggregation.backends.store(Arc::new(backends));
    }

    /// Follows the objects and looks at their backends, forever.
    pub(super) async fn follow_backends(self: &Arc<Self>) {
        let mut objects = self.caches.place(GROUP, PLURAL).subscribe();
        let mut services = self.caches.place("", "services").subscribe();
        let mut slices = self.caches.place("discovery.k8s.io", "endpointslices").subscribe();
        loop {
            objects.borrow_and_update();
            self.load_backends();
            if self.aggregation.is_empty() {
                if objects.changed().await.is_err() {
                    return;
                }
                continue;
            }
            services.borrow_and_update();
            slices.borrow_and_update();
            let all_there = self.look_at_backends().await;
            let pause = if all_there { LOOK_PERIOD } else { LOOK_PAUSE };
            tokio::select! {
                changed = objects.changed() => if changed.is_err() { return },
                () = self.clock.sleep(pause) => {}
                () = async {
                    // Endpoints come and go often: not every change is worth a look of its own.
                    self.clock.sleep(LOOK_PAUSE).await;
                    tokio::select! { _ = services.changed() => {} _ = slices.changed() => {} }
                } => {}
            }
        }
    }

    /// Looks at every backend once; whether all are there.
    async fn look_at_backends(&self) -> bool {
        let backends = self.aggregation.backends.load_full();
        let looks = backends.values().map(|backend| async move {
            let verdict = self.look(backend).await;
            if let Err(status) = self.tell(backend, &verdict).await {
                tracing::debug!(name = backend.name, %status, "an API service's status was not written");
                return false;
            }
            verdict.available
        });
        futures::future::join_all(looks).await.into_iter().all(|there| there)
    }

    async fn look(&self, backend: &Arc<Backend>) -> Verdict {
        if let Err(verdict) = self.look_at_service(backend) {
            return verdict;
        }
        let path = backend.root();
        let url = format!("https://{}{path}", backend.address(self).unwrap_or_default());
        match backend.fetch(self, &path, "application/json", ANSWER_MAX).await {
            Ok(fetched) if (200..300).contains(&fetched.code) => {
                let hash = super::documents::hash_of(self, backend).await;
                let remote = Remote::read(backend, &fetched.body, hash);
                let mut remotes = self.aggregation.remotes.lock();
                remotes.insert(backend.name.clone(), Arc::new(remote));
                Verdict::passed()
            }
            Ok(fetched) => Verdict::no(
                "FailedDiscoveryCheck",
                format!(
                    "failing or missing response from {url}: bad status from {url}: {}",
                    fetched.code
                ),
            ),
            Err(why) if why.starts_with("timed out") => Verdict::no("FailedDiscoveryCheck", why),
            Err(why) => Verdict::no(
                "FailedDiscoveryCheck",
                format!("failing or missing response from {url}: Get \"{url}\": {why}"),
            ),
        }
    }

    /// The Service must be there, have the port, and have somebody behind it.
    fn look_at_service(&self, backend: &Backend) -> Result<(), Verdict> {
        let (namespace, name, port) = backend.service();
        let service = self.caches.place("", "services").get(namespace, name);
        let Some(service) = service else {
            let message = format!("service/{name} in {namespace:?} is not present");
            return Err(Verdict::no("ServiceNotFound", message));
        };
        let service = service.to_value();
        if text(&service, "/spec/type") != "ClusterIP" {
            return Ok(());
        }
        let ports = service.pointer("/spec/ports").and_then(Value::as_array);
        let found = ports.into_iter().flatten().find(|have| have["port"] == json!(port));
        let Some(found) = found else {
            let message =
                format!("service/{name} in {namespace:?} is not listening on port {port}");
            return Err(Verdict::no("ServicePortError", message));
        };
        let port_name = text(found, "/name");
        let slices = self
            .caches
            .place("discovery.k8s.io", "endpointslices")
            .list(namespace, |slice| slice.label("kubernetes.io/service-name") == Some(name));
        if slices.is_empty() {
            let message = format!("cannot find endpoints for service/{name} in {namespace:?}");
            return Err(Verdict::no("EndpointsNotFound", message));
        }
        if !slices.iter().any(|slice| serves(&slice.to_value(), port_name)) {
            let message = format!(
                "endpoints for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
            );
            return Err(Verdict::no("MissingEndpoints", message));
        }
        Ok(())
    }

    /// Writes a verdict into the object, where it is news.
    async fn tell(&self, backend: &Backend, verdict: &Verdict) -> Result<(), Status> {
        let object = self.caches.place(GROUP, PLURAL).get("", &backend.name);
        let Some(object) = object.map(|object| object.to_value()) else { return Ok(()) };
        let same = condition(&object).is_some_and(|have| {
            text(have, "/status") == verdict.status()
                && text(have, "/reason") == verdict.reason
                && text(have, "/message") == verdict.message
        });
        if same {
            return Ok(());
        }
        let now = seconds(self.clock.now());
        let call = self.own_call(GROUP, "v1", PLURAL, "", &backend.name)?;
        let options =
            WriteOptions { manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
        let change = |old: &Value| {
            let mut new = old.clone();
            new["status"]["conditions"] = conditions_with(old, verdict, &now);
            Ok(new)
        };
        match self.update(&call, Part::Internal, &options, change).await {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }
}

/// Whether an EndpointSlice has a ready address for the port.
fn serves(slice: &Value, port_name: &str) -> bool {
    let list = |field: &str| slice.get(field).and_then(Value::as_array).into_iter().flatten();
    list("ports").any(|port| text(port, "/name") == port_name)
        && list("endpoints").any(|endpoint| {
            endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false))
                && endpoint
                    .get("addresses")
                    .and_then(Value::as_array)
                    .is_some_and(|a| !a.is_empty())
        })
}

/// An object's conditions with the verdict among them; the time is that of the last change of its status.
fn conditions_with(object: &Value, verdict: &Verdict, now: &str) -> Value {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.cloned().unwrap_or_default();
    let at = conditions.iter().position(|condition| text(condition, "/type") == "Available");
    let since = match at.map(|at| &conditions[at]) {
        Some(old) if text(old, "/status") == verdict.status() => {
            text(old, "/lastTransitionTime").to_owned()
        }
        _ => now.to_owned(),
    };
    let fresh = json!({"type": "Available", "status": verdict.status(), "reason": verdict.reason,
        "message": verdict.message, "lastTransitionTime": since});
    match at {
        Some(at) => conditions[at] = fresh,
        None => conditions.push(fresh),
    }
    conditions.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let no = Verdict::no("MissingEndpoints", "none");
        let mut object = json!({"status": {"conditions": [{"type": "Other"}]}});
        object["status"]["conditions"] = conditions_with(&object, &no, "t1");
        let other = Verdict::no("FailedDiscoveryCheck", "timed out");
        object["status"]["conditions"] = conditions_with(&object, &other, "t2");
        let found = condition(&object).expect("set");
        assert_eq!(text(found, "/reason"), "FailedDiscoveryCheck");
        assert_eq!(text(found, "/lastTransitionTime"), "t1");
        assert!(!is_available(&object));
        object["status"]["conditions"] = conditions_with(&object, &Verdict::passed(), "t3");
        assert_eq!(text(condition(&object).expect("set"), "/lastTransitionTime"), "t3");
        assert!(is_available(&object));
    }

    #[test]
    fn only_ready_endpoints_of_the_port_count() {
        let slice = |ready: bool, port: &str| {
            json!({"ports": [{"name": port, "port": 443}],
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]})
        };
        assert!(serves(&slice(true, ""), ""));
        assert!(!serves(&slice(false, ""), ""));
        assert!(!serves(&slice(true, "web"), ""));
    }
}
