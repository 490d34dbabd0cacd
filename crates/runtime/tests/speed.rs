//! How long a pod takes and how much memory it costs. Run by hand in release mode; see the assertions for
//! what is promised.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::time::Instant;

use cri::RuntimeService;
use support::World;

fn private_kib(pid: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn pods_are_quick_and_small() {
    let world = World::new().await;
    let (mut sandboxes, mut times) = (Vec::new(), Vec::new());
    for number in 0..20 {
        let name = format!("pod-{number}");
        let begin = Instant::now();
        let sandbox = world.sandbox(&name).await;
        let with_sandbox = begin.elapsed();
        let config = world.container_config(&name, &["/bin/sleep", "1000"]);
        let id = world.create(&sandbox, &config).await;
        let with_container = begin.elapsed();
        world.runtime.start_container(&id).await.unwrap();
        times.push((begin.elapsed(), with_sandbox, with_container));
        sandboxes.push(sandbox);
    }
    times.sort();
    eprintln!("fastest {:?}", times[0]);
    eprintln!("median {:?}", times[10]);
    eprintln!("slowest {:?}", times[19]);
    let mut pss = Vec::new();
    for sandbox in &sandboxes {
        let info = world.runtime.pod_sandbox_status(sandbox).await.unwrap();
        pss.push(private_kib(&info.info["pid"]));
    }
    pss.sort_unstable();
    eprintln!("PSS of shims in KiB: {pss:?}");
    world.end().await;
}
