//! A cluster without nodes: API server, controllers, and pods that become ready as soon as they exist.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use admission::User;
use apiserver::{Config, Server};
use client::{Change, Client, Kind};
use clock::Clock;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use store::embedded::{EmbeddedOptions, EmbeddedStore};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Cluster {
    pub(crate) client: Client,
    scope: task::Scope,
}

/// What becomes of a pod that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It runs and is ready.
    Ready,
    /// It ends well at once.
    Succeeds,
    /// It ends badly at once.
    Fails,
}

impl Cluster {
    pub(crate) async fn start(fate: impl Fn(&Pod) -> Fate + Send + Sync + 'static) -> Self {
        let scope = task::Scope::new();
        let key = rcgen::KeyPair::generate().unwrap();
        let tokens =
            apiserver::tokens::TokenIssuer::new(key.serialized_der(), key.public_key_raw())
                .unwrap();
        let config = Config::alone(Arc::new(tokens));
        let store = Arc::new(EmbeddedStore::volatile(EmbeddedOptions::new("")));
        let server = Server::start(config, store, Clock::system(), scope.child()).await.unwrap();
        let user = User {
            name: "system:kube-controller-manager".to_owned(),
            groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
            ..User::default()
        };
        let client = apiserver::in_process::client(&server, user, scope.child());
        controllers::start(&controllers::Context {
            client: client.clone(),
            clock: Clock::system(),
            scope: scope.child(),
            config: controllers::Config {
                cluster_cidr: "10.42.0.0/16".parse().unwrap(),
                node_mask: 24,
                root_ca_pem: String::new(),
                signing: None,
            },
        });
        let cluster = Self { client, scope };
        cluster.run_pods(fate);
        cluster
            .until("a default service account", || async {
                let accounts =
                    cluster.client.informer::<k8s_openapi::api::core::v1::ServiceAccount>();
                accounts.get("default", "default")
            })
            .await;
        cluster
    }

    fn run_pods(&self, fate: impl Fn(&Pod) -> Fate + Send + Sync + 'static) {
        let (client, scope) = (self.client.clone(), self.scope.clone());
        self.client.informer::<Pod>().on_change(move |change| {
            let pod = Arc::clone(change.object());
            if matches!(change, Change::Deleted(_)) {
                return;
            }
            let fate = fate(&pod);
            let client = client.clone();
            scope
                .spawn_until_cancelled("pod double", async move { run(&client, &pod, fate).await });
        });
    }

    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: Kind + kube::Resource<Scope = NamespaceResourceScope> + Serialize + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        let api = self.client.namespaced::<K>("default");
        api.create(&PostParams::default(), &object).await.unwrap()
    }

    pub(crate) async fn merge<K>(&self, name: &str, patch: Value) -> K
    where
        K: Kind + kube::Resource<Scope = NamespaceResourceScope> + Serialize + DeserializeOwned,
    {
        let api = self.client.namespaced::<K>("default");
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
    }

    pub(crate) async fn get<K>(&self, name: &str) -> Option<K>
    where
        K: Kind + kube::Resource<Scope = NamespaceResourceScope>,
    {
        self.client.namespaced::<K>("default").get_opt(name).await.unwrap()
    }

    pub(crate) async fn list<K>(&self) -> Vec<K>
    where
        K: Kind + kube::Resource<Scope = NamespaceResourceScope>,
    {
        self.client.namespaced::<K>("default").list(&Default::default()).await.unwrap().items
    }

    /// Waits until `ask` has an answer.
    pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
        &self,
        what: &str,
        ask: impl Fn() -> F,
    ) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut pause = tokio::time::interval(Duration::from_millis(5));
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            if tokio::time::Instant::now() > deadline {
                let pods: Vec<String> = self.list::<Pod>().await.iter().map(describe).collect();
                panic!("never: {what}; pods: {pods:#?}");
            }
            pause.tick().await;
        }
    }

    pub(crate) async fn stop(self) {
        assert!(self.scope.finish(Duration::from_secs(5)).await);
    }
}

fn describe(pod: &Pod) -> String {
    let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
    format!("{} {phase:?} {:?}", pod.metadata.name.clone().unwrap(), pod.metadata.finalizers)
}

async fn run(client: &Client, pod: &Pod, fate: Fate) {
    let api = client.namespaced::<Pod>(pod.metadata.namespace.as_deref().unwrap());
    let name = pod.metadata.name.as_deref().unwrap();
    if pod.metadata.deletion_timestamp.is_some() {
        // Gone already is as good.
        let _gone = api.delete(name, &DeleteParams::default().grace_period(0)).await;
        return;
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if !matches!(phase, None | Some("Pending")) {
        return;
    }
    let (phase, ready, code) = match fate {
        Fate::Ready => ("Running", "True", None),
        Fate::Succeeds => ("Succeeded", "False", Some(0)),
        Fate::Fails => ("Failed", "False", Some(3)),
    };
    let now = Clock::system().now();
    let state = match code {
        Some(code) => json!({"terminated": {"exitCode": code, "finishedAt": now}}),
        None => json!({"running": {"startedAt": now}}),
    };
    let patch = json!({"status": {"phase": phase,
        "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}],
        "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": ready == "True",
            "restartCount": 0, "state": state}]}});
    // A pod that is gone needs no status.
    let _gone = api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await;
}
