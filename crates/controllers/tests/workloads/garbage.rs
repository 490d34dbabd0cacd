//! The garbage collector in the whole loop.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::cluster::{Cluster, Fate};

fn definition(number: usize) -> CustomResourceDefinition {
    let plural = format!("things{number}");
    serde_json::from_value(json!({
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": plural, "singular": format!("thing{number}"), "kind": format!("Thing{number}"),
                "listKind": format!("Thing{number}List")},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    }))
    .unwrap()
}

/// A definition may be gone before its objects were listed for the first time.
#[tokio::test(flavor = "multi_thread")]
async fn definitions_that_come_and_go_hold_nothing_up() {
    let cluster = Cluster::start(|_| Fate::Ready).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.kube());
    for number in 0..40 {
        let made = definitions.create(&PostParams::default(), &definition(number)).await.unwrap();
        let name = made.metadata.name.unwrap();
        definitions.delete(&name, &DeleteParams::default()).await.unwrap();
    }
    cluster
        .create::<ReplicaSet>(json!({"metadata": {"name": "web"}, "spec": {"replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}}))
        .await;
    cluster
        .until("two pods", || async { (cluster.list::<Pod>().await.len() == 2).then_some(()) })
        .await;
    let sets = cluster.client.namespaced::<ReplicaSet>("default");
    sets.delete("web", &DeleteParams::background()).await.unwrap();
    cluster
        .until("no pods", || async { cluster.list::<Pod>().await.is_empty().then_some(()) })
        .await;
    cluster.stop().await;
}
