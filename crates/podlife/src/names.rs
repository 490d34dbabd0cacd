//! Names of files that users and log collectors rely on.

/// Longest name of a file in `/var/log/containers`, less the suffix.
const LEGACY_NAME_MAX: usize = 251;

/// Directory of a pod's logs, below the root of all pods' logs.
pub fn pod_log_directory(namespace: &str, name: &str, uid: &str) -> String {
    format!("{namespace}_{name}_{uid}")
}

/// A container's log below its pod's directory.
pub fn container_log(container: &str, restarts: i32) -> String {
    format!("{container}/{restarts}.log")
}

/// The flat name under which log collectors look for a container's log.
pub fn legacy_log(pod: &str, namespace: &str, container: &str, container_id: &str) -> String {
    let mut name = format!("{pod}_{namespace}_{container}-{container_id}");
    name.truncate(LEGACY_NAME_MAX);
    format!("{name}.log")
}

/// A plugin's name as a directory.
pub fn escaped(qualified: &str) -> String {
    qualified.replace('/', "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(pod_log_directory("ns", "p", "u"), "ns_p_u");
        assert_eq!(container_log("c", 3), "c/3.log");
        assert_eq!(legacy_log("p", "ns", "c", "id"), "p_ns_c-id.log");
        assert_eq!(legacy_log(&"p".repeat(300), "ns", "c", "id").len(), 255);
        assert_eq!(escaped("kubernetes.io/empty-dir"), "kubernetes.io~empty-dir");
    }
}
