//! What a pod uses of its node, as it was measured, and what of that counts as local storage. Measuring is the
//! kubelet's work.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::Add;

use k8s_openapi::api::core::v1::Pod;

use crate::pod;

/// Space on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

impl Add for DiskUsage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }
}

impl Sum for DiskUsage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// What a running container uses. `None`: not measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Its name.
    pub name: String,
    /// Bytes of working set.
    pub memory_bytes: Option<u64>,
    /// Its writable layer.
    pub layer: Option<DiskUsage>,
    /// Its logs.
    pub logs: Option<DiskUsage>,
}

/// What a pod uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodUsage {
    /// Bytes of working set.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Its running containers.
    pub containers: Vec<ContainerUsage>,
    /// Its [`local_volumes`], by name.
    pub volumes: BTreeMap<String, DiskUsage>,
    /// What the kubelet keeps for it outside of containers and volumes: its hosts file, and files among its logs.
    pub own: DiskUsage,
}

impl PodUsage {
    /// The writable layers.
    pub fn layers(&self) -> DiskUsage {
        self.containers.iter().filter_map(|container| container.layer).sum()
    }

    /// The logs of containers, and the volumes.
    pub fn logs_and_volumes(&self) -> DiskUsage {
        let logs = self.containers.iter().filter_map(|container| container.logs);
        logs.chain(self.volumes.values().copied()).sum()
    }

    /// All local storage, wherever it is.
    pub fn storage(&self) -> DiskUsage {
        self.layers() + self.logs_and_volumes() + self.own
    }

    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<&ContainerUsage> {
        self.containers.iter().find(|container| container.name == name)
    }
}

/// Where images and the writable layers of containers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerDisk {
    /// On the disk that has the kubelet's own directory, with volumes and logs.
    Shared,
    /// On a disk of its own.
    Apart,
}

/// The volumes that count as local storage, by name and by the plugin that their directories are named after.
/// Secrets, tokens and fields of the pod are in memory upstream, and so count for nothing.
pub fn local_volumes(pod: &Pod) -> impl Iterator<Item = (&str, &'static str)> {
    pod::spec(pod).volumes.iter().flatten().filter_map(|volume| {
        let directory = volume.empty_dir.as_ref();
        let is_on_disk = |medium: Option<&str>| medium.unwrap_or_default().is_empty();
        let plugin = if directory.is_some_and(|it| is_on_disk(it.medium.as_deref())) {
            "kubernetes.io/empty-dir"
        } else if volume.config_map.is_some() {
            "kubernetes.io/configmap"
        } else {
            return None;
        };
        Some((volume.name.as_str(), plugin))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_in_memory_or_elsewhere_does_not_count() {
        let pod = crate::testing::pod(json!({"containers": [], "volumes": [
            {"name": "disk", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "map", "configMap": {"name": "m"}},
            {"name": "secret", "secret": {"secretName": "s"}},
            {"name": "fields", "downwardAPI": {}},
            {"name": "host", "hostPath": {"path": "/"}}]}));
        let found: Vec<_> = local_volumes(&pod).collect();
        let expected = [("disk", "kubernetes.io/empty-dir"), ("map", "kubernetes.io/configmap")];
        assert_eq!(found, expected);
        assert_eq!(local_volumes(&Pod::default()).count(), 0);
    }

    #[test]
    fn huge_figures_do_not_overflow() {
        let most = DiskUsage { bytes: u64::MAX, inodes: u64::MAX };
        let usage = PodUsage {
            containers: vec![ContainerUsage {
                layer: Some(most),
                logs: Some(most),
                ..ContainerUsage::default()
            }],
            own: most,
            ..PodUsage::default()
        };
        assert_eq!(usage.storage(), most);
        assert_eq!(PodUsage::default().storage(), DiskUsage::default());
    }
}
