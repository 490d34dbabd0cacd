//! Budgets, quotas and volumes in the whole loop.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::PostParams;
use serde_json::json;

use crate::cluster::{Cluster, Fate};

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_follows_its_pods() {
    let cluster = Cluster::start(|_| Fate::Ready).await;
    cluster
        .create::<PodDisruptionBudget>(json!({"metadata": {"name": "b"}, "spec":
            {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}}))
        .await;
    cluster
        .create::<Deployment>(json!({"metadata": {"name": "web"}, "spec": {"replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}}))
        .await;
    cluster
        .until("one disruption allowed", || async {
            let status = cluster.get::<PodDisruptionBudget>("b").await?.status?;
            (status.expected_pods == Some(3) && status.disruptions_allowed == Some(1)).then_some(())
        })
        .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_counts_up_and_down() {
    let cluster = Cluster::start(|_| Fate::Ready).await;
    cluster
        .create::<ResourceQuota>(json!({"metadata": {"name": "q"}, "spec":
            {"hard": {"pods": "5", "count/networkpolicies.networking.k8s.io": "2"}}}))
        .await;
    let used = async |name: &str, wanted: &str| {
        cluster
            .until("the quota's use", || async {
                let status = cluster.get::<ResourceQuota>("q").await?.status?;
                (status.used?.get(name)?.0 == wanted).then_some(())
            })
            .await;
    };
    used("pods", "0").await;
    cluster
        .create::<Pod>(json!({"metadata": {"name": "p"}, "spec":
            {"containers": [{"name": "c", "image": "i"}]}}))
        .await;
    used("pods", "1").await;
    cluster.client.namespaced::<Pod>("default").delete("p", &Default::default()).await.unwrap();
    used("pods", "0").await;
    // A kind that is watched only because a quota counts it.
    let counted = "count/networkpolicies.networking.k8s.io";
    cluster
        .create::<NetworkPolicy>(json!({"metadata": {"name": "n"}, "spec": {"podSelector": {}}}))
        .await;
    used(counted, "1").await;
    let policies = cluster.client.namespaced::<NetworkPolicy>("default");
    policies.delete("n", &Default::default()).await.unwrap();
    used(counted, "0").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_bound_and_its_volume_released() {
    let cluster = Cluster::start(|_| Fate::Ready).await;
    let volumes = cluster.client.all::<PersistentVolume>();
    let volume: PersistentVolume =
        serde_json::from_value(json!({"metadata": {"name": "v"}, "spec":
        {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "5Gi"},
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"}}}))
        .unwrap();
    volumes.create(&PostParams::default(), &volume).await.unwrap();
    cluster
        .create::<PersistentVolumeClaim>(json!({"metadata": {"name": "c"}, "spec":
            {"accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}}}}))
        .await;
    cluster
        .until("a bound claim", || async {
            let claim: PersistentVolumeClaim = cluster.get("c").await?;
            let status = claim.status?;
            (status.phase.as_deref() == Some("Bound") && status.capacity.is_some()).then_some(())
        })
        .await;
    let claims = cluster.client.namespaced::<PersistentVolumeClaim>("default");
    // The finalizer may be gone, and the claim with it, before the answer is made.
    match claims.delete("c", &Default::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        result => {
            result.unwrap();
        }
    }
    cluster
        .until("a released volume", || async {
            let status = volumes.get("v").await.unwrap().status?;
            (status.phase.as_deref() == Some("Released")).then_some(())
        })
        .await;
    assert!(cluster.get::<PersistentVolumeClaim>("c").await.is_none());
    cluster.stop().await;
}
