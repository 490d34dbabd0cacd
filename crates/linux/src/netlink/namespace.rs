//! Network namespaces without names: making one, and working inside one.
//!
//! Only the network namespace, only for the length of a closure, and on a thread of its own, so that no
//! pooled thread can be left behind in the wrong one. Not here: the namespaces of containers.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The work could not be carried into the namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// `unshare` was refused.
    #[error("cannot make a network namespace")]
    Create(#[source] io::Error),
    /// `setns` was refused.
    #[error("cannot enter the network namespace")]
    Enter(#[source] io::Error),
    /// No thread could be started.
    #[error("cannot start a thread for the network namespace")]
    Thread(#[source] io::Error),
    /// The work panicked.
    #[error("the work inside the network namespace panicked")]
    Panicked,
}

/// A network namespace that lives as long as this handle or a process, socket or link in it.
#[derive(Debug)]
pub struct NetworkNamespace {
    fd: OwnedFd,
}

impl AsFd for NetworkNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl NetworkNamespace {
    /// Makes an empty namespace: a loopback link that is down, no rules.
    pub fn create() -> Result<Self, NamespaceError> {
        on_own_thread(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| NamespaceError::Create(errno.into()))?;
            let file = File::open("/proc/thread-self/ns/net").map_err(NamespaceError::Create)?;
            Ok(Self { fd: file.into() })
        })?
    }

    /// Opens the namespace at `path`, such as `/proc/1/ns/net` or a bind mount of one.
    pub fn open(path: &std::path::Path) -> Result<Self, NamespaceError> {
        let file = File::open(path).map_err(NamespaceError::Enter)?;
        Ok(Self { fd: file.into() })
    }

    /// Runs `work` inside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        inside_namespace(self.as_fd(), work)
    }
}

/// Runs `work` on a thread inside the network namespace that `namespace` is open on.
pub fn inside_namespace<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NamespaceError> {
    on_own_thread(|| {
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
            .map_err(|errno| NamespaceError::Enter(errno.into()))?;
        Ok(work())
    })?
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(NamespaceError::Thread)?
            .join()
            .map_err(|_| NamespaceError::Panicked)
    })
}
