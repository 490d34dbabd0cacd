//! What pods use: the runtime's figures, and the files that the kubelet keeps for them. What counts, and what follows
//! from it, is decided in `podlife::eviction`.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cri::{ContainerStats, FilesystemUsage, PodSandboxStats};
use k8s_openapi::api::core::v1::Pod;
use podlife::eviction::usage::{ContainerUsage, DiskUsage, PodUsage, local_volumes};
use podlife::{names, pod};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};

use crate::config::Config;
use crate::limits::FILES_MEASURED_MAX;
use crate::volumes;

/// The figures of a pod among those of all.
pub(crate) fn find<'a>(all: &'a [PodSandboxStats], pod: &Pod) -> Option<&'a PodSandboxStats> {
    all.iter().find(|stats| stats.attributes.metadata.uid == pod::uid(pod))
}

/// What the runtime shows of a pod, without the files of the kubelet.
pub(crate) fn shown(stats: &PodSandboxStats) -> PodUsage {
    let memory = stats.memory.as_ref().and_then(|memory| memory.working_set_bytes);
    PodUsage {
        memory_bytes: memory.unwrap_or(0),
        processes: stats.process_count.unwrap_or(0),
        containers: stats.containers.iter().map(container).collect(),
        ..PodUsage::default()
    }
}

fn container(stats: &ContainerStats) -> ContainerUsage {
    ContainerUsage {
        name: stats.attributes.metadata.name.clone(),
        memory_bytes: stats.memory.as_ref().and_then(|memory| memory.working_set_bytes),
        layer: stats.writable_layer.as_ref().and_then(layer),
        logs: None,
    }
}

fn layer(usage: &FilesystemUsage) -> Option<DiskUsage> {
    Some(DiskUsage { bytes: usage.used_bytes?, inodes: usage.inodes_used.unwrap_or(0) })
}

/// What a pod uses with logs and volumes, which are looked through on a thread that may block.
pub(crate) async fn measured(
    config: &Config,
    pod: &Pod,
    stats: Option<&PodSandboxStats>,
) -> PodUsage {
    let usage = stats.map(shown).unwrap_or_default();
    let places = Places::of(config, pod);
    let measuring = tokio::task::spawn_blocking(move || places.measure(usage));
    match measuring.await {
        Ok(usage) => usage,
        Err(error) => {
            tracing::warn!(pod = %pod::described(pod), %error, "cannot measure a pod");
            PodUsage::default()
        }
    }
}

/// Where the files of a pod are.
struct Places {
    logs: PathBuf,
    hosts: PathBuf,
    volumes: Vec<(String, PathBuf)>,
}

impl Places {
    fn of(config: &Config, pod: &Pod) -> Self {
        let directory = config.pod_directory(pod::uid(pod));
        let logs = names::pod_log_directory(pod::namespace(pod), pod::name(pod), pod::uid(pod));
        let volume = |(name, plugin): (&str, &str)| {
            (name.to_owned(), volumes::directory(&directory, plugin, name))
        };
        Self {
            logs: config.pod_logs().join(logs),
            hosts: volumes::mounts::hosts_file(&directory),
            volumes: local_volumes(pod).map(volume).collect(),
        }
    }

    fn measure(self, mut usage: PodUsage) -> PodUsage {
        for container in &mut usage.containers {
            container.logs = Some(files_in(&self.logs.join(&container.name)));
        }
        usage.own = files_in(&self.logs) + file(&self.hosts);
        usage.volumes = self.volumes.into_iter().map(|(name, path)| (name, below(&path))).collect();
        usage
    }
}

/// A file; nothing when there is none.
fn file(path: &Path) -> DiskUsage {
    let Ok(about) = path.symlink_metadata() else { return DiskUsage::default() };
    DiskUsage { bytes: about.blocks() * 512, inodes: 1 }
}

