//! When the node has too little of something, and which pod has to go.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::{pod, resources};

/// How long a pressure is reported after it ended.
pub const PRESSURE_LINGERS: Duration = Duration::from_secs(300);

/// From which point on the node is under pressure; 0 turns a threshold off. The defaults are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Bytes of memory that must stay available.
    pub memory_available_bytes: u64,
    /// Percent of the disk that must stay free.
    pub disk_free_percent: u64,
    /// Percent of the inodes that must stay free.
    pub inodes_free_percent: u64,
    /// Percent of the images' disk that must stay free.
    pub image_disk_free_percent: u64,
    /// Percent of the process ids that must stay free.
    pub process_ids_free_percent: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            memory_available_bytes: 100 << 20,
            disk_free_percent: 10,
            inodes_free_percent: 5,
            image_disk_free_percent: 15,
            process_ids_free_percent: 0,
        }
    }
}

/// What there is of something, and how much of it is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// All of it; 0: not known.
    pub total: u64,
    /// What is free.
    pub free: u64,
}

impl Level {
    fn is_below(self, percent: u64) -> bool {
        self.total > 0 && percent > 0 && self.free < self.total / 100 * percent
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Memory in bytes.
    pub memory: Level,
    /// The kubelet's file system in bytes.
    pub disk: Level,
    /// Its inodes.
    pub inodes: Level,
    /// The images' file system in bytes.
    pub image_disk: Level,
    /// Process ids.
    pub process_ids: Level,
}

/// Something there is too little of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// `memory`, `ephemeral-storage`, `inodes` or `pids`.
    pub resource: &'static str,
    /// The threshold as text.
    pub threshold: String,
    /// What is available as text.
    pub available: String,
}

fn kibibytes(bytes: u64) -> String {
    format!("{}Ki", bytes / 1024)
}

/// What there is too little of, the most urgent first.
pub fn shortages(levels: &Levels, thresholds: &Thresholds) -> Vec<Shortage> {
    let mut all = Vec::new();
    let memory = levels.memory;
    if memory.total > 0 && memory.free < thresholds.memory_available_bytes {
        all.push(Shortage {
            resource: "memory",
            threshold: kibibytes(thresholds.memory_available_bytes),
            available: kibibytes(memory.free),
        });
    }
    for (level, percent) in [
        (levels.disk, thresholds.disk_free_percent),
        (levels.image_disk, thresholds.image_disk_free_percent),
    ] {
        if level.is_below(percent) {
            all.push(Shortage {
                resource: "ephemeral-storage",
                threshold: (level.total / 100 * percent).to_string(),
                available: kibibytes(level.free),
            });
        }
    }
    for (resource, level, percent) in [
        ("inodes", levels.inodes, thresholds.inodes_free_percent),
        ("pids", levels.process_ids, thresholds.process_ids_free_percent),
    ] {
        if level.is_below(percent) {
            all.push(Shortage {
                resource,
                threshold: (level.total / 100 * percent).to_string(),
                available: level.free.to_string(),
            });
        }
    }
    all
}

/// A pressure that is reported until it has been over for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    last_seen: Option<Timestamp>,
}

impl Pressure {
    /// Takes in what is the case now; whether it is to be reported.
    pub fn observe(&mut self, under_pressure: bool, now: Timestamp) -> bool {
        if under_pressure {
            self.last_seen = Some(now);
        }
        self.last_seen.is_some_and(|seen| {
            Duration::try_from(now.duration_since(seen)).unwrap_or_default() < PRESSURE_LINGERS
        })
    }
}

/// A pod that could go, with the memory it uses.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Bytes of working set.
    pub memory_bytes: i64,
}

/// The pod to end: one that uses more than it asked for, of low priority, by how much it is over. Pods
/// that the system depends on stay.
pub fn victim<'a>(candidates: &[Candidate<'a>]) -> Option<&'a Pod> {
    let over = |candidate: &Candidate<'_>| {
        candidate.memory_bytes - resources::pod_request(candidate.pod, "memory")
    };
    let priority = |candidate: &Candidate<'_>| pod::spec(candidate.pod).priority.unwrap_or(0);
    candidates
        .iter()
        .filter(|candidate| !pod::is_critical(candidate.pod))
        .max_by_key(|it| (over(it) > 0, std::cmp::Reverse(priority(it)), over(it)))
        .map(|candidate| candidate.pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shortages_are_named() {
        let mut levels = Levels {
            memory: Level { total: 1 << 30, free: 50 << 20 },
            disk: Level { total: 1000, free: 99 },
            inodes: Level { total: 1000, free: 500 },
            ..Levels::default()
        };
        let found = shortages(&levels, &Thresholds::default());
        let names: Vec<&str> = found.iter().map(|it| it.resource).collect();
        assert_eq!(names, ["memory", "ephemeral-storage"]);
        assert_eq!(
            (found[0].threshold.as_str(), found[0].available.as_str()),
            ("102400Ki", "51200Ki")
        );
        levels.memory.free = 1 << 30;
        levels.disk.free = 100;
        assert!(shortages(&levels, &Thresholds::default()).is_empty());
    }

    #[test]
    fn pressure_lingers() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut pressure = Pressure::default();
        assert!(!pressure.observe(false, at(0)));
        assert!(pressure.observe(true, at(1)));
        assert!(pressure.observe(false, at(300)));
        assert!(!pressure.observe(false, at(301)));
    }

    #[test]
    fn who_takes_more_than_asked_for_goes_first() {
        let pod = |name: &str, priority: i32, request: &str| {
            let mut pod = crate::testing::pod(json!({"priority": priority, "containers": [
                {"name": "c", "resources": {"requests": {"memory": request}}}]}));
            pod.metadata.name = Some(name.into());
            pod
        };
        let pods = [
            pod("modest", 0, "1Gi"),
            pod("greedy", 0, "1Mi"),
            pod("greedier", 5, "1Mi"),
            pod("critical", pod::PRIORITY_CRITICAL, "0"),
        ];
        let candidates: Vec<Candidate<'_>> =
            pods.iter().map(|pod| Candidate { pod, memory_bytes: 100 << 20 }).collect();
        assert_eq!(pod::name(victim(&candidates).unwrap()), "greedy");
        assert!(victim(&candidates[3..]).is_none());
    }
}
