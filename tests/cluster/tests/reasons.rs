//! What people read when something is wrong: phases, reasons and Events, as upstream words them.

use std::time::Duration;

use cluster_tests::Cluster;
use cluster_tests::pods::{shell_pod, wait_event, wait_ready};

const MOST: Duration = Duration::from_secs(60);

#[test]
fn pods_that_end_say_how() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    for (name, line, phase, reason, code) in [
        ("good", "exit 0", "Succeeded", "Completed", "0"),
        ("bad", "exit 9", "Failed", "Error", "9"),
    ] {
        kubectl.apply(&(shell_pod(name, line) + "  restartPolicy: Never\n"));
        kubectl.wait_for("pod", name, "{.status.phase}", phase, MOST);
        let ended = "{.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}";
        kubectl.wait_for("pod", name, ended, &format!("{reason} {code}"), MOST);
    }
}

#[test]
fn a_container_that_takes_too_much_memory_is_killed_and_says_so() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    // The shell itself is what grows, so the container's first process is the one that is killed.
    let pod = shell_pod("greedy", "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done")
        + "    resources: {limits: {memory: 16Mi}}\n  restartPolicy: Never\n";
    kubectl.apply(&pod);
    let ended = "{.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}";
    kubectl.wait_for("pod", "greedy", ended, "OOMKilled 137", MOST);
}

#[test]
fn a_pod_that_fits_nowhere_stays_pending() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&(shell_pod("huge", "sleep 1") + "    resources: {requests: {cpu: '1000'}}\n"));
    let message = wait_event(&kubectl, "huge", "FailedScheduling", MOST);
    assert!(message.starts_with("0/1 nodes are available: 1 Insufficient cpu."), "{message}");
    kubectl.wait_for("pod", "huge", "{.status.phase}", "Pending", MOST);
}

#[test]
fn a_missing_volume_keeps_the_container_creating() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    let pod = shell_pod("waiting", "sleep 10000")
        + "    volumeMounts: [{name: settings, mountPath: /etc/app}]\n  volumes: [{name: settings, configMap: {name: absent}}]\n";
    kubectl.apply(&pod);
    wait_event(&kubectl, "waiting", "FailedMount", MOST);
    kubectl.wait_for(
        "pod",
        "waiting",
        "{.status.containerStatuses[0].state.waiting.reason}",
        "ContainerCreating",
        MOST,
    );
    kubectl.run(&["create", "configmap", "absent"]);
    kubectl.wait_for("pod", "waiting", "{.status.phase}", "Running", Duration::from_secs(150));
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    let pod = shell_pod("never", "sleep 1").replace(
        cluster_tests::busybox::IMAGE,
        "keelson.test/absent:1\n    imagePullPolicy: Never",
    );
    kubectl.apply(&pod);
    let waiting = "{.status.containerStatuses[0].state.waiting.reason}";
    kubectl.wait_for("pod", "never", waiting, "ErrImageNeverPull", MOST);
}

#[test]
fn a_pod_that_goes_shows_it() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    let pod = shell_pod("going", "trap 'sleep 3; exit 0' TERM; while true; do sleep 0.1; done")
        .replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 20");
    kubectl.apply(&pod);
    wait_ready(&kubectl, "going");
    kubectl.run(&["delete", "pod", "going", "--wait=false"]);
    assert!(kubectl.run(&["get", "pod", "going"]).contains("Terminating"));
    wait_event(&kubectl, "going", "Killing", MOST);
    kubectl.run(&["wait", "pod/going", "--for=delete", "--timeout=30s"]);
}
