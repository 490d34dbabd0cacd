//! Deployments: made, rolled within their bounds, undone, scaled, deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Fate};

fn web(replicas: i32, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

async fn complete(cluster: &Cluster, replicas: i32, image: &str) {
    cluster
        .until("a complete rollout", || async {
            let deployment: Deployment = cluster.get("web").await?;
            let status = deployment.status?;
            let images: Vec<_> = cluster
                .list::<Pod>()
                .await
                .into_iter()
                .map(|pod| pod.spec.unwrap().containers[0].image.clone().unwrap())
                .collect();
            (status.observed_generation == deployment.metadata.generation
                && status.updated_replicas == Some(replicas)
                && status.replicas == Some(replicas)
                && status.available_replicas == Some(replicas)
                && images.len() == usize::try_from(replicas).unwrap()
                && images.iter().all(|have| have == image))
            .then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_replicas_are_ready_at_once() {
    let cluster = Cluster::start(|_| Fate::Ready).await;
    let began = std::time::Instant::now();
    cluster.create::<Deployment>(web(50, "a")).await;
    complete(&cluster, 50, "a").await;
    let took = began.elapsed();
    assert!(took.as_secs() < 10, "{took:?}");
    let deployment: Deployment = cluster.get("web").await.unwrap();
    let conditions = deployment.status.unwrap().conditions.unwrap();
    let reasons: Vec<_> = conditions.iter().map(|c| c.reason.clone().unwrap()).collect();
    assert!(reasons.contains(&"MinimumReplicasAvailable".to_owned()), "{reasons:?}");
    cluster
        .until("NewReplicaSetAvailable", || async {
            let deployment: Deployment = cluster.get("web").await?;
            let conditions = deployment.status?.conditions?;
            conditions
                .iter()
                .any(|c| c.reason.as_deref() == Some("NewReplicaSetAvailable"))
                .then_some(())
        })
        .await;
    assert_eq!(cluster.list::<ReplicaSet>().await.len(), 1);
    let events = cluster.list::<Event>().await;
    let messages: Vec<_> = events.iter().filter_map(|event| event.message.clone()).collect();
    assert!(
        messages
            .iter()
            .any(|m| m.starts_with("Scaled up replica set web-") && m.ends_with(" from 0 to 50")),
        "{messages:?}"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_stays_within_its_bounds_and_can_be_undone() {
    let cluster = Cluster::start(|_| Fate::Ready).await;
    cluster.create::<Deployment>(web(8, "a")).await;
    complete(&cluster, 8, "a").await;
    let (most, least) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(usize::MAX)));
    let (seen_most, seen_least) = (Arc::clone(&most), Arc::clone(&least));
    let pods = cluster.client.informer::<Pod>();
    let counted = parking_lot::Mutex::new(std::collections::BTreeMap::<String, bool>::new());
    pods.on_change(move |change| {
        let pod = change.object();
        let mut counted = counted.lock();
        let name = pod.metadata.name.clone().unwrap();
        if matches!(change, client::Change::Deleted(_)) || pod.metadata.deletion_timestamp.is_some()
        {
            counted.remove(&name);
        } else {
            let ready = pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
            counted.insert(name, ready);
        }
        if counted.len() >= 8 || seen_most.load(Ordering::SeqCst) > 0 {
            seen_most.fetch_max(counted.len(), Ordering::SeqCst);
            seen_least
                .fetch_min(counted.values().filter(|ready| **ready).count(), Ordering::SeqCst);
        }
    });
    let change = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    cluster.merge::<Deployment>("web", change("b")).await;
    complete(&cluster, 8, "b").await;
    assert!(most.load(Ordering::SeqCst) <= 10, "{most:?}");
    assert!(least.load(Ordering::SeqCst) >= 6, "{least:?}");
    cluster.merge::<Deployment>("web", change("a")).await;
    complete(&cluster, 8, "a").await;
    let sets = cluster.list::<ReplicaSet>().await;
    assert_eq!(sets.len(), 2, "the old template has its old ReplicaSet");
    let revision = |deployment: &Deployment| {
        deployment.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision"]
            .clone()
    };
    assert_eq!(revision(&cluster.get::<Deployment>("web").await.unwrap()), "3");
    cluster.merge::<Deployment>("web", json!({"spec": {"replicas": 3}})).await;
    complete(&cluster, 3, "a").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recreate_lets_every_old_pod_end_first() {
    let cluster = Cluster::start(|_| Fate::Ready).await;
    let mut deployment = web(3, "a");
    deployment["spec"]["strategy"] = json!({"type": "Recreate"});
    cluster.create::<Deployment>(deployment).await;
    complete(&cluster, 3, "a").await;
    let mixed = Arc::new(AtomicUsize::new(0));
    let (seen, images) =
        (Arc::clone(&mixed), parking_lot::Mutex::new(std::collections::BTreeMap::new()));
    cluster.client.informer::<Pod>().on_change(move |change| {
        let pod = change.object();
        let (name, image) = (
            pod.metadata.name.clone().unwrap(),
            pod.spec.as_ref().unwrap().containers[0].image.clone(),
        );
        let mut images = images.lock();
        if matches!(change, client::Change::Deleted(_)) {
            images.remove(&name);
        } else {
            images.insert(name, image);
        }
        let kinds: std::collections::BTreeSet<_> = images.values().collect();
        seen.fetch_max(kinds.len(), Ordering::SeqCst);
    });
    cluster
        .merge::<Deployment>(
            "web",
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "b"}]}}}}),
        )
        .await;
    complete(&cluster, 3, "b").await;
    assert_eq!(mixed.load(Ordering::SeqCst), 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_pods_are_replaced_and_strays_are_taken_and_released() {
    let cluster = Cluster::start(|_| Fate::Ready).await;
    cluster.create::<Deployment>(web(2, "a")).await;
    complete(&cluster, 2, "a").await;
    let victim = cluster.list::<Pod>().await[0].metadata.name.clone().unwrap();
    cluster.client.namespaced::<Pod>("default").delete(&victim, &Default::default()).await.unwrap();
    cluster
        .until("another pod", || async {
            cluster.get::<Pod>(&victim).await.is_none().then_some(())
        })
        .await;
    complete(&cluster, 2, "a").await;
    let stray = cluster.list::<Pod>().await[0].metadata.name.clone().unwrap();
    cluster.merge::<Pod>(&stray, json!({"metadata": {"labels": {"app": "debug"}}})).await;
    cluster
        .until("the stray to be released and replaced", || async {
            let pod: Pod = cluster.get(&stray).await?;
            let released = pod.metadata.owner_references.is_none_or(|owners| owners.is_empty());
            (released && cluster.list::<Pod>().await.len() == 3).then_some(())
        })
        .await;
    cluster.merge::<Pod>(&stray, json!({"metadata": {"labels": {"app": "web"}}})).await;
    complete(&cluster, 2, "a").await;
    cluster
        .client
        .namespaced::<Deployment>("default")
        .delete("web", &Default::default())
        .await
        .unwrap();
    cluster
        .until("nothing to be left", || async {
            cluster.list::<Pod>().await.is_empty().then_some(())
        })
        .await;
    cluster.stop().await;
}
