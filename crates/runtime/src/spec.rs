//! The OCI specification of a container, made from what the kubelet asks for and what the image says.
//!
//! The result is what containerd's CRI plugin would make, except for what the shim does itself: namespaces
//! that are the pod's (the container simply stays in them), host name, sysctls, capabilities and seccomp.
//! Not here: reading the image's files ([`crate::rootfs`]).

use std::collections::BTreeMap;
use std::path::PathBuf;

use cri::{ContainerConfig, LinuxContainerResources, NamespaceMode};
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{
    LinuxBuilder, LinuxCpuBuilder, LinuxHugepageLimitBuilder, LinuxMemoryBuilder, LinuxNamespace,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResources, LinuxResourcesBuilder, PosixRlimit,
    PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
    UserBuilder,
};

pub(crate) mod capabilities;
mod devices;
mod mounts;
pub(crate) mod seccomp;
pub(crate) mod user;

pub(crate) use devices::filter as device_rules;
pub(crate) use mounts::SandboxFiles;

/// A specification that cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    /// Neither the pod nor the image says what to run.
    #[error("no command specified")]
    NoCommand,
    /// Something in the request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The seccomp profile.
    #[error("seccomp profile")]
    Seccomp(#[from] seccomp::SeccompError),
    /// A builder refuses.
    #[error("cannot build the specification")]
    Oci(#[from] oci_spec::OciSpecError),
    /// A file of the host.
    #[error("{action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Everything that a specification is made from.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) config: &'a ContainerConfig,
    pub(crate) image: &'a ImageConfiguration,
    pub(crate) user: &'a user::User,
    pub(crate) cgroup: &'a str,
    pub(crate) hostname: &'a str,
    pub(crate) files: &'a SandboxFiles,
    /// The process namespace to join, for `Pod` (shared) and `Target`.
    pub(crate) pid_namespace: Option<PathBuf>,
    /// Whether swap is accounted, so that it can be limited.
    pub(crate) swap_accounted: bool,
    /// The most files that a process of ours may open.
    pub(crate) open_files_max: u64,
    /// Whether processes have cgroup namespaces of their own (version 2, as containerd does it).
    pub(crate) cgroup_namespace: bool,
}

/// Makes the specification.
pub(crate) fn build(input: &Input<'_>) -> Result<Spec, SpecError> {
    let security = &input.config.linux.security_context;
    let mounts = mounts::build(input)?;
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(input)?)
        .cgroups_path(input.cgroup)
        .resources(resources(input)?)
        .rootfs_propagation(mounts.rootfs_propagation)
        .devices(devices::build(input.config)?)
        .build()?;
    let (masked, readonly) = hidden_paths(input.config);
    linux.set_masked_paths(masked).set_readonly_paths(readonly);
    linux.set_seccomp(None);
    let root = RootBuilder::default().path("rootfs").readonly(security.readonly_rootfs).build()?;
    let mut spec = SpecBuilder::default()
        .version("1.1.0")
        .root(root)
        .mounts(mounts.list)
        .process(process(input)?)
        .linux(linux)
        .build()?;
    spec.set_hostname(None).set_domainname(None);
    Ok(spec)
}

/// The container's first process.
fn process(input: &Input<'_>) -> Result<Process, SpecError> {
    let config = input.config;
    let mut process = ProcessBuilder::default()
        .terminal(config.tty)
        .user(oci_user(input.user)?)
        .args(arguments(config, input.image)?)
        .env(environment(config, input.image, input.hostname))
        .cwd(working_directory(config, input.image))
        .rlimits(rlimits(input.open_files_max)?)
        .no_new_privileges(config.linux.security_context.no_new_privs)
        .build()?;
    process.set_capabilities(None).set_apparmor_profile(None).set_oom_score_adj(None);
    Ok(process)
}

/// A process to run in a container that exists: the container's own with another command.
pub(crate) fn exec_process(
    spec: &Spec,
    command: &[String],
    tty: bool,
) -> Result<Process, SpecError> {
    if command.is_empty() {
        return Err(SpecError::NoCommand);
    }
    let own = spec.process().clone().unwrap_or_default();
    let mut process = own;
    process.set_args(Some(command.to_vec())).set_terminal(Some(tty));
    if tty {
        let mut env = process.env().clone().unwrap_or_default();
        if !env.iter().any(|variable| variable.starts_with("TERM=")) {
            env.push("TERM=xterm".to_owned());
        }
        process.set_env(Some(env));
    }
    Ok(process)
}

fn oci_user(user: &user::User) -> Result<oci_spec::runtime::User, SpecError> {
    let builder = UserBuilder::default().uid(user.uid).gid(user.gid);
    Ok(builder.additional_gids(user.groups.clone()).build()?)
}

/// Command and arguments of the pod replace those of the image; a command alone drops the image's arguments.
fn arguments(
    config: &ContainerConfig,
    image: &ImageConfiguration,
) -> Result<Vec<String>, SpecError> {
    let image = image.config().clone().unwrap_or_default();
    let (mut command, mut args) = (config.command.clone(), config.args.clone());
    if command.is_empty() {
        if args.is_empty() {
            args = image.cmd().clone().unwrap_or_default();
        }
        command = image.entrypoint().clone().unwrap_or_default();
    }
    command.append(&mut args);
    if command.is_empty() { Err(SpecError::NoCommand) } else { Ok(command) }
}

