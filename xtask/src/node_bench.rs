//! `cargo xtask bench --node`: what a fresh server takes, measured on the release binary.
//!
//! A server on an empty folder, in a network namespace of its own, several times: from its start to a Ready node with
//! the default service account. Then, on the last one: memory and processor time at rest, pods one by one and fifty
//! at once, memory for each pod, and memory after much has come and gone. Memory is that of every process that runs
//! the binary: server, zygote and shims, but not what runs in containers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cluster_tests::{Cluster, Options};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::process::{self, print, say};
use crate::servers;

mod processes;

use processes::Usage;

/// The image that `build-self` makes.
const IMAGE: &str = "keelson.local/hello:latest";
/// Pods over which memory per pod is divided.
const PODS: i32 = 50;
/// How long a fact may take to come true.
const FACT_MAX: Duration = Duration::from_secs(120);
/// Between two looks at a fact.
const PAUSE: Duration = Duration::from_millis(2);
/// After its start, and after a burst, a server has this long to come to rest.
const SETTLE: Duration = Duration::from_secs(20);
/// How long processor time is counted at rest.
const IDLE: Duration = Duration::from_secs(60);
/// Old events leave memory after two periods of ageing.
const AGED: Duration = Duration::from_secs(240);

/// `cargo xtask bench --node`.
#[derive(Debug)]
pub(crate) struct NodeBench<'a> {
    /// The program to measure; the release binary, built first, when absent.
    pub(crate) binary: Option<&'a Path>,
    /// How many servers are started.
    pub(crate) starts: usize,
    /// The name in the results.
    pub(crate) label: &'a str,
    /// What runs the workloads; built first when absent.
    pub(crate) runner: Option<&'a Path>,
}

