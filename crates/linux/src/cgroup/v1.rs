//! Version 1: one hierarchy for each controller, or for a few of them together.

use std::path::{Path, PathBuf};

use super::{CgroupError, Limits, Usage, file};
use crate::mount::MountEntry;

/// Where each controller is mounted.
#[derive(Debug)]
pub(super) struct Hierarchies {
    mounts: Vec<(Vec<String>, PathBuf)>,
}

/// Names that the kernel prints among the mount's options.
const CONTROLLERS: &[&str] = &[
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "rdma",
    "misc",
];

impl Hierarchies {
    /// The hierarchies of the table; `None` when there is none with a controller.
    pub(super) fn find(table: &[MountEntry]) -> Option<Self> {
        let mut mounts: Vec<(Vec<String>, PathBuf)> = Vec::new();
        for entry in table.iter().filter(|entry| entry.kind == "cgroup") {
            let names = entry
                .super_options
                .split(',')
                .filter(|option| CONTROLLERS.contains(option) || option.starts_with("name="));
            let names: Vec<String> = names.map(str::to_owned).collect();
            if !names.is_empty() && !mounts.iter().any(|(known, _)| *known == names) {
                mounts.push((names, entry.target.clone()));
            }
        }
        let any = mounts.iter().any(|(names, _)| names.iter().any(|n| !n.starts_with("name=")));
        any.then_some(Self { mounts })
    }

    pub(super) fn controllers(&self) -> Vec<String> {
        self.mounts.iter().flat_map(|(names, _)| names.clone()).collect()
    }

    pub(super) fn directories(&self, path: &Path) -> Vec<PathBuf> {
        self.mounts.iter().map(|(_, root)| root.join(path)).collect()
    }

    fn directory(&self, controller: &str, path: &Path) -> Option<PathBuf> {
        let found = self.mounts.iter().find(|(names, _)| names.iter().any(|n| n == controller));
        found.map(|(_, root)| root.join(path))
    }

    pub(super) fn create(&self, path: &Path) -> Result<(), CgroupError> {
        for (names, root) in &self.mounts {
            create_below(root, path, names.iter().any(|name| name == "cpuset"))?;
        }
        Ok(())
    }

    pub(super) fn set(&self, path: &Path, limits: &Limits) -> Result<(), CgroupError> {
        if let Some(directory) = self.directory("cpu", path) {
            set_cpu(&directory, limits)?;
        }
        if let Some(directory) = self.directory("cpuset", path) {
            write_text(&directory.join("cpuset.cpus"), &limits.cpuset_cpus)?;
            write_text(&directory.join("cpuset.mems"), &limits.cpuset_mems)?;
        }
        if let Some(directory) = self.directory("memory", path) {
            set_memory(&directory, limits)?;
        }
        if let (Some(directory), Some(pids)) = (self.directory("pids", path), limits.pids) {
            let text = if pids < 0 { "max".to_owned() } else { pids.to_string() };
            file::write(&directory.join("pids.max"), &text)?;
        }
        if let Some(directory) = self.directory("hugetlb", path) {
            for (size, bytes) in &limits.hugepages {
                let path = directory.join(format!("hugetlb.{size}.limit_in_bytes"));
                file::write(&path, &bytes.to_string())?;
            }
        }
        Ok(())
    }

    pub(super) fn usage(&self, path: &Path) -> Usage {
        let mut usage = Usage::default();
        if let Some(directory) = self.directory("cpuacct", path) {
            usage.cpu_nanoseconds = file::number(&directory.join("cpuacct.usage"));
        }
        if let Some(directory) = self.directory("cpu", path) {
            let text = file::read(&directory.join("cpu.stat")).unwrap_or_default();
            usage.cpu_periods_throttled = file::keyed(&text, "nr_throttled");
        }
        if let Some(directory) = self.directory("memory", path) {
            let text = file::read(&directory.join("memory.stat")).unwrap_or_default();
            let value = |key| file::keyed(&text, key).unwrap_or(0);
            usage.memory_bytes = file::number(&directory.join("memory.usage_in_bytes"));
            usage.memory_limit_bytes = file::number(&directory.join("memory.limit_in_bytes"));
            usage.memory_inactive_file_bytes = value("total_inactive_file");
            usage.memory_anonymous_bytes = value("total_rss");
            usage.page_faults = value("total_pgfault");
            usage.major_page_faults = value("total_pgmajfault");
            usage.swap_bytes = file::keyed(&text, "total_swap");
        }
        if let Some(directory) = self.directory("pids", path) {
            usage.pids = file::number(&directory.join("pids.current"));
        }
        usage
    }

