//! One manifest with everything an application is made of, and kubectl's verbs on it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use cluster_tests::pods::{living, shell_pod, wait_ready, wait_rolled_out};
use cluster_tests::{Cluster, Kubectl, wait_until};

const MANIFEST: &str = include_str!("workload.yaml");

fn application(cluster: &Cluster) -> (Kubectl, String) {
    let kubectl = cluster.kubectl().namespace("shop");
    kubectl.apply(MANIFEST);
    wait_rolled_out(&kubectl, "app");
    let pods = living(&kubectl, "app=app").unwrap();
    let name = pods[0]["metadata"]["name"].as_str().unwrap().to_owned();
    (kubectl, name)
}

/// What a shell in a container says.
fn shell(kubectl: &Kubectl, pod: &str, container: &str, line: &str) -> String {
    kubectl.run(&["exec", pod, "-c", container, "--", "sh", "-c", line]).trim().to_owned()
}

#[test]
fn configuration_reaches_the_containers() {
    let cluster = Cluster::with_images();
    let (kubectl, pod) = application(&cluster);
    let cases = [
        ("main", "echo $COLOR", "blue"),
        ("main", "echo $PASSWORD", "swordfish"),
        ("main", "cat /etc/app/color", "blue"),
        ("main", "cat /etc/secret/password", "swordfish"),
        ("main", "echo $POD_NAMESPACE", "shop"),
        ("helper", "cat /shared/from-main", "hello"),
        ("helper", "wget -qO- http://127.0.0.1:8080/from-main", "hello"),
        ("main", "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace", "shop"),
        ("main", "id -u", "1000"),
    ];
    for (container, line, wanted) in cases {
        assert_eq!(shell(&kubectl, &pod, container, line), wanted, "{container}: {line}");
    }
    // What one container leaves in shared memory, the other finds.
    shell(&kubectl, &pod, "main", "echo from main > /dev/shm/note");
    assert_eq!(shell(&kubectl, &pod, "helper", "cat /dev/shm/note"), "from main");
    // Both containers share the network and IPC, each has its own processes.
    let same = |what: &str| {
        let of =
            |container| shell(&kubectl, &pod, container, &format!("readlink /proc/self/ns/{what}"));
        of("main") == of("helper")
    };
    assert!(same("net") && same("ipc") && !same("pid") && !same("mnt"));
}

#[test]
fn limits_land_in_control_groups() {
    let cluster = Cluster::with_images();
    let (kubectl, pod) = application(&cluster);
    let v1 = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    assert_eq!(shell(&kubectl, &pod, "main", v1), (64 << 20).to_string());
    let v1 = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max";
    assert_eq!(shell(&kubectl, &pod, "main", v1), "50000");
}

#[test]
fn a_job_completes_and_its_logs_stay() {
    let cluster = Cluster::with_images();
    let (kubectl, _) = application(&cluster);
    kubectl.wait_condition("job/once", "Complete", 60);
    assert_eq!(kubectl.run(&["logs", "job/once"]).trim(), "done in shop");
    kubectl.wait_for("job", "once", "{.status.succeeded}", "1", Duration::from_secs(10));
}

#[test]
fn objects_are_shown_and_changed() {
    let cluster = Cluster::with_images();
    let (kubectl, pod) = application(&cluster);
    let wide = kubectl.run(&["get", "pods", "-o", "wide"]);
    assert!(wide.contains("NOMINATED NODE") && wide.contains("node1"), "{wide}");
    let described = kubectl.run(&["describe", "pod", &pod]);
    for part in ["Scheduled", "Started", "QoS Class:", "swordfish-key", "Mounts:"] {
        assert!(described.contains(part), "no {part} in:\n{described}");
    }
    kubectl.run(&["label", "deployment/app", "tier=front"]);
    kubectl.run(&["annotate", "deployment/app", "note=x"]);
    kubectl.run(&["patch", "deployment/app", "-p", "{\"spec\":{\"replicas\":2}}"]);
    wait_rolled_out(&kubectl, "app");
    let shown = kubectl.run(&[
        "get",
        "deployment/app",
        "-o",
        "jsonpath={.metadata.labels.tier} {.status.readyReplicas}",
    ]);
    assert_eq!(shown, "front 2");
    kubectl.run(&["delete", "deployment/app", "--wait=true", "--timeout=60s"]);
    wait_until("the Deployment's pods are gone", Duration::from_secs(60), || {
        match kubectl.list("pods", "app=app")?.len() {
            0 => Ok(()),
            left => Err(format!("{left} pods")),
        }
    });
}

