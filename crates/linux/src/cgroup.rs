//! Control groups, both versions behind one face.
//!
//! A [`Cgroup`] is a path below the roots of all hierarchies (`/kubepods/burstable/pod…`); what it does on
//! disk is in [`v1`] and [`v2`]. A machine with v1 controllers and a `unified` tree beside them counts as
//! v1. Not here: which group a pod belongs to and what its limits are (the kubelet decides).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mount;

pub mod devices;
mod file;
mod v1;
mod v2;

/// A failed operation on a group.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No hierarchy is mounted.
    #[error("no cgroup hierarchy is mounted below /sys/fs/cgroup")]
    NotMounted,
    /// The mount table cannot be read.
    #[error("cannot read the mount table")]
    Mounts(#[from] mount::MountError),
    /// A path with `..` in it.
    #[error("invalid cgroup path {0:?}")]
    InvalidPath(String),
    /// A file of a group.
    #[error("{action} {path}")]
    File {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Which kind of hierarchy the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller.
    V1,
    /// One hierarchy for all.
    V2,
}

/// The hierarchies of this machine; cheap to clone.
#[derive(Clone, Debug)]
pub struct Cgroups {
    layout: Arc<Layout>,
}

#[derive(Debug)]
enum Layout {
    V1(v1::Hierarchies),
    V2(PathBuf),
}

/// Limits to set; `None` and empty leave what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Weight on the scale of v1 (2 to 262144).
    pub cpu_shares: Option<u64>,
    /// Microseconds per period; -1: no limit.
    pub cpu_quota_us: Option<i64>,
    /// Microseconds.
    pub cpu_period_us: Option<u64>,
    /// Bytes; -1: no limit.
    pub memory_bytes: Option<i64>,
    /// Memory and swap together, in bytes; -1: no limit.
    pub memory_swap_bytes: Option<i64>,
    /// Processes and threads; -1: no limit.
    pub pids: Option<i64>,
    /// Page size (`2MB`) and bytes.
    pub hugepages: Vec<(String, u64)>,
    /// Processors, as a list.
    pub cpuset_cpus: String,
    /// Memory nodes, as a list.
    pub cpuset_mems: String,
    /// Files of v2 and their content; ignored on v1.
    pub unified: Vec<(String, String)>,
}

/// What a group uses. `None`: the controller is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds of processor time since the group was made.
    pub cpu_nanoseconds: Option<u64>,
    /// Bytes charged.
    pub memory_bytes: Option<u64>,
    /// Bytes of file pages that can be dropped at once.
    pub memory_inactive_file_bytes: u64,
    /// Bytes of anonymous memory.
    pub memory_anonymous_bytes: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Page faults that needed the disk.
    pub major_page_faults: u64,
    /// Limit; `None`: none.
    pub memory_limit_bytes: Option<u64>,
    /// Bytes swapped out.
    pub swap_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Periods in which the quota ran out.
    pub cpu_periods_throttled: Option<u64>,
}

impl Usage {
    /// Usage less what can be dropped at once: what Kubernetes calls the working set.
    pub fn working_set_bytes(&self) -> Option<u64> {
        self.memory_bytes.map(|usage| usage.saturating_sub(self.memory_inactive_file_bytes))
    }
}

impl Cgroups {
    /// Finds the hierarchies of this machine.
    pub fn detect() -> Result<Self, CgroupError> {
        let table = mount::table()?;
        let layout = match v1::Hierarchies::find(&table) {
            Some(hierarchies) => Layout::V1(hierarchies),
            None => {
                let unified = table.iter().find(|entry| entry.kind == "cgroup2");
                Layout::V2(unified.ok_or(CgroupError::NotMounted)?.target.clone())
            }
        };
        Ok(Self { layout: Arc::new(layout) })
    }

    /// Which kind.
    pub fn version(&self) -> Version {
        match *self.layout {
            Layout::V1(_) => Version::V1,
            Layout::V2(_) => Version::V2,
        }
    }

    /// Controllers that can be used.
    pub fn controllers(&self) -> Vec<String> {
        match &*self.layout {
            Layout::V1(hierarchies) => hierarchies.controllers(),
            Layout::V2(root) => v2::controllers(root),
        }
    }

