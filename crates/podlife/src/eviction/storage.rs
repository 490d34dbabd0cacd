//! What a pod may take of the local storage, and whether it has taken more.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::usage::{ContainerUsage, LayerDisk, PodUsage, local_volumes};
use crate::{pod, quantity, resources};

const RESOURCE: &str = "ephemeral-storage";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Limit {
    bytes: u64,
    text: String,
}

impl Limit {
    fn new(quantity: &Quantity) -> Self {
        let bytes = u64::try_from(quantity::value(quantity)).unwrap_or(0);
        Self { bytes, text: quantity.0.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: String,
    limit: Limit,
}

/// The limits of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageLimits {
    volumes: Vec<Named>,
    pod: Option<Limit>,
    containers: Vec<Named>,
}

impl StorageLimits {
    /// The limits that can be enforced: a pod that the system depends on has none.
    pub fn of(pod: &Pod) -> Self {
        if pod::is_critical(pod) {
            return Self::default();
        }
        Self { volumes: of_volumes(pod), pod: of_pod(pod), containers: of_containers(pod) }
    }

    /// Whether nothing needs to be measured.
    pub fn is_empty(&self) -> bool {
        self.volumes.is_empty() && self.pod.is_none() && self.containers.is_empty()
    }

    /// The first limit that is exceeded, as upstream words it: that of a volume, of the pod, or of a container.
    pub fn exceeded(&self, usage: &PodUsage, layers: LayerDisk) -> Option<String> {
        self.volume_exceeded(usage)
            .or_else(|| self.pod_exceeded(usage))
            .or_else(|| self.container_exceeded(usage, layers))
    }

    fn volume_exceeded(&self, usage: &PodUsage) -> Option<String> {
        let used = |volume: &Named| usage.volumes.get(&volume.name).map_or(0, |used| used.bytes);
        let Named { name, limit } =
            self.volumes.iter().find(|volume| used(volume) > volume.limit.bytes)?;
        Some(format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{}\". ", limit.text))
    }

    fn pod_exceeded(&self, usage: &PodUsage) -> Option<String> {
        let limit = self.pod.as_ref().filter(|limit| usage.storage().bytes > limit.bytes)?;
        let text = &limit.text;
        Some(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {text}. "
        ))
    }

    fn container_exceeded(&self, usage: &PodUsage, layers: LayerDisk) -> Option<String> {
        let used = |container: &Named| {
            usage.container(&container.name).map_or(0, |used| used_by(used, layers))
        };
        let Named { name, limit } =
            self.containers.iter().find(|container| used(container) > container.limit.bytes)?;
        let text = &limit.text;
        Some(format!("Container {name} exceeded its local ephemeral storage limit \"{text}\". "))
    }
}

/// Bytes that count against a container's limit: a disk that only has layers is not what the limit is of.
fn used_by(container: &ContainerUsage, layers: LayerDisk) -> u64 {
    let layer = container.layer.filter(|_| layers == LayerDisk::Shared);
    (container.logs.unwrap_or_default() + layer.unwrap_or_default()).bytes
}

fn of_volumes(pod: &Pod) -> Vec<Named> {
    let is_local = |name: &str| local_volumes(pod).any(|(local, _)| local == name);
    let volumes = pod::spec(pod).volumes.iter().flatten();
    let limited = volumes.filter(|volume| is_local(&volume.name)).filter_map(|volume| {
        let limit = Limit::new(volume.empty_dir.as_ref()?.size_limit.as_ref()?);
        Some(Named { name: volume.name.clone(), limit })
    });
    limited.filter(|volume| volume.limit.bytes > 0).collect()
}

/// The sum of the limits that there are: upstream leaves out the containers that have none.
fn of_pod(pod: &Pod) -> Option<Limit> {
    let all = pod::spec(pod).containers.iter().chain(pod::init_containers(pod));
    let first = all.filter_map(|container| resources::limit(container, RESOURCE)).next()?;
    let total = resources::pod_total(pod, RESOURCE, true);
    if quantity::value(first) == total {
        return Some(Limit::new(first));
    }
    let bytes = u64::try_from(total).unwrap_or(0);
    Some(Limit { bytes, text: quantity::text(bytes, quantity::Form::of(first)) })
}

