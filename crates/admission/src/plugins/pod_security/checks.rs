//! The checks of the standards: which fields of a pod each looks at, from which version on.

use std::collections::BTreeSet;

use serde_json::Value;

use super::policy::{Level, Standard, Version};
use crate::tree::{self, join_quoted};

/// What is wrong, in two grades of detail.
#[derive(Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) reason: String,
    pub(super) detail: String,
}

/// All that is wrong with a pod.
pub(super) type Findings = Vec<Finding>;

/// A pod or a pod's template, with the version whose rules count.
struct Pod<'a> {
    metadata: &'a Value,
    spec: &'a Value,
    minor: u32,
}

struct Check {
    level: Level,
    /// First version (minor) with this check.
    since: u32,
    /// From this version on the restricted level has a check in place of this one.
    replaced_since: Option<u32>,
    find: fn(&Pod<'_>) -> Option<Finding>,
    /// Whether `latest` leaves it out.
    only_when_pinned: bool,
}

const fn baseline(since: u32, find: fn(&Pod<'_>) -> Option<Finding>) -> Check {
    Check { level: Level::Baseline, since, replaced_since: None, only_when_pinned: false, find }
}

const fn restricted(since: u32, find: fn(&Pod<'_>) -> Option<Finding>) -> Check {
    Check { level: Level::Restricted, since, replaced_since: None, only_when_pinned: false, find }
}

/// In upstream's order of evaluation: baseline first, each level by name.
const CHECKS: [Check; 18] = [
    baseline(0, app_armor),
    Check { replaced_since: Some(22), ..baseline(0, capabilities_baseline) },
    baseline(0, host_namespaces),
    Check { replaced_since: Some(0), ..baseline(0, host_path_volumes) },
    baseline(0, host_ports),
    // Manifests from before 1.34 name hosts in probes and expect `latest` to admit them.
    Check { only_when_pinned: true, ..baseline(34, hosts_of_probes) },
    baseline(0, privileged),
    baseline(0, proc_mount),
    baseline(0, selinux),
    Check { replaced_since: Some(19), ..baseline(0, seccomp_baseline) },
    baseline(0, sysctls),
    baseline(0, windows_host_process),
    restricted(8, privilege_escalation),
    restricted(22, capabilities_restricted),
    restricted(0, restricted_volumes),
    restricted(0, run_as_non_root),
    restricted(23, run_as_user),
    restricted(19, seccomp_restricted),
];
/// The newest version that changed anything.
const NEWEST_MINOR: u32 = 35;

/// Puts a pod, or a template, to a standard.
pub(super) fn evaluate(standard: Standard, pod: &Value) -> Findings {
    let null = &Value::Null;
    let minor = match standard.version {
        Version::Minor(minor) => minor.min(NEWEST_MINOR),
        Version::Latest => NEWEST_MINOR,
    };
    let pod = Pod {
        metadata: pod.get("metadata").unwrap_or(null),
        spec: pod.get("spec").unwrap_or(null),
        minor,
    };
    let strict = standard.level == Level::Restricted;
    let applies = |check: &&Check| {
        let replaced = strict && check.replaced_since.is_some_and(|since| since <= minor);
        let pinned = matches!(standard.version, Version::Minor(_)) || !check.only_when_pinned;
        check.level <= standard.level && check.since <= minor && !replaced && pinned
    };
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    CHECKS.iter().filter(applies).filter_map(|check| (check.find)(&pod)).collect()
}

impl<'a> Pod<'a> {
    fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec;
        crate::pods::CONTAINER_LISTS.iter().flat_map(move |list| tree::list(spec, list))
    }

    fn is_windows(&self) -> bool {
        tree::text(self.spec, "/os/name") == "windows"
    }

    /// With user namespaces root within is nobody outside.
    fn has_own_users(&self) -> bool {
        self.minor >= 35 && tree::flag(self.spec, "/hostUsers") == Some(false)
    }
}

fn name(container: &Value) -> &str {
    tree::text(container, "/name")
}

fn finding(reason: impl Into<String>, detail: impl Into<String>) -> Option<Finding> {
    Some(Finding { reason: reason.into(), detail: detail.into() })
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"` or `containers "a", "b"`.
fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), join_quoted(names))
}

