//! The tree of control groups: one group for all pods, one per class below it, one per pod.

use crate::qos::Class;

/// Name of the group of all pods.
pub const ROOT: &str = "kubepods";

/// The group of a class below `prefix` (empty, or a path such as `/keelson`); guaranteed pods are
/// directly in the group of all pods.
pub fn of_class(prefix: &str, class: Class) -> String {
    match class {
        Class::Guaranteed => format!("{prefix}/{ROOT}"),
        Class::Burstable => format!("{prefix}/{ROOT}/burstable"),
        Class::BestEffort => format!("{prefix}/{ROOT}/besteffort"),
    }
}

/// The group of a pod.
pub fn of_pod(prefix: &str, class: Class, uid: &str) -> String {
    format!("{}/pod{uid}", of_class(prefix, class))
}

/// Weight of a cgroup v2 group for the shares of v1.
pub fn weight(shares: i64) -> i64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_weights() {
        assert_eq!(of_pod("", Class::Guaranteed, "1"), "/kubepods/pod1");
        assert_eq!(of_pod("/k", Class::Burstable, "1"), "/k/kubepods/burstable/pod1");
        assert_eq!(of_pod("", Class::BestEffort, "1"), "/kubepods/besteffort/pod1");
        assert_eq!([weight(2), weight(1024), weight(262_144)], [1, 39, 10_000]);
    }
}
