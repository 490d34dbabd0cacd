//! Which sysctls a pod may set: those that the kernel keeps apart for every pod and that take nothing from
//! others. Setting them is the runtime's work.

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::admit::Refusal;
use crate::pod;

/// A version of the kernel, as far as it decides what there is; the default is one that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    major: u32,
    minor: u32,
}

impl KernelVersion {
    const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Reads a release such as `6.1.0-13-amd64`.
    pub fn of_release(release: &str) -> Self {
        let mut numbers = release.trim().split(|letter: char| !letter.is_ascii_digit());
        let mut number = || numbers.next().and_then(|digits| digits.parse().ok());
        number().map_or_else(Self::default, |major| Self::new(major, number().unwrap_or(0)))
    }
}

/// The namespace that keeps a sysctl apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Network,
}

impl Namespace {
    /// As messages name it.
    fn text(self) -> &'static str {
        match self {
            Self::Ipc => "IPC",
            Self::Network => "Net",
        }
    }

    /// Whether the pod has the host's own.
    fn is_hosts(self, spec: &PodSpec) -> bool {
        match self {
            Self::Ipc => spec.host_ipc.unwrap_or(false),
            Self::Network => spec.host_network.unwrap_or(false),
        }
    }
}

/// The kernel from which on a sysctl is kept apart; one that always was needs none that is known.
const ALWAYS: KernelVersion = KernelVersion::new(0, 0);

/// Upstream's list.
const SAFE: [(&str, Namespace, KernelVersion); 12] = [
    ("kernel.shm_rmid_forced", Namespace::Ipc, ALWAYS),
    ("net.ipv4.ip_local_port_range", Namespace::Network, ALWAYS),
    ("net.ipv4.tcp_syncookies", Namespace::Network, ALWAYS),
    ("net.ipv4.ping_group_range", Namespace::Network, ALWAYS),
    ("net.ipv4.ip_unprivileged_port_start", Namespace::Network, ALWAYS),
    ("net.ipv4.ip_local_reserved_ports", Namespace::Network, KernelVersion::new(3, 16)),
    ("net.ipv4.tcp_keepalive_time", Namespace::Network, KernelVersion::new(4, 5)),
    ("net.ipv4.tcp_keepalive_intvl", Namespace::Network, KernelVersion::new(4, 5)),
    ("net.ipv4.tcp_keepalive_probes", Namespace::Network, KernelVersion::new(4, 5)),
    ("net.ipv4.tcp_fin_timeout", Namespace::Network, KernelVersion::new(4, 6)),
    ("net.ipv4.tcp_rmem", Namespace::Network, KernelVersion::new(4, 15)),
    ("net.ipv4.tcp_wmem", Namespace::Network, KernelVersion::new(4, 15)),
];

/// Refuses a pod with a sysctl that is not safe, or that would be the host's.
///
/// # Errors
/// Which sysctl it is.
pub fn check(pod: &Pod, kernel: KernelVersion) -> Result<(), Refusal> {
    let spec = pod::spec(pod);
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    for sysctl in sysctls {
        check_one(&dotted(&sysctl.name), spec, kernel).map_err(|problem| Refusal {
            reason: "SysctlForbidden".to_owned(),
            message: format!("forbidden sysctl: {problem}"),
        })?;
    }
    Ok(())
}

fn check_one(name: &str, spec: &PodSpec, kernel: KernelVersion) -> Result<(), String> {
    let safe = SAFE.iter().find(|(safe, _, since)| *safe == name && kernel >= *since);
    match safe {
        None => Err(format!("{name:?} not allowlisted")),
        Some((_, namespace, _)) if namespace.is_hosts(spec) => {
            Err(format!("{name:?} not allowed with host {} enabled", namespace.text()))
        }
        Some(_) => Ok(()),
    }
}

/// `net/ipv4/x` in the form `net.ipv4.x`. A name whose first separator is a slash may have dots within its
/// parts, where the other form has slashes.
fn dotted(name: &str) -> String {
    if name.find(['.', '/']).is_none_or(|at| name[at..].starts_with('.')) {
        return name.to_owned();
    }
    let swapped = |letter| match letter {
        '.' => '/',
        '/' => '.',
        letter => letter,
    };
    name.chars().map(swapped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NEW: &str = "6.1.0-13-amd64";

    fn verdict(names: &[&str], host: &str, kernel: &str) -> String {
        let sysctls: Vec<_> =
            names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        let mut spec = json!({"containers": [], "securityContext": {"sysctls": sysctls}});
        spec[host] = json!(true);
        match check(&crate::testing::pod(spec), KernelVersion::of_release(kernel)) {
            Ok(()) => String::new(),
            Err(refusal) => format!("{}: {}", refusal.reason, refusal.message),
        }
    }

    #[test]
    fn only_safe_sysctls_of_the_pods_own_namespaces_are_let_in() {
        let names = SAFE.map(|(name, _, _)| name);
        assert_eq!(verdict(&names, "hostPID", NEW), "");
        assert_eq!(verdict(&[], "hostNetwork", ""), "");
        for (name, host, kernel, expected) in [
            ("net/ipv4/tcp_rmem", "hostIPC", NEW, ""),
            ("kernel.shm_rmid_forced", "hostNetwork", "", ""),
            ("kernel.msgmax", "hostPID", NEW, "\"kernel.msgmax\" not allowlisted"),
            ("net/ipv4/conf/a.1/x", "hostPID", NEW, "\"net.ipv4.conf.a/1.x\" not allowlisted"),
            ("net.ipv4.conf.a/1.x", "hostPID", NEW, "\"net.ipv4.conf.a/1.x\" not allowlisted"),
            ("net.ipv4.tcp_rmem", "hostPID", "4.14.336", "\"net.ipv4.tcp_rmem\" not allowlisted"),
            ("net.ipv4.tcp_rmem", "hostPID", "4.15-rc1", ""),
            ("net.ipv4.tcp_rmem", "hostPID", "strange", "\"net.ipv4.tcp_rmem\" not allowlisted"),
            (
                "net/ipv4/tcp_syncookies",
                "hostNetwork",
                NEW,
                "\"net.ipv4.tcp_syncookies\" not allowed with host Net enabled",
            ),
            (
                "kernel.shm_rmid_forced",
                "hostIPC",
                NEW,
                "\"kernel.shm_rmid_forced\" not allowed with host IPC enabled",
            ),
            ("", "hostPID", NEW, "\"\" not allowlisted"),
        ] {
            let expected = match expected {
                "" => String::new(),
                problem => format!("SysctlForbidden: forbidden sysctl: {problem}"),
            };
            assert_eq!(verdict(&[name], host, kernel), expected, "{name}");
        }
    }

    #[test]
    fn the_first_one_that_is_forbidden_is_told() {
        let told = verdict(&["net.ipv4.tcp_wmem", "kernel.sem", "kernel.shmmax"], "hostPID", NEW);
        assert_eq!(told, "SysctlForbidden: forbidden sysctl: \"kernel.sem\" not allowlisted");
    }
}
