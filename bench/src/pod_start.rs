//! Pods one at a time, from the start of the create request to Running and to Ready, as a watcher sees them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::runtime::conditions::is_pod_running;
use kube::runtime::wait::{Condition, await_condition, conditions};

use crate::measure::Measurement;
use crate::workload::{Context, Image, PodStart};

/// How long one pod may take.
const MOST: Duration = Duration::from_secs(60);

/// A pod that runs the image. Its program must end when it is asked to, or a deletion takes the grace period.
pub(crate) fn pod_spec(image: &Image) -> PodSpec {
    PodSpec {
        containers: vec![Container {
            name: "main".to_owned(),
            image: Some(image.name.clone()),
            image_pull_policy: Some("IfNotPresent".to_owned()),
            args: (!image.arguments.is_empty()).then(|| image.arguments.clone()),
            ..Container::default()
        }],
        ..PodSpec::default()
    }
}

/// Whether a pod has this condition.
pub(crate) fn has_condition(pod: Option<&Pod>, kind: &str) -> bool {
    let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == kind && one.status == "True")
}

/// Starts and deletes the pods.
#[expect(clippy::disallowed_methods, reason = "real time is what is measured")]
pub(crate) async fn run(context: &Context, step: &PodStart) -> Result<Vec<Measurement>> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &context.namespace);
    let mut random = fastrand::Rng::with_seed(step.seed);
    let (mut running, mut ready, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    let start = Instant::now();
    for index in 0..step.pods {
        if step.pause_ms_max > 0 {
            tokio::time::sleep(Duration::from_millis(random.u64(0..step.pause_ms_max))).await;
        }
        let name = format!("pod-{index:04}");
        let pod = Pod {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            spec: Some(pod_spec(&context.image)),
            ..Pod::default()
        };
        let created = Instant::now();
        let made = api.create(&PostParams::default(), &pod).await.context("create a pod")?;
        wait(&api, &name, is_pod_running()).await?;
        running.push(created.elapsed());
        wait(&api, &name, |pod: Option<&Pod>| has_condition(pod, "Ready")).await?;
        ready.push(created.elapsed());
        let asked = Instant::now();
        let uid = made.metadata.uid.context("the pod has no uid")?;
        api.delete(&name, &DeleteParams::default()).await.context("delete a pod")?;
        wait(&api, &name, conditions::is_deleted(&uid)).await?;
        deleted.push(asked.elapsed());
    }
    let total = start.elapsed();
    let mode = if step.pause_ms_max > 0 { "random" } else { "back-to-back" };
    let result =
        |what: &str, durations| Measurement::new(format!("pod-{what} {mode}"), 1, total, durations);
    Ok(vec![result("running", running), result("ready", ready), result("deleted", deleted)])
}

async fn wait(api: &Api<Pod>, name: &str, condition: impl Condition<Pod>) -> Result<()> {
    let waiting = tokio::time::timeout(MOST, await_condition(api.clone(), name, condition));
    waiting.await.with_context(|| format!("pod {name} takes more than {MOST:?}"))??;
    Ok(())
}
