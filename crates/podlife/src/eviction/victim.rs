//! Which pod goes when there is too little of something, and the words that go with it.

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::usage::{ContainerUsage, DiskUsage, LayerDisk, PodUsage};
use super::{Shortage, Signal};
use crate::quantity::Form;
use crate::{pod, quantity, resources};

/// A pod that could go.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What it uses; `None`: the runtime shows nothing of it.
    pub usage: Option<&'a PodUsage>,
}

/// How a pod stands to what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Within,
    Beyond,
    /// Upstream takes it before all others.
    NotMeasured,
}

/// What makes one pod go before another; the greatest goes first.
type Rank = (Standing, Reverse<i32>, i64, i64);

/// The pod to end: one that uses more than it asked for, of low priority, by how much it is over. Pods that the
/// system depends on stay.
pub fn victim<'a>(
    shortage: &Shortage,
    layers: LayerDisk,
    candidates: &[Candidate<'a>],
) -> Option<Candidate<'a>> {
    let rank = |candidate: &&Candidate<'_>| rank(shortage.signal, layers, candidate);
    let can_go = candidates.iter().filter(|candidate| !pod::is_critical(candidate.pod));
    can_go.max_by_key(rank).copied()
}

fn rank(signal: Signal, layers: LayerDisk, candidate: &Candidate<'_>) -> Rank {
    let priority = Reverse(pod::spec(candidate.pod).priority.unwrap_or(0));
    let over = candidate.usage.map(|usage| over(signal, layers, candidate.pod, usage));
    let standing = match over {
        // Nobody asks for process ids.
        _ if signal == Signal::ProcessIds => Standing::Within,
        None => Standing::NotMeasured,
        Some((over, _)) if over > 0 => Standing::Beyond,
        Some(_) => Standing::Within,
    };
    let (first, second) = over.unwrap_or((i64::MAX, i64::MAX));
    (standing, priority, first, second)
}

/// What a pod uses beyond its request, and what decides when that is equal.
fn over(signal: Signal, layers: LayerDisk, pod: &Pod, usage: &PodUsage) -> (i64, i64) {
    let beyond = |used: u64| signed(used).saturating_sub(asked_for(pod, signal));
    let disk = disk(signal, layers, usage);
    match signal {
        Signal::Memory => (beyond(usage.memory_bytes), 0),
        Signal::Disk | Signal::ImageDisk => (beyond(disk.bytes), 0),
        // Not every runtime counts inodes.
        Signal::DiskInodes | Signal::ImageDiskInodes => (signed(disk.inodes), signed(disk.bytes)),
        Signal::ProcessIds => (signed(usage.processes), 0),
    }
}

fn asked_for(pod: &Pod, signal: Signal) -> i64 {
    resources::pod_request(pod, signal.resource())
}

/// What of a pod is on the disk that there is too little of.
fn disk(signal: Signal, layers: LayerDisk, usage: &PodUsage) -> DiskUsage {
    match (layers, signal) {
        (LayerDisk::Shared, _) => usage.layers() + usage.logs_and_volumes(),
        (LayerDisk::Apart, Signal::ImageDisk | Signal::ImageDiskInodes) => usage.layers(),
        (LayerDisk::Apart, _) => usage.logs_and_volumes(),
    }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// Why the pod goes: what there is too little of, and which containers use more of it than they asked for.
pub fn message(shortage: &Shortage, victim: &Candidate<'_>) -> String {
    let resource = shortage.resource();
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        shortage.threshold, shortage.available
    );
    let containers =
        pod::spec(victim.pod).containers.iter().chain(pod::init_containers(victim.pod));
    for container in containers {
        let used = victim.usage.and_then(|usage| usage.container(&container.name));
        if let Some(used) = used.and_then(|used| used_by(used, shortage.signal)) {
            text.push_str(&blame(container, resource, used).unwrap_or_default());
        }
    }
    text
}

/// What a container uses of the resource, where upstream tells containers apart.
fn used_by(container: &ContainerUsage, signal: Signal) -> Option<u64> {
    match signal {
        Signal::Memory => container.memory_bytes,
        Signal::Disk | Signal::ImageDisk => Some((container.layer? + container.logs?).bytes),
        Signal::DiskInodes | Signal::ImageDiskInodes | Signal::ProcessIds => None,
    }
}

