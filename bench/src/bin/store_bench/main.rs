//! Measures the stores side by side: the embedded one and, with `--etcd PROGRAM`, a member of etcd on the same disk.
//!
//! One line of JSON for each figure. `open`: an empty store. `writes`: durable writes per second and latency.
//! `load`: a million objects: start to serving, resident memory, ranges. `churn`: a few objects written over and
//! over: disk used, and what an idle store writes. `watch`: ten thousand watchers of one prefix.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

mod churn;
mod etcd;
mod load;
mod measure;
mod subject;
mod watch;
mod writes;

use subject::Subject;

/// The one that the server has.
#[global_allocator]
static ALLOCATOR: linux::memory::Allocator = linux::memory::Allocator;

#[derive(Debug, Parser)]
#[command(name = "store_bench", about = "Measures the stores side by side")]
struct Arguments {
    /// Folder on the disk that is measured; it should be empty
    directory: PathBuf,
    /// etcd's program, to measure it too
    #[arg(long)]
    etcd: Option<PathBuf>,
    /// What to measure: open, writes, load, churn, watch [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds for each figure of writes and watches
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Objects to load
    #[arg(long, default_value_t = 1_000_000)]
    objects: u64,
    /// Watchers
    #[arg(long, default_value_t = 10_000)]
    watchers: usize,
    /// Measure starting with what an earlier process has loaded here
    #[arg(long, hide = true)]
    loaded: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(loaded) = &arguments.loaded {
        return load::embedded_start(loaded, arguments.objects).await;
    }
    let wants = |name: &str| {
        arguments.only.is_empty() || arguments.only.iter().any(|chosen| chosen == name)
    };
    std::fs::create_dir_all(&arguments.directory)?;
    if wants("open") {
        load::open_empty(&arguments.directory.join("open")).await?;
    }
    for (number, kind) in subject::kinds(arguments.etcd.as_deref()).into_iter().enumerate() {
        let place = |case: &str| arguments.directory.join(format!("{number}-{case}"));
        if wants("writes") {
            for value_bytes in [1024, 4096] {
                for clients in [64, 512] {
                    let place = place(&format!("writes-{clients}-{value_bytes}"));
                    let subject = Subject::start(&kind, &place).await?;
                    writes::run(&subject, clients, value_bytes, arguments.seconds).await?;
                    subject.end().await?;
                }
            }
        }
        if wants("watch") {
            for watchers in [0, arguments.watchers] {
                let subject = Subject::start(&kind, &place(&format!("watch-{watchers}"))).await?;
                watch::run(&subject, watchers, arguments.seconds).await?;
                subject.end().await?;
            }
        }
        if wants("load") {
            load::run(&kind, &place("load"), arguments.objects).await?;
        }
    }
    if wants("churn") {
        churn::run(&arguments.directory.join("churn")).await?;
    }
    Ok(())
}
