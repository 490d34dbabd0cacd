//! What the runtime knows about sandboxes and containers, on disk and in memory. A record is written whole
//! by a rename before anybody is told what it says; the end of a container is noted by its shim.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cri::{ContainerConfig, ContainerState, LinuxContainerUser, PodSandboxConfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::shim::protocol::Exit;

/// A sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SandboxRecord {
    /// Id.
    pub id: String,
    /// What it was made from.
    pub config: PodSandboxConfig,
    /// Runtime handler.
    pub handler: String,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Whether containers can run in it.
    pub ready: bool,
    /// Addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// Process id of the shim.
    pub shim_pid: i32,
    /// Start time of the shim, to know it from a later process with the same id.
    pub shim_start_time: u64,
    /// First process of the shared process namespace.
    pub pause_pid: Option<i32>,
    /// Identity of the boot that it was made in.
    pub boot_id: String,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerRecord {
    /// Id.
    pub id: String,
    /// Its sandbox.
    pub sandbox_id: String,
    /// What it was made from.
    pub config: ContainerConfig,
    /// Absolute path of the log.
    pub log_path: Option<PathBuf>,
    /// Id of its image.
    pub image_id: String,
    /// Name and digest of its image, or the id when there is none.
    pub image_ref: String,
    /// Its cgroup.
    pub cgroup: String,
    /// Whom it runs as.
    pub user: LinuxContainerUser,
    /// Number of the signal that asks it to end.
    pub stop_signal: i32,
    /// Name of that signal.
    pub stop_signal_name: String,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Nanoseconds since 1970; 0: not started.
    pub started_at: i64,
    /// First process; 0: none.
    pub pid: i32,
    /// How it ended.
    pub exit: Option<Exit>,
    /// Why it ended, when the exit alone does not say.
    pub reason: String,
    /// Details for a person.
    pub message: String,
}

impl SandboxRecord {
    /// Whether it uses the host's network.
    pub(crate) fn host_network(&self) -> bool {
        self.namespaces().network == cri::NamespaceMode::Node
    }

    /// Its namespaces.
    pub(crate) fn namespaces(&self) -> &cri::NamespaceOption {
        &self.config.linux.security_context.namespace_options
    }

    /// The cgroup that its containers are in.
    pub(crate) fn cgroup_parent(&self) -> String {
        match self.config.linux.cgroup_parent.as_str() {
            "" => format!("/keelson/{}", self.id),
            parent => parent.to_owned(),
        }
    }
}

impl ContainerRecord {
    /// Where it is in its life.
    pub(crate) fn state(&self) -> ContainerState {
        if self.exit.is_some() {
            ContainerState::Exited
        } else if self.started_at != 0 {
            ContainerState::Running
        } else {
            ContainerState::Created
        }
    }

    /// `Completed`, `Error`, `OOMKilled`, or what is noted.
    pub(crate) fn exit_reason(&self) -> &str {
        match &self.exit {
            _ if !self.reason.is_empty() => &self.reason,
            None => "",
            Some(exit) if exit.oom_killed => cri::REASON_OOM_KILLED,
            Some(Exit { exit_code: 0, .. }) => cri::REASON_COMPLETED,
            Some(_) => cri::REASON_ERROR,
        }
    }
}

/// Writes `value` to `path`, whole or not at all.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let temporary = path.with_file_name(format!(".{name}"));
    fs::write(&temporary, serde_json::to_vec(value)?)?;
    fs::rename(temporary, path)
}

/// Reads what [`write()`] wrote; `None` when there is nothing.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_follows_from_the_end() {
        let ended = |exit_code, oom_killed| ContainerRecord {
            started_at: 1,
            exit: Some(Exit { exit_code, oom_killed, finished_at: 2 }),
            ..ContainerRecord::default()
        };
        assert_eq!(ended(0, false).exit_reason(), "Completed");
        assert_eq!(ended(1, false).exit_reason(), "Error");
        assert_eq!(ended(137, true).exit_reason(), "OOMKilled");
        let noted = ContainerRecord { reason: "StartError".to_owned(), ..ended(128, false) };
        assert_eq!(noted.exit_reason(), "StartError");
        assert_eq!(ContainerRecord::default().state(), ContainerState::Created);
        assert_eq!(ended(0, false).state(), ContainerState::Exited);
    }
}