    pub(super) fn oom_kills(&self, path: &Path) -> u64 {
        let Some(directory) = self.directory("memory", path) else { return 0 };
        let text = file::read(&directory.join("memory.oom_control")).unwrap_or_default();
        file::keyed(&text, "oom_kill").unwrap_or(0)
    }
}

/// A new cpuset is empty, and nothing can run in an empty one.
fn inherit_cpuset(parent: &Path, child: &Path) -> Result<(), CgroupError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let path = child.join(name);
        if file::read(&path).is_some_and(|text| text.is_empty()) {
            write_text(&path, &file::read(&parent.join(name)).unwrap_or_default())?;
        }
    }
    Ok(())
}

fn write_text(path: &Path, text: &str) -> Result<(), CgroupError> {
    if text.is_empty() { Ok(()) } else { file::write(path, text) }
}

/// Makes the group at `path` and those above it, from below: those above are nearly always there.
fn create_below(root: &Path, path: &Path, cpuset: bool) -> Result<(), CgroupError> {
    let directory = root.join(path);
    match (file::create(&directory), path.parent()) {
        (Err(CgroupError::File { source, .. }), Some(parent))
            if source.kind() == std::io::ErrorKind::NotFound && parent != Path::new("") =>
        {
            create_below(root, parent, cpuset)?;
            file::create(&directory)?;
        }
        (made, _) => drop(made?),
    }
    match directory.parent() {
        Some(parent) if cpuset && directory != root => inherit_cpuset(parent, &directory),
        _ => Ok(()),
    }
}

fn set_cpu(directory: &Path, limits: &Limits) -> Result<(), CgroupError> {
    if let Some(shares) = limits.cpu_shares {
        file::write(&directory.join("cpu.shares"), &shares.to_string())?;
    }
    if let Some(period) = limits.cpu_period_us {
        file::write(&directory.join("cpu.cfs_period_us"), &period.to_string())?;
    }
    if let Some(quota) = limits.cpu_quota_us {
        file::write(&directory.join("cpu.cfs_quota_us"), &quota.to_string())?;
    }
    Ok(())
}

/// Memory alone can never be above memory and swap, so the order of writing depends on the direction.
fn set_memory(directory: &Path, limits: &Limits) -> Result<(), CgroupError> {
    let swap_path = directory.join("memory.memsw.limit_in_bytes");
    let memory_path = directory.join("memory.limit_in_bytes");
    let swap = limits.memory_swap_bytes.filter(|_| swap_path.exists());
    let write_memory = || match limits.memory_bytes {
        Some(bytes) => file::write(&memory_path, &bytes.to_string()),
        None => Ok(()),
    };
    let write_swap = || match swap {
        Some(bytes) => file::write(&swap_path, &bytes.to_string()),
        None => Ok(()),
    };
    let now = file::number(&swap_path).unwrap_or(u64::MAX);
    let grows = match limits.memory_bytes {
        Some(bytes) => u64::try_from(bytes).map_or(true, |bytes| bytes > now),
        None => false,
    };
    if grows {
        write_swap()?;
        write_memory()
    } else {
        write_memory()?;
        write_swap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, target: &str, options: &str) -> MountEntry {
        MountEntry {
            target: PathBuf::from(target),
            root: PathBuf::from("/"),
            kind: kind.to_owned(),
            source: kind.to_owned(),
            options: String::new(),
            super_options: options.to_owned(),
            propagation: String::new(),
        }
    }

    #[test]
    fn controllers_may_share_a_mount() {
        let table = [
            entry("cgroup", "/c/cpu,cpuacct", "rw,cpu,cpuacct"),
            entry("cgroup", "/c/memory", "rw,memory"),
            entry("cgroup", "/c/systemd", "rw,name=systemd"),
            entry("cgroup2", "/c/unified", "rw"),
        ];
        let found = Hierarchies::find(&table).unwrap();
        assert_eq!(found.directories(Path::new("a")).len(), 3);
        assert_eq!(
            found.directory("cpuacct", Path::new("a")).unwrap(),
            Path::new("/c/cpu,cpuacct/a")
        );
        assert_eq!(found.directory("pids", Path::new("a")), None);
        assert!(Hierarchies::find(&table[2..]).is_none());
    }
}
