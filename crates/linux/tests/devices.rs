//! The device filter of cgroup v2, asked by a real kernel.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::process::Command;

use linux::cgroup::devices::{DeviceKind, DeviceRule, READ, confine};

/// A group in the version 2 hierarchy of this machine, which may stand beside version 1.
fn group() -> Option<PathBuf> {
    let table = linux::mount::table().unwrap();
    let root = table.into_iter().find(|entry| entry.kind == "cgroup2")?.target;
    let path = root.join(format!("keelson-devices-{}", std::process::id()));
    std::fs::create_dir(&path).unwrap();
    Some(path)
}

#[test]
fn only_allowed_devices_can_be_used() {
    let Some(group) = group() else { return };
    confine(&group, &DeviceRule::usual()).unwrap();
    let run = |script: &str| {
        let script = format!("echo $$ > {}/cgroup.procs; {script}", group.display());
        Command::new("/bin/sh").args(["-c", &script]).output().unwrap()
    };
    let node = std::env::temp_dir().join(format!("keelson-mem-{}", std::process::id()));
    let node = node.display();
    let made = run(&format!("mknod {node} c 1 1")).status.success();
    let denied = run(&format!("head -c1 {node}"));
    let allowed = run("head -c1 /dev/zero >/dev/null && head -c1 /dev/urandom >/dev/null");
    std::fs::remove_file(node.to_string()).unwrap();
    std::fs::remove_dir(&group).unwrap();
    assert!(made, "a node may be made");
    let text = String::from_utf8_lossy(&denied.stderr);
    assert!(text.contains("Operation not permitted"), "{text}");
    assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
}

#[test]
fn access_is_looked_at_bit_by_bit() {
    let Some(group) = group() else { return };
    let read_only =
        DeviceRule { kind: DeviceKind::Character, major: Some(1), minor: Some(5), access: READ };
    confine(&group, &[read_only]).unwrap();
    let run = |script: &str| {
        let script = format!("echo $$ > {}/cgroup.procs; {script}", group.display());
        Command::new("/bin/sh").args(["-c", &script]).status().unwrap().success()
    };
    let (read, write) = (run("head -c0 < /dev/zero"), run("echo > /dev/zero"));
    std::fs::remove_dir(&group).unwrap();
    assert!(read && !write, "read {read}, write {write}");
}
