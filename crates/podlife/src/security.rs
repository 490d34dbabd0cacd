//! From security contexts to what the runtime is told.

use cri::{
    Capability, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, ProfileType, SeLinuxOption, SecurityProfile, SupplementalGroupsPolicy,
};
use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile,
    SecurityContext,
};

use crate::pod;

const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The user that an image runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    /// Numeric.
    pub uid: Option<i64>,
    /// By name.
    pub name: String,
}

/// A container that must not run as root but would, or might.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// Its own settings say so.
    #[error("container's runAsUser breaks non-root policy (pod: \"{0}\", container: {1})")]
    Own(String, String),
    /// The image says so.
    #[error("container has runAsNonRoot and image will run as root (pod: \"{0}\", container: {1})")]
    Image(String, String),
    /// The image names a user whose number is not known.
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({2}), cannot verify user is \
         non-root (pod: \"{0}\", container: {1})"
    )]
    Name(String, String, String),
}

fn of_pod(pod: &Pod) -> Option<&PodSecurityContext> {
    pod::spec(pod).security_context.as_ref()
}

/// Checks `runAsNonRoot`.
///
/// # Errors
/// The container would run as root, or nobody can tell.
pub fn check_user(pod: &Pod, container: &Container, image: &ImageUser) -> Result<(), RootError> {
    let own = container.security_context.as_ref();
    let all = of_pod(pod);
    let non_root = own
        .and_then(|own| own.run_as_non_root)
        .or_else(|| all.and_then(|all| all.run_as_non_root))
        .unwrap_or(false);
    if !non_root {
        return Ok(());
    }
    let user = own.and_then(|own| own.run_as_user).or_else(|| all.and_then(|all| all.run_as_user));
    let (pod, name) = (pod::described(pod), container.name.clone());
    match (user, image.uid) {
        (Some(0), _) => Err(RootError::Own(pod, name)),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(RootError::Image(pod, name)),
        (None, Some(_)) => Ok(()),
        (None, None) if image.name.is_empty() => Err(RootError::Image(pod, name)),
        (None, None) => Err(RootError::Name(pod, name, image.name.clone())),
    }
}

/// The namespaces of the pod.
pub fn namespaces(pod: &Pod) -> NamespaceOption {
    let spec = pod::spec(pod);
    let or =
        |host: Option<bool>, other| if host.unwrap_or(false) { NamespaceMode::Node } else { other };
    let shared = spec.share_process_namespace.unwrap_or(false);
    let own_pid = if shared { NamespaceMode::Pod } else { NamespaceMode::Container };
    NamespaceOption {
        network: or(spec.host_network, NamespaceMode::Pod),
        ipc: or(spec.host_ipc, NamespaceMode::Pod),
        pid: or(spec.host_pid, own_pid),
        target_id: String::new(),
        userns_options: None,
    }
}

fn selinux(options: Option<&SELinuxOptions>) -> Option<SeLinuxOption> {
    let options = options?;
    Some(SeLinuxOption {
        user: options.user.clone().unwrap_or_default(),
        role: options.role.clone().unwrap_or_default(),
        r#type: options.type_.clone().unwrap_or_default(),
        level: options.level.clone().unwrap_or_default(),
    })
}

fn profile(kind: &str, localhost_ref: String) -> Option<SecurityProfile> {
    let profile_type = match kind {
        "RuntimeDefault" => ProfileType::RuntimeDefault,
        "Localhost" => ProfileType::Localhost,
        _ => return None,
    };
    Some(SecurityProfile { profile_type, localhost_ref })
}

fn seccomp(profile_of: Option<&SeccompProfile>, root: &str) -> Option<SecurityProfile> {
    let chosen = profile_of?;
    let local = chosen.localhost_profile.as_deref().unwrap_or_default();
    let path = if local.is_empty() { String::new() } else { format!("{root}/seccomp/{local}") };
    profile(&chosen.type_, path)
}

fn apparmor(chosen: Option<&AppArmorProfile>) -> Option<SecurityProfile> {
    let chosen = chosen?;
    if chosen.type_ == "Unconfined" {
        return Some(SecurityProfile {
            profile_type: ProfileType::Unconfined,
            ..Default::default()
        });
    }
    profile(&chosen.type_, chosen.localhost_profile.clone().unwrap_or_default())
}

fn groups(pod: &Pod) -> (Vec<i64>, SupplementalGroupsPolicy) {
    let Some(context) = of_pod(pod) else { return (Vec::new(), Default::default()) };
    let mut groups: Vec<i64> = context.supplemental_groups.clone().unwrap_or_default();
    groups.extend(context.fs_group);
    let strict = context.supplemental_groups_policy.as_deref() == Some("Strict");
    let policy =
        if strict { SupplementalGroupsPolicy::Strict } else { SupplementalGroupsPolicy::Merge };
    (groups, policy)
}

/// Whether the container is privileged.
pub fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().and_then(|own| own.privileged).unwrap_or(false)
}

