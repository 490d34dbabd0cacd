//! Measuring under a limit on open files. It is of the whole process, so no other test is here.

#![allow(clippy::unwrap_used, reason = "tests")]

use linux::disk_usage;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn directories_that_wait_are_not_open() {
    let directory = tempfile::tempdir().unwrap();
    for at in 0..200 {
        std::fs::create_dir_all(directory.path().join(format!("{at}/below"))).unwrap();
    }
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(32), ..before }).unwrap();
    let used = disk_usage::of(directory.path());
    setrlimit(Resource::Nofile, before).unwrap();
    let used = used.unwrap();
    assert_eq!((used.inodes, used.is_partial), (401, false));
}
