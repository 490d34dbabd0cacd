//! Two machines on one network: an agent joins, and its pods are part of the cluster.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cluster_tests::agent::{Agent, Segment};
use cluster_tests::busybox::{IMAGE, archive};
use cluster_tests::pods::{SELF, shell_pod, wait_ready};
use cluster_tests::{Cluster, Kubectl, Namespace, Options, wait_until};

const MOST: Duration = Duration::from_secs(30);

fn on(node: &str, pod: &str) -> String {
    pod.replace("spec:\n", &format!("spec:\n  nodeName: {node}\n"))
}

fn server(node: &str, name: &str) -> String {
    on(
        node,
        &format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: web}}}}\nspec:\n  \
             terminationGracePeriodSeconds: 1\n  containers:\n  - {{name: web, image: {SELF:?}, args: [hello]}}\n"
        ),
    )
}

fn address(kubectl: &Kubectl, pod: &str) -> String {
    kubectl.run(&["get", "pod", pod, "-o", "jsonpath={.status.podIP}"])
}

fn shell(kubectl: &Kubectl, pod: &str, line: &str) -> Result<String, String> {
    let said = kubectl.try_run(&["exec", pod, "--", "sh", "-c", line])?;
    Ok(said.trim().to_owned())
}

/// A cluster whose server is the first machine of a segment.
fn start(segment: &Segment) -> Cluster {
    let network = Namespace::create().unwrap();
    segment.connect(&network, 1).unwrap();
    let arguments = vec!["--node-ip".to_owned(), segment.address(1)];
    let cluster = Cluster::start_in(network, Options { arguments, ..Options::default() }).unwrap();
    let images = archive(cluster.folder(), &[IMAGE]).unwrap();
    cluster.image(&["import", &images.to_string_lossy()]).unwrap();
    cluster.image(&["build-self", SELF]).unwrap();
    cluster
}

#[test]
fn pods_of_two_machines_reach_each_other() {
    let segment = Segment::create().unwrap();
    let cluster = start(&segment);
    let kubectl = cluster.kubectl();
    let agent = Agent::join(&cluster, &segment, "node2").unwrap();
    let images = archive(cluster.folder(), &[IMAGE]).unwrap();
    agent.image(&["import", &images.to_string_lossy()]).unwrap();
    agent.image(&["build-self", SELF]).unwrap();
    kubectl.wait_condition("node/node2", "Ready", 30);
    for (node, client, web) in [("node1", "client1", "web1"), ("node2", "client2", "web2")] {
        kubectl.apply(&on(node, &shell_pod(client, "sleep 10000")));
        kubectl.apply(&server(node, web));
    }
    kubectl.run(&[
        "expose",
        "pod",
        "web1",
        "--name=web",
        "--port=80",
        "--target-port=8080",
        "--selector=app=web",
    ]);
    for pod in ["client1", "client2", "web1", "web2"] {
        wait_ready(&kubectl, pod);
    }
    // Pod to pod, both ways, under their own addresses.
    for (client, web) in [("client1", "web2"), ("client2", "web1")] {
        let page = format!("timeout 5 wget -qO- http://{}:8080/hostname", address(&kubectl, web));
        let said =
            wait_until(&format!("{client} reaches {web}"), MOST, || shell(&kubectl, client, &page));
        assert_eq!(said, web);
    }
    // The Service, by its name and through both machines' DNS, with endpoints on both.
    for client in ["client1", "client2"] {
        for web in ["web1", "web2"] {
            wait_until(&format!("{client} reaches {web} by the Service"), MOST, || {
                let said = shell(&kubectl, client, "timeout 5 wget -qO- http://web/hostname")?;
                if said == web { Ok(()) } else { Err(said) }
            });
        }
    }
    // The API server reaches the agent's kubelet.
    let logs = wait_until("logs of the other machine", MOST, || {
        kubectl.try_run(&["logs", "web2", "--tail=1"])
    });
    assert!(logs.len() < 1000);
    // Certificates came by requests that the cluster approved.
    let requests = kubectl.run(&["get", "csr", "--no-headers"]);
    assert!(requests.lines().count() >= 4 && !requests.contains("Pending"), "{requests}");
}

#[test]
fn a_wrong_token_joins_nothing() {
    let segment = Segment::create().unwrap();
    let cluster = start(&segment);
    let token = std::fs::read_to_string(cluster.data_dir().join("join-token")).unwrap();
    let (digest, _) = token.trim().split_once("::").unwrap();
    let network = Namespace::create().unwrap();
    segment.connect(&network, 2).unwrap();
    let folder = cluster.folder().join("agent");
    let mut command = network.command(cluster.binary());
    command.arg("agent").arg("--data-dir").arg(&folder).args(["--node-name", "node2"]);
    command.args(["--server", &format!("https://{}:6443", segment.address(1))]);
    let output = command.args(["--token", &format!("{digest}::guess")]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("Unauthorized"), "{said}");
    let nodes = cluster.kubectl().run(&["get", "nodes", "-o", "name"]);
    assert_eq!(nodes.trim(), "node/node1");
}