fn blame(container: &Container, resource: &str, used: u64) -> Option<String> {
    let request = resources::request(container, resource);
    let asked_for = request.map_or(0, quantity::value);
    let request = request.map_or("0", |Quantity(text)| text);
    let (name, usage) = (&container.name, quantity::text(used, Form::Binary));
    (signed(used) > asked_for).then(|| {
        format!(
            "Container {name} was using {usage}, request is {request}, has larger consumption of {resource}. "
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MEBI: u64 = 1 << 20;

    fn shortage(signal: Signal) -> Shortage {
        Shortage { signal, threshold: "100Mi".to_owned(), available: "51204Ki".to_owned() }
    }

    fn pod(name: &str, priority: i32, memory: &str, storage: &str) -> Pod {
        let requests = json!({"memory": memory, "ephemeral-storage": storage});
        let container = json!({"name": "c", "resources": {"requests": requests}});
        let spec = json!({"priority": priority, "containers": [container]});
        let mut pod = crate::testing::pod(spec);
        pod.metadata.name = Some(name.into());
        pod
    }

    /// So many mebibytes of memory and layer, inodes of logs, and processes.
    fn usage(memory: u64, layer: u64, inodes: u64, processes: u64) -> PodUsage {
        let container = ContainerUsage {
            name: "c".to_owned(),
            memory_bytes: Some(memory * MEBI),
            layer: Some(DiskUsage { bytes: layer * MEBI, inodes: 0 }),
            logs: Some(DiskUsage { bytes: 0, inodes }),
        };
        PodUsage {
            memory_bytes: memory * MEBI,
            processes,
            containers: vec![container],
            ..PodUsage::default()
        }
    }

    #[test]
    fn who_takes_more_than_asked_for_goes_first() {
        let pods = [
            (pod("modest", 0, "1Gi", "1Gi"), usage(200, 200, 1, 1)),
            (pod("hungry", 0, "1Mi", "1Gi"), usage(100, 1, 2, 2)),
            (pod("stuffed", 0, "1Gi", "1Mi"), usage(1, 100, 3, 3)),
            (pod("important", 5, "1Mi", "1Mi"), usage(500, 500, 500, 500)),
            (pod("critical", pod::PRIORITY_CRITICAL, "0", "0"), usage(900, 900, 900, 900)),
        ];
        let candidates: Vec<Candidate<'_>> =
            pods.iter().map(|(pod, usage)| Candidate { pod, usage: Some(usage) }).collect();
        for (signal, expected) in [
            (Signal::Memory, "hungry"),
            (Signal::Disk, "stuffed"),
            (Signal::ImageDisk, "stuffed"),
            (Signal::DiskInodes, "stuffed"),
            (Signal::ProcessIds, "stuffed"),
        ] {
            let found = victim(&shortage(signal), LayerDisk::Shared, &candidates).unwrap();
            assert_eq!(pod::name(found.pod), expected, "{signal:?}");
        }
        assert!(victim(&shortage(Signal::Memory), LayerDisk::Shared, &candidates[4..]).is_none());
        assert!(victim(&shortage(Signal::Memory), LayerDisk::Shared, &[]).is_none());
    }

    #[test]
    fn who_is_not_measured_goes_before_all_others_of_any_priority() {
        let (big, unknown) = (pod("big", 0, "0", "0"), pod("unknown", 5, "0", "0"));
        let used = usage(u64::MAX / MEBI, u64::MAX / MEBI, u64::MAX, u64::MAX);
        let candidates =
            [Candidate { pod: &big, usage: Some(&used) }, Candidate { pod: &unknown, usage: None }];
        let name = |signal| {
            let found = victim(&shortage(signal), LayerDisk::Shared, &candidates).unwrap();
            pod::name(found.pod).to_owned()
        };
        assert_eq!([Signal::Memory, Signal::Disk, Signal::DiskInodes].map(name), ["unknown"; 3]);
        // Process ids are taken from low priorities first.
        assert_eq!(name(Signal::ProcessIds), "big");
    }

    #[test]
    fn bytes_decide_where_inodes_are_not_counted() {
        let (small, large) = (pod("small", 0, "0", "0"), pod("large", 0, "0", "0"));
        let (little, much) = (usage(0, 1, 0, 0), usage(0, 2, 0, 0));
        let candidates = [
            Candidate { pod: &large, usage: Some(&much) },
            Candidate { pod: &small, usage: Some(&little) },
        ];
        let found = victim(&shortage(Signal::DiskInodes), LayerDisk::Shared, &candidates);
        assert_eq!(pod::name(found.unwrap().pod), "large");
    }

    #[test]
    fn only_what_is_on_the_disk_counts() {
        let (layer, volume) = (pod("layer", 0, "0", "0"), pod("volume", 0, "0", "0"));
        let in_layer = usage(0, 2, 0, 0);
        let in_volume = PodUsage {
            volumes: [("v".to_owned(), DiskUsage { bytes: MEBI, inodes: 1 })].into(),
            ..PodUsage::default()
        };
        let candidates = [
            Candidate { pod: &layer, usage: Some(&in_layer) },
            Candidate { pod: &volume, usage: Some(&in_volume) },
        ];
        for (signal, layers, expected) in [
            (Signal::Disk, LayerDisk::Shared, "layer"),
            (Signal::ImageDisk, LayerDisk::Apart, "layer"),
            (Signal::Disk, LayerDisk::Apart, "volume"),
            (Signal::DiskInodes, LayerDisk::Apart, "volume"),
        ] {
            let found = victim(&shortage(signal), layers, &candidates).unwrap();
            assert_eq!(pod::name(found.pod), expected, "{signal:?} {layers:?}");
        }
    }

    #[test]
    fn the_message_names_the_containers_that_are_over() {
        let low = |resource: &str| {
            let text = "Threshold quantity: 100Mi, available: 51204Ki. ";
            format!("The node was low on resource: {resource}. {text}")
        };
        let blame = |text: &str, resource: &str| {
            let (low, text) = (low(resource), format!("Container c was using {text}, "));
            format!("{low}{text}has larger consumption of {resource}. ")
        };
        let used = usage(10, 20, 3, 4);
        let asks = pod("asks", 0, "1Mi", "20Mi");
        let plain = crate::testing::pod(json!({"containers": [{"name": "c"}]}));
        for (signal, pod, usage, expected) in [
            (Signal::Memory, &plain, Some(&used), blame("10Mi, request is 0", "memory")),
            (Signal::Memory, &asks, Some(&used), blame("10Mi, request is 1Mi", "memory")),
            (Signal::Disk, &plain, Some(&used), blame("20Mi, request is 0", "ephemeral-storage")),
            (Signal::Disk, &asks, Some(&used), low("ephemeral-storage")),
            (Signal::DiskInodes, &plain, Some(&used), low("inodes")),
            (Signal::ProcessIds, &plain, Some(&used), low("pids")),
            (Signal::Memory, &plain, None, low("memory")),
        ] {
            let text = message(&shortage(signal), &Candidate { pod, usage });
            assert_eq!(text, expected, "{signal:?}");
        }
    }
}