    /// The group at `path`, which begins at the root whether or not it begins with a slash. It need not
    /// exist.
    pub fn group(&self, path: &str) -> Result<Cgroup, CgroupError> {
        let relative = path.trim_matches('/');
        let good = relative
            .split('/')
            .all(|part| !matches!(part, "." | "..") && (relative.is_empty() || !part.is_empty()));
        if !good || relative.contains('\0') {
            return Err(CgroupError::InvalidPath(path.to_owned()));
        }
        Ok(Cgroup { layout: Arc::clone(&self.layout), path: PathBuf::from(relative) })
    }
}

/// One group, in all hierarchies.
#[derive(Clone)]
pub struct Cgroup {
    layout: Arc<Layout>,
    path: PathBuf,
}

impl fmt::Debug for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cgroup").field(&self.path).finish()
    }
}

impl Cgroup {
    /// Path below the roots, without leading slash.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directories of the group, one for each hierarchy.
    pub fn directories(&self) -> Vec<PathBuf> {
        match &*self.layout {
            Layout::V1(hierarchies) => hierarchies.directories(&self.path),
            Layout::V2(root) => vec![root.join(&self.path)],
        }
    }

    /// Whether it exists in all hierarchies.
    pub fn exists(&self) -> bool {
        self.directories().iter().all(|directory| directory.is_dir())
    }

    /// Makes the group and those above it; one that exists is a success.
    pub fn create(&self) -> Result<(), CgroupError> {
        match &*self.layout {
            Layout::V1(hierarchies) => hierarchies.create(&self.path),
            Layout::V2(root) => v2::create(root, &self.path),
        }
    }

    /// Sets limits.
    pub fn set(&self, limits: &Limits) -> Result<(), CgroupError> {
        match &*self.layout {
            Layout::V1(hierarchies) => hierarchies.set(&self.path, limits),
            Layout::V2(root) => v2::set(&root.join(&self.path), limits),
        }
    }

    /// Lets the group use only the devices that `rules` allow. Does nothing on version 1, where the files
    /// of the device controller do it.
    pub fn confine_devices(&self, rules: &[devices::DeviceRule]) -> Result<(), CgroupError> {
        let Layout::V2(root) = &*self.layout else { return Ok(()) };
        let path = root.join(&self.path);
        devices::confine(&path, rules).map_err(|source| CgroupError::File {
            action: "confine devices of",
            path,
            source,
        })
    }

    /// Moves a process into the group.
    pub fn add_process(&self, pid: i32) -> Result<(), CgroupError> {
        for directory in self.directories() {
            file::write(&directory.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Processes of the group and of all below it.
    pub fn processes(&self) -> Vec<i32> {
        let mut pids: Vec<i32> =
            self.directories().iter().flat_map(|directory| file::processes(directory)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Sends `signal` to every process of the group and of all below it; answers how many there were.
    pub fn kill(&self, signal: i32) -> io::Result<usize> {
        let pids = self.processes();
        for pid in &pids {
            crate::process::kill(*pid, signal)?;
        }
        Ok(pids.len())
    }

    /// Removes the group and all below it; nothing there is a success. Fails while a process is in it.
    pub fn remove(&self) -> Result<(), CgroupError> {
        if self.path.as_os_str().is_empty() {
            return Err(CgroupError::InvalidPath("/".to_owned()));
        }
        self.directories().iter().try_for_each(|directory| file::remove_tree(directory))
    }

    /// What the group uses.
    pub fn usage(&self) -> Usage {
        match &*self.layout {
            Layout::V1(hierarchies) => hierarchies.usage(&self.path),
            Layout::V2(root) => v2::usage(&root.join(&self.path)),
        }
    }

    /// How many processes the kernel killed because the group (or one below) had no memory left.
    pub fn oom_kills(&self) -> u64 {
        match &*self.layout {
            Layout::V1(hierarchies) => hierarchies.oom_kills(&self.path),
            Layout::V2(root) => v2::oom_kills(&root.join(&self.path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_climb() {
        let Ok(cgroups) = Cgroups::detect() else { return };
        assert_eq!(cgroups.group("/a/b/").unwrap().path(), Path::new("a/b"));
        for bad in ["/a/../b", "..", "a//b", "a/./b"] {
            assert!(matches!(cgroups.group(bad), Err(CgroupError::InvalidPath(_))), "{bad}");
        }
        assert!(matches!(cgroups.group("/").unwrap().remove(), Err(CgroupError::InvalidPath(_))));
    }
}
