//! Namespaces: leaving the shared ones, joining others for a while, and keeping one alive by a mount.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::mount::{self, MountError};

/// Which namespaces a process leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unshare {
    /// Network.
    pub network: bool,
    /// System V IPC and POSIX message queues.
    pub ipc: bool,
    /// Host name.
    pub uts: bool,
    /// Process ids, for children.
    pub pid: bool,
}

/// Gives the calling thread, which must be the only one of its process, new namespaces.
pub fn unshare(what: Unshare) -> io::Result<()> {
    let mut flags = UnshareFlags::empty();
    flags.set(UnshareFlags::NEWNET, what.network);
    flags.set(UnshareFlags::NEWIPC, what.ipc);
    flags.set(UnshareFlags::NEWUTS, what.uts);
    flags.set(UnshareFlags::NEWPID, what.pid);
    unshare_flags(flags)
}

/// Gives the calling thread a working directory of its own.
pub(crate) fn unshare_working_directory() -> io::Result<()> {
    unshare_flags(UnshareFlags::FS)
}

#[expect(unsafe_code, reason = "the call is unsafe for FILES only, which is never asked for")]
fn unshare_flags(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: without `FILES` no descriptor table is split, so no descriptor is closed behind its owner.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Keeps the namespace that `source` (`/proc/<pid>/ns/net`) shows alive at `target`, a file that is made.
pub fn pin(source: &Path, target: &Path) -> Result<(), MountError> {
    File::create(target).map_err(|error| MountError::new("create", target, error))?;
    mount::bind(source, target, false)
}

/// Ends what [`pin`] did; nothing pinned there is a success.
pub fn unpin(target: &Path) -> Result<(), MountError> {
    mount::unmount(target)?;
    match std::fs::remove_file(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(MountError::new("remove", target, error))
        }
        _ => Ok(()),
    }
}

/// Runs `work` on a thread of its own inside the network namespace at `path`.
pub fn in_network<T: Send>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let namespace = File::open(path)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind)?;
            work()
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("thread panicked")))
    })
}

/// Brings the loopback interface of the calling thread's network namespace up.
#[expect(unsafe_code, reason = "ioctl")]
pub fn bring_loopback_up() -> io::Result<()> {
    use nix::libc::{IFF_UP, SIOCGIFFLAGS, SIOCSIFFLAGS, c_char, c_short, ifreq, ioctl};
    const UP: c_short = 1;
    const { assert!(UP as i32 == IFF_UP) };
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: all fields of the structure are plain numbers, for which zero is a value.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = c_char::from_ne_bytes([*byte]);
    }
    // SAFETY: both calls read and write one `ifreq`, which lives across them, and the flags are the member
    // of the union that they use.
    unsafe {
        nix::errno::Errno::result(ioctl(descriptor, SIOCGIFFLAGS, &raw mut request))?;
        request.ifr_ifru.ifru_flags |= UP;
        nix::errno::Errno::result(ioctl(descriptor, SIOCSIFFLAGS, &raw const request))?;
    }
    Ok(())
}
