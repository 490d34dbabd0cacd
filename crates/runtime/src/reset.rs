//! Removing everything that belongs to the runtime: shims, mounts, cgroups, namespaces, files.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use linux::cgroup::{CgroupError, Cgroups};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::limits::{KILL_TIMEOUT, SHIM_CALL_TIMEOUT};
use crate::paths::Paths;
use crate::record::{ContainerRecord, SandboxRecord};
use crate::shim::protocol::{Call, Request};
use crate::shim::wire::Wire;

/// The program cannot be reset completely.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// Files.
    #[error("remove files")]
    Io(#[from] io::Error),
    /// Mounts.
    #[error("unmount")]
    Mount(#[from] linux::mount::MountError),
    /// Cgroups.
    #[error("remove cgroups")]
    Cgroup(#[from] CgroupError),
}

/// Ends every shim and container and removes every mount, cgroup, namespace and file of the runtime. The
/// images stay. The server must not be running. Blocks.
pub fn reset(data_dir: &Path, run_dir: &Path) -> Result<(), ResetError> {
    let paths = Paths::new(data_dir, run_dir);
    let cgroups = Cgroups::detect()?;
    for socket in entries(&paths.sockets())? {
        end_shim(&socket);
    }
    for directory in entries(&paths.containers())? {
        let record: Option<ContainerRecord> =
            crate::record::read(&directory.join("container.json")).unwrap_or_default();
        if let Some(record) = record {
            end_cgroup(&cgroups, &record.cgroup)?;
        }
    }
    for directory in entries(&paths.sandboxes())? {
        let record: Option<SandboxRecord> =
            crate::record::read(&directory.join("sandbox.json")).unwrap_or_default();
        if let Some(record) = record.filter(|r| r.config.linux.cgroup_parent.is_empty()) {
            end_cgroup(&cgroups, &record.cgroup_parent())?;
        }
    }
    for directory in [paths.run(), paths.data()] {
        linux::mount::unmount_below(directory)?;
    }
    for directory in paths.directories() {
        erase(&directory)?;
    }
    erase(paths.data())?;
    Ok(())
}

fn entries(directory: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Unmounts and removes a directory or file.
pub(crate) fn erase(path: &Path) -> Result<(), ResetError> {
    linux::mount::unmount_below(path)?;
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Ends every process of a control group and of all below it, and removes them. One that is not there is no
/// error.
///
/// # Errors
/// A process does not end, or the kernel does not let go of a group.
pub fn reset_group(path: &str) -> Result<(), ResetError> {
    end_cgroup(&Cgroups::detect()?, path)
}

/// Kills what is in a cgroup, waits until the kernel has done so, and removes it.
pub(crate) fn end_cgroup(cgroups: &Cgroups, path: &str) -> Result<(), ResetError> {
    const SIGKILL: i32 = 9;
    let cgroup = cgroups.group(path)?;
    let until = Instant::now() + KILL_TIMEOUT;
    loop {
        let pids = cgroup.processes();
        cgroup.kill(SIGKILL)?;
        for pid in &pids {
            wait_for_end(*pid, until.saturating_duration_since(Instant::now()))?;
        }
        if pids.is_empty() || Instant::now() > until {
            return Ok(cgroup.remove()?);
        }
    }
}

/// Waits until a process, that need not be a child, has ended.
fn wait_for_end(pid: i32, patience: Duration) -> io::Result<()> {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return Ok(()) };
    let flags = rustix::process::PidfdFlags::empty();
    let pidfd = match rustix::process::pidfd_open(pid, flags) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        pidfd => pidfd?,
    };
    wait_readable(&pidfd, patience)
}

fn wait_readable(fd: &impl std::os::fd::AsFd, patience: Duration) -> io::Result<()> {
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))?;
    Ok(())
}

/// Asks the shim behind a socket to end, and waits until it has; then removes the socket.
pub(crate) fn end_shim(socket: &Path) {
    let ask = || -> io::Result<()> {
        let stream = UnixStream::connect(socket)?;
        let mut wire = Wire::default();
        wire.push(&Request { id: 1, call: Call::Exit }, Vec::new()).map_err(io::Error::other)?;
        wire.send(&stream)?;
        let until = Instant::now() + SHIM_CALL_TIMEOUT;
        while Instant::now() < until {
            wait_readable(&stream, until.saturating_duration_since(Instant::now()))?;
            match wire.receive(&stream) {
                Ok(false) => break,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
                _ => {}
            }
        }
        Ok(())
    };
    if let Err(error) = ask() {
        tracing::debug!(socket = %socket.display(), %error, "no shim answers");
    }
    if let Err(error) = fs::remove_file(socket)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(socket = %socket.display(), %error, "cannot remove a socket");
    }
}
