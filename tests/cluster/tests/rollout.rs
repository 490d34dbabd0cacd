//! Changing what runs: scaling, rolling forward and back, pausing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster_tests::pods::{living, wait_rolled_out, web};
use cluster_tests::{Cluster, Kubectl, wait_until};

fn started() -> (Cluster, Kubectl) {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&web("web", 3));
    wait_rolled_out(&kubectl, "web");
    (cluster, kubectl)
}

fn image(kubectl: &Kubectl) -> String {
    kubectl.run(&[
        "get",
        "deployment/web",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].image}",
    ])
}

#[test]
fn replicas_follow_the_scale() {
    let (_cluster, kubectl) = started();
    for wanted in [5, 1, 0, 2] {
        kubectl.run(&["scale", "deployment/web", &format!("--replicas={wanted}")]);
        wait_until(&format!("{wanted} pods"), Duration::from_secs(60), || {
            match kubectl.list("pods", "app=web")?.len() {
                now if now == wanted => Ok(()),
                now => Err(format!("{now} pods")),
            }
        });
        wait_rolled_out(&kubectl, "web");
    }
}

#[test]
fn a_roll_keeps_surge_and_availability_at_every_instant() {
    let (cluster, kubectl) = started();
    cluster.image(&["build-self", "keelson.test/self:2"]).unwrap();
    let patch = r#"{"spec":{"strategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}}}"#;
    kubectl.run(&["patch", "deployment/web", "-p", patch]);
    let over = AtomicBool::new(false);
    let (most, fewest) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (mut most, mut fewest) = (0, usize::MAX);
            while !over.load(Ordering::Relaxed) {
                let pods = living(&kubectl, "app=web").unwrap();
                let ready = |pod: &&serde_json::Value| {
                    let conditions = pod["status"]["conditions"].as_array();
                    conditions
                        .into_iter()
                        .flatten()
                        .any(|one| one["type"] == "Ready" && one["status"] == "True")
                };
                most = most.max(pods.len());
                fewest = fewest.min(pods.iter().filter(ready).count());
            }
            (most, fewest)
        });
        kubectl.run(&["set", "image", "deployment/web", "web=keelson.test/self:2"]);
        wait_rolled_out(&kubectl, "web");
        over.store(true, Ordering::Relaxed);
        watching.join().unwrap()
    });
    assert!(most <= 4, "{most} pods, with maxSurge 1 over 3");
    assert!(fewest >= 3, "{fewest} ready pods, with maxUnavailable 0");
    assert_eq!(image(&kubectl), "keelson.test/self:2");
}

#[test]
fn a_roll_is_undone() {
    let (cluster, kubectl) = started();
    cluster.image(&["build-self", "keelson.test/self:2"]).unwrap();
    kubectl.run(&["set", "image", "deployment/web", "web=keelson.test/self:2"]);
    wait_rolled_out(&kubectl, "web");
    let history = kubectl.run(&["rollout", "history", "deployment/web"]);
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    kubectl.run(&["rollout", "undo", "deployment/web"]);
    wait_rolled_out(&kubectl, "web");
    assert_eq!(image(&kubectl), "keelson.test/self:1");
    let history = kubectl.run(&["rollout", "history", "deployment/web"]);
    assert!(!history.contains("\n1 ") && history.contains("\n3 "), "{history}");
}

#[test]
fn a_paused_deployment_waits() {
    let (_cluster, kubectl) = started();
    kubectl.run(&["rollout", "pause", "deployment/web"]);
    kubectl.run(&["set", "env", "deployment/web", "VERSION=2"]);
    // The controller has seen the change and made nothing of it.
    let seen = kubectl.run(&["get", "deployment/web", "-o", "jsonpath={.metadata.generation}"]);
    kubectl.wait_for(
        "deployment",
        "web",
        "{.status.observedGeneration}",
        &seen,
        Duration::from_secs(20),
    );
    assert_eq!(kubectl.list("replicasets", "app=web").unwrap().len(), 1);
    kubectl.run(&["rollout", "resume", "deployment/web"]);
    wait_rolled_out(&kubectl, "web");
    assert_eq!(kubectl.list("replicasets", "app=web").unwrap().len(), 2);
}

#[test]
fn a_restart_replaces_every_pod() {
    let (_cluster, kubectl) = started();
    let names = |kubectl: &Kubectl| -> Vec<String> {
        let pods = living(kubectl, "app=web").unwrap();
        pods.iter().map(|pod| pod["metadata"]["name"].to_string()).collect()
    };
    let before = names(&kubectl);
    kubectl.run(&["rollout", "restart", "deployment/web"]);
    wait_rolled_out(&kubectl, "web");
    assert!(names(&kubectl).iter().all(|name| !before.contains(name)));
}
