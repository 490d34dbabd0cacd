//! Mounts overlayfs: read-only layers below, one writable directory above.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::mount::MountError;

/// What to mount.
#[derive(Clone, Debug)]
pub struct Overlay<'a> {
    /// Layers, the topmost first; at least one.
    pub lower: &'a [PathBuf],
    /// Where changes go, and the kernel's scratch directory on the same file system; `None` mounts the
    /// layers read-only.
    pub upper: Option<(&'a Path, &'a Path)>,
}

/// Mounts `overlay` at `target`.
pub fn mount(overlay: &Overlay<'_>, target: &Path) -> Result<(), MountError> {
    let failed = |error: io::Error| MountError::new("mount overlay", target, error);
    if overlay.lower.len() == 1 && overlay.upper.is_none() {
        return mount_single(&overlay.lower[0], target);
    }
    match mount_new(overlay, target) {
        // Before Linux 6.5 the layers have to be given as one string.
        Err(Errno::INVAL | Errno::NOSYS) => mount_old(overlay, target).map_err(failed),
        result => result.map_err(|error| failed(error.into())),
    }
}

/// overlayfs wants two layers; one read-only layer is a bind mount.
fn mount_single(lower: &Path, target: &Path) -> Result<(), MountError> {
    crate::mount::bind(lower, target, false)?;
    crate::mount::make_readonly(target)
}

fn mount_new(overlay: &Overlay<'_>, target: &Path) -> Result<(), Errno> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in overlay.lower {
        fsconfig_set_string(&fs, "lowerdir+", layer)?;
    }
    if let Some((upper, work)) = overlay.upper {
        fsconfig_set_string(&fs, "upperdir", upper)?;
        fsconfig_set_string(&fs, "workdir", work)?;
    }
    fsconfig_create(&fs)?;
    let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(&mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// The options of the old call must fit in a page, so the layers are named relative to the directory that
/// all of them are in, by a thread with a working directory of its own.
fn mount_old(overlay: &Overlay<'_>, target: &Path) -> io::Result<()> {
    let base = common_directory(overlay.lower);
    let relative = overlay.lower.iter().map(|path| {
        let path = path.strip_prefix(&base).unwrap_or(path);
        path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
    });
    let mut options = format!("lowerdir={}", relative.collect::<Vec<_>>().join(":"));
    if let Some((upper, work)) = overlay.upper {
        options.push_str(&format!(",upperdir={},workdir={}", upper.display(), work.display()));
    }
    let options = CString::new(options).map_err(io::Error::other)?;
    let mount = || -> io::Result<()> {
        crate::namespace::unshare_working_directory()?;
        rustix::process::chdir(&base)?;
        let flags = MountFlags::empty();
        Ok(rustix::mount::mount("overlay", target, "overlay", flags, options.as_c_str())?)
    };
    std::thread::scope(|scope| {
        scope.spawn(mount).join().unwrap_or_else(|_| Err(io::Error::other("thread panicked")))
    })
}

fn common_directory(paths: &[PathBuf]) -> PathBuf {
    let root = Path::new("/");
    let mut common = paths.first().and_then(|path| path.parent()).unwrap_or(root);
    while !paths.iter().all(|path| path.starts_with(common)) {
        common = common.parent().unwrap_or(root);
    }
    common.to_owned()
}

/// Whether the kernel has overlayfs.
pub fn is_available() -> bool {
    std::fs::read_to_string("/proc/filesystems")
        .is_ok_and(|text| text.lines().any(|line| line.ends_with("\toverlay")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_directory_is_found() {
        let paths = |texts: &[&str]| texts.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(common_directory(&paths(&["/a/b/c", "/a/b/d"])), Path::new("/a/b"));
        assert_eq!(common_directory(&paths(&["/a/b/c", "/x"])), Path::new("/"));
        assert_eq!(common_directory(&paths(&["/a/b"])), Path::new("/a"));
    }

    /// Both calls, whichever this kernel would be asked first.
    #[test]
    fn old_and_new_kernels_mount_the_same() {
        let base = std::env::temp_dir().join(format!("keelson-overlay-{}", std::process::id()));
        let path = |name: &str| base.join(name);
        for name in ["layers/a:1", "layers/b,2", "upper", "work", "target"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        std::fs::write(path("layers/a:1/file"), "above").unwrap();
        std::fs::write(path("layers/b,2/file"), "below").unwrap();
        let lower = [path("layers/a:1"), path("layers/b,2")];
        let (upper, work, target) = (path("upper"), path("work"), path("target"));
        let overlay = Overlay { lower: &lower, upper: Some((&upper, &work)) };
        let check = |name: &str| {
            let seen = std::fs::read_to_string(target.join("file"));
            let written = std::fs::write(target.join(name), "");
            crate::mount::unmount(&target).unwrap();
            assert_eq!(seen.unwrap(), "above");
            written.unwrap();
            assert!(upper.join(name).exists());
        };
        mount_old(&overlay, &target).unwrap();
        check("old");
        mount(&overlay, &target).unwrap();
        check("new");
        std::fs::remove_dir_all(base).unwrap();
    }
}
