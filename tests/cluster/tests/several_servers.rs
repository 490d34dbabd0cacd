//! Two servers on one etcd: nothing is given out twice, one leads, and the other takes over.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::Duration;

use cluster_tests::control_plane::ControlPlane;
use cluster_tests::{Kubectl, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;

const SERVICES: usize = 20;

fn two_servers() -> ControlPlane {
    let mut servers = ControlPlane::start(2).unwrap();
    servers.run_server(0).unwrap();
    let refused = servers.run_server(1).unwrap_err().to_string();
    assert!(refused.contains("copy pki/ from the data folder of a server that runs"), "{refused}");
    for file in std::fs::read_dir(servers.data_dir(0).join("pki")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), servers.data_dir(1).join("pki").join(file.file_name())).unwrap();
    }
    servers.run_server(1).unwrap();
    servers
}

fn services(prefix: &str) -> String {
    (0..SERVICES).fold(String::new(), |mut text, number| {
        writeln!(
            text,
            "{{apiVersion: v1, kind: Service, metadata: {{name: {prefix}{number}}}, \
             spec: {{type: NodePort, ports: [{{port: 80}}]}}}}\n---"
        )
        .unwrap();
        text
    })
}

fn holder(kubectl: &Kubectl, lease: &str) -> Result<String, String> {
    let found = kubectl.namespace("kube-system").object("lease", lease)?;
    let holder = found["spec"]["holderIdentity"].as_str().unwrap_or_default();
    if holder.is_empty() { Err("nobody leads".to_owned()) } else { Ok(holder.to_owned()) }
}

/// Waits for exactly so many pods, and that their number stays.
fn wait_pods(kubectl: &Kubectl, count: usize) {
    let pods = || kubectl.list("pods", "app=web").map(|pods| pods.len());
    wait_until("there are the pods", Duration::from_secs(60), || match pods() {
        Ok(have) if have == count => Ok(()),
        state => Err(format!("{state:?}")),
    });
    let status = || kubectl.object("deployment", "web").map(|it| it["status"].clone());
    wait_until("the deployment has seen them", Duration::from_secs(60), || match status() {
        Ok(status) if status["replicas"] == count => Ok(()),
        state => Err(format!("{state:?}")),
    });
    assert_eq!(pods(), Ok(count), "no pod is made twice");
}

#[test]
fn nothing_is_given_out_twice() {
    let servers = two_servers();
    std::thread::scope(|scope| {
        for at in 0..2 {
            let kubectl = servers.kubectl(at);
            scope.spawn(move || kubectl.apply(&services(&format!("s{at}-"))));
        }
    });
    let all = servers.kubectl(0).list("services", "").unwrap();
    assert_eq!(all.len(), 2 * SERVICES + 1, "and `kubernetes`");
    let addresses: BTreeSet<_> = all.iter().map(|it| it["spec"]["clusterIP"].to_string()).collect();
    assert_eq!(addresses.len(), all.len());
    let port = |service: &Value| service["spec"]["ports"][0]["nodePort"].as_u64();
    let ports: BTreeSet<_> = all.iter().filter_map(port).collect();
    assert_eq!(ports.len(), 2 * SERVICES);
    // What one server has freed, the other gives out again.
    let first = servers.kubectl(0).object("service", "s0-0").unwrap();
    let address = first["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let manifest = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: again}}, \
         spec: {{clusterIP: {address}, ports: [{{port: 80}}]}}}}"
    );
    let path = servers.folder().join("again.yaml");
    std::fs::write(&path, manifest).unwrap();
    let create = ["create", "-f", path.to_str().unwrap()];
    let refused = servers.kubectl(1).try_run(&create).unwrap_err();
    assert!(refused.contains("provided IP is already allocated"), "{refused}");
    servers.kubectl(0).run(&["delete", "service", "s0-0"]);
    servers.kubectl(1).run(&create);
}

#[test]
fn a_second_server_in_one_data_folder_is_refused() {
    let mut servers = ControlPlane::start(2).unwrap();
    servers.run_server(0).unwrap();
    let first = servers.data_dir(0);
    let refused = servers.run_server_in(1, &first).unwrap_err().to_string();
    let expected = format!("the data folder {} is in use by another process", first.display());
    assert!(refused.contains(&expected), "{refused}");
    servers.kubectl(0).run(&["get", "namespaces"]);
    servers.kill_server(0).unwrap();
    servers.run_server_in(1, &first).unwrap();
}

#[test]
fn a_write_that_etcd_does_not_answer_is_told_as_upstream_tells_it() {
    let mut servers = ControlPlane::start(1).unwrap();
    servers.run_server(0).unwrap();
    let kubectl = servers.kubectl(0);
    kubectl.run(&["create", "configmap", "before"]);
    servers.signal_etcd(Signal::SIGSTOP).unwrap();
    let create = ["create", "configmap", "during"];
    let unknown = kubectl.try_run(&create).unwrap_err();
    assert!(unknown.contains("etcdserver: request timed out"), "{unknown}");
    servers.signal_etcd(Signal::SIGCONT).unwrap();
    // It may have taken place and it may not; either way it is there once, after another attempt.
    wait_until("the write can be made", Duration::from_secs(60), || {
        match kubectl.try_run(&create) {
            Err(error) if !error.contains("already exists") => Err(error),
            _ => Ok(()),
        }
    });
    kubectl.run(&["delete", "configmap", "before", "during"]);
}