fn environment(
    config: &ContainerConfig,
    image: &ImageConfiguration,
    hostname: &str,
) -> Vec<String> {
    const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut order: Vec<String> = Vec::new();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |key: &str, value: &str| {
        if values.insert(key.to_owned(), value.to_owned()).is_none() {
            order.push(key.to_owned());
        }
    };
    set("PATH", PATH);
    set("HOSTNAME", hostname);
    if config.tty {
        set("TERM", "xterm");
    }
    let image_config = image.config().clone().unwrap_or_default();
    for variable in image_config.env().iter().flatten() {
        if let Some((key, value)) = variable.split_once('=') {
            set(key, value);
        }
    }
    for variable in &config.envs {
        set(&variable.key, &variable.value);
    }
    order.iter().map(|key| format!("{key}={}", values[key])).collect()
}

pub(crate) fn working_directory(config: &ContainerConfig, image: &ImageConfiguration) -> String {
    let image = image.config().as_ref().and_then(|config| config.working_dir().clone());
    let wanted = if config.working_dir.is_empty() {
        image.unwrap_or_default()
    } else {
        config.working_dir.clone()
    };
    if wanted.starts_with('/') { wanted } else { format!("/{wanted}") }
}

fn rlimits(open_files_max: u64) -> Result<Vec<PosixRlimit>, SpecError> {
    let files = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .hard(open_files_max)
        .soft(open_files_max)
        .build()?;
    Ok(vec![files])
}

/// Network, IPC and UTS are the shim's, which the container inherits.
fn namespaces(input: &Input<'_>) -> Result<Vec<LinuxNamespace>, SpecError> {
    let mut namespaces = vec![namespace(LinuxNamespaceType::Mount, None)?];
    let mode = input.config.linux.security_context.namespace_options.pid;
    match (mode, &input.pid_namespace) {
        (NamespaceMode::Node, _) => {}
        (_, path) => namespaces.push(namespace(LinuxNamespaceType::Pid, path.clone())?),
    }
    if input.cgroup_namespace {
        namespaces.push(namespace(LinuxNamespaceType::Cgroup, None)?);
    }
    Ok(namespaces)
}

fn namespace(kind: LinuxNamespaceType, path: Option<PathBuf>) -> Result<LinuxNamespace, SpecError> {
    let mut builder = LinuxNamespaceBuilder::default().typ(kind);
    if let Some(path) = path {
        builder = builder.path(path);
    }
    Ok(builder.build()?)
}

fn resources(input: &Input<'_>) -> Result<LinuxResources, SpecError> {
    let wanted = &input.config.linux.resources;
    let mut builder = LinuxResourcesBuilder::default().devices(devices::rules(input.config)?);
    let mut cpu = LinuxCpuBuilder::default();
    if let Some(shares) = positive(wanted.cpu_shares) {
        cpu = cpu.shares(shares);
    }
    if wanted.cpu_quota != 0 {
        cpu = cpu.quota(wanted.cpu_quota);
    }
    if let Some(period) = positive(wanted.cpu_period) {
        cpu = cpu.period(period);
    }
    if !wanted.cpuset_cpus.is_empty() {
        cpu = cpu.cpus(wanted.cpuset_cpus.clone());
    }
    if !wanted.cpuset_mems.is_empty() {
        cpu = cpu.mems(wanted.cpuset_mems.clone());
    }
    builder = builder.cpu(cpu.build()?);
    if wanted.memory_limit_in_bytes != 0 {
        let mut memory = LinuxMemoryBuilder::default().limit(wanted.memory_limit_in_bytes);
        if let Some(swap) = swap_limit(wanted).filter(|_| input.swap_accounted) {
            memory = memory.swap(swap);
        }
        builder = builder.memory(memory.build()?);
    }
    let pages = wanted.hugepage_limits.iter().map(|limit| {
        let limit_bytes = i64::try_from(limit.limit).unwrap_or(i64::MAX);
        let builder = LinuxHugepageLimitBuilder::default();
        builder.page_size(limit.page_size.clone()).limit(limit_bytes).build()
    });
    let pages = pages.collect::<Result<Vec<_>, _>>()?;
    if !pages.is_empty() {
        builder = builder.hugepage_limits(pages);
    }
    if !wanted.unified.is_empty() {
        let unified: std::collections::HashMap<_, _> = wanted.unified.clone().into_iter().collect();
        builder = builder.unified(unified);
    }
    Ok(builder.build()?)
}

/// Without a limit of its own, swap is what memory is: no swap.
fn swap_limit(wanted: &LinuxContainerResources) -> Option<i64> {
    match wanted.memory_swap_limit_in_bytes {
        0 => Some(wanted.memory_limit_in_bytes),
        limit => Some(limit),
    }
}

fn positive(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|number| *number > 0)
}

/// What is hidden and what is read-only; nothing for privileged containers.
fn hidden_paths(config: &ContainerConfig) -> (Option<Vec<String>>, Option<Vec<String>>) {
    const MASKED: &[&str] = &[
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
        "/sys/devices/virtual/powercap",
    ];
    const READONLY: &[&str] =
        &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
    let security = &config.linux.security_context;
    if security.privileged {
        return (None, None);
    }
    if security.masked_paths.is_empty() && security.readonly_paths.is_empty() {
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        return (Some(owned(MASKED)), Some(owned(READONLY)));
    }
    (Some(security.masked_paths.clone()), Some(security.readonly_paths.clone()))
}

#[cfg(test)]
mod tests;
