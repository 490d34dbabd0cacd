//! The server may end or die at any time; its pods go on and it takes them up again. `reset` leaves nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster_tests::pods::{living, wait_rolled_out, web};
use cluster_tests::{Cluster, Kubectl, wait_until};
use serde_json::Value;

/// What must not change over a restart: names, addresses, restart counts and container ids.
fn identities(kubectl: &Kubectl) -> Result<Vec<Vec<Value>>, String> {
    let mut all: Vec<Vec<Value>> = living(kubectl, "app=web")?
        .into_iter()
        .map(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            vec![
                pod["metadata"]["name"].clone(),
                pod["status"]["podIP"].clone(),
                status["restartCount"].clone(),
                status["containerID"].clone(),
            ]
        })
        .collect();
    all.sort_by_key(|row| row[0].to_string());
    Ok(all)
}

fn restarted(end: impl Fn(&mut Cluster)) {
    let mut cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&web("web", 2));
    wait_rolled_out(&kubectl, "web");
    let before = identities(&kubectl).unwrap();
    assert_eq!(before.len(), 2);
    let address = before[0][1].as_str().unwrap().to_owned();
    end(&mut cluster);
    let page = cluster.fetch(&format!("http://{address}:8080/healthz"));
    assert_eq!(page.unwrap().trim(), "ok", "containers outlive the server");
    cluster.start_server().unwrap();
    wait_rolled_out(&kubectl, "web");
    assert_eq!(identities(&kubectl).unwrap(), before);
    kubectl.run(&["scale", "deployment/web", "--replicas=3"]);
    wait_rolled_out(&kubectl, "web");
    wait_until("the new pod has an address of its own", Duration::from_secs(10), || {
        let mut addresses: Vec<String> =
            identities(&kubectl)?.iter().map(|row| row[1].to_string()).collect();
        addresses.sort();
        addresses.dedup();
        if addresses.len() == 3 { Ok(()) } else { Err(format!("{addresses:?}")) }
    });
}

#[test]
fn a_stopped_server_takes_its_pods_up_again() {
    restarted(|cluster| cluster.stop_server().unwrap());
}

#[test]
fn a_killed_server_takes_its_pods_up_again() {
    restarted(|cluster| cluster.kill_server().unwrap());
}

/// The control groups of a name, in all hierarchies.
fn groups_named(name: &str) -> Vec<PathBuf> {
    let roots = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let all = roots.chain([PathBuf::from("/sys/fs/cgroup")]).map(|root| root.join(name));
    all.filter(|path| path.is_dir()).collect()
}

fn said(command: &mut std::process::Command) -> String {
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

#[test]
fn reset_leaves_nothing() {
    let mut cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    let links_without_pods = ["lo", "uplink0"];
    kubectl.apply(&web("web", 2));
    wait_rolled_out(&kubectl, "web");
    assert!(!cluster.network().tables().unwrap().is_empty(), "Services are rules of nftables");
    cluster.kill_server().unwrap();
    let data_dir = cluster.data_dir().display().to_string();
    let group = format!("keelson-{}", data_dir.trim_matches('/').replace(['/', '.', '_'], "-"));
    assert!(!groups_named(&group).is_empty(), "pods are in a control group of their own");
    cluster.reset().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&data_dir), "mounts are left:\n{mounts}");
    assert_eq!(groups_named(&group), Vec::<PathBuf>::new(), "control groups are left");
    assert_eq!(cluster.network().links().unwrap(), links_without_pods);
    assert_eq!(cluster.network().tables().unwrap(), Vec::<String>::new(), "tables are left");
    let routes = said(cluster.command("ip").args(["route", "show", "table", "all"]));
    assert!(!routes.contains("10.42.") && !routes.contains("10.43."), "routes are left:\n{routes}");
    assert!(!cluster.data_dir().exists());
    assert!(!cluster.kubeconfig().exists());
    let run = Path::new("/run/keelson").join(group.trim_start_matches("keelson-"));
    assert!(!run.exists(), "{} is left", run.display());
    let left = cluster_tests::cluster::processes_naming(&data_dir);
    assert!(left.is_empty(), "processes are left: {left:?}");
    cluster.start_server().unwrap();
    assert!(kubectl.run(&["get", "pods", "--all-namespaces", "-o", "name"]).is_empty());
}

#[test]
fn a_fresh_node_is_ready_and_has_what_upstreams_has() {
    let cluster = Cluster::new();
    let kubectl = cluster.kubectl();
    kubectl.wait_condition("node/node1", "Ready", 30);
    let namespaces =
        kubectl.run(&["get", "namespaces", "-o", "jsonpath={.items[*].metadata.name}"]);
    assert_eq!(namespaces, "default kube-node-lease kube-public kube-system");
    kubectl.wait_for(
        "serviceaccount",
        "default",
        "{.metadata.name}",
        "default",
        Duration::from_secs(10),
    );
    kubectl.wait_for(
        "service",
        "kubernetes",
        "{.spec.ports[0].port}",
        "443",
        Duration::from_secs(10),
    );
    kubectl.wait_for(
        "configmap",
        "kube-root-ca.crt",
        "{.metadata.name}",
        "kube-root-ca.crt",
        Duration::from_secs(10),
    );
}
