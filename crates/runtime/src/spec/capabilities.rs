//! Capabilities: the default set, and what a pod adds and drops.

use cri::LinuxContainerSecurityContext;

use super::SpecError;
use crate::shim::protocol::ProcessPrivileges;

/// Names in the order of their numbers (`capability.h`).
const NAMES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has when nothing else is said (containerd's and docker's set).
const DEFAULT: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

fn bit(name: &str) -> Result<u64, SpecError> {
    let upper = name.to_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let number = NAMES.iter().position(|known| *known == short);
    number
        .map(|number| 1 << number)
        .ok_or_else(|| SpecError::Invalid(format!("unknown capability {name:?}")))
}

fn bits<S: AsRef<str>>(names: &[S]) -> Result<u64, SpecError> {
    names.iter().try_fold(0, |set, name| Ok(set | bit(name.as_ref())?))
}

fn all() -> u64 {
    (1 << NAMES.len()) - 1
}

/// Whether the set holds the capability.
pub(crate) fn has(set: u64, name: &str) -> bool {
    bit(name).is_ok_and(|bit| set & bit != 0)
}

/// The sets of a container. `ALL` is handled before single names, so that "drop ALL, add X" leaves X.
pub(crate) fn build(
    security: &LinuxContainerSecurityContext,
) -> Result<ProcessPrivileges, SpecError> {
    if security.privileged {
        return Ok(ProcessPrivileges {
            bounding: all(),
            permitted: all(),
            ..ProcessPrivileges::default()
        });
    }
    let change = security.capabilities.clone().unwrap_or_default();
    let split = |names: &[String]| {
        let (everything, single): (Vec<_>, Vec<_>) =
            names.iter().cloned().partition(|name| name.eq_ignore_ascii_case("ALL"));
        (!everything.is_empty(), single)
    };
    let (add_all, add) = split(&change.add_capabilities);
    let (drop_all, drop) = split(&change.drop_capabilities);
    let mut set = bits(DEFAULT)?;
    if add_all {
        set = all();
    }
    if drop_all {
        set = 0;
    }
    let ambient = bits(&change.add_ambient_capabilities)?;
    set |= bits(&add)? | ambient;
    set &= !bits(&drop)?;
    Ok(ProcessPrivileges {
        bounding: set,
        permitted: set,
        inheritable: ambient & set,
        ambient: ambient & set,
        seccomp: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri::Capability;

    fn sets(add: &[&str], drop: &[&str], privileged: bool) -> ProcessPrivileges {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let capabilities = Capability {
            add_capabilities: owned(add),
            drop_capabilities: owned(drop),
            add_ambient_capabilities: Vec::new(),
        };
        build(&LinuxContainerSecurityContext {
            capabilities: Some(capabilities),
            privileged,
            ..LinuxContainerSecurityContext::default()
        })
        .unwrap()
    }

    #[test]
    fn the_default_set_is_dockers() {
        assert_eq!(sets(&[], &[], false).bounding, 0x0000_0000_a804_25fb);
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        let one = 1 << 12;
        assert_eq!(sets(&["NET_ADMIN"], &["ALL"], false).permitted, one);
        assert_eq!(sets(&["cap_net_admin"], &["all"], false).permitted, one);
        assert_eq!(sets(&[], &["ALL"], false).bounding, 0);
        assert_eq!(sets(&["ALL"], &["NET_ADMIN"], false).bounding, all() & !one);
        assert_eq!(sets(&[], &["CHOWN"], true).bounding, all());
        assert_eq!(sets(&[], &[], false).inheritable, 0);
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let security = LinuxContainerSecurityContext {
            capabilities: Some(Capability {
                add_capabilities: vec!["FLY".to_owned()],
                ..Capability::default()
            }),
            ..LinuxContainerSecurityContext::default()
        };
        assert!(matches!(build(&security), Err(SpecError::Invalid(_))));
    }
}
