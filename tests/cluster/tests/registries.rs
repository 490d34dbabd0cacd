//! Images from a real registry: by tag and digest, and what is refused.

use std::time::Duration;

use cluster_tests::pods::{shell_pod, wait_event};
use cluster_tests::registry::Registry;
use cluster_tests::{Cluster, busybox};

const MOST: Duration = Duration::from_secs(60);

#[test]
fn an_image_that_the_registry_lacks_is_tried_again() {
    let cluster = Cluster::with_images();
    let kubectl = cluster.kubectl();
    let registry = Registry::start(&cluster, 5000).unwrap();
    let image = format!("{}/absent:1", registry.local_address());
    kubectl.apply(&shell_pod("pull", "sleep 10000").replace(busybox::IMAGE, &image));
    let message = wait_event(&kubectl, "pull", "Failed", MOST);
    assert!(message.contains(&image), "{message}");
    let waiting = "{.status.containerStatuses[0].state.waiting.reason}";
    kubectl.wait_for("pod", "pull", waiting, "ImagePullBackOff", MOST);
    kubectl.wait_for("pod", "pull", waiting, "ErrImagePull", MOST);
    wait_event(&kubectl, "pull", "BackOff", MOST);
}
