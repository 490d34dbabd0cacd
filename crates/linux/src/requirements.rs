//! What a node needs of the kernel and what to do where that is missing.
//!
//! Each thing is tried rather than looked up, because the kernel loads most modules at their first use. The
//! tries leave nothing behind: links are made in a network namespace that ends with the look.

use std::fmt;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::mount::{FsOpenFlags, fsopen};

use crate::cgroup::{Cgroups, Version};
use crate::netlink::{NetworkNamespace, RouteSocket, VethPeer};
use crate::nft::Nftables;

/// Kinds of namespaces that every pod is made of, as `/proc/self/ns` calls them.
const NAMESPACES: [&str; 5] = ["ipc", "mnt", "net", "pid", "uts"];

/// Controllers without which requests and limits of pods mean nothing. `cpu` is that of both versions.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

const MTU: u32 = 1500;

/// Something that the machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What it is.
    pub feature: String,
    /// What the kernel said.
    pub reason: String,
    /// What the person at the terminal can do.
    pub advice: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.feature, self.reason, self.advice)
    }
}

/// Everything that is missing, so that one start names all of it. Takes some milliseconds.
pub fn missing() -> Vec<Missing> {
    if !rustix::process::geteuid().is_root() {
        // Everything else would fail for this reason alone.
        return vec![Missing {
            feature: "root".to_owned(),
            reason: format!("running as user {}", rustix::process::geteuid().as_raw()),
            advice: "start it as root, or with sudo".to_owned(),
        }];
    }
    let mut found = namespaces(Path::new("/proc/self/ns"));
    found.extend(overlay());
    found.extend(cgroups());
    found.extend(network());
    found
}

fn module(feature: &str, reason: String, module: &str, option: &str) -> Missing {
    Missing {
        feature: feature.to_owned(),
        reason: reason.to_string(),
        advice: format!("load it with `modprobe {module}`, or use a kernel with {option}"),
    }
}

fn namespaces(folder: &Path) -> Vec<Missing> {
    let absent = NAMESPACES.into_iter().filter(|kind| !folder.join(kind).exists());
    let report = |kind: &str| Missing {
        feature: format!("{kind} namespaces"),
        reason: format!("{} does not exist", folder.join(kind).display()),
        advice: "mount /proc, or use a kernel with CONFIG_NAMESPACES".to_owned(),
    };
    absent.map(report).collect()
}

fn overlay() -> Option<Missing> {
    let error = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).err()?;
    Some(module("overlayfs", error.to_string(), "overlay", "CONFIG_OVERLAY_FS"))
}

fn cgroups() -> Vec<Missing> {
    let groups = match Cgroups::detect() {
        Ok(groups) => groups,
        Err(error) => {
            return vec![Missing {
                feature: "control groups".to_owned(),
                reason: error.to_string(),
                advice: "mount them: `mount -t cgroup2 none /sys/fs/cgroup`".to_owned(),
            }];
        }
    };
    lacking(groups.version(), &groups.controllers())
}

/// The controllers that are not among those at hand.
fn lacking(version: Version, have: &[String]) -> Vec<Missing> {
    let absent = CONTROLLERS.into_iter().filter(|name| !have.iter().any(|have| have == name));
    let report = |name: &str| Missing {
        feature: format!("the control group controller {name}"),
        reason: "not at hand".to_owned(),
        advice: match version {
            Version::V1 => format!(
                "mount it: `mkdir -p /sys/fs/cgroup/{name} && mount -t cgroup -o {name} none /sys/fs/cgroup/{name}`, \
                 or take cgroup_disable={name} off the kernel's command line"
            ),
            Version::V2 => format!(
                "enable it: `echo +{name} > /sys/fs/cgroup/cgroup.subtree_control`, or take cgroup_disable={name} \
                 off the kernel's command line"
            ),
        },
    };
    absent.map(report).collect()
}

/// Links and rules, in a namespace of their own.
fn network() -> Vec<Missing> {
    let unusable = |reason: String| Missing {
        feature: "network namespaces".to_owned(),
        reason,
        advice: "use a kernel with CONFIG_NET_NS, and start it with CAP_SYS_ADMIN".to_owned(),
    };
    let namespace = match NetworkNamespace::create() {
        Ok(namespace) => namespace,
        Err(error) => return vec![unusable(chain(&error))],
    };
    let mut links = match RouteSocket::open_in(namespace.as_fd()) {
        Ok(links) => links,
        Err(error) => return vec![unusable(chain(&error))],
    };
    let mut found = Vec::new();
    if let Err(error) = links.create_bridge("bridge", MTU, [2, 0, 0, 0, 0, 1]) {
        found.push(module("bridges", chain(&error), "bridge", "CONFIG_BRIDGE"));
    }
    let peer = VethPeer { name: "peer", namespace: namespace.as_fd(), hardware_address: None };
    if let Err(error) = links.create_veth("veth", peer, None, MTU) {
        found.push(module("veth pairs", chain(&error), "veth", "CONFIG_VETH"));
    }
    if let Err(error) = Nftables::open_in(namespace.as_fd()).and_then(|mut nft| nft.tables()) {
        found.push(module("nf_tables", chain(&error), "nf_tables", "CONFIG_NF_TABLES"));
    }
    found
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_controllers_are_named_with_what_to_do() {
        let have = ["cpu".to_owned(), "pids".to_owned()];
        let cases = [(Version::V1, "mount it"), (Version::V2, "enable it")];
        for (version, advice) in cases {
            let found = lacking(version, &have);
            assert_eq!(found.len(), 1);
            assert!(
                found[0]
                    .to_string()
                    .starts_with("the control group controller memory: not at hand; ")
            );
            assert!(found[0].advice.starts_with(advice), "{}", found[0]);
        }
    }

    #[test]
    fn absent_namespaces_are_named() {
        let found = namespaces(Path::new("/nowhere"));
        let names: Vec<&str> = found.iter().map(|missing| &*missing.feature).collect();
        assert_eq!(names, NAMESPACES.map(|kind| format!("{kind} namespaces")));
    }
}