#[test]
fn another_server_takes_over_when_the_leader_dies() {
    let mut servers = two_servers();
    let kubectl = servers.kubectl(1);
    kubectl.run(&["create", "deployment", "web", "--image=example.invalid/web", "--replicas=3"]);
    wait_pods(&kubectl, 3);
    let endpoints = kubectl.object("endpoints", "kubernetes").unwrap();
    assert_eq!(endpoints["subsets"].as_array().unwrap().len(), 2, "both servers are published");
    let lease = "kube-controller-manager";
    let leader = holder(&kubectl, lease).unwrap();
    let dies = (0..2).find(|at| leader.starts_with(&ControlPlane::node_name(*at))).unwrap();
    servers.kill_server(dies).unwrap();
    let kubectl = servers.kubectl(1 - dies);
    kubectl.run(&["scale", "deployment/web", "--replicas=7"]);
    wait_until("the other leads", Duration::from_secs(40), || match holder(&kubectl, lease)? {
        same if same == leader => Err(same),
        _ => Ok(()),
    });
    wait_pods(&kubectl, 7);
    wait_until("only one server is published", Duration::from_secs(40), || {
        let endpoints = kubectl.object("endpoints", "kubernetes")?;
        match endpoints["subsets"].as_array().map(Vec::len) {
            Some(1) => Ok(()),
            state => Err(format!("{state:?}")),
        }
    });
}

#[test]
fn a_snapshot_of_a_running_server_is_checked() {
    let servers = two_servers();
    let kubectl = servers.kubectl(0);
    kubectl.run(&["create", "configmap", "kept", "--from-literal=a=b"]);
    let (data, file) = (servers.data_dir(0), servers.folder().join("snapshot"));
    let (data, file) = (data.to_str().unwrap(), file.to_str().unwrap());
    let saved = servers.command(&["snapshot", "save", file, "--data-dir", data]).unwrap();
    assert!(saved.contains("sha256"), "{saved}");
    assert_eq!(servers.command(&["snapshot", "status", file]).unwrap(), saved);
    let etcd = ["--etcd-servers", "http://127.0.0.1:2379"];
    let full = ["snapshot", "restore", file, etcd[0], etcd[1]];
    let refused = format!("{:#}", servers.command(&full).unwrap_err());
    assert!(refused.contains("is not empty"), "{refused}");
    let there = ["snapshot", "restore", file, etcd[0], etcd[1], "--etcd-prefix", "/copy"];
    assert_eq!(servers.command(&there).unwrap(), saved);
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
    let damaged = servers.command(&["snapshot", "status", file]).unwrap_err();
    assert!(format!("{damaged:#}").contains("it is damaged"), "{damaged:#}");
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn watch_path(after: u64, seconds: u32) -> String {
    let place = "/api/v1/namespaces/default/configmaps";
    format!("{place}?watch=1&resourceVersion={after}&timeoutSeconds={seconds}")
}

/// What a watch of config maps behind a revision shows within some seconds.
fn watched(kubectl: &Kubectl, after: u64, seconds: u32) -> String {
    kubectl.run(&["get", "--raw", &watch_path(after, seconds)])
}

#[test]
fn a_server_that_missed_what_etcd_forgot_reads_it_again() {
    let mut servers = two_servers();
    let (behind, ahead) = (servers.kubectl(0), servers.kubectl(1));
    ahead.run(&["create", "configmap", "first"]);
    let seen = revision(&ahead.object("configmap", "first").unwrap());
    let path = watch_path(seen - 1, 120);
    let mut watching =
        behind.command(&["get", "--raw", &path]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap());
    let mut shown = String::new();
    lines.read_line(&mut shown).unwrap();
    assert!(shown.contains("\"first\""), "the watch is open: {shown}");

    servers.signal_server(0, Signal::SIGSTOP).unwrap();
    servers.restart_etcd().unwrap();
    let create = |name: &str| {
        wait_until(name, Duration::from_secs(60), || {
            match ahead.try_run(&["create", "configmap", name]) {
                Err(error) if !error.contains("already exists") => Err(error),
                _ => Ok(()),
            }
        });
    };
    create("missed");
    ahead.run(&["delete", "configmap", "first"]);
    create("last");
    let last = revision(&ahead.object("configmap", "last").unwrap());
    servers.compact_etcd(last).unwrap();
    servers.signal_server(0, Signal::SIGCONT).unwrap();

    let mut ended = String::new();
    lines.read_to_string(&mut ended).unwrap();
    watching.wait().unwrap();
    assert!(ended.contains("\"code\":410") && ended.contains("\"Expired\""), "{ended}");
    assert!(!ended.contains("\"missed\""), "nobody is told half a story: {ended}");
    wait_until("the first server has it all", Duration::from_secs(60), || {
        let names = behind.try_run(&["get", "configmap", "-o", "name"])?;
        let has = |name: &str| names.contains(&format!("configmap/{name}"));
        if has("missed") && has("last") && !has("first") { Ok(()) } else { Err(names) }
    });
    let resumed = watched(&behind, seen, 2);
    assert!(resumed.contains("\"code\":410"), "{resumed}");
    let list = behind.run(&["get", "--raw", "/api/v1/namespaces/default/configmaps"]);
    let now = revision(&serde_json::from_str(&list).unwrap());
    assert!(now >= last);
    let onwards = watched(&behind, now, 2);
    assert!(!onwards.contains("\"code\":410"), "{onwards}");
    // The other server has seen everything, and its watches go on.
    let whole = watched(&ahead, seen, 2);
    for text in ["\"missed\"", "\"DELETED\"", "\"last\""] {
        assert!(whole.contains(text), "{text}: {whole}");
    }
    let list =
        format!("/api/v1/configmaps?limit=500&resourceVersion={seen}&resourceVersionMatch=Exact");
    let old = ahead.try_run(&["get", "--raw", &list]).unwrap_err();
    assert!(old.contains("too old"), "{old}");
}
