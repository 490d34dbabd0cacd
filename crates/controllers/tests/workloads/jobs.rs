//! Jobs run to their end in the whole loop.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Fate};

fn job(spec: Value) -> Value {
    let mut full = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"},
        "spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}});
    for (key, value) in spec.as_object().unwrap() {
        full["spec"][key] = value.clone();
    }
    full
}

async fn ended(cluster: &Cluster, kind: &str) -> Job {
    cluster
        .until(kind, || async {
            let job: Job = cluster.get("work").await?;
            let conditions = job.status.as_ref()?.conditions.clone()?;
            conditions.iter().any(|c| c.type_ == kind && c.status == "True").then_some(job)
        })
        .await
}

fn has_finalizer(pod: &Pod) -> bool {
    !pod.metadata.finalizers.as_ref().is_none_or(Vec::is_empty)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_completes_and_frees_its_pods() {
    let cluster = Cluster::start(|_| Fate::Succeeds).await;
    cluster.create::<Job>(job(json!({"completions": 5, "parallelism": 2}))).await;
    let job = ended(&cluster, "Complete").await;
    let status = job.status.unwrap();
    assert_eq!((status.succeeded, status.failed, status.active), (Some(5), None, None));
    assert!(status.completion_time.is_some());
    let pods = cluster.list::<Pod>().await;
    assert_eq!(pods.len(), 5);
    assert!(!pods.iter().any(has_finalizer));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indexed_job_knows_its_indexes() {
    let cluster = Cluster::start(|_| Fate::Succeeds).await;
    let spec = json!({"completions": 6, "parallelism": 3, "completionMode": "Indexed"});
    cluster.create::<Job>(job(spec)).await;
    let status = ended(&cluster, "Complete").await.status.unwrap();
    assert_eq!(status.completed_indexes.as_deref(), Some("0-5"));
    assert_eq!(cluster.list::<Pod>().await.len(), 6);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_too_often_fails_and_its_deletion_leaves_nothing() {
    let cluster = Cluster::start(|_| Fate::Fails).await;
    cluster.create::<Job>(job(json!({"backoffLimit": 0}))).await;
    let job = ended(&cluster, "Failed").await;
    assert_eq!(job.status.unwrap().failed, Some(1));
    let background = kube::api::DeleteParams::background();
    cluster.client.namespaced::<Job>("default").delete("work", &background).await.unwrap();
    cluster
        .until("no pods", || async { cluster.list::<Pod>().await.is_empty().then_some(()) })
        .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_job_has_no_pods_and_a_deleted_one_leaves_none() {
    let cluster = Cluster::start(|_| Fate::Ready).await;
    cluster.create::<Job>(job(json!({"suspend": true, "parallelism": 2, "completions": 2}))).await;
    ended(&cluster, "Suspended").await;
    assert!(cluster.list::<Pod>().await.is_empty());
    cluster.merge::<Job>("work", json!({"spec": {"suspend": false}})).await;
    cluster
        .until("two ready", || async {
            let status = cluster.get::<Job>("work").await?.status?;
            (status.ready == Some(2)).then_some(())
        })
        .await;
    let background = kube::api::DeleteParams::background();
    cluster.client.namespaced::<Job>("default").delete("work", &background).await.unwrap();
    cluster
        .until("no pods", || async { cluster.list::<Pod>().await.is_empty().then_some(()) })
        .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_goes_by_itself() {
    let cluster = Cluster::start(|_| Fate::Succeeds).await;
    cluster.create::<Job>(job(json!({"ttlSecondsAfterFinished": 0}))).await;
    cluster
        .until("the job to go", || async {
            (cluster.get::<Job>("work").await.is_none() && cluster.list::<Pod>().await.is_empty())
                .then_some(())
        })
        .await;
    cluster.stop().await;
}
