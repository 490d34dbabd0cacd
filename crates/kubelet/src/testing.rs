//! An API server and a runtime in memory, for tests of the whole kubelet.

pub(crate) mod api;
pub(crate) mod runtime;

use std::sync::Arc;
use std::time::Duration;

use client::Client;
use clock::Clock;
use k8s_openapi::api::core::v1::Pod;
use podlife::eviction::Thresholds;
use serde_json::{Value, json};

use crate::{Config, Kubelet};
use api::FakeApi;
use runtime::FakeRuntime;

/// A kubelet between an API and a runtime in memory, in directories of its own, under paused time.
pub(crate) struct Bench {
    pub(crate) api: FakeApi,
    pub(crate) runtime: Arc<FakeRuntime>,
    pub(crate) kubelet: Kubelet,
    pub(crate) scope: task::Scope,
    pub(crate) clock: Clock,
    pub(crate) directory: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        // What this machine has left is none of a test's business.
        Self::start_under(Thresholds::none()).await
    }

    /// As [`Self::start`], with these thresholds for evictions.
    pub(crate) async fn start_under(eviction: Thresholds) -> Self {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
        let api = FakeApi::new(clock.clone());
        let service = json!({"metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": "10.43.0.1", "ports": [{"port": 443}]}});
        api.put("services", service);
        let runtime = Arc::new(FakeRuntime::new(clock.clone()));
        let directory = tempfile::tempdir().unwrap();
        Self::start_with(api, runtime, clock, directory, eviction).await
    }

    async fn start_with(
        api: FakeApi,
        runtime: Arc<FakeRuntime>,
        clock: Clock,
        directory: tempfile::TempDir,
        eviction: Thresholds,
    ) -> Self {
        let scope = task::Scope::new();
        let client = Client::new(api.client(), Arc::new(api.clone()), scope.clone());
        let config = Config {
            node_ips: vec!["192.168.0.1".parse().unwrap()],
            root: directory.path().join("kubelet"),
            log_root: directory.path().join("log"),
            mounts: false,
            manage_cgroups: false,
            cluster_dns: vec!["10.43.0.10".parse().unwrap()],
            resolv_conf: directory.path().join("resolv.conf"),
            clock: clock.clone(),
            eviction,
            ..Config::new("node")
        };
        let services = Arc::clone(&runtime);
        let images = Arc::clone(&runtime);
        let kubelet = Kubelet::start(config, client, services, images, &scope).await.unwrap();
        Self { api, runtime, kubelet, scope, clock, directory }
    }

    /// Ends this kubelet and starts another over the same API, runtime and directories.
    pub(crate) async fn restart(self) -> Self {
        assert!(self.scope.finish(Duration::from_secs(5)).await);
        let eviction = self.kubelet.shared.config.eviction.clone();
        Self::start_with(self.api, self.runtime, self.clock, self.directory, eviction).await
    }

    /// Creates a pod `p` of that spec on the node.
    pub(crate) fn pod(&self, spec: Value) {
        self.named_pod("p", spec);
    }

    pub(crate) fn named_pod(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!("node");
        let metadata = json!({"name": name, "namespace": "ns", "uid": format!("uid-{name}")});
        self.api.put("pods", json!({"metadata": metadata, "spec": spec}));
    }

    /// Waits, in virtual time, until the pod is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
        self.until_of("p", what, wanted).await
    }

    pub(crate) async fn until_of(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Pod) -> bool,
    ) -> Pod {
        let mut changes = self.api.changes();
        let limit = Duration::from_secs(3600);
        let found = tokio::time::timeout(limit, async {
            loop {
                changes.borrow_and_update();
                if let Some(pod) = self.api.pod(name)
                    && wanted(&pod)
                {
                    return pod;
                }
                changes.changed().await.unwrap();
            }
        });
        match found.await {
            Ok(pod) => pod,
            Err(_) => {
                panic!("not {what}: {:#}", self.api.get("pods", "ns", name).unwrap_or_default())
            }
        }
    }

    /// Waits until the pod's object is gone.
    pub(crate) async fn until_gone(&self, name: &str) {
        let mut changes = self.api.changes();
        let gone = tokio::time::timeout(Duration::from_secs(3600), async {
            while self.api.pod(name).is_some() {
                changes.changed().await.unwrap();
            }
        });
        gone.await.expect("the pod goes away");
    }

    /// Waits until the runtime is as wanted.
    pub(crate) async fn until_runtime(&self, what: &str, wanted: impl Fn(&FakeRuntime) -> bool) {
        let mut changes = self.runtime.changes();
        let reached = tokio::time::timeout(Duration::from_secs(3600), async {
            while !wanted(&self.runtime) {
                changes.changed().await.unwrap();
            }
        });
        assert!(reached.await.is_ok(), "not {what}: {:?}", self.runtime.log());
    }

    /// Events as `Reason: message`, in order of writing.
    pub(crate) fn events(&self) -> Vec<String> {
        let events = self.api.list("events");
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        events.iter().map(|it| format!("{}: {}", text(it, "reason"), text(it, "message"))).collect()
    }
}

/// Phase of a pod.
pub(crate) fn phase(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default()
}

/// Whether the condition `Ready` holds.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone());
    conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
}

/// The reason that the pod's first container waits for.
pub(crate) fn waiting(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default().container_statuses.unwrap_or_default();
    let waiting = status.first().and_then(|it| it.state.clone()?.waiting);
    waiting.and_then(|it| it.reason).unwrap_or_default()
}

/// How often the pod's first container was restarted.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.clone().unwrap_or_default().container_statuses.unwrap_or_default();
    status.first().map_or(0, |it| it.restart_count)
}
