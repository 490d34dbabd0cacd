//! Directories whose subdirectories come and go all the time, one for each pod or container.

use std::io;
use std::path::Path;

use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags};

/// Makes the directory and those above it, and tells the file system that its subdirectories have nothing to
/// do with each other (`chattr +T`).
///
/// ext4 then spreads them over its block groups. Without, they and all their files share a group, where every
/// new inode is sought past each one that was freed during the last minutes: starting pods where others have
/// just ended would take half as long again.
///
/// # Errors
/// The directory cannot be made. That a file system does not know the hint is none.
pub fn create_spread(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    let _does_without = spread(path);
    Ok(())
}

fn spread(path: &Path) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    let have = ioctl_getflags(&directory)?;
    if have.contains(IFlags::TOPDIR) {
        return Ok(());
    }
    ioctl_setflags(&directory, have | IFlags::TOPDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_made_whatever_the_file_system_knows() {
        let folder = tempfile::tempdir().unwrap();
        for place in [folder.path(), Path::new("/dev/shm")] {
            let place = tempfile::tempdir_in(place).unwrap();
            let path = place.path().join("a/b");
            create_spread(&path).unwrap();
            create_spread(&path).unwrap();
            assert!(path.is_dir());
        }
    }
}