/// The pod, the containers, or both: whoever set what may not be.
fn setters(pod: bool, names: &[&str]) -> Option<String> {
    let mut all = Vec::new();
    if pod {
        all.push("pod".to_owned());
    }
    if !names.is_empty() {
        all.push(containers(names));
    }
    (!all.is_empty()).then(|| all.join(" and "))
}

/// Pod and containers whose field has a bad value, and the bad values.
fn bad_values<'a>(
    pod: &Pod<'a>,
    pointer: &str,
    is_bad: impl Fn(&str) -> bool,
) -> (bool, Vec<&'a str>, BTreeSet<&'a str>) {
    let mut values = BTreeSet::new();
    let mut judge = |holder: &'a Value| {
        let Some(value) = tree::at(holder, &format!("/securityContext{pointer}")) else {
            return false;
        };
        let value = tree::text(value, "/type");
        let bad = is_bad(value);
        if bad {
            values.insert(value);
        }
        bad
    };
    let by_pod = judge(pod.spec);
    let by_containers = pod.containers().filter(|container| judge(container)).map(name).collect();
    (by_pod, by_containers, values)
}

fn app_armor(pod: &Pod<'_>) -> Option<Finding> {
    let is_bad = |kind: &str| !matches!(kind, "RuntimeDefault" | "Localhost");
    let (by_pod, names, values) = bad_values(pod, "/appArmorProfile", is_bad);
    let mut setters = Vec::from_iter(setters(by_pod, &names));
    let mut values: Vec<String> = values.into_iter().map(str::to_owned).collect();
    let annotations = tree::entries(pod.metadata, "/annotations").filter_map(|(key, value)| {
        let value = value.as_str().unwrap_or_default();
        let allowed = matches!(value, "" | "runtime/default") || value.starts_with("localhost/");
        let ours = key.starts_with("container.apparmor.security.beta.kubernetes.io/");
        (ours && !allowed).then(|| format!("{key}=\"{value}\""))
    });
    let annotations: BTreeSet<String> = annotations.collect();
    if !annotations.is_empty() {
        setters.push(plural("annotation", "annotations", annotations.len()).to_owned());
        values.extend(annotations);
    }
    if setters.is_empty() {
        return None;
    }
    finding(
        plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len()),
        format!(
            "{} must not set AppArmor profile type to {}",
            setters.join(" and "),
            join_quoted(&values)
        ),
    )
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Containers that add other capabilities than these, and which.
fn added<'a>(pod: &Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let mut all = BTreeSet::new();
    let mut names = Vec::new();
    for container in pod.containers() {
        let adds = tree::texts(container, "/securityContext/capabilities/add");
        let bad: Vec<&str> = adds.filter(|capability| !allowed.contains(capability)).collect();
        if !bad.is_empty() {
            names.push(name(container));
            all.extend(bad);
        }
    }
    (names, all)
}

fn adds_text(names: &[&str], capabilities: BTreeSet<&str>) -> String {
    let list = join_quoted(capabilities);
    format!("{} must not include {list} in securityContext.capabilities.add", containers(names))
}

fn capabilities_baseline(pod: &Pod<'_>) -> Option<Finding> {
    let (names, bad) = added(pod, &DEFAULT_CAPABILITIES);
    if names.is_empty() {
        None
    } else {
        finding("non-default capabilities", adds_text(&names, bad))
    }
}

