//! Claims that are bound on the way.

use std::time::Duration;

use scheduler::Config;
use scheduling::build::pod;
use serde_json::{Value, json};

use crate::{api_double::Api, bind::roomy};

fn claim(class: &str) -> Value {
    json!({
        "metadata": {"name": "c", "namespace": "default", "uid": "claim-uid"},
        "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}},
    })
}

fn class(name: &str, provisioner: &str) -> Value {
    json!({"metadata": {"name": name}, "provisioner": provisioner,
        "volumeBindingMode": "WaitForFirstConsumer"})
}

/// What the volume controller does.
fn complete(api: &Api, volume: &str) {
    let mut claim = api.get("persistentvolumeclaims", "default", "c").unwrap();
    claim["spec"]["volumeName"] = volume.into();
    if claim["metadata"]["annotations"].is_null() {
        claim["metadata"]["annotations"] = json!({});
    }
    claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = "yes".into();
    api.put("persistentvolumeclaims", claim);
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_bound_before_the_pod() {
    let api = Api::new();
    api.put("nodes", roomy("a").finish());
    api.put("storageclasses", class("local", "kubernetes.io/no-provisioner"));
    api.put("persistentvolumeclaims", claim("local"));
    api.put("persistentvolumes", json!({
        "metadata": {"name": "v"},
        "spec": {"storageClassName": "local", "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"]},
        "status": {"phase": "Available"},
    }));
    let scope = api.start(Config::default());
    api.put("pods", pod("p").claim("c").finish());
    api.until_logged("update volume v").await;
    assert!(api.bound().is_empty());
    let volume = api.get("persistentvolumes", "", "v").unwrap();
    assert_eq!(volume["spec"]["claimRef"]["uid"], "claim-uid");
    assert_eq!(volume["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"], "yes");
    complete(&api, "v");
    api.until("binding", |api| api.bound().len() == 1).await;
    assert!(scope.finish(Duration::from_secs(5)).await);
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_provisioned_for_the_chosen_node() {
    let api = Api::new();
    api.put("nodes", roomy("a").finish());
    api.put("storageclasses", class("made", "disk.example.com"));
    api.put("persistentvolumeclaims", claim("made"));
    let scope = api.start(Config::default());
    api.put("pods", pod("p").claim("c").finish());
    api.until_logged("update claim c").await;
    let written = api.get("persistentvolumeclaims", "default", "c").unwrap();
    assert_eq!(written["metadata"]["annotations"]["volume.kubernetes.io/selected-node"], "a");
    // The provisioner makes the volume; the controller binds it.
    api.put(
        "persistentvolumes",
        json!({"metadata": {"name": "v"}, "spec": {"storageClassName": "made"}}),
    );
    complete(&api, "v");
    api.until("binding", |api| api.bound().len() == 1).await;
    assert!(scope.finish(Duration::from_secs(5)).await);
}

#[tokio::test(start_paused = true)]
async fn a_provisioner_that_gives_up_sends_the_pod_back() {
    let api = Api::new();
    api.put("nodes", roomy("a").finish());
    api.put("storageclasses", class("made", "disk.example.com"));
    api.put("persistentvolumeclaims", claim("made"));
    let scope = api.start(Config::default());
    api.put("pods", pod("p").claim("c").finish());
    api.until_logged("update claim c").await;
    // Removing the annotation is how a provisioner says that this node will not do.
    api.put("persistentvolumeclaims", claim("made"));
    api.until_logged("provisioning failed for PVC \"c\"").await;
    api.until("a second try", |api| {
        api.log().iter().filter(|line| line.contains("update claim c")).count() == 2
    })
    .await;
    assert!(scope.finish(Duration::from_secs(5)).await);
}
