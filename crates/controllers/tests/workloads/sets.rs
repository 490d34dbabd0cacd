//! DaemonSets and StatefulSets in the whole loop.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Fate};

async fn add_node(cluster: &Cluster, name: &str, role: &str) {
    // Its lease is young, so nobody calls it silent while the test runs.
    let node: Node = serde_json::from_value(json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"role": role}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}}))
    .unwrap();
    let api = cluster.client.all::<Node>();
    api.create(&PostParams::default(), &node).await.unwrap();
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True",
        "lastHeartbeatTime": clock::Clock::system().now(),
        "lastTransitionTime": clock::Clock::system().now()}]}});
    let patch = kube::api::Patch::Merge(status);
    api.patch_status(name, &Default::default(), &patch).await.unwrap();
}

fn images(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(|pod| pod.spec.clone().unwrap().containers[0].image.clone().unwrap()).collect()
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": image}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_set_covers_its_nodes_and_rolls() {
    let cluster = Cluster::start(|_| Fate::Ready).await;
    for (name, role) in [("n1", "w"), ("n2", "w"), ("n3", "m")] {
        add_node(&cluster, name, role).await;
    }
    let mut pods = template("a");
    pods["spec"]["nodeSelector"] = json!({"role": "w"});
    cluster
        .create::<DaemonSet>(json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "x"}},
            "template": pods}}))
        .await;
    let covered = async |number: i32, image: &str| {
        cluster
            .until("all nodes covered", || async {
                let set: DaemonSet = cluster.get("d").await?;
                let status = set.status?;
                let have = images(&cluster.list::<Pod>().await);
                (status.number_ready == number
                    && status.desired_number_scheduled == number
                    && status.updated_number_scheduled == Some(number)
                    && have.len() == usize::try_from(number).unwrap()
                    && have.iter().all(|i| i == image))
                .then_some(())
            })
            .await;
    };
    covered(2, "a").await;
    add_node(&cluster, "n4", "w").await;
    covered(3, "a").await;
    let change =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "b"}]}}}});
    cluster.merge::<DaemonSet>("d", change).await;
    covered(3, "b").await;
    assert_eq!(cluster.list::<ControllerRevision>().await.len(), 2);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_grows_in_order_rolls_and_keeps_its_claims() {
    let cluster = Cluster::start(|_| Fate::Ready).await;
    cluster
        .create::<StatefulSet>(json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "web"}, "spec": {"replicas": 3, "serviceName": "web",
            "selector": {"matchLabels": {"app": "x"}}, "template": template("a"),
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec":
                {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}}))
        .await;
    let settled = async |number: i32, image: &str| {
        cluster
            .until("a settled set", || async {
                let set: StatefulSet = cluster.get("web").await?;
                let status = set.status?;
                let pods = cluster.list::<Pod>().await;
                (status.ready_replicas == Some(number)
                    && status.observed_generation == set.metadata.generation
                    && status.current_revision == status.update_revision
                    && images(&pods).iter().all(|i| i == image)
                    && pods.len() == usize::try_from(number).unwrap())
                .then_some(pods)
            })
            .await
    };
    let pods = settled(3, "a").await;
    let names: Vec<_> = pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect();
    assert_eq!(names, ["web-0", "web-1", "web-2"]);
    let change =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "b"}]}}}});
    cluster.merge::<StatefulSet>("web", change).await;
    settled(3, "b").await;
    cluster.merge::<StatefulSet>("web", json!({"spec": {"replicas": 1}})).await;
    settled(1, "b").await;
    let claims = cluster.list::<PersistentVolumeClaim>().await;
    assert_eq!(claims.len(), 3, "claims outlive their pods");
    cluster.stop().await;
}