fn capabilities_restricted(pod: &Pod<'_>) -> Option<Finding> {
    if pod.minor >= 25 && pod.is_windows() {
        return None;
    }
    let drops_all = |container: &&Value| {
        tree::texts(container, "/securityContext/capabilities/drop").any(|drop| drop == "ALL")
    };
    let keepers: Vec<&str> =
        pod.containers().filter(|container| !drops_all(container)).map(name).collect();
    let (names, bad) = added(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keepers.is_empty() {
        let who = containers(&keepers);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !names.is_empty() {
        details.push(adds_text(&names, bad));
    }
    if details.is_empty() { None } else { finding("unrestricted capabilities", details.join("; ")) }
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Finding> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"].into_iter();
    let set = fields.filter(|field| tree::flag(pod.spec, &format!("/{field}")) == Some(true));
    let set: Vec<String> = set.map(|field| format!("{field}=true")).collect();
    if set.is_empty() { None } else { finding("host namespaces", set.join(", ")) }
}

fn host_path_volumes(pod: &Pod<'_>) -> Option<Finding> {
    let volumes = tree::list(pod.spec, "/volumes").iter();
    let names: Vec<&str> =
        volumes.filter(|volume| tree::at(volume, "/hostPath").is_some()).map(name).collect();
    if names.is_empty() {
        return None;
    }
    let word = plural("volume", "volumes", names.len());
    finding("hostPath volumes", format!("{word} {}", join_quoted(names)))
}

fn host_ports(pod: &Pod<'_>) -> Option<Finding> {
    let mut ports = BTreeSet::new();
    let mut names = Vec::new();
    for container in pod.containers() {
        let own =
            tree::list(container, "/ports").iter().filter_map(|port| tree::int(port, "/hostPort"));
        let own: Vec<String> = own.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        if !own.is_empty() {
            names.push(name(container));
            ports.extend(own);
        }
    }
    if names.is_empty() {
        return None;
    }
    let (uses, word) =
        (plural("uses", "use", names.len()), plural("hostPort", "hostPorts", ports.len()));
    let ports = Vec::from_iter(ports).join(", ");
    finding("hostPort", format!("{} {uses} {word} {ports}", containers(&names)))
}

fn hosts_of_probes(pod: &Pod<'_>) -> Option<Finding> {
    const HANDLERS: [&str; 5] = [
        "/livenessProbe",
        "/readinessProbe",
        "/startupProbe",
        "/lifecycle/postStart",
        "/lifecycle/preStop",
    ];
    let mut hosts = BTreeSet::new();
    let mut names = Vec::new();
    for container in pod.containers() {
        let handlers = HANDLERS.iter().filter_map(|pointer| tree::at(container, pointer));
        let own = handlers.flat_map(|handler| {
            ["/httpGet/host", "/tcpSocket/host"].map(|pointer| tree::text(handler, pointer))
        });
        let own: Vec<&str> = own.filter(|host| !host.is_empty()).collect();
        if !own.is_empty() {
            names.push(name(container));
            hosts.extend(own);
        }
    }
    if names.is_empty() {
        return None;
    }
    let uses = plural("uses", "use", names.len());
    let word = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
    finding(
        "probe or lifecycle host",
        format!("{} {uses} {word} {}", containers(&names), join_quoted(hosts)),
    )
}

fn flagged<'a>(pod: &Pod<'a>, pointer: &str) -> Vec<&'a str> {
    pod.containers()
        .filter(|container| tree::flag(container, pointer) == Some(true))
        .map(name)
        .collect()
}

fn privileged(pod: &Pod<'_>) -> Option<Finding> {
    let names = flagged(pod, "/securityContext/privileged");
    if names.is_empty() {
        return None;
    }
    let who = containers(&names);
    finding("privileged", format!("{who} must not set securityContext.privileged=true"))
}

