//! The benchmark runner: workloads as data, against any kubeconfig, one line of JSON per result.
//!
//! It speaks to the cluster's public face only, so the same workload measures Keelson and upstream. Everything it
//! makes is in a namespace of its own (and fake nodes with a label of its own), which is removed at the end.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

mod bare;
mod bench_namespace;
mod definitions;
mod deployment;
mod fill;
mod list;
mod measure;
mod memory;
mod namespaces;
mod pod_start;
mod raw;
mod schedule;
mod server;
mod verbs;
mod watch;
mod workload;

use workload::{Step, Workload};

#[global_allocator]
static ALLOCATOR: linux::memory::Allocator = linux::memory::Allocator;

#[derive(Debug, Parser)]
#[command(
    name = "bench",
    about = "Runs workloads against a cluster and prints one line of JSON per result",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
    /// kubeconfig of the cluster [default: as kubectl finds it]
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Name for the cluster in the results
    #[arg(long, default_value = "keelson")]
    label: String,
    /// Image for pods; it must be on the nodes [default: the one that `keelson image build-self` makes]
    #[arg(long)]
    image: Option<String>,
    /// Arguments for the image's program
    #[arg(long)]
    image_argument: Vec<String>,
    /// A process of the measured server; its memory and processor time become part of the results
    #[arg(long)]
    server_pid: Vec<u32>,
    /// The cluster is an API server alone: no controller makes accounts or empties namespaces
    #[arg(long)]
    api_only: bool,
    /// Connections of the client that sends requests to the API alone
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Workload files; bench/workloads has some
    #[arg(required = true)]
    workloads: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// What this program starts itself as, to have something to compare a server with
    #[command(hide = true)]
    BareSender(bare::BareArguments),
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // An error says that one is installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    if let Some(Task::BareSender(arguments)) = arguments.task {
        return bare::serve(arguments).await;
    }
    let config = config(arguments.kubeconfig.as_ref()).await?;
    let target = raw::Target::of(&config)?;
    let client = Client::try_from(config).context("make a client")?;
    let image = match arguments.image {
        Some(name) => workload::Image { name, arguments: arguments.image_argument },
        None => workload::Image::hello(),
    };
    for file in &arguments.workloads {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let workload: Workload = serde_saphyr::from_str(&text)
            .with_context(|| format!("understand {}", file.display()))?;
        let namespace = bench_namespace::create(&client, arguments.api_only).await?;
        let context = workload::Context {
            client: client.clone(),
            target: target.clone(),
            connections: usize::from(arguments.connections),
            server: server::Server { pids: arguments.server_pid.clone() },
            namespace,
            image: image.clone(),
        };
        let done = run(&context, &arguments.label, &workload).await;
        if !arguments.api_only {
            bench_namespace::delete(&client, &context.namespace).await?;
        }
        done.with_context(|| format!("run {}", file.display()))?;
    }
    Ok(())
}

async fn config(kubeconfig: Option<&PathBuf>) -> Result<Config> {
    match kubeconfig {
        Some(path) => {
            let file =
                Kubeconfig::read_from(path).with_context(|| format!("read {}", path.display()))?;
            Ok(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
        }
        None => Config::infer().await.context("find a kubeconfig"),
    }
}

async fn run(context: &workload::Context, label: &str, workload: &Workload) -> Result<()> {
    for step in &workload.steps {
        let results = match step {
            Step::Verbs(step) => verbs::run(context, step).await?,
            Step::Memory(step) => memory::run(context, step).await?,
            Step::List(step) => list::run(context, step).await?,
            Step::Watch(step) => watch::run(context, step).await?,
            Step::PodStart(step) => pod_start::run(context, step).await?,
            Step::Deployment(step) => deployment::run(context, step).await?,
            Step::Namespaces(step) => namespaces::run(context, step).await?,
            Step::Definitions(step) => definitions::run(context, step).await?,
            Step::Schedule(step) => schedule::run(context, step).await?,
        };
        for result in results {
            print(&serde_json::to_string(&result.named(label, &workload.name))?);
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "results are the data of this program")]
pub(crate) fn print(line: &str) {
    println!("{line}");
}
