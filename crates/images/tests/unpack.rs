//! Layers become directories, and attacks become errors.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use images::{Error, ImageRecord, Store, import};
use support::{Layer, assert_empty, docker_archive, gzip, store, zstd};

fn import_layers(store: &Store, layers: &[Vec<u8>]) -> Result<ImageRecord, Error> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    docker_archive(&path, "test:1", layers);
    import(store, &path, None).map(|mut images| images.remove(0))
}

/// The directories of the layers, the lowest first.
fn unpacked(store: &Store, record: &ImageRecord) -> Vec<PathBuf> {
    let mut directories = store.layer_directories(record);
    directories.reverse();
    directories
}

#[test]
fn attributes_are_those_of_the_archive() {
    let (_directory, store) = store();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = Layer::default()
        .directory("etc/", 0o750)
        .file("etc/file", "content")
        .file_with_mode("setuid", 0o4755)
        .xattr("security.capability", &capability)
        .file("capable", "x")
        .xattr("trusted.overlay.redirect", b"/etc")
        .file("tricky", "x")
        .symlink("link", "/etc/file")
        .hard_link("hard", "etc/file")
        .device("null")
        .file("implied/directory/file", "x")
        .finish();
    let record = import_layers(&store, &[layer]).unwrap();
    let root = unpacked(&store, &record).remove(0);
    let stat = |path: &str| fs::symlink_metadata(root.join(path)).unwrap();
    assert_eq!(fs::read_to_string(root.join("etc/file")).unwrap(), "content");
    assert_eq!((stat("etc").mode() & 0o7777, stat("etc").uid(), stat("etc").gid()), (0o750, 7, 8));
    assert_eq!((stat("etc").mtime(), stat("etc/file").mtime()), (1_000_000_000, 1_000_000_000));
    assert_eq!(stat("setuid").mode() & 0o7777, 0o4755);
    assert_eq!(fs::read_link(root.join("link")).unwrap(), PathBuf::from("/etc/file"));
    assert_eq!((stat("hard").ino(), stat("hard").nlink()), (stat("etc/file").ino(), 2));
    assert!(stat("null").file_type().is_char_device());
    assert_eq!(stat("null").rdev(), rustix::fs::makedev(1, 3));
    assert!(stat("implied/directory").is_dir());
    let mut value = [0; 64];
    let read = rustix::fs::lgetxattr(root.join("capable"), "security.capability", &mut value[..]);
    assert_eq!(&value[..read.unwrap()], &capability);
    let read =
        rustix::fs::lgetxattr(root.join("tricky"), "trusted.overlay.redirect", &mut value[..]);
    assert_eq!(read, Err(rustix::io::Errno::NODATA));
}

#[test]
fn whiteouts_hide_what_is_below() {
    let (_directory, store) = store();
    let below = Layer::default()
        .directory("kept/", 0o711)
        .file("kept/a", "1")
        .file("gone", "2")
        .file("opaque/old", "3")
        .finish();
    let above = Layer::default()
        .file("kept/b", "4")
        .file(".wh.gone", "")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "5")
        .finish();
    let record = import_layers(&store, &[below, above]).unwrap();
    let directories = unpacked(&store, &record);
    let gone = fs::symlink_metadata(directories[1].join("gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    // A directory that the layer only implies looks like the one that it hides.
    assert_eq!(fs::metadata(directories[1].join("kept")).unwrap().mode() & 0o7777, 0o711);
    let target = tempfile::tempdir().unwrap();
    let lower = store.layer_directories(&record);
    linux_overlay(&lower, target.path());
    let list = |path: &str| {
        let entries = fs::read_dir(target.path().join(path)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.join(" ")
    };
    let seen = (list(""), list("kept"), list("opaque"));
    rustix::mount::unmount(target.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(seen, ("kept opaque".to_owned(), "a b".to_owned(), "new".to_owned()));
}

fn linux_overlay(lower: &[PathBuf], target: &std::path::Path) {
    let lower: Vec<_> = lower.iter().map(|path| path.display().to_string()).collect();
    let options = std::ffi::CString::new(format!("lowerdir={}", lower.join(":"))).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("overlay", target, "overlay", flags, options.as_c_str()).unwrap();
}

#[test]
fn a_layer_that_writes_outside_its_root_is_refused() {
    let (directory, store) = store();
    let outside = directory.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    let outside = outside.display().to_string();
    let attacks = [
        ("dots", Layer::default().file("../../../../../outside/x", "x")),
        ("dots inside", Layer::default().file("a/../../../../../../outside/x", "x")),
        ("absolute link", Layer::default().symlink("l", &outside).file("l/x", "x")),
        ("climbing link", Layer::default().symlink("l", "../../../../../outside").file("l/x", "x")),
        (
            "link to a link",
            Layer::default().symlink("a", "b").symlink("b", &outside).file("a/x", "x"),
        ),
        ("hard link out", Layer::default().hard_link("h", "../../../../../etc/passwd")),
        (
            "hard link through a link",
            Layer::default().symlink("l", "/etc").hard_link("h", "l/passwd"),
        ),
        (
            "directory through a link",
            Layer::default().symlink("l", &outside).directory("l/d/", 0o777),
        ),
        ("link through a link", Layer::default().symlink("l", &outside).symlink("l/s", "x")),
        ("device through a link", Layer::default().symlink("l", &outside).device("l/null")),
        ("whiteout through a link", Layer::default().symlink("l", &outside).file("l/.wh.x", "")),
        ("proc", Layer::default().symlink("l", "/proc/self/root").file("l/x", "x")),
    ];
    for (name, layer) in attacks {
        let error = import_layers(&store, &[layer.finish()]).unwrap_err();
        let text = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(text.contains("tries to write outside its root"), "{name}: {text}");
        assert_empty(&store);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn odd_but_honest_layers_are_taken() {
    let (_directory, store) = store();
    let layer = Layer::default()
        .file("/absolute", "1")
        .file("./dotted", "2")
        .symlink("usr/lib64", "lib")
        .directory("usr/lib/", 0o755)
        .file("usr/lib64/through-a-link", "3")
        .file("twice", "4")
        .file("twice", "5")
        .symlink("file", "/etc/passwd")
        .file("file", "6")
        .directory("d/", 0o755)
        .file("d/x", "7")
        .file("d", "8")
        .finish();
    let record = import_layers(&store, &[layer]).unwrap();
    let root = unpacked(&store, &record).remove(0);
    for (path, content) in [
        ("absolute", "1"),
        ("dotted", "2"),
        ("usr/lib/through-a-link", "3"),
        ("twice", "5"),
        ("file", "6"),
        ("d", "8"),
    ] {
        assert_eq!(fs::read_to_string(root.join(path)).unwrap(), content, "{path}");
    }
    assert!(fs::symlink_metadata(root.join("file")).unwrap().is_file());
}

#[test]
fn damaged_and_foreign_layers_leave_nothing() {
    let (_directory, store) = store();
    let good = Layer::default().file("a", "1").finish();
    for (name, layer) in [
        ("cut", good[..700].to_vec()),
        ("noise", b"\x1f\x8bthis is not gzip".to_vec()),
        ("cut gzip", gzip(&good)[..20].to_vec()),
        ("cut zstd", zstd(&good)[..20].to_vec()),
    ] {
        assert!(import_layers(&store, &[good.clone(), layer]).is_err(), "{name}");
        assert_empty(&store);
    }
}
