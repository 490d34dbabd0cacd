//! The node's own object: registering it, reporting its state, renewing its lease.

pub(crate) mod lease;
pub(crate) mod machine;
pub(crate) mod report;

use std::sync::Arc;

use client::{Change, EventKind, Informer, Subject, WatchScope};
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::api::{Patch, PatchParams, PostParams};
use podlife::node as decide;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::limits::{
    NODE_REPORT_PERIOD, NODE_STATUS_PERIOD, REGISTER_PAUSE_MAX, REGISTER_PAUSE_MIN,
};
use crate::shared::{Readiness, Shared};
use crate::status_writer::difference;

/// How the node's events name their subject: by name also where others put the UID, as upstream does.
pub(crate) fn subject(shared: &Shared) -> Subject {
    Subject {
        kind: "Node".to_owned(),
        name: shared.config.node_name.clone(),
        uid: shared.config.node_name.clone(),
        ..Subject::default()
    }
}

/// Registers the node and keeps its status and lease, for as long as the kubelet runs.
pub(crate) async fn run(shared: Arc<Shared>) {
    let starting = "Starting kubelet.".to_owned();
    shared.events.about(&subject(&shared), EventKind::Normal, "Starting", starting);
    let mut keeper = Keeper::new(Arc::clone(&shared));
    keeper.register().await;
    shared.scope.spawn_until_cancelled("node lease", lease::run(Arc::clone(&shared)));
    keeper.keep().await;
}

struct Keeper {
    shared: Arc<Shared>,
    nodes: Informer<Node>,
    changed: Arc<Notify>,
    /// The status last written, and when.
    written: Option<(NodeStatus, tokio::time::Instant)>,
    pod_cidr: String,
}

impl Keeper {
    fn new(shared: Arc<Shared>) -> Self {
        let own =
            WatchScope::all::<Node>().fields(format!("metadata.name={}", shared.config.node_name));
        let nodes = shared.client.informer_of::<Node>(own);
        let changed = Arc::clone(&shared.node_changed);
        let waking = Arc::clone(&changed);
        nodes.on_change(move |change| {
            let echo = matches!(change, Change::Updated { old, new } if old.spec == new.spec
                && old.metadata.labels == new.metadata.labels);
            if !echo {
                waking.notify_one();
            }
        });
        Self { shared, nodes, changed, written: None, pod_cidr: String::new() }
    }

    /// Tries until the node's object is there.
    async fn register(&mut self) {
        let mut pause = REGISTER_PAUSE_MIN;
        while let Err(error) = self.register_once().await {
            tracing::info!(%error, "cannot register the node yet");
            self.shared.clock.sleep(pause).await;
            pause = (pause * 2).min(REGISTER_PAUSE_MAX);
        }
    }

    async fn register_once(&mut self) -> Result<(), kube::Error> {
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        let inputs = report::gather(&shared).await;
        self.remember(&inputs, None);
        let status = decide::status(&inputs, &NodeStatus::default(), shared.clock.now());
        let mut labels =
            decide::labels(&config.node_name, decide::architecture(std::env::consts::ARCH));
        labels.extend(config.labels.clone());
        let node = decide::initial(
            &config.node_name,
            labels.clone(),
            config.taints.clone(),
            status.clone(),
        );
        let nodes = shared.client.all::<Node>();
        match nodes.create(&PostParams::default(), &node).await {
            Ok(_) => {
                self.written = Some((status, tokio::time::Instant::now()));
                Ok(())
            }
            Err(kube::Error::Api(answer)) if answer.code == 409 => {
                let patch = json!({"metadata": {"labels": labels}});
                nodes
                    .patch(&config.node_name, &PatchParams::default(), &Patch::Merge(patch))
                    .await
                    .map(|_| ())
            }
            Err(error) => Err(error),
        }
    }

    async fn keep(&mut self) {
        self.nodes.synced().await;
        let mut pause = REGISTER_PAUSE_MIN;
        loop {
            let ready = self.look().await;
            // Until the node is ready it is looked at often; then a change tells of itself.
            pause =
                if ready { NODE_STATUS_PERIOD } else { (pause * 2).min(NODE_STATUS_PERIOD / 10) };
            tokio::select! {
                () = self.changed.notified() => pause = REGISTER_PAUSE_MIN,
                () = self.shared.clock.sleep(pause) => {}
            }
        }
    }