/// The settings of the sandbox. `root` is the kubelet's directory with profiles below it.
pub fn of_sandbox(pod: &Pod, root: &str) -> LinuxSandboxSecurityContext {
    let context = of_pod(pod);
    let (supplemental_groups, supplemental_groups_policy) = groups(pod);
    let all = pod::references(pod).into_iter().filter_map(|at| pod::container(pod, at));
    LinuxSandboxSecurityContext {
        namespace_options: namespaces(pod),
        selinux_options: selinux(context.and_then(|context| context.se_linux_options.as_ref())),
        run_as_user: context.and_then(|context| context.run_as_user),
        run_as_group: context.and_then(|context| context.run_as_group),
        readonly_rootfs: false,
        supplemental_groups,
        supplemental_groups_policy,
        privileged: all.into_iter().any(|container| is_privileged(&container)),
        seccomp: seccomp(context.and_then(|context| context.seccomp_profile.as_ref()), root),
        apparmor: apparmor(context.and_then(|context| context.app_armor_profile.as_ref())),
    }
}

fn paths(own: &SecurityContext, defaults: &[&str]) -> Vec<String> {
    let bare = own.privileged.unwrap_or(false) || own.proc_mount.as_deref() == Some("Unmasked");
    if bare { Vec::new() } else { defaults.iter().map(|path| (*path).to_owned()).collect() }
}

/// The settings of a container. `target_id` is the container whose processes an ephemeral one sees.
pub fn of_container(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
    target_id: Option<&str>,
    root: &str,
) -> LinuxContainerSecurityContext {
    let none = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&none);
    let context = of_pod(pod);
    let (supplemental_groups, supplemental_groups_policy) = groups(pod);
    let mut namespace_options = namespaces(pod);
    if let Some(target) = target_id {
        namespace_options.pid = NamespaceMode::Target;
        namespace_options.target_id = target.to_owned();
    }
    let run_as_user = own.run_as_user.or_else(|| context.and_then(|context| context.run_as_user));
    let from_image = if run_as_user.is_none() { image.uid } else { None };
    let run_as_username = if run_as_user.is_none() && from_image.is_none() {
        image.name.clone()
    } else {
        String::new()
    };
    let of_pod_selinux = context.and_then(|context| context.se_linux_options.as_ref());
    let of_pod_seccomp = context.and_then(|context| context.seccomp_profile.as_ref());
    let of_pod_apparmor = context.and_then(|context| context.app_armor_profile.as_ref());
    LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|capabilities| Capability {
            add_capabilities: capabilities.add.clone().unwrap_or_default(),
            drop_capabilities: capabilities.drop.clone().unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged: is_privileged(container),
        namespace_options,
        selinux_options: selinux(own.se_linux_options.as_ref().or(of_pod_selinux)),
        run_as_user: run_as_user.or(from_image),
        run_as_group: own.run_as_group.or_else(|| context.and_then(|context| context.run_as_group)),
        run_as_username,
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups,
        supplemental_groups_policy,
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(own, &MASKED),
        readonly_paths: paths(own, &READONLY),
        seccomp: seccomp(own.seccomp_profile.as_ref().or(of_pod_seccomp), root),
        apparmor: apparmor(own.app_armor_profile.as_ref().or(of_pod_apparmor)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_wins_over_the_pod() {
        let pod = crate::testing::pod(json!({
            "securityContext": {"runAsUser": 1, "fsGroup": 5, "supplementalGroups": [7],
                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {"name": "a", "securityContext": {"runAsUser": 2, "privileged": true,
                    "seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}}},
                {"name": "b", "securityContext": {"allowPrivilegeEscalation": false}}],
        }));
        let containers = &pod::spec(&pod).containers;
        let image = ImageUser { uid: Some(9), name: String::new() };
        let a = of_container(&pod, &containers[0], &image, None, "/k");
        assert_eq!((a.run_as_user, a.privileged, a.masked_paths.len()), (Some(2), true, 0));
        assert_eq!(a.seccomp.unwrap().localhost_ref, "/k/seccomp/x.json");
        let b = of_container(&pod, &containers[1], &image, Some("t"), "/k");
        assert_eq!((b.run_as_user, b.no_new_privs), (Some(1), true));
        assert_eq!(b.supplemental_groups, [7, 5]);
        assert_eq!(b.namespace_options.target_id, "t");
        assert!(of_sandbox(&pod, "/k").privileged);
    }

    #[test]
    fn non_root_is_checked_against_settings_and_image() {
        let check = |user: Option<i64>, uid: Option<i64>, name: &str| {
            let pod = crate::testing::pod(json!({
                "securityContext": {"runAsNonRoot": true, "runAsUser": user},
                "containers": [{"name": "a"}]}));
            let image = ImageUser { uid, name: name.into() };
            check_user(&pod, &pod::spec(&pod).containers[0], &image).is_ok()
        };
        assert!(check(Some(1), Some(0), ""));
        assert!(!check(Some(0), Some(1), ""));
        assert!(!check(None, Some(0), ""));
        assert!(!check(None, None, ""));
        assert!(!check(None, None, "app"));
        assert!(check(None, Some(5), ""));
    }
}
