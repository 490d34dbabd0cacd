//! Specifications, as text.

use super::*;
use cri::{KeyValue, Mount, MountPropagation};

fn image(json: serde_json::Value) -> ImageConfiguration {
    serde_json::from_value(serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": []}, "config": json,
    }))
    .unwrap()
}

fn spec(config: &ContainerConfig, image: &ImageConfiguration) -> Result<Spec, SpecError> {
    build(&Input {
        config,
        image,
        user: &user::User { uid: 7, gid: 8, groups: vec![8, 9] },
        cgroup: "/kubepods/pod1/c1",
        hostname: "host-1",
        files: &SandboxFiles { shm: "/run/shm1".into(), resolv_conf: None, hostname: None },
        pid_namespace: None,
        swap_accounted: false,
        open_files_max: 1024,
        cgroup_namespace: false,
    })
}

#[test]
fn command_and_arguments_follow_the_rules_of_kubernetes() {
    let image = image(serde_json::json!({"Entrypoint": ["/e"], "Cmd": ["c"]}));
    let args = |command: &[&str], args: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let config =
            ContainerConfig { command: owned(command), args: owned(args), ..Default::default() };
        arguments(&config, &image).unwrap().join(" ")
    };
    assert_eq!(args(&[], &[]), "/e c");
    assert_eq!(args(&[], &["a"]), "/e a");
    assert_eq!(args(&["x"], &[]), "x");
    assert_eq!(args(&["x"], &["a"]), "x a");
}

#[test]
fn an_image_without_a_command_is_an_error() {
    let empty = image(serde_json::json!({}));
    assert!(matches!(spec(&ContainerConfig::default(), &empty), Err(SpecError::NoCommand)));
}

#[test]
fn the_environment_is_the_images_overridden_by_the_pods() {
    let image = image(serde_json::json!({"Env": ["PATH=/x", "A=1", "B=2"], "Cmd": ["c"]}));
    let envs = vec![KeyValue { key: "B".to_owned(), value: "3=4".to_owned() }];
    let config = ContainerConfig { envs, ..Default::default() };
    let env = spec(&config, &image).unwrap().process().clone().unwrap().env().clone().unwrap();
    assert_eq!(env, ["PATH=/x", "HOSTNAME=host-1", "A=1", "B=3=4"]);
}

#[test]
fn volumes_replace_and_follow_what_is_above_them() {
    let image = image(serde_json::json!({"Cmd": ["c"]}));
    let volume = |path: &str, propagation| Mount {
        container_path: path.to_owned(),
        host_path: "/".to_owned(),
        propagation,
        ..Mount::default()
    };
    let mounts = vec![
        volume("/dev/shm", MountPropagation::Private),
        volume("/a/b/c/d", MountPropagation::HostToContainer),
        volume("/a", MountPropagation::Private),
    ];
    let config = ContainerConfig { mounts, ..Default::default() };
    let spec = spec(&config, &image).unwrap();
    let list = spec.mounts().clone().unwrap();
    let place = |path: &str| {
        list.iter().position(|mount| mount.destination().to_str() == Some(path)).unwrap()
    };
    assert!(place("/a") < place("/a/b/c/d") && place("/dev") < place("/dev/shm"));
    assert_eq!(list.iter().filter(|m| m.destination().to_str() == Some("/dev/shm")).count(), 1);
    let linux = spec.linux().clone().unwrap();
    assert_eq!(linux.rootfs_propagation().as_deref(), Some("slave"));
    assert!(linux.seccomp().is_none());
    assert!(spec.process().clone().unwrap().capabilities().is_none());
}

#[test]
fn limits_are_handed_on() {
    let image = image(serde_json::json!({"Cmd": ["c"]}));
    let mut config = ContainerConfig::default();
    config.linux.resources = LinuxContainerResources {
        cpu_shares: 512,
        cpu_quota: 50_000,
        cpu_period: 100_000,
        memory_limit_in_bytes: 1 << 26,
        ..Default::default()
    };
    let linux = spec(&config, &image).unwrap().linux().clone().unwrap();
    let resources = linux.resources().clone().unwrap();
    let cpu = resources.cpu().clone().unwrap();
    assert_eq!((cpu.shares(), cpu.quota(), cpu.period()), (Some(512), Some(50_000), Some(100_000)));
    let memory = resources.memory().unwrap();
    assert_eq!((memory.limit(), memory.swap()), (Some(1 << 26), None));
}

#[test]
fn privileged_hides_nothing() {
    let image = image(serde_json::json!({"Cmd": ["c"]}));
    let mut config = ContainerConfig::default();
    let masked = |config: &ContainerConfig| {
        spec(config, &image).unwrap().linux().clone().unwrap().masked_paths().clone()
    };
    assert!(masked(&config).unwrap().contains(&"/proc/kcore".to_owned()));
    config.linux.security_context.privileged = true;
    assert_eq!(masked(&config), None);
}
