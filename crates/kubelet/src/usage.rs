//! What pods use: the runtime's figures, and the files that the kubelet keeps for them. What counts, and what follows
//! from it, is decided in `podlife::eviction`.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cri::{ContainerStats, FilesystemUsage, PodSandboxStats};
use k8s_openapi::api::core::v1::Pod;
use podlife::eviction::usage::{ContainerUsage, DiskUsage, PodUsage, local_volumes};
use podlife::{names, pod};

use crate::config::Config;
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

/// A directory with everything below it, as long as it is on the same disk; nothing when there is none.
fn below(directory: &Path) -> DiskUsage {
    let used = linux::disk_usage::of(directory).unwrap_or_default();
    DiskUsage { bytes: used.bytes, inodes: used.inodes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_the_files_of_their_directory() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("a")).unwrap();
        std::fs::write(directory.path().join("a/0.log"), vec![1; 1 << 20]).unwrap();
        std::fs::write(directory.path().join("note"), vec![1; 4 << 10]).unwrap();
        let used = files_in(directory.path());
        assert_eq!(used.inodes, 1);
        assert!(used.bytes < 1 << 20, "{used:?}");
        let gone = directory.path().join("gone");
        assert_eq!([files_in(&gone), below(&gone)], [DiskUsage::default(); 2]);
        assert_eq!(below(directory.path()).inodes, 4);
    }
}
