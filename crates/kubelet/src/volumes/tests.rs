//! Volumes that need real mounts; every test cleans up after itself, also when it fails.

use std::path::{Path, PathBuf};

use super::{make_memory_directory, sub_path, tear_down};
use crate::config::Config;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _best_effort = linux::mount::unmount_below(&self.path(""));
    }
}

fn is_mounted(path: &Path) -> bool {
    linux::mount::is_mount_point(path).unwrap()
}

#[test]
fn memory_and_parts_are_mounted_and_taken_down_without_touching_what_they_show() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let config = Config { root: place.path("kubelet"), ..Config::new("n") };
    let pod = config.pod_directory("u");
    let memory = pod.join("volumes/kubernetes.io~secret/s");
    make_memory_directory(&config, &memory, "mode=0777").unwrap();
    make_memory_directory(&config, &memory, "mode=0777").unwrap();
    assert!(is_mounted(&memory));

    let volume = place.path("volume");
    std::fs::create_dir_all(volume.join("part")).unwrap();
    std::fs::write(volume.join("part/file"), "kept").unwrap();
    let mark = pod.join("volume-subpaths/v/c/0");
    let found = sub_path::resolve(&config, &volume, "part", &mark).unwrap();
    assert_eq!(found, mark);
    assert_eq!(std::fs::read_to_string(mark.join("file")).unwrap(), "kept");
    // What was bound stays bound when the link in the volume is exchanged.
    std::fs::rename(volume.join("part"), volume.join("other")).unwrap();
    assert_eq!(sub_path::resolve(&config, &volume, "part", &mark).unwrap(), mark);
    assert!(mark.join("file").exists());

    let file = pod.join("volume-subpaths/v/c/1");
    sub_path::resolve(&config, &volume, "other/file", &file).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");

    tear_down(&pod).unwrap();
    assert!(!pod.exists() && !is_mounted(&memory));
    assert_eq!(std::fs::read_to_string(volume.join("other/file")).unwrap(), "kept");
    tear_down(&pod).unwrap();
}
