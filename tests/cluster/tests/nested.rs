//! The program needs nothing around it: a cluster inside a container of another one, whose image holds the
//! program alone, neither a shell nor a library nor a folder.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use cluster_tests::cluster::WHATEVER_THE_DISK;
use cluster_tests::pods::{SELF, wait_ready, wait_rolled_out};
use cluster_tests::{Cluster, Kubectl, wait_until};

const MOST: Duration = Duration::from_secs(60);

/// Where the inner cluster keeps its state, and what its control groups are named after.
fn inner_data() -> String {
    format!("/nest-{}", std::process::id())
}

fn nest() -> String {
    let data = inner_data();
    let mut arguments = vec![
        "server".to_owned(),
        format!("--data-dir={data}"),
        format!("--write-kubeconfig={data}/kubeconfig.yaml"),
        "--cluster-cidr=10.52.0.0/16".to_owned(),
        "--service-cidr=10.53.0.0/16".to_owned(),
    ];
    arguments.extend(WHATEVER_THE_DISK.map(str::to_owned));
    let arguments = serde_json::json!(arguments);
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: nest}}
spec:
  restartPolicy: Never
  volumes: [{{name: data, emptyDir: {{}}}}]
  containers:
  - name: cluster
    image: {SELF}
    imagePullPolicy: Never
    args: {arguments}
    securityContext: {{privileged: true}}
    volumeMounts: [{{name: data, mountPath: {data}}}]
"
    )
}

/// kubectl for the inner cluster, from the network of the outer one's node.
fn inner(cluster: &Cluster, outer: &Kubectl) -> Kubectl {
    let of_pod = |path: &str| outer.run(&["get", "pod", "nest", "-o", &format!("jsonpath={path}")]);
    let volume = cluster.data_dir().join("kubelet/pods").join(of_pod("{.metadata.uid}"));
    let written = volume.join("volumes/kubernetes.io~empty-dir/data/kubeconfig.yaml");
    let text = wait_until("the inner cluster's kubeconfig", MOST, || {
        std::fs::read_to_string(&written).map_err(|error| error.to_string())
    });
    let server = format!("https://{}:6443", of_pod("{.status.podIP}"));
    let path = cluster.folder().join("inner.yaml");
    let lines = text.lines().map(|line| match line.split_once("server:") {
        Some((indent, _)) => format!("{indent}server: {server}\n"),
        None => format!("{line}\n"),
    });
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    Kubectl::new(path, cluster.network().path())
}

#[test]
fn a_cluster_runs_in_an_image_that_holds_only_the_program() {
    let cluster = Cluster::with_images();
    let outer = cluster.kubectl();
    outer.apply(&nest());
    wait_ready(&outer, "nest");
    let kubectl = inner(&cluster, &outer);
    wait_until("the inner node is ready", MOST, || {
        kubectl.try_run(&["wait", "--for=condition=Ready", "node/nest", "--timeout=1s"])
    });
    outer.run(&[
        "exec",
        "nest",
        "--",
        "/keelson",
        "image",
        "build-self",
        SELF,
        "-d",
        &inner_data(),
    ]);
    kubectl.run(&[
        "create",
        "deployment",
        "hello",
        &format!("--image={SELF}"),
        "--replicas=2",
        "--port=8080",
        "--",
        "/keelson",
        "hello",
        "--port",
        "8080",
    ]);
    wait_rolled_out(&kubectl, "hello");
    kubectl.run(&["expose", "deployment", "hello"]);
    wait_until("the inner Service answers", MOST, || {
        kubectl.try_run(&["get", "--raw", "/api/v1/namespaces/default/services/hello:8080/proxy/"])
    });
    // With its pods gone, nothing of the inner cluster outlives the outer pod but empty control groups, where a
    // privileged container sees a whole hierarchy of the machine (that of systemd, with control groups v1).
    kubectl.run(&["delete", "deployment", "hello"]);
    kubectl.run(&["wait", "--for=delete", "pod", "--all", "--timeout=60s"]);
    outer.run(&["delete", "pod", "nest", "--timeout=60s"]);
    let group = format!("keelson-{}", inner_data().trim_matches('/'));
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        remove_groups(&hierarchy.path().join(&group));
    }
}

/// Removes empty control groups, the innermost first.
fn remove_groups(group: &Path) {
    let Ok(inside) = std::fs::read_dir(group) else { return };
    for entry in inside.flatten().filter(|entry| entry.path().is_dir()) {
        remove_groups(&entry.path());
    }
    std::fs::remove_dir(group).unwrap();
}
