//! Images from a real registry: by tag, by digest, with a password; and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cluster_tests::pods::{shell_pod, wait_event, wait_ready};
use cluster_tests::registry::{PASSWORD, Registry, USER, digest};
use cluster_tests::{Cluster, Kubectl, busybox};

const MOST: Duration = Duration::from_secs(60);
/// A registry that hangs is given up after the pull's own bound, which is longer.
const HANG_MOST: Duration = Duration::from_secs(200);
const WAITING: &str = "{.status.containerStatuses[0].state.waiting.reason}";

fn pod(name: &str, image: &str) -> String {
    shell_pod(name, "sleep 10000").replace(busybox::IMAGE, image)
}

/// Applies a pod with an image that must be refused, and gives what is said of it.
fn refused(cluster: &Cluster, kubectl: &Kubectl, name: &str, image: &str) -> String {
    let before = cluster.image(&["list"]).unwrap();
    kubectl.apply(&pod(name, image));
    let message = wait_event(kubectl, name, "Failed", MOST);
    assert!(message.contains(image), "{message}");
    kubectl.wait_for("pod", name, WAITING, "ImagePullBackOff", MOST);
    wait_event(kubectl, name, "BackOff", MOST);
    assert_eq!(cluster.image(&["list"]).unwrap(), before, "nothing is left behind");
    message
}

#[test]
fn images_are_pulled_by_tag_and_by_digest() {
    let cluster = Cluster::new();
    let kubectl = cluster.kubectl();
    let registry = Registry::start(&cluster, 5000, false).unwrap();
    let pushed =
        registry.push(cluster.network(), "team/app", "1", &busybox::layer().unwrap()).unwrap();
    let by_tag = format!("{}/team/app:1", registry.address());
    kubectl.apply(&pod("tag", &by_tag));
    wait_ready(&kubectl, "tag");
    let message = wait_event(&kubectl, "tag", "Pulled", MOST);
    assert!(
        message.starts_with(&format!("Successfully pulled image \"{by_tag}\" in ")),
        "{message}"
    );
    let by_digest = format!("{}/team/app@{}", registry.address(), pushed.digest);
    kubectl.apply(&pod("digest", &by_digest));
    wait_ready(&kubectl, "digest");
    let id = kubectl.run(&[
        "get",
        "pod",
        "digest",
        "-o",
        "jsonpath={.status.containerStatuses[0].imageID}",
    ]);
    assert!(id.ends_with(&pushed.digest), "{id}");
}

#[test]
fn a_password_comes_from_a_pull_secret() {
    let cluster = Cluster::new();
    let kubectl = cluster.kubectl();
    let registry = Registry::start(&cluster, 5000, true).unwrap();
    registry.push(cluster.network(), "private/app", "1", &busybox::layer().unwrap()).unwrap();
    let image = format!("{}/private/app:1", registry.address());
    refused(&cluster, &kubectl, "without", &image);
    let server = format!("--docker-server={}", registry.address());
    kubectl.run(&[
        "create",
        "secret",
        "docker-registry",
        "login",
        &server,
        &format!("--docker-username={USER}"),
        &format!("--docker-password={PASSWORD}"),
    ]);
    kubectl.apply(&(pod("with", &image) + "  imagePullSecrets: [{name: login}]\n"));
    wait_ready(&kubectl, "with");
}

#[test]
fn what_the_registry_lacks_is_tried_again() {
    let cluster = Cluster::new();
    let kubectl = cluster.kubectl();
    let registry = Registry::start(&cluster, 5000, false).unwrap();
    refused(&cluster, &kubectl, "absent", &format!("{}/absent:1", registry.address()));
    kubectl.wait_for("pod", "absent", WAITING, "ErrImagePull", MOST);
}

#[test]
fn false_content_is_refused() {
    let cluster = Cluster::new();
    let kubectl = cluster.kubectl();
    let registry = Registry::start(&cluster, 5000, false).unwrap();
    let layer = busybox::layer().unwrap();
    let corrupt = registry.push(cluster.network(), "corrupt", "1", &layer).unwrap();
    let mut bytes = layer.clone();
    bytes[layer.len() / 2] ^= 1;
    registry.falsify(&corrupt.layer, &bytes).unwrap();
    refused(&cluster, &kubectl, "corrupt", &format!("{}/corrupt:1", registry.address()));
    let wrong = format!("{}/corrupt@{}", registry.address(), digest(b"another manifest"));
    refused(&cluster, &kubectl, "wrong-digest", &wrong);
}

#[test]
fn a_layer_that_climbs_out_is_refused() {
    let cluster = Cluster::new();
    let kubectl = cluster.kubectl();
    let registry = Registry::start(&cluster, 5000, false).unwrap();
    let mut header = tar::Header::new_gnu();
    let path = b"../../../../../../../../tmp/keelson-climbed-out";
    header.as_old_mut().name[..path.len()].copy_from_slice(path);
    header.set_size(4);
    header.set_mode(0o644);
    header.set_cksum();
    let mut layer = tar::Builder::new(Vec::new());
    layer.append(&header, &b"evil"[..]).unwrap();
    let layer = layer.into_inner().unwrap();
    registry.push(cluster.network(), "climber", "1", &layer).unwrap();
    refused(&cluster, &kubectl, "climber", &format!("{}/climber:1", registry.address()));
    assert!(!std::path::Path::new("/tmp/keelson-climbed-out").exists());
}

#[test]
fn a_registry_that_hangs_is_given_up() {
    let cluster = Cluster::new();
    let kubectl = cluster.kubectl();
    // The kernel accepts connections; nobody ever answers.
    let listener = std::net::TcpListener::bind((cluster.network().gateway(), 0)).unwrap();
    let image = format!("{}/app:1", listener.local_addr().unwrap());
    kubectl.apply(&pod("stuck", &image));
    let message = wait_event(&kubectl, "stuck", "Failed", HANG_MOST);
    drop(listener);
    assert!(message.contains(&image), "{message}");
}