    /// Looks at node and machine, and writes what is new; whether the node is ready.
    async fn look(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let node = self.nodes.get("", &shared.config.node_name);
        let Some(node) = node else {
            // Somebody deleted it: it comes back.
            self.written = None;
            if let Err(error) = self.register_once().await {
                tracing::info!(%error, "cannot register the node again");
            }
            return false;
        };
        self.take_pod_cidr(&node).await;
        let inputs = report::gather(&shared).await;
        self.remember(&inputs, Some(&node));
        let known = node.status.clone().unwrap_or_default();
        let status = decide::status(&inputs, &known, shared.clock.now());
        self.tell(&known, &status);
        let base = self.written.as_ref().map_or(&known, |(status, _)| status);
        let due = self.written.as_ref().is_none_or(|(_, at)| at.elapsed() >= NODE_REPORT_PERIOD);
        let due = due || decide::is_overwritten(&known, &status);
        if (due || !decide::same_but_for_heartbeat(base, &status))
            && let Err(error) = self.write(&known, status).await
        {
            tracing::warn!(%error, "cannot write the node's status");
            return false;
        }
        inputs.not_ready.is_empty()
    }

    async fn take_pod_cidr(&mut self, node: &Node) {
        let spec = node.spec.as_ref();
        let listed = spec.and_then(|spec| spec.pod_cidrs.as_ref()).map(|list| list.join(","));
        let single = spec.and_then(|spec| spec.pod_cidr.clone());
        let cidr = listed.filter(|list| !list.is_empty()).or(single).unwrap_or_default();
        if cidr.is_empty() || cidr == self.pod_cidr {
            return;
        }
        match self.shared.runtime.update_runtime_config(&cidr).await {
            Ok(()) => self.pod_cidr = cidr,
            Err(error) => tracing::warn!(%error, cidr, "cannot tell the runtime the pod CIDR"),
        }
    }

    /// Lets workers see what the node can do, and wakes them when that has become more.
    fn remember(&self, inputs: &decide::NodeInputs, node: Option<&Arc<Node>>) {
        let before = self.shared.readiness.load_full();
        let problems = inputs.not_ready.clone();
        let network: Vec<String> =
            problems.iter().filter(|it| it.contains("network")).cloned().collect();
        let runtime: Vec<String> =
            problems.iter().filter(|it| !it.contains("network")).cloned().collect();
        let readiness = Readiness {
            network: network.join(", "),
            runtime: runtime.join(", "),
            allocatable: inputs.allocatable.clone(),
            node: node.map_or_else(|| before.node.clone(), |node| (**node).clone()),
        };
        let better = before.network != readiness.network
            || before.runtime != readiness.runtime
            || before.node.metadata.name != readiness.node.metadata.name;
        self.shared.readiness.store(Arc::new(readiness));
        if better {
            self.shared.registry.wake_all();
        }
    }

    /// Events about conditions that turn.
    fn tell(&self, known: &NodeStatus, status: &NodeStatus) {
        let value = |status: &NodeStatus, kind: &str| {
            let mut all = status.conditions.iter().flatten();
            all.find(|it| it.type_ == kind).map(|it| it.status.clone())
        };
        for (kind, yes, no) in [
            ("MemoryPressure", "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
            ("DiskPressure", "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
            ("PIDPressure", "NodeHasInsufficientPID", "NodeHasSufficientPID"),
            ("Ready", "NodeReady", "NodeNotReady"),
        ] {
            let (before, now) = (value(known, kind), value(status, kind));
            if before == now {
                continue;
            }
            let event = if now.as_deref() == Some("True") { yes } else { no };
            let name = &self.shared.config.node_name;
            let message = format!("Node {name} status is now: {event}");
            self.shared.events.about(&subject(&self.shared), EventKind::Normal, event, message);
        }
    }

    async fn write(&mut self, known: &NodeStatus, status: NodeStatus) -> Result<(), kube::Error> {
        let mut patch = difference(&json!(known), &json!(status));
        if let Some(Value::Array(addresses)) = patch.get_mut("addresses") {
            // Their merge key is their type, which repeats.
            addresses.push(json!({"$patch": "replace"}));
        }
        if !patch.is_empty() {
            let nodes = self.shared.client.all::<Node>();
            let body = Patch::Strategic(json!({ "status": patch }));
            nodes
                .patch_status(&self.shared.config.node_name, &PatchParams::default(), &body)
                .await?;
        }
        self.written = Some((status, tokio::time::Instant::now()));
        Ok(())
    }
}