fn of_containers(pod: &Pod) -> Vec<Named> {
    let of_one = |container: &Container| {
        let limit = Limit::new(resources::limit(container, RESOURCE)?);
        Some(Named { name: container.name.clone(), limit })
    };
    let limited = pod::spec(pod).containers.iter().filter_map(of_one);
    limited.filter(|container| container.limit.bytes > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::super::usage::DiskUsage;
    use super::*;
    use serde_json::{Value, json};

    const MEBI: u64 = 1 << 20;

    fn bytes(bytes: u64) -> DiskUsage {
        DiskUsage { bytes, inodes: 1 }
    }

    fn limited(name: &str, limit: &str) -> Value {
        json!({"name": name, "resources": {"limits": {"ephemeral-storage": limit}}})
    }

    /// A pod with a limited volume and that of its containers; one has no limit.
    fn pod() -> Pod {
        crate::testing::pod(json!({
            "containers": [limited("a", "5Mi"), limited("b", "5Mi"), {"name": "c"}],
            "volumes": [
                {"name": "v", "emptyDir": {"sizeLimit": "2Mi"}},
                {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
        }))
    }

    /// What containers have in layers and logs, in mebibytes, and what is in volume `v`.
    fn usage(containers: &[(&str, u64, u64)], volume: u64) -> PodUsage {
        let container = |(name, layer, logs): &(&str, u64, u64)| ContainerUsage {
            name: (*name).to_owned(),
            layer: Some(bytes(layer * MEBI)),
            logs: Some(bytes(logs * MEBI)),
            memory_bytes: None,
        };
        PodUsage {
            containers: containers.iter().map(container).collect(),
            volumes: [("v".to_owned(), bytes(volume * MEBI))].into(),
            ..PodUsage::default()
        }
    }

    #[test]
    fn the_first_limit_exceeded_is_told() {
        let container = |name: &str| {
            format!("Container {name} exceeded its local ephemeral storage limit \"5Mi\". ")
        };
        let whole =
            "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. ";
        let volume = "Usage of EmptyDir volume \"v\" exceeds the limit \"2Mi\". ";
        for (usage, expected) in [
            (PodUsage::default(), None),
            (usage(&[("a", 2, 3), ("b", 3, 0)], 2), None),
            (usage(&[("a", 3, 3)], 2), Some(container("a"))),
            (usage(&[("a", 1, 1), ("b", 6, 0)], 0), Some(container("b"))),
            // What has no limit of its own counts against the sum of the others'.
            (usage(&[("c", 11, 0)], 0), Some(whole.to_owned())),
            (usage(&[("a", 6, 0), ("c", 4, 0)], 1), Some(whole.to_owned())),
            (usage(&[("a", 60, 0)], 3), Some(volume.to_owned())),
            (usage(&[("gone", 7, 0)], 0), None),
        ] {
            let limits = StorageLimits::of(&pod());
            assert_eq!(limits.exceeded(&usage, LayerDisk::Shared), expected, "{usage:?}");
        }
    }

    #[test]
    fn a_layer_on_another_disk_counts_for_the_pod_only() {
        let limits = StorageLimits::of(&pod());
        assert_eq!(limits.exceeded(&usage(&[("a", 6, 0)], 0), LayerDisk::Apart), None);
        let message = limits.exceeded(&usage(&[("a", 0, 6)], 0), LayerDisk::Apart).unwrap();
        assert!(message.starts_with("Container a"), "{message}");
        let message = limits.exceeded(&usage(&[("a", 11, 0)], 0), LayerDisk::Apart).unwrap();
        assert!(message.starts_with("Pod ephemeral"), "{message}");
    }

    #[test]
    fn limits_of_the_pod_are_summed_up_as_for_scheduling() {
        for (spec, expected) in [
            (json!({"containers": [{"name": "a"}]}), None),
            (json!({"containers": [limited("a", "5Mi")]}), Some("5Mi")),
            (json!({"containers": [limited("a", "5M"), limited("b", "5Mi")]}), Some("10242880")),
            (json!({"containers": [limited("a", "512Mi"), limited("b", "512Mi")]}), Some("1Gi")),
            (
                json!({"containers": [limited("a", "1Mi")],
                "initContainers": [limited("i", "3Mi")]}),
                Some("3Mi"),
            ),
            (
                json!({"containers": [limited("a", "1Mi")],
                "overhead": {"ephemeral-storage": "1Mi"}}),
                Some("2Mi"),
            ),
            (
                json!({"containers": [limited("a", "1Mi")], "priority": pod::PRIORITY_CRITICAL}),
                None,
            ),
        ] {
            let limits = StorageLimits::of(&crate::testing::pod(spec.clone()));
            assert_eq!(limits.pod.as_ref().map(|limit| limit.text.as_str()), expected, "{spec}");
            assert_eq!(limits.is_empty(), expected.is_none(), "{spec}");
        }
    }

    #[test]
    fn a_limit_of_nothing_is_none_but_for_the_pod() {
        let pod = crate::testing::pod(json!({"containers": [limited("a", "0")],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "0"}}]}));
        let message = StorageLimits::of(&pod).exceeded(&usage(&[], 1), LayerDisk::Shared);
        let expected =
            "Pod ephemeral local storage usage exceeds the total limit of containers 0. ";
        assert_eq!(message.as_deref(), Some(expected));
    }
}
