//! Services: every ready endpoint answers and no other, from everywhere, by address and by name.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use cluster_tests::pods::{living, shell_pod, wait_ready, wait_rolled_out, web};
use cluster_tests::{Cluster, Kubectl, wait_until};

/// Asks so often that each of three endpoints answers, but for one case in a thousand million.
const REQUESTS: usize = 60;

fn names(kubectl: &Kubectl, selector: &str) -> BTreeSet<String> {
    let pods = living(kubectl, selector).unwrap();
    pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn field(kubectl: &Kubectl, object: &str, path: &str) -> String {
    kubectl.run(&["get", object, "-o", &format!("jsonpath={path}")])
}

/// Who answers, when asked again and again.
fn answering(cluster: &Cluster, address: &str) -> BTreeSet<String> {
    let url = format!("http://{address}/hostname");
    (0..REQUESTS).map(|_| cluster.fetch(&url).unwrap()).collect()
}

fn in_pod(kubectl: &Kubectl, line: &str) -> Result<String, String> {
    kubectl.try_run(&["exec", "client", "--", "sh", "-c", line])
}

#[test]
fn all_ready_endpoints_answer_from_the_host_and_the_node_port() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&web("web", 3));
    wait_rolled_out(&kubectl, "web");
    let pods = names(&kubectl, "app=web");
    let address = field(&kubectl, "service/web", "{.spec.clusterIP}");
    let port = field(&kubectl, "service/web", "{.spec.ports[0].nodePort}");
    assert_eq!(answering(&cluster, &address), pods);
    let node = format!("{}:{port}", cluster.network().address());
    assert_eq!(answering(&cluster, &node), pods);
    // From outside the node: this machine is at the other end of its uplink.
    let url = format!("http://{node}/hostname");
    let outside =
        std::process::Command::new("curl").args(["-sf", "--max-time", "5", &url]).output().unwrap();
    assert!(pods.contains(&*String::from_utf8_lossy(&outside.stdout)));
}

#[test]
fn an_endpoint_that_is_not_ready_is_left_out() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    // Readiness is a file that the test removes.
    let manifest = web("web", 2).replace("keelson.test/self:1", cluster_tests::busybox::IMAGE).replace(
        "args: [hello, --port, '8080']",
        "command: [sh, -c, 'mkdir /www && hostname > /www/hostname && touch /www/healthz && exec httpd -f -p 8080 -h /www']",
    );
    kubectl.apply(&manifest);
    wait_rolled_out(&kubectl, "web");
    let pods = names(&kubectl, "app=web");
    let address = field(&kubectl, "service/web", "{.spec.clusterIP}");
    let gone = pods.first().unwrap();
    kubectl.run(&["exec", gone, "--", "rm", "/www/healthz"]);
    kubectl.wait_for(
        "pod",
        gone,
        "{.status.conditions[?(@.type=='Ready')].status}",
        "False",
        Duration::from_secs(20),
    );
    wait_until("only the ready pod answers", Duration::from_secs(10), || {
        let answers: BTreeSet<String> =
            answering(&cluster, &address).iter().map(|name| name.trim().to_owned()).collect();
        if answers.len() == 1 && !answers.contains(gone) {
            Ok(())
        } else {
            Err(format!("{answers:?}"))
        }
    });
}

#[test]
fn pods_find_services_by_name() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&web("web", 2));
    let headless = "apiVersion: v1\nkind: Service\nmetadata: {name: direct}\nspec:\n  clusterIP: None\n  \
                    selector: {app: web}\n  ports: [{name: http, port: 8080}]\n";
    kubectl.apply(headless);
    kubectl.apply(&shell_pod("client", "sleep 10000"));
    wait_rolled_out(&kubectl, "web");
    wait_ready(&kubectl, "client");
    let pods = names(&kubectl, "app=web");
    for name in ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local"] {
        let page = wait_until(name, Duration::from_secs(20), || {
            in_pod(&kubectl, &format!("wget -qO- http://{name}/hostname"))
        });
        assert!(pods.contains(page.trim()), "{name}: {page}");
    }
    let records = in_pod(&kubectl, "nslookup direct.default.svc.cluster.local").unwrap();
    for pod in living(&kubectl, "app=web").unwrap() {
        let address = pod["status"]["podIP"].as_str().unwrap();
        assert!(records.contains(address), "{address} is not in\n{records}");
    }
    let own = kubectl.run(&["get", "pod", "client", "-o", "jsonpath={.status.podIP}"]);
    let record = format!("nslookup {}.default.pod.cluster.local", own.replace('.', "-"));
    assert!(in_pod(&kubectl, &record).unwrap().contains(&own));
    let missing = in_pod(&kubectl, "nslookup no-such.default.svc.cluster.local");
    assert!(missing.unwrap_err().contains("exit code"), "a name that is not there has no answer");
}

#[test]
fn pods_reach_each_other_and_the_outside() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&web("web", 1));
    kubectl.apply(&shell_pod("client", "sleep 10000"));
    wait_rolled_out(&kubectl, "web");
    wait_ready(&kubectl, "client");
    let peer =
        living(&kubectl, "app=web").unwrap()[0]["status"]["podIP"].as_str().unwrap().to_owned();
    let page = in_pod(&kubectl, &format!("wget -qO- http://{peer}:8080/healthz"));
    assert_eq!(page.unwrap().trim(), "ok");
    // This machine stands for the outside: it knows the node's address only, no pod's.
    let listener = std::net::TcpListener::bind((cluster.network().gateway(), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let line = format!("echo x | nc -w 5 {} {port}", cluster.network().gateway());
    let asked = std::thread::spawn(move || in_pod(&kubectl, &line));
    let (_, from) = listener.accept().unwrap();
    assert_eq!(
        from.ip().to_string(),
        cluster.network().address(),
        "pods leave under the node's address"
    );
    drop(listener);
    asked.join().unwrap().unwrap();
}

#[test]
fn a_service_without_endpoints_refuses() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    kubectl.apply(&web("web", 0));
    let address = field(&kubectl, "service/web", "{.spec.clusterIP}");
    wait_until("connections are refused", Duration::from_secs(10), || {
        match cluster.fetch(&format!("http://{address}/")) {
            Err(error) if error.to_string().contains("(7)") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}
