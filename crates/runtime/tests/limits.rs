//! Limits that land in cgroups, and what is measured there.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use cri::*;
use linux::cgroup::Cgroups;
use support::World;

#[tokio::test(flavor = "multi_thread")]
async fn limits_land_and_change() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let mut config = world.container_config("main", &["/bin/sleep", "1000"]);
    config.linux.resources = LinuxContainerResources {
        cpu_shares: 512,
        cpu_quota: 50_000,
        cpu_period: 100_000,
        memory_limit_in_bytes: 64 << 20,
        oom_score_adj: 900,
        cpuset_cpus: "0".to_owned(),
        ..LinuxContainerResources::default()
    };
    let id = world.start(&sandbox, &config).await;
    let parent = world.sandbox_config("pod").linux.cgroup_parent;
    let cgroup = Cgroups::detect().unwrap().group(&format!("{parent}/{id}")).unwrap();
    let status = world.runtime.container_status(&id).await.unwrap();
    assert_eq!(cgroup.processes(), [status.pid]);
    assert_eq!(cgroup.usage().memory_limit_bytes, Some(64 << 20));
    let read = |name: &str| {
        let texts = cgroup
            .directories()
            .into_iter()
            .filter_map(|directory| std::fs::read_to_string(directory.join(name)).ok());
        texts.map(|text| text.trim().to_owned()).collect::<Vec<_>>()
    };
    if !read("cpu.shares").is_empty() {
        assert_eq!(read("cpu.shares"), ["512"]);
        assert_eq!(read("cpu.cfs_quota_us"), ["50000"]);
        assert_eq!(read("cpuset.cpus"), ["0"]);
    } else {
        assert_eq!(read("cpu.max"), ["50000 100000"]);
    }
    assert_eq!(world.exec_text(&id, "cat /proc/1/oom_score_adj").await, "900");
    let change = LinuxContainerResources {
        cpu_quota: 20_000,
        memory_limit_in_bytes: 128 << 20,
        ..LinuxContainerResources::default()
    };
    world.runtime.update_container_resources(&id, &change).await.unwrap();
    assert_eq!(cgroup.usage().memory_limit_bytes, Some(128 << 20));
    let resources = world.runtime.container_status(&id).await.unwrap().resources.unwrap();
    assert_eq!((resources.cpu_shares, resources.cpu_quota), (512, 20_000));
    world.end().await;
    assert!(!cgroup.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_without_memory_is_known_to_be_oom_killed() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let hog = "x=a; while true; do x=$x$x; done";
    let mut config = world.container_config("main", &["/bin/sh", "-c", hog]);
    config.linux.resources.memory_limit_in_bytes = 16 << 20;
    let id = world.start(&sandbox, &config).await;
    let status = world.wait(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn use_is_measured() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let work = "busybox dd if=/dev/zero of=/file bs=1M count=3 2>/dev/null; sleep 1000";
    let id = world.run(&sandbox, "main", work).await;
    let mut stats = world.runtime.container_stats(&id).await.unwrap();
    while stats.writable_layer.as_ref().unwrap().used_bytes.unwrap() < 3 << 20 {
        tokio::task::yield_now().await;
        stats = world.runtime.container_stats(&id).await.unwrap();
    }
    assert!(stats.cpu.unwrap().usage_core_nano_seconds.unwrap() > 0);
    let memory = stats.memory.unwrap();
    assert!(memory.working_set_bytes.unwrap() > 0);
    assert!(memory.usage_bytes >= memory.working_set_bytes);
    assert!(stats.pids.unwrap() >= 1);
    let all =
        world.runtime.list_pod_sandbox_stats(&PodSandboxStatsFilter::default()).await.unwrap();
    assert_eq!((all.len(), all[0].containers.len()), (1, 1));
    assert!(all[0].cpu.as_ref().unwrap().usage_core_nano_seconds.unwrap() > 0);
    assert!(all[0].network.is_some());
    world.end().await;
}
