//! Deleting a namespace: everything in it goes, and what asks for time or for a last word gets it.

use std::time::{Duration, Instant};

use cluster_tests::pods::{shell_pod, wait_ready, wait_rolled_out, web};
use cluster_tests::{Cluster, wait_until};

#[test]
fn everything_goes_with_its_namespace() {
    let cluster = Cluster::with_images();
    cluster.kubectl().run(&["create", "namespace", "short"]);
    let kubectl = cluster.kubectl().namespace("short");
    kubectl.apply(&web("web", 2));
    kubectl.run(&["create", "configmap", "one"]);
    kubectl.run(&["create", "secret", "generic", "two"]);
    wait_rolled_out(&kubectl, "web");
    kubectl.run(&["delete", "namespace", "short", "--timeout=60s"]);
    let left = kubectl.run(&["get", "all,configmaps,secrets,endpointslices", "-o", "name"]);
    assert!(left.is_empty(), "{left}");
}

#[test]
fn grace_and_finalizers_are_honoured() {
    let cluster = Cluster::with_images();
    cluster.kubectl().run(&["create", "namespace", "slow"]);
    let kubectl = cluster.kubectl().namespace("slow");
    let line = "trap 'sleep 3; exit 0' TERM; while true; do sleep 0.1; done";
    let pod = shell_pod("polite", line)
        .replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 20");
    kubectl.apply(&pod);
    kubectl.apply(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [example.com/hold]}\n",
    );
    wait_ready(&kubectl, "polite");
    let start = Instant::now();
    kubectl.run(&["delete", "namespace", "slow", "--wait=false"]);
    wait_until("the pod ends", Duration::from_secs(20), || match kubectl.object("pod", "polite") {
        Err(error) if error.contains("NotFound") => Ok(()),
        Err(error) => Err(error),
        Ok(pod) => Err(pod["status"]["phase"].to_string()),
    });
    assert!(
        start.elapsed() >= Duration::from_secs(3),
        "the pod had its time: {:?}",
        start.elapsed()
    );
    kubectl.wait_for(
        "namespace",
        "slow",
        "{.status.phase}",
        "Terminating",
        Duration::from_secs(10),
    );
    let condition = "{.status.conditions[?(@.type=='NamespaceFinalizersRemaining')].status}";
    kubectl.wait_for("namespace", "slow", condition, "True", Duration::from_secs(20));
    let refused = kubectl.try_run(&["create", "configmap", "late"]).unwrap_err();
    assert!(refused.contains("is being terminated"), "{refused}");
    kubectl.run(&[
        "patch",
        "configmap",
        "held",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ]);
    kubectl.run(&["wait", "namespace/slow", "--for=delete", "--timeout=40s"]);
}
