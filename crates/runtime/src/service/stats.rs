//! What containers and pods use, read from cgroups when it is asked for.

use std::fs;

use cri::*;
use linux::cgroup::Usage;

use super::list::has_labels;
use super::{Runtime, blocking, lock};
use crate::record::{ContainerRecord, SandboxRecord};

impl Runtime {
    pub(super) async fn stats_of_container(&self, id: &str) -> Result<ContainerStats> {
        let record = self.container(id)?.record();
        let runtime = self.clone();
        blocking(move || runtime.measure(record)).await
    }

    pub(super) async fn stats_of_containers(
        &self,
        filter: &ContainerStatsFilter,
    ) -> Result<Vec<ContainerStats>> {
        let mut records: Vec<ContainerRecord> = {
            let state = lock(&self.inner.state);
            state.containers.values().map(|container| container.record()).collect()
        };
        records.retain(|record| {
            record.state() == ContainerState::Running
                && filter.id.as_ref().is_none_or(|id| record.id.starts_with(id.as_str()))
                && filter
                    .pod_sandbox_id
                    .as_ref()
                    .is_none_or(|id| record.sandbox_id.starts_with(id.as_str()))
                && has_labels(&record.config.labels, &filter.label_selector)
        });
        let runtime = self.clone();
        blocking(move || records.into_iter().map(|record| runtime.measure(record)).collect()).await
    }

    pub(super) async fn stats_of_sandbox(&self, id: &str) -> Result<PodSandboxStats> {
        let record = self.sandbox(id)?.record();
        let filter = ContainerStatsFilter {
            pod_sandbox_id: Some(record.id.clone()),
            ..ContainerStatsFilter::default()
        };
        let containers = self.stats_of_containers(&filter).await?;
        let runtime = self.clone();
        blocking(move || runtime.measure_sandbox(record, containers)).await
    }

    pub(super) async fn stats_of_sandboxes(
        &self,
        filter: &PodSandboxStatsFilter,
    ) -> Result<Vec<PodSandboxStats>> {
        let filter = PodSandboxFilter {
            id: filter.id.clone(),
            state: Some(PodSandboxState::Ready),
            label_selector: filter.label_selector.clone(),
        };
        let mut list = Vec::new();
        for sandbox in self.sandboxes(&filter) {
            match self.stats_of_sandbox(&sandbox.id).await {
                // It went away while the others were measured.
                Err(error) if error.is_not_found() => {}
                stats => list.push(stats?),
            }
        }
        Ok(list)
    }

    fn measure(&self, record: ContainerRecord) -> Result<ContainerStats> {
        let usage = self.cgroup(&record.cgroup)?.usage();
        let now = self.now();
        let upper = self.inner.paths.container(&record.id).join("upper");
        let writable_layer = linux::disk_usage::of(&upper).ok().map(|used| FilesystemUsage {
            timestamp: now,
            mountpoint: self.inner.paths.data().display().to_string(),
            used_bytes: Some(used.bytes),
            inodes_used: Some(used.inodes),
        });
        Ok(ContainerStats {
            cpu: cpu(&usage, now),
            memory: memory(&usage, now),
            swap: usage.swap_bytes.map(|bytes| SwapUsage {
                timestamp: now,
                swap_available_bytes: None,
                swap_usage_bytes: Some(bytes),
            }),
            writable_layer,
            pids: usage.pids,
            attributes: ContainerAttributes {
                id: record.id,
                metadata: record.config.metadata,
                labels: record.config.labels,
                annotations: record.config.annotations,
            },
        })
    }

    fn measure_sandbox(
        &self,
        record: SandboxRecord,
        containers: Vec<ContainerStats>,
    ) -> Result<PodSandboxStats> {
        let usage = self.cgroup(&record.cgroup_parent())?.usage();
        let now = self.now();
        let network = (!record.host_network()).then(|| network(record.shim_pid, now)).flatten();
        Ok(PodSandboxStats {
            cpu: cpu(&usage, now),
            memory: memory(&usage, now),
            network,
            process_count: usage.pids,
            containers,
            attributes: PodSandboxAttributes {
                id: record.id,
                metadata: record.config.metadata,
                labels: record.config.labels,
                annotations: record.config.annotations,
            },
        })
    }
}

fn cpu(usage: &Usage, timestamp: i64) -> Option<CpuUsage> {
    let nanoseconds = usage.cpu_nanoseconds?;
    Some(CpuUsage { timestamp, usage_core_nano_seconds: Some(nanoseconds), usage_nano_cores: None })
}

fn memory(usage: &Usage, timestamp: i64) -> Option<MemoryUsage> {
    let working_set = usage.working_set_bytes()?;
    Some(MemoryUsage {
        timestamp,
        working_set_bytes: Some(working_set),
        available_bytes: usage.memory_limit_bytes.map(|limit| limit.saturating_sub(working_set)),
        usage_bytes: usage.memory_bytes,
        rss_bytes: Some(usage.memory_anonymous_bytes),
        page_faults: Some(usage.page_faults),
        major_page_faults: Some(usage.major_page_faults),
    })
}

/// The counters of the pod's interfaces, as the shim, which is in its network, sees them.
fn network(shim_pid: i32, timestamp: i64) -> Option<NetworkUsage> {
    let text = fs::read_to_string(format!("/proc/{shim_pid}/net/dev")).ok()?;
    let mut interfaces: Vec<_> = text.lines().filter_map(parse_interface).collect();
    interfaces.retain(|interface| interface.name != "lo");
    let place = interfaces.iter().position(|interface| interface.name == "eth0");
    let default_interface = place.map(|place| interfaces.remove(place));
    Some(NetworkUsage { timestamp, default_interface, interfaces })
}

fn parse_interface(line: &str) -> Option<NetworkInterfaceUsage> {
    let (name, counters) = line.split_once(':')?;
    let counters: Vec<u64> =
        counters.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let at = |index: usize| counters.get(index).copied();
    Some(NetworkInterfaceUsage {
        name: name.trim().to_owned(),
        rx_bytes: at(0)?,
        rx_errors: at(2)?,
        tx_bytes: at(8)?,
        tx_errors: at(10)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_counters_is_read() {
        let line = "  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16";
        let usage = parse_interface(line).unwrap();
        assert_eq!(
            (usage.name.as_str(), usage.rx_bytes, usage.rx_errors, usage.tx_bytes, usage.tx_errors),
            ("eth0", 1, 3, 9, 11)
        );
        assert_eq!(parse_interface(" face |bytes packets"), None);
    }
}