/// The files right in a directory; as upstream, neither itself nor the directories in it.
fn files_in(directory: &Path) -> DiskUsage {
    let Ok(entries) = std::fs::read_dir(directory) else { return DiskUsage::default() };
    let files = entries.flatten().filter(|it| it.file_type().is_ok_and(|kind| !kind.is_dir()));
    files.map(|entry| file(&entry.path())).sum()
}

/// A directory with everything below it, as long as it is on the same disk.
fn below(directory: &Path) -> DiskUsage {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::open(directory, flags, Mode::empty()) else {
        return DiskUsage::default();
    };
    let mut walk = Walk::default();
    walk.run(root.as_fd());
    if walk.files > FILES_MEASURED_MAX {
        tracing::warn!(path = %directory.display(), "too many files; the rest is not measured");
    }
    walk.usage
}

/// A way through directories whose owners may rearrange them meanwhile: one is open at a time, found from the root
/// without following any link.
#[derive(Default)]
struct Walk {
    usage: DiskUsage,
    pending: Vec<PathBuf>,
    /// Files with several names, which count once.
    known: HashSet<u64>,
    files: usize,
}

impl Walk {
    fn run(&mut self, root: BorrowedFd<'_>) {
        let Ok(about) = rustix::fs::fstat(root) else { return };
        self.count(&about);
        self.pending.push(PathBuf::from("."));
        while let Some(path) = self.pending.pop() {
            // What has gone meanwhile takes nothing.
            if let Ok(directory) = open_below(root, &path) {
                self.look_into(&directory, &path, about.st_dev);
            }
        }
    }

    fn look_into(&mut self, directory: &OwnedFd, path: &Path, device: u64) {
        let Ok(entries) = Dir::read_from(directory) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            self.files += 1;
            if self.files > FILES_MEASURED_MAX {
                self.pending.clear();
                return;
            }
            let about = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
            let Some(about) = about.ok().filter(|about| about.st_dev == device) else { continue };
            self.count(&about);
            if FileType::from_raw_mode(about.st_mode) == FileType::Directory {
                let name: &std::ffi::OsStr =
                    std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes());
                self.pending.push(path.join(name));
            }
        }
    }

    fn count(&mut self, about: &Stat) {
        let is_directory = FileType::from_raw_mode(about.st_mode) == FileType::Directory;
        if is_directory || about.st_nlink == 1 || self.known.insert(about.st_ino) {
            let bytes = u64::try_from(about.st_blocks).unwrap_or(0) * 512;
            self.usage = self.usage + DiskUsage { bytes, inodes: 1 };
        }
    }
}

fn open_below(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("outside"), vec![1; 1 << 20]).unwrap();
        std::fs::create_dir_all(at("volume/a/b")).unwrap();
        std::fs::write(at("volume/a/b/file"), vec![1; 64 << 10]).unwrap();
        std::fs::hard_link(at("volume/a/b/file"), at("volume/again")).unwrap();
        std::os::unix::fs::symlink(at("outside"), at("volume/link")).unwrap();
        std::os::unix::fs::symlink(directory.path(), at("volume/out")).unwrap();
        let used = below(&at("volume"));
        // Three directories, two links, a file.
        assert_eq!(used.inodes, 6);
        assert!((64 << 10..512 << 10).contains(&used.bytes), "{used:?}");
        std::os::unix::fs::symlink(at("volume"), at("other")).unwrap();
        assert_eq!(below(&at("other")), DiskUsage::default());
        assert_eq!(below(&at("gone")), DiskUsage::default());
    }

    #[test]
    fn logs_are_the_files_of_their_directory() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("a")).unwrap();
        std::fs::write(directory.path().join("a/0.log"), vec![1; 1 << 20]).unwrap();
        std::fs::write(directory.path().join("note"), vec![1; 4 << 10]).unwrap();
        let used = files_in(directory.path());
        assert_eq!(used.inodes, 1);
        assert!(used.bytes < 1 << 20, "{used:?}");
        assert_eq!(files_in(&directory.path().join("gone")), DiskUsage::default());
    }
}