fn proc_mount(pod: &Pod<'_>) -> Option<Finding> {
    if pod.has_own_users() {
        return None;
    }
    let mut names = Vec::new();
    let mut types = BTreeSet::new();
    for container in pod.containers() {
        let mount = tree::text(container, "/securityContext/procMount");
        if !matches!(mount, "" | "Default") {
            names.push(name(container));
            types.insert(mount);
        }
    }
    if names.is_empty() {
        return None;
    }
    let who = containers(&names);
    finding(
        "procMount",
        format!("{who} must not set securityContext.procMount to {}", join_quoted(types)),
    )
}

fn selinux(pod: &Pod<'_>) -> Option<Finding> {
    let engine = pod.minor >= 31;
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut judge = |holder: &Value| {
        let pointer = "/securityContext/seLinuxOptions";
        let Some(options) = tree::at(holder, pointer) else { return false };
        let kind = tree::text(options, "/type");
        let good_kind = matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (engine && kind == "container_engine_t");
        if !good_kind {
            types.insert(kind.to_owned());
        }
        let (own_user, own_role) =
            (!tree::text(options, "/user").is_empty(), !tree::text(options, "/role").is_empty());
        user |= own_user;
        role |= own_role;
        !good_kind || own_user || own_role
    };
    let by_pod = judge(pod.spec);
    let names: Vec<&str> =
        pod.containers().filter(|container| judge(container)).map(name).collect();
    let who = setters(by_pod, &names)?;
    let mut bad = Vec::new();
    if !types.is_empty() {
        bad.push(format!("{} {}", plural("type", "types", types.len()), join_quoted(&types)));
    }
    bad.extend(user.then(|| "user may not be set".to_owned()));
    bad.extend(role.then(|| "role may not be set".to_owned()));
    finding(
        "seLinuxOptions",
        format!("{who} set forbidden securityContext.seLinuxOptions: {}", bad.join("; ")),
    )
}

fn is_bad_seccomp(kind: &str) -> bool {
    !matches!(kind, "RuntimeDefault" | "Localhost")
}

fn seccomp_text(who: &str, values: BTreeSet<&str>) -> Option<Finding> {
    let values = join_quoted(values);
    finding(
        "seccompProfile",
        format!("{who} must not set securityContext.seccompProfile.type to {values}"),
    )
}

fn seccomp_baseline(pod: &Pod<'_>) -> Option<Finding> {
    if pod.minor < 19 {
        return seccomp_annotations(pod);
    }
    let (by_pod, names, values) = bad_values(pod, "/seccompProfile", is_bad_seccomp);
    seccomp_text(&setters(by_pod, &names)?, values)
}

fn seccomp_annotations(pod: &Pod<'_>) -> Option<Finding> {
    let own = "seccomp.security.alpha.kubernetes.io/pod".to_owned();
    let prefix = "container.seccomp.security.alpha.kubernetes.io/";
    let keys = pod.containers().map(|container| format!("{prefix}{}", name(container)));
    let mut forbidden = BTreeSet::new();
    for key in std::iter::once(own).chain(keys) {
        let value =
            pod.metadata.get("annotations").and_then(|all| all.get(&key)).and_then(Value::as_str);
        let allowed = value.is_none_or(|value| {
            matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
        });
        if !allowed {
            forbidden.insert(format!("{key}=\"{}\"", value.unwrap_or_default()));
        }
    }
    if forbidden.is_empty() {
        return None;
    }
    let word = plural("annotation", "annotations", forbidden.len());
    finding("seccompProfile", format!("forbidden {word} {}", Vec::from_iter(forbidden).join(", ")))
}

fn seccomp_restricted(pod: &Pod<'_>) -> Option<Finding> {
    if pod.minor >= 25 && pod.is_windows() {
        return None;
    }
    let (by_pod, names, values) = bad_values(pod, "/seccompProfile", is_bad_seccomp);
    if let Some(who) = setters(by_pod, &names) {
        return seccomp_text(&who, values);
    }
    let pointer = "/securityContext/seccompProfile";
    let missing = |container: &&Value| tree::at(container, pointer).is_none();
    let names: Vec<&str> = pod.containers().filter(missing).map(name).collect();
    if tree::at(pod.spec, pointer).is_some() || names.is_empty() {
        return None;
    }
    finding(
        "seccompProfile",
        format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            containers(&names)
        ),
    )
}

