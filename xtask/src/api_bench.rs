//! `cargo xtask bench --api`: the API server and its store alone, ours and then upstream's kube-apiserver on etcd, each
//! on an empty folder of the same disk, under the same workload and client, in one run. At the end a line per step
//! says how they relate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::process::{self, print, program, say};
use crate::servers::{self, Running};

/// The workload; the path is below the repository's root.
const WORKLOAD: &str = "bench/workloads/api.yaml";
/// Figures of which less is better; of the others more is.
const COSTS: [&str; 4] =
    ["p99_ms", "server_cpu_us_per_request", "server_mib", "server_mib_settled"];
const RATES: [&str; 2] = ["per_second", "mb_per_second"];

/// `cargo xtask bench --api`.
#[derive(Debug)]
pub(crate) struct ApiBench<'a> {
    /// The program to measure; the release binary, built first, when absent.
    pub(crate) binary: Option<&'a Path>,
    /// What runs the workload; built first when absent.
    pub(crate) runner: Option<&'a Path>,
    /// Upstream's kube-apiserver; without one, only ours is measured.
    pub(crate) kube_apiserver: Option<&'a Path>,
    /// The etcd beneath it.
    pub(crate) etcd: &'a Path,
}

impl ApiBench<'_> {
    /// Runs the task.
    ///
    /// # Errors
    /// A server does not start, or a request fails.
    pub(crate) fn run(&self) -> Result<()> {
        let binary =
            self.binary.map_or_else(process::release_binary, |it| Ok(it.canonicalize()?))?;
        let runner = self
            .runner
            .map_or_else(|| process::release_program("bench"), |it| Ok(it.canonicalize()?))?;
        // On the disk that programs are built on: one in memory would flatter both.
        let folder = tempfile::Builder::new()
            .prefix("api-bench-")
            .tempdir_in(process::root().join("target"))
            .context("make a folder")?;
        let ours = servers::keelson(&binary, &folder.path().join("keelson"))?;
        let ours = measure(&runner, "keelson", ours)?;
        let Some(kube_apiserver) = self.kube_apiserver else { return Ok(()) };
        let theirs = servers::upstream(kube_apiserver, self.etcd, &folder.path().join("upstream"))?;
        let theirs = measure(&runner, "upstream", theirs)?;
        for line in relations(&ours, &theirs) {
            print(&line.to_string());
        }
        Ok(())
    }
}

/// Runs the workload and ends the server.
fn measure(runner: &Path, label: &str, server: Running) -> Result<Vec<Value>> {
    let workload: PathBuf = process::root().join(WORKLOAD);
    let mut command = program(runner);
    command.arg("--api-only").args(["--label", label]);
    command.arg("--kubeconfig").arg(server.kubeconfig());
    for pid in server.pids() {
        command.args(["--server-pid", &pid.to_string()]);
    }
    command.arg(workload);
    say(&format!("$ {}", process::shown(&command)));
    let text = process::output(&mut command)?;
    print(text.trim_end());
    server.end()?;
    text.lines().map(|line| serde_json::from_str(line).context("a result")).collect()
}

/// For every step that both have: how many times theirs ours is, for rates; and theirs of ours, for costs. Above 1
/// is better throughout.
fn relations(ours: &[Value], theirs: &[Value]) -> Vec<Value> {
    let by_step: BTreeMap<&str, &Value> =
        theirs.iter().filter_map(|it| Some((it["step"].as_str()?, it))).collect();
    let relate = |one: &Value| {
        let step = one["step"].as_str()?;
        let other = by_step.get(step)?;
        let mut line = json!({"relation": step});
        for name in RATES.iter().chain(&COSTS) {
            let (Some(a), Some(b)) = (one[*name].as_f64(), other[*name].as_f64()) else { continue };
            let (above, below) = if COSTS.contains(name) { (b, a) } else { (a, b) };
            if below > 0.0 {
                line[*name] = json!((above / below * 100.0).round() / 100.0);
            }
        }
        Some(line)
    };
    ours.iter().filter_map(relate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_one_is_better_for_rates_and_costs() {
        let ours = [json!({"step": "get", "per_second": 30.0, "p99_ms": 2.0, "server_mib": 0.0})];
        let theirs = [
            json!({"step": "get", "per_second": 10.0, "p99_ms": 5.0, "server_mib": 9.0}),
            json!({"step": "other", "per_second": 1.0}),
        ];
        let lines = relations(&ours, &theirs);
        assert_eq!(lines, [json!({"relation": "get", "per_second": 3.0, "p99_ms": 2.5})]);
    }
}
