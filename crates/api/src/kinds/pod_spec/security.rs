//! Security contexts of pods and containers.

use std::collections::BTreeSet;

use super::super::check::{At, Faults};
use super::volumes::descending_path;

const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";
const SYSCTL_MAX: usize = 253;
const PROFILE_PATH_MAX: usize = 4095;
const SYSCTL_PATTERN: &str =
    "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn id(at: &At<'_>, faults: &mut Faults) {
    if at.int().is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
        faults.invalid(at, ID_RANGE);
    }
}

/// `securityContext` of a pod's spec.
pub(super) fn pod(spec: &At<'_>, faults: &mut Faults) {
    let at = spec.get("securityContext");
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&at.get(field), faults);
    }
    for group in at.get("supplementalGroups").items() {
        id(&group, faults);
    }
    let share = spec.get("shareProcessNamespace");
    if share.flag() && spec.get("hostPID").flag() {
        let place = At { value: share.value, path: at.get("shareProcessNamespace").path };
        faults.invalid(&place, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    sysctls(spec, &at.get("sysctls"), faults);
    faults.optional_one_of(&at.get("fsGroupChangePolicy"), &["Always", "OnRootMismatch"]);
    seccomp(&at.get("seccompProfile"), faults);
    app_armor(&at.get("appArmorProfile"), faults);
    faults.optional_one_of(&at.get("supplementalGroupsPolicy"), &["Merge", "Strict"]);
    faults.optional_one_of(&at.get("seLinuxChangePolicy"), &["MountOption", "Recursive"]);
}

fn is_sysctl(text: &str) -> bool {
    let is_end = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_part = |part: &str| {
        part.bytes().next().is_some_and(is_end)
            && part.bytes().next_back().is_some_and(is_end)
            && part.bytes().all(|b| is_end(b) || matches!(b, b'-' | b'_'))
    };
    text.len() <= SYSCTL_MAX && text.split(['.', '/']).all(is_part)
}

fn sysctls(spec: &At<'_>, at: &At<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for sysctl in at.items() {
        let place = sysctl.get("name");
        let own_name = place.text();
        if own_name.is_empty() {
            faults.required(&place, "");
        } else if !is_sysctl(own_name) {
            let text = format!(
                "must have at most {SYSCTL_MAX} characters and match regex {SYSCTL_PATTERN}"
            );
            faults.invalid(&place, text);
        } else if !seen.insert(own_name) {
            faults.duplicate(&place);
        }
        let dotted = own_name.replace('/', ".");
        if spec.get("hostNetwork").flag() && dotted.starts_with("net.") {
            faults.invalid(&place, "may not be specified when 'hostNetwork' is set to true");
        }
        let is_ipc = dotted.starts_with("kernel.shm")
            || dotted.starts_with("kernel.msg")
            || dotted == "kernel.sem"
            || dotted.starts_with("fs.mqueue.");
        if spec.get("hostIPC").flag() && is_ipc {
            faults.invalid(&place, "may not be specified when 'hostIPC' is set to true");
        }
    }
}

fn seccomp(at: &At<'_>, faults: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let (kind, local) = (at.get("type"), at.get("localhostProfile"));
    match kind.text() {
        "" => faults.required(&kind, "type is required when seccompProfile is set"),
        "Localhost" | "RuntimeDefault" | "Unconfined" => {}
        _ => faults.not_supported(&kind, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
    if kind.text() == "Localhost" {
        if local.is_set() {
            descending_path(&local, local.text(), faults);
        } else {
            faults.required(&local, "must be set when seccomp type is Localhost");
        }
    } else if local.is_set() {
        let place = At { value: at.value, path: local.path };
        faults.invalid(&place, "can only be set when seccomp type is Localhost");
    }
}

fn app_armor(at: &At<'_>, faults: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let (kind, local) = (at.get("type"), at.get("localhostProfile"));
    match kind.text() {
        "Localhost" => {
            if local.text().trim() != local.text() {
                faults.invalid(&local, "must not be padded with whitespace");
            } else if local.is_zero() {
                faults.required(&local, "must be set when AppArmor type is Localhost");
            }
            if local.text().len() > PROFILE_PATH_MAX {
                faults.too_long(&local, PROFILE_PATH_MAX);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if local.is_set() {
                faults.invalid(&local, "can only be set when AppArmor type is Localhost");
            }
        }
        "" => faults.required(&kind, "type is required when appArmorProfile is set"),
        _ => faults.not_supported(&kind, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
}

/// `securityContext` of a container; `has_host_users` says that the pod has no user namespace of its own.
pub(super) fn container(at: &At<'_>, has_host_users: bool, faults: &mut Faults) {
    if !at.is_set() {
        return;
    }
    id(&at.get("runAsUser"), faults);
    id(&at.get("runAsGroup"), faults);
    let mount = at.get("procMount");
    if mount.is_set() && !matches!(mount.text(), "Default" | "Unmasked") {
        faults.not_supported(&mount, &["Default", "Unmasked"]);
    }
    if has_host_users && mount.text() == "Unmasked" {
        faults.invalid(&mount, "`hostUsers` must be false to use `Unmasked`");
    }
    seccomp(&at.get("seccompProfile"), faults);
    let escalation = at.get("allowPrivilegeEscalation");
    if escalation.is_set() && !escalation.flag() {
        if at.get("privileged").flag() {
            faults.invalid(
                at,
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        let added = at.get2("capabilities", "add");
        if added.items().any(|capability| capability.text() == "CAP_SYS_ADMIN") {
            faults.invalid(at, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    app_armor(&at.get("appArmorProfile"), faults);
}
