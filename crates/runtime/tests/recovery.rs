//! The server dies; its containers do not notice.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use cri::*;
use support::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_finds_everything_unchanged() {
    let mut world = World::new().await;
    for private in ["data/runtime", "data/images", "run/shim", "run/oci"] {
        use std::os::unix::fs::MetadataExt;
        let mode = std::fs::metadata(world.directory.path().join(private)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700, "{private}");
    }
    let sandbox = world.sandbox("pod").await;
    let running = world.run(&sandbox, "running", "sleep 1000").await;
    let ends = "while ! test -e /tmp/end; do sleep 0.02; done; echo last words; exit 6";
    let ending = world.run(&sandbox, "ending", ends).await;
    let config = world.container_config("created", &["/bin/sleep", "1000"]);
    let created = world.create(&sandbox, &config);
    let created = created.await;
    let before = world.runtime.container_status(&running).await.unwrap();
    let pod_before = world.runtime.pod_sandbox_status(&sandbox).await.unwrap().status;
    let pid = world.runtime.container_status(&ending).await.unwrap().pid;

    world.scope.cancel();
    assert!(world.scope.finish(std::time::Duration::from_secs(5)).await);
    std::fs::write(format!("/proc/{pid}/root/tmp/end"), "").unwrap();
    until("the container has ended", || world.log_text("ending.log") == "last words").await;
    world.restart().await;

    assert_eq!(world.runtime.container_status(&running).await.unwrap(), before);
    assert_eq!(world.runtime.pod_sandbox_status(&sandbox).await.unwrap().status, pod_before);
    let status = world.wait(&ending).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (6, "Error"));
    world.runtime.start_container(&created).await.unwrap();
    assert_eq!(world.exec_text(&running, "echo still here").await, "still here");
    world.runtime.stop_container(&running, 0).await.unwrap();
    assert_eq!(world.runtime.container_status(&running).await.unwrap().exit_code, 137);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_shim_takes_its_containers_with_it() {
    let mut world = World::new().await;
    for restart in [false, true] {
        let name = format!("pod-{restart}");
        let sandbox = world.sandbox(&name).await;
        let id = world.run(&sandbox, &name, "sleep 1000").await;
        let pid = world.runtime.container_status(&id).await.unwrap().pid;
        let info = world.runtime.pod_sandbox_status(&sandbox).await.unwrap().info;
        if restart {
            world.scope.cancel();
            assert!(world.scope.finish(std::time::Duration::from_secs(5)).await);
        }
        linux::process::kill(info["pid"].parse().unwrap(), 9).unwrap();
        if restart {
            world.restart().await;
        }
        let status = world.wait(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (255, "Unknown"));
        until("the process is gone", || linux::process::start_time(pid).is_none()).await;
        let pod = world.runtime.pod_sandbox_status(&sandbox).await.unwrap().status;
        assert_eq!(pod.state, PodSandboxState::NotReady);
        world.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_without_a_record_are_removed() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let id = world.run(&sandbox, "main", "sleep 1000").await;
    let pid = world.runtime.container_status(&id).await.unwrap().pid;
    world.scope.cancel();
    assert!(world.scope.finish(std::time::Duration::from_secs(5)).await);
    let data = world.directory.path().join("data/runtime");
    std::fs::remove_file(data.join("sandboxes").join(&sandbox).join("sandbox.json")).unwrap();
    world.restart().await;
    until("the process is gone", || linux::process::start_time(pid).is_none()).await;
    assert!(world.runtime.list_containers(&Default::default()).await.unwrap().is_empty());
    world.check_nothing_is_left();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_removes_everything() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let id = world.run(&sandbox, "main", "sleep 1000").await;
    let pid = world.runtime.container_status(&id).await.unwrap().pid;
    world.scope.cancel();
    assert!(world.scope.finish(std::time::Duration::from_secs(5)).await);
    let directory = world.directory.path().to_owned();
    tokio::task::spawn_blocking(move || {
        runtime::reset(&directory.join("data"), &directory.join("run")).unwrap();
    })
    .await
    .unwrap();
    until("the process is gone", || linux::process::start_time(pid).is_none()).await;
    assert!(!world.directory.path().join("data/runtime").exists());
    let mounts = linux::mount::table().unwrap();
    assert!(!mounts.iter().any(|mount| mount.target.starts_with(world.directory.path())));
    let parent = world.sandbox_config("pod").linux.cgroup_parent;
    let cgroups = linux::cgroup::Cgroups::detect().unwrap();
    assert!(!cgroups.group(&format!("{parent}/{id}")).unwrap().exists());
}
