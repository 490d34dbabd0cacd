//! Hearing that files of one folder change (inotify). Not here: what is in the files, and folders below.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// Bytes of events that are taken from the kernel at a time; one event has at most 272.
const EVENT_BYTES: usize = 4096;

/// What happened to a watched folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderChange {
    /// A file was written and closed, came, went, or got another name.
    Files,
    /// The folder itself is gone: nothing more will be heard.
    Gone,
}

/// Hears changes of the files in one folder.
#[derive(Debug)]
pub struct FolderWatch {
    descriptor: AsyncFd<OwnedFd>,
}

impl FolderWatch {
    /// Begins to listen. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The folder is not there, or the user's share of watches is used up.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // A file that is being written is of no interest before it is closed.
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&descriptor, folder, what)?;
        Ok(Self { descriptor: register(descriptor)? })
    }

    /// Waits for a change; those that came together are told as one.
    ///
    /// # Errors
    /// The kernel refuses to say.
    pub async fn changed(&mut self) -> io::Result<FolderChange> {
        loop {
            let mut ready = self.descriptor.readable_mut().await?;
            let change = drain(ready.get_inner())?;
            ready.clear_ready();
            if let Some(change) = change {
                return Ok(change);
            }
        }
    }
}

#[expect(unsafe_code, reason = "tokio cannot check that the descriptor stays the same")]
fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same descriptor until it is dropped.
    unsafe { AsyncFd::register(descriptor) }.map_err(|error| error.into_parts().1)
}

fn drain(descriptor: &OwnedFd) -> io::Result<Option<FolderChange>> {
    let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
    let mut events = Reader::new(descriptor, &mut buffer);
    let mut change = None;
    loop {
        let event = match events.next() {
            Ok(event) => event,
            Err(Errno::WOULDBLOCK) => return Ok(change),
            Err(errno) => return Err(errno.into()),
        };
        let end = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
        if event.events().intersects(end) {
            change = Some(FolderChange::Gone);
        } else if change.is_none() {
            change = Some(FolderChange::Files);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_that_come_and_go_are_heard() {
        let folder = std::env::temp_dir().join(format!("folder-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut watch = FolderWatch::open(&folder).unwrap();
        std::fs::write(folder.join("a"), "x").unwrap();
        assert_eq!(watch.changed().await.unwrap(), FolderChange::Files);
        std::fs::rename(folder.join("a"), folder.join("b")).unwrap();
        assert_eq!(watch.changed().await.unwrap(), FolderChange::Files);
        std::fs::remove_dir_all(&folder).unwrap();
        let end = loop {
            let change = watch.changed().await.unwrap();
            if change == FolderChange::Gone {
                break change;
            }
        };
        assert_eq!(end, FolderChange::Gone);
        assert!(FolderWatch::open(&folder).is_err());
    }
}
