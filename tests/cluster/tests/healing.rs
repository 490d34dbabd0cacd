//! What breaks is mended: killed containers, deleted pods, failing probes.

use std::time::{Duration, Instant};

use cluster_tests::pods::{living, shell_pod, wait_event, wait_ready, wait_rolled_out, web};
use cluster_tests::{Cluster, wait_until};

const MOST: Duration = Duration::from_secs(60);

#[test]
fn a_deleted_pod_is_replaced() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&web("web", 2));
    wait_rolled_out(&kubectl, "web");
    let before = living(&kubectl, "app=web").unwrap();
    let gone = before[0]["metadata"]["name"].as_str().unwrap();
    kubectl.run(&["delete", "pod", gone, "--timeout=30s"]);
    wait_rolled_out(&kubectl, "web");
    let after = living(&kubectl, "app=web").unwrap();
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|pod| pod["metadata"]["name"] != gone));
}

#[test]
fn a_container_that_ends_is_started_again_later_and_later() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&shell_pod("crasher", "exit 3"));
    kubectl.wait_for("pod", "crasher", "{.status.containerStatuses[0].restartCount}", "1", MOST);
    let first = Instant::now();
    kubectl.wait_for(
        "pod",
        "crasher",
        "{.status.containerStatuses[0].state.waiting.reason}",
        "CrashLoopBackOff",
        MOST,
    );
    let last = "{.status.containerStatuses[0].lastState.terminated.exitCode}";
    kubectl.wait_for("pod", "crasher", last, "3", MOST);
    wait_event(&kubectl, "crasher", "BackOff", MOST);
    kubectl.wait_for("pod", "crasher", "{.status.containerStatuses[0].restartCount}", "2", MOST);
    // As upstream's: the first restart comes at once, the second after ten seconds, the third after twenty.
    assert!(first.elapsed() > Duration::from_secs(8), "{:?}", first.elapsed());
    let second = Instant::now();
    kubectl.wait_for("pod", "crasher", "{.status.containerStatuses[0].restartCount}", "3", MOST);
    assert!(second.elapsed() > Duration::from_secs(18), "{:?}", second.elapsed());
}

#[test]
fn a_failing_liveness_probe_restarts_the_container() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    let pod = shell_pod("sick", "touch /tmp/well; sleep 10000")
        + "    livenessProbe: {exec: {command: [test, -f, /tmp/well]}, periodSeconds: 1, failureThreshold: 1, initialDelaySeconds: 2}\n";
    kubectl.apply(&pod);
    wait_ready(&kubectl, "sick");
    kubectl.run(&["exec", "sick", "--", "rm", "/tmp/well"]);
    kubectl.wait_for("pod", "sick", "{.status.containerStatuses[0].restartCount}", "1", MOST);
    wait_event(&kubectl, "sick", "Unhealthy", MOST);
    wait_event(&kubectl, "sick", "Killing", MOST);
    wait_ready(&kubectl, "sick");
}

#[test]
fn a_killed_container_is_started_again() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&shell_pod("victim", "sleep 10000"));
    wait_ready(&kubectl, "victim");
    let id = kubectl.run(&[
        "get",
        "pod",
        "victim",
        "-o",
        "jsonpath={.status.containerStatuses[0].containerID}",
    ]);
    // The container's first process ignores signals from inside that it does not handle; from outside SIGKILL works.
    let process = wait_until("the container's process", MOST, || {
        find_process("sleep 10000", cluster.data_dir().to_string_lossy().as_ref())
    });
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_until("another container runs", MOST, || {
        let now = kubectl.try_run(&["get", "pod", "victim", "-o", "jsonpath={.status.containerStatuses[0].state.running}{.status.containerStatuses[0].containerID}"])?;
        if now.contains("startedAt") && !now.contains(&id) { Ok(()) } else { Err(now) }
    });
    kubectl.wait_for(
        "pod",
        "victim",
        "{.status.containerStatuses[0].lastState.terminated.exitCode}",
        "137",
        MOST,
    );
}

/// The process with this command line whose root is a mount of this cluster.
fn find_process(line: &str, data_dir: &str) -> Result<nix::unistd::Pid, String> {
    let entries = std::fs::read_dir("/proc").map_err(|error| error.to_string())?;
    let is_it = |entry: &std::fs::DirEntry| {
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        command.contains(line) && String::from_utf8_lossy(&read("mountinfo")).contains(data_dir)
    };
    let found = entries.flatten().find(is_it).ok_or("there is none")?;
    let pid = found.file_name().to_string_lossy().parse().map_err(|error| format!("{error}"))?;
    Ok(nix::unistd::Pid::from_raw(pid))
}