/// Sysctls that are kept apart per pod, with the version that added them.
const SAFE_SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn sysctls(pod: &Pod<'_>) -> Option<Finding> {
    let safe =
        |name: &str| SAFE_SYSCTLS.iter().any(|(safe, since)| *safe == name && *since <= pod.minor);
    let set = tree::list(pod.spec, "/securityContext/sysctls").iter().map(name);
    let forbidden: Vec<&str> = set.filter(|name| !safe(name)).collect();
    if forbidden.is_empty() { None } else { finding("forbidden sysctls", forbidden.join(", ")) }
}

fn windows_host_process(pod: &Pod<'_>) -> Option<Finding> {
    let pointer = "/securityContext/windowsOptions/hostProcess";
    let by_pod = tree::flag(pod.spec, pointer) == Some(true);
    let who = setters(by_pod, &flagged(pod, pointer))?;
    finding(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<Finding> {
    if pod.minor >= 25 && pod.is_windows() {
        return None;
    }
    let pointer = "/securityContext/allowPrivilegeEscalation";
    let names: Vec<&str> = pod
        .containers()
        .filter(|container| tree::flag(container, pointer) != Some(false))
        .map(name)
        .collect();
    if names.is_empty() {
        return None;
    }
    let who = containers(&names);
    finding(
        "allowPrivilegeEscalation != false",
        format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
    )
}

const HARMLESS_VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const RESTRICTED_VOLUMES: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn restricted_volumes(pod: &Pod<'_>) -> Option<Finding> {
    let has = |volume: &Value, kind: &str| volume.get(kind).is_some_and(|source| !source.is_null());
    let mut names = Vec::new();
    let mut kinds = BTreeSet::new();
    for volume in tree::list(pod.spec, "/volumes") {
        if HARMLESS_VOLUMES.iter().any(|kind| has(volume, kind)) {
            continue;
        }
        names.push(name(volume));
        kinds.insert(
            RESTRICTED_VOLUMES.into_iter().find(|kind| has(volume, kind)).unwrap_or("unknown"),
        );
    }
    if names.is_empty() {
        return None;
    }
    let word = plural("volume", "volumes", names.len());
    let uses = plural("uses", "use", names.len());
    let what = plural("restricted volume type", "restricted volume types", kinds.len());
    finding(
        "restricted volume types",
        format!("{word} {} {uses} {what} {}", join_quoted(names), join_quoted(kinds)),
    )
}

fn run_as_non_root(pod: &Pod<'_>) -> Option<Finding> {
    if pod.has_own_users() {
        return None;
    }
    let reason = "runAsNonRoot != true";
    let pointer = "/securityContext/runAsNonRoot";
    let with = |wanted: Option<bool>| -> Vec<&str> {
        let all = pod.containers().filter(|container| tree::flag(container, pointer) == wanted);
        all.map(name).collect()
    };
    let by_pod = tree::flag(pod.spec, pointer);
    if let Some(who) = setters(by_pod == Some(false), &with(Some(false))) {
        return finding(reason, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let names = with(None);
    if by_pod == Some(true) || names.is_empty() {
        return None;
    }
    let who = containers(&names);
    finding(reason, format!("pod or {who} must set securityContext.runAsNonRoot=true"))
}

fn run_as_user(pod: &Pod<'_>) -> Option<Finding> {
    if pod.has_own_users() {
        return None;
    }
    let is_root = |holder: &Value| tree::int(holder, "/securityContext/runAsUser") == Some(0);
    let names: Vec<&str> =
        pod.containers().filter(|container| is_root(container)).map(name).collect();
    let who = setters(is_root(pod.spec), &names)?;
    finding("runAsUser=0", format!("{who} must not set runAsUser=0"))
}