impl NodeBench<'_> {
    /// Runs the task.
    ///
    /// # Errors
    /// Something cannot be measured.
    pub(crate) fn run(&self) -> Result<()> {
        let binary =
            self.binary.map_or_else(process::release_binary, |it| Ok(it.canonicalize()?))?;
        let runner = self.runner.map_or_else(runner, |it| Ok(it.canonicalize()?))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // An error says that one is installed already, which is as good.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let cluster = runtime.block_on(self.start(&binary))?;
        self.rest(&binary)?;
        cluster.image(&["build-self", IMAGE])?;
        self.workload(&cluster, &runner, "pods.yaml")?;
        runtime.block_on(self.pods(&cluster, &binary))?;
        self.churn(&cluster, &binary, &runner)
    }

    /// Starts servers one after the other; the last one goes on.
    async fn start(&self, binary: &Path) -> Result<Cluster> {
        let mut took = Vec::new();
        loop {
            let cluster =
                Cluster::start(Options { binary: Some(binary.to_owned()), ..Options::default() })?;
            let client = servers::client(&cluster.kubeconfig()).await?;
            node_is_ready(&client).await?;
            account_is_there(&client).await?;
            took.push(cluster.spawned().elapsed().as_secs_f64() * 1000.0);
            say(&format!("start {}: {:.0} ms", took.len(), took[took.len() - 1]));
            if took.len() >= self.starts.max(1) {
                took.sort_by(f64::total_cmp);
                let (middle, most) = (took[took.len() / 2], took[took.len() - 1]);
                self.print(
                    "start to Ready node with default account",
                    json!({
                    "count": took.len(), "p50_ms": round(middle), "max_ms": round(most) }),
                );
                return Ok(cluster);
            }
        }
    }

    fn rest(&self, binary: &Path) -> Result<()> {
        pause(SETTLE);
        let before = processes::usage(binary)?;
        self.print_memory("memory at rest", before);
        let start = Instant::now();
        pause(IDLE);
        let used = processes::usage(binary)?.cpu - before.cpu;
        let percent = 100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64();
        self.print("processor at rest", json!({ "percent_of_one_core": round(percent) }));
        Ok(())
    }

    fn workload(&self, cluster: &Cluster, runner: &Path, file: &str) -> Result<()> {
        let file = process::root().join("bench/workloads").join(file);
        let mut command = cluster.command(&runner.to_string_lossy());
        command.arg("--kubeconfig").arg(cluster.kubeconfig());
        command.args(["--label", self.label]).arg(file);
        process::run(&mut command)
    }

    /// What fifty pods add to the memory of our processes.
    async fn pods(&self, cluster: &Cluster, binary: &Path) -> Result<()> {
        let client = servers::client(&cluster.kubeconfig()).await?;
        let api: Api<Deployment> = Api::default_namespaced(client);
        pause(SETTLE);
        let before = processes::usage(binary)?;
        api.create(&PostParams::default(), &deployment()?).await.context("create a Deployment")?;
        wait(async || {
            let now = api.get("memory").await.context("get the Deployment")?;
            Ok(now.status.and_then(|status| status.ready_replicas) == Some(PODS))
        })
        .await?;
        pause(SETTLE);
        let after = processes::usage(binary)?;
        let each =
            |kib: u64, before: u64| round((kib as f64 - before as f64) / 1024.0 / f64::from(PODS));
        self.print("memory per pod", json!({
            "pods": PODS,
            "pss_mib": each(after.pss_kib, before.pss_kib),
            "shim_pss_mib": each(after.children_pss_kib, before.children_pss_kib),
            "shim_rss_mib": each(after.rss_kib - after.server_rss_kib, before.rss_kib - before.server_rss_kib),
        }));
        self.print_memory("memory with 50 pods", after);
        api.delete("memory", &DeleteParams::default()).await.context("delete the Deployment")?;
        Ok(())
    }

    fn churn(&self, cluster: &Cluster, binary: &Path, runner: &Path) -> Result<()> {
        pause(SETTLE);
        self.print_memory("memory before churn", processes::usage(binary)?);
        self.workload(cluster, runner, "churn.yaml")?;
        self.print_memory("memory after churn", processes::usage(binary)?);
        pause(AGED);
        self.print_memory("memory after churn, aged", processes::usage(binary)?);
        Ok(())
    }

    fn print_memory(&self, step: &str, usage: Usage) {
        let mib = |kib: u64| round(kib as f64 / 1024.0);
        self.print(step, json!({
            "processes": usage.processes, "rss_mib": mib(usage.rss_kib), "pss_mib": mib(usage.pss_kib),
            "server_rss_mib": mib(usage.server_rss_kib), "server_anonymous_mib": mib(usage.server_anonymous_kib),
        }));
    }

    fn print(&self, step: &str, mut facts: serde_json::Value) {
        if let Some(facts) = facts.as_object_mut() {
            facts.insert("label".to_owned(), self.label.into());
            facts.insert("workload".to_owned(), "node".into());
            facts.insert("step".to_owned(), step.into());
        }
        print(&facts.to_string());
    }
}

/// Builds the runner of workloads and gives its path.
fn runner() -> Result<PathBuf> {
    process::release_program("bench")
}

async fn node_is_ready(client: &Client) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    wait(async || {
        let nodes = api.list(&Default::default()).await.context("list the nodes")?;
        Ok(nodes.items.iter().any(|node| {
            let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
        }))
    })
    .await
}

async fn account_is_there(client: &Client) -> Result<()> {
    let api: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    wait(async || Ok(api.get_opt("default").await.context("get the account")?.is_some())).await
}

#[expect(clippy::disallowed_methods, reason = "a pause between two looks, in a tool")]
async fn wait(mut fact: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let looking = async {
        while !fact().await? {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    };
    tokio::time::timeout(FACT_MAX, looking).await.context("it does not come true in time")?
}

fn deployment() -> Result<Deployment> {
    let labels = json!({ "bench": "memory" });
    let container = json!({ "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": ["hello"] });
    Ok(serde_json::from_value(json!({
        "metadata": { "name": "memory" },
        "spec": { "replicas": PODS, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } } },
    }))?)
}

#[expect(clippy::disallowed_methods, reason = "rest is what is measured")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