#[test]
fn an_editor_changes_an_object() {
    let cluster = Cluster::with_images();
    let (kubectl, before) = application(&cluster);
    let mut edit = kubectl.command(&["edit", "deployment", "app"]);
    let output = edit.env("EDITOR", "sed -i s/500m/400m/g").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait_rolled_out(&kubectl, "app");
    let limit = "jsonpath={.spec.containers[0].resources.limits.cpu}";
    let pods = living(&kubectl, "app=app").unwrap();
    let after = pods[0]["metadata"]["name"].as_str().unwrap();
    assert_ne!(after, before, "the Deployment rolls");
    assert_eq!(kubectl.run(&["get", "pods", after, "-o", limit]), "400m");
}

#[test]
fn a_watch_shows_changes_as_they_come() {
    let cluster = Cluster::new();
    let kubectl = cluster.kubectl();
    let mut watch =
        kubectl.command(&["get", "configmaps", "--watch", "--output-watch-events", "-o", "name"]);
    let mut child = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("kube-root-ca.crt")), "the list comes first");
    kubectl.run(&["create", "configmap", "watched"]);
    assert!(lines.any(|line| line.contains("watched")), "then the new object");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn logs_are_followed_to_the_end() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&shell_pod("talker", "for i in 1 2 3; do echo line $i; sleep 1; done; sleep 1"));
    wait_ready(&kubectl, "talker");
    let followed = kubectl.run(&["logs", "--follow", "talker"]);
    // The container is started again when it ends; the first one's lines are there in order.
    assert!(followed.starts_with("line 1\nline 2\nline 3\n"), "{followed}");
}

#[test]
fn commands_run_in_containers() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&shell_pod("target", "sleep 10000"));
    wait_ready(&kubectl, "target");
    let output =
        kubectl.output(&["exec", "target", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("err\n"));
    let echoed = kubectl.run_with_input(&["exec", "-i", "target", "--", "cat"], "through\n");
    assert_eq!(echoed, "through\n");
}

#[test]
fn a_terminal_is_a_terminal() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&shell_pod("target", "sleep 10000"));
    wait_ready(&kubectl, "target");
    // `script` gives kubectl a terminal, as a person's shell would.
    let exec = kubectl.command(&["exec", "-it", "target", "--", "tty"]);
    let words: Vec<String> = std::iter::once(exec.get_program())
        .chain(exec.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut script = std::process::Command::new("script");
    let output =
        script.args(["-qec", &words.join(" "), "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("/dev/"), "{said}");
}

#[test]
fn files_are_copied_both_ways() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&shell_pod("target", "sleep 10000"));
    wait_ready(&kubectl, "target");
    let (there, back) = (cluster.folder().join("there"), cluster.folder().join("back"));
    let content: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(&there, &content).unwrap();
    kubectl.run(&["cp", &there.to_string_lossy(), "target:/tmp/file"]);
    kubectl.run(&["cp", "target:/tmp/file", &back.to_string_lossy()]);
    assert!(std::fs::read(&back).unwrap() == content);
}

#[test]
fn a_port_is_forwarded() {
    let cluster = Cluster::with_images();
    let (kubectl, pod) = application(&cluster);
    let mut command = kubectl.command(&["port-forward", &pod, "18080:8080"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // The pipe stays open to the end: kubectl tells of every connection.
    let mut said = BufReader::new(child.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let expected = format!("Forwarding from {}:18080", Ipv4Addr::LOCALHOST);
    let page = cluster.fetch("http://127.0.0.1:18080/from-main");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains(&expected), "{line}");
    assert_eq!(page.unwrap().trim(), "hello");
}

#[test]
fn a_running_container_is_attached_to() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    let pod = shell_pod("reader", "while read line; do echo got $line; done")
        .replace("  - name: main\n", "  - name: main\n    stdin: true\n");
    kubectl.apply(&pod);
    wait_ready(&kubectl, "reader");
    let mut command = kubectl.command(&["attach", "-i", "reader"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"word\n").unwrap();
    let mut answer = [0; 9];
    child.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(&answer, b"got word\n");
}
