//! Facts of the machine, read from the kernel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use podlife::node::architecture;
use podlife::resources::NodeFacts;
use podlife::sysctl::KernelVersion;

/// A fact that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct MachineError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

fn read(path: &str) -> Result<String, MachineError> {
    std::fs::read_to_string(path)
        .map_err(|source| MachineError { path: PathBuf::from(path), source })
}

/// What not every machine has; empty when it does not.
fn optional(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// A value of `/proc/meminfo` in bytes.
fn meminfo(text: &str, name: &str) -> Option<i64> {
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    let kibibytes: i64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// What limits depend on.
pub(crate) fn facts() -> Result<NodeFacts, MachineError> {
    let memory = meminfo(&read("/proc/meminfo")?, "MemTotal").unwrap_or(0);
    Ok(NodeFacts { memory_bytes: memory, cpu_milli: processors() * 1000 })
}

/// Its kernel.
pub(crate) fn kernel() -> KernelVersion {
    KernelVersion::of_release(&rustix::system::uname().release().to_string_lossy())
}

fn processors() -> i64 {
    let listed = optional("/sys/devices/system/cpu/online");
    let count = listed.split(',').filter_map(range_length).sum::<i64>();
    if count > 0 {
        return count;
    }
    std::thread::available_parallelism().map_or(1, |count| i64::try_from(count.get()).unwrap_or(1))
}

fn range_length(range: &str) -> Option<i64> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (i64, i64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    Some(last - first + 1)
}

/// Bytes that can still be had, as the kernel guesses.
pub(crate) fn memory_available() -> Result<i64, MachineError> {
    Ok(meminfo(&read("/proc/meminfo")?, "MemAvailable").unwrap_or(0))
}

/// Processor time that all processes together have used, in nanoseconds.
pub(crate) fn cpu_nanos() -> Option<u64> {
    let text = read("/proc/stat").ok()?;
    let mut words = text.lines().next()?.split_whitespace().skip(1);
    let ticks: Vec<u64> = words.by_ref().filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq, steal
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum();
    Some(busy * (1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

/// When the machine was started.
pub(crate) fn boot_time(now: jiff::Timestamp) -> Option<jiff::Timestamp> {
    let uptime = read("/proc/uptime").ok()?;
    let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    now.checked_sub(std::time::Duration::from_secs_f64(seconds)).ok()
}

/// Size and free space of the file system that `path` is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) bytes: u64,
    /// Without what the file system holds back for its own use: nobody can fill that, so it counts neither as
    /// used nor as free.
    pub(crate) bytes_usable: u64,
    pub(crate) bytes_free: u64,
    pub(crate) inodes: u64,
    pub(crate) inodes_free: u64,
}

pub(crate) fn disk(path: &Path) -> Result<Disk, MachineError> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|error| MachineError { path: path.to_owned(), source: error.into() })?;
    let held_back = stat.f_bfree.saturating_sub(stat.f_bavail);
    let usable = stat.f_blocks.saturating_sub(held_back);
    Ok(Disk {
        bytes_usable: usable.saturating_mul(stat.f_frsize),
        bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        bytes_free: stat.f_bavail.saturating_mul(stat.f_frsize),
        inodes: stat.f_files,
        inodes_free: stat.f_favail,
    })
}

/// Process ids: how many there can be and how many there are.
pub(crate) fn process_ids() -> Result<(u64, u64), MachineError> {
    let most = read("/proc/sys/kernel/pid_max")?.trim().parse().unwrap_or(0);
    let load = read("/proc/loadavg")?;
    let running = load.split_whitespace().nth(3).and_then(|it| it.split('/').nth(1)?.parse().ok());
    Ok((most, running.unwrap_or(0)))
}

/// What the machine has, as the node's capacity.
pub(crate) fn capacity(
    root: &Path,
    pods_max: u32,
    facts: &NodeFacts,
) -> BTreeMap<String, Quantity> {
    let mut capacity = BTreeMap::from([
        ("cpu".to_owned(), Quantity((facts.cpu_milli / 1000).to_string())),
        ("memory".to_owned(), Quantity(format!("{}Ki", facts.memory_bytes / 1024))),
        ("pods".to_owned(), Quantity(pods_max.to_string())),
    ]);
    if let Ok(disk) = disk(root) {
        let storage = Quantity(format!("{}Ki", disk.bytes / 1024));
        capacity.insert("ephemeral-storage".to_owned(), storage);
    }
    capacity.extend(hugepages());
    capacity
}

fn hugepages() -> BTreeMap<String, Quantity> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let size: i64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let count = std::fs::read_to_string(entry.path().join("nr_hugepages")).ok()?;
            let count: i64 = count.trim().parse().ok()?;
            let size_text = match size {
                size if size % (1 << 20) == 0 => format!("{}Gi", size >> 20),
                size if size % (1 << 10) == 0 => format!("{}Mi", size >> 10),
                size => format!("{size}Ki"),
            };
            let total = if count == 0 { "0".to_owned() } else { format!("{}Ki", size * count) };
            Some((format!("hugepages-{size_text}"), Quantity(total)))
        })
        .collect()
}

/// Ids and versions.
pub(crate) fn system_info(version: &str, runtime: &cri::Version) -> NodeSystemInfo {
    let uname = rustix::system::uname();
    let release = optional("/etc/os-release");
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let machine_id = optional("/etc/machine-id");
    let product = optional("/sys/class/dmi/id/product_uuid").to_lowercase();
    NodeSystemInfo {
        architecture: architecture(std::env::consts::ARCH).to_owned(),
        boot_id: optional("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: format!(
            "{}://{}",
            runtime.runtime_name, runtime.runtime_version
        ),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        kube_proxy_version: String::new(),
        kubelet_version: version.to_owned(),
        system_uuid: if product.is_empty() { machine_id.clone() } else { product },
        machine_id,
        operating_system: "linux".to_owned(),
        os_image: pretty.map(|name| name.trim_matches('"').to_owned()).unwrap_or_default(),
        ..NodeSystemInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_kernel_are_read() {
        let text = "MemTotal:       16384 kB\nMemAvailable:   8 kB\n";
        assert_eq!(meminfo(text, "MemTotal"), Some(16 << 20));
        assert_eq!(meminfo(text, "MemAvailable"), Some(8192));
        assert_eq!(meminfo(text, "Nope"), None);
        assert_eq!(
            [range_length("0-3"), range_length("7"), range_length("x")],
            [Some(4), Some(1), None]
        );
        assert!(facts().unwrap().memory_bytes > 0);
        assert!(processors() > 0);
        assert!(kernel() > KernelVersion::default());
        assert!(disk(Path::new("/")).unwrap().bytes > 0);
    }
}
