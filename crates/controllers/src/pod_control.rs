//! Making and deleting pods for their owners, with the events that users know.

use std::future::Future;
use std::sync::Arc;

use client::{Client, EventKind, Recorder, Subject};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams, Preconditions};
use reconcile::pods::uid;

use crate::expectations::Expectations;
use crate::kinds::{conflicts, name_of, namespace_gone, namespace_of, not_found};
use crate::limits::WRITES_IN_FLIGHT_MAX;

/// Makes and deletes pods in one controller's name.
#[derive(Clone)]
pub(crate) struct PodControl {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) expectations: Expectations,
}

/// The server's own words where there are some.
pub(crate) fn text_of(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

impl PodControl {
    /// Makes one pod. A namespace that is going takes no pods: that is nobody's failure.
    pub(crate) async fn create(
        &self,
        subject: &Subject,
        pod: &Pod,
    ) -> Result<Option<Pod>, kube::Error> {
        let api = self.client.namespaced::<Pod>(&namespace_of(pod));
        match api.create(&PostParams::default(), pod).await {
            Ok(created) => {
                let message = format!("Created pod: {}", name_of(&created));
                self.recorder.event(subject, EventKind::Normal, "SuccessfulCreate", message);
                self.expectations.created(&subject.uid, uid(&created.metadata));
                Ok(Some(created))
            }
            Err(error) if namespace_gone(&error) => Ok(None),
            Err(error) => {
                let message = format!("Error creating: {}", text_of(&error));
                self.recorder.event(subject, EventKind::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    /// Makes pods in batches that double while all goes well; the number made, and the first failure.
    pub(crate) async fn create_all(
        &self,
        subject: &Subject,
        pods: &[Pod],
    ) -> (usize, Option<kube::Error>) {
        self.expectations.begin(&subject.uid);
        let result =
            slow_start(pods, |pod| async move { self.create(subject, pod).await.map(|_| ()) })
                .await;
        self.expectations.finish(&subject.uid);
        result
    }

    /// Deletes one pod, if it is still the one with this UID.
    pub(crate) async fn delete(&self, subject: &Subject, pod: &Pod) -> Result<(), kube::Error> {
        let api = self.client.namespaced::<Pod>(&namespace_of(pod));
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let name = name_of(pod);
        self.expectations.deleting(&subject.uid, uid(&pod.metadata));
        match api.delete(&name, &params).await {
            Ok(_) => {
                let message = format!("Deleted pod: {name}");
                self.recorder.event(subject, EventKind::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            Err(error) => {
                self.expectations.saw(&subject.uid, uid(&pod.metadata), true);
                if not_found(&error) || conflicts(&error) {
                    return Ok(());
                }
                let message = format!("Error deleting: {}", text_of(&error));
                self.recorder.event(subject, EventKind::Warning, "FailedDelete", message);
                Err(error)
            }
        }
    }

    /// Deletes pods, several at a time; the first failure.
    pub(crate) async fn delete_all(
        &self,
        subject: &Subject,
        pods: &[Arc<Pod>],
    ) -> Option<kube::Error> {
        let deletions: Vec<_> = pods.iter().map(|pod| self.delete(subject, pod)).collect();
        let deletions = futures::stream::iter(deletions);
        let results: Vec<_> = deletions.buffer_unordered(WRITES_IN_FLIGHT_MAX).collect().await;
        results.into_iter().find_map(Result::err)
    }
}

/// Does something for each item, in batches that start at one and double while all goes well: what fails
/// for all fails once. The number that went well, and the first failure.
pub(crate) async fn slow_start<'a, T, F, E>(
    items: &'a [T],
    act: impl Fn(&'a T) -> F,
) -> (usize, Option<E>)
where
    F: Future<Output = Result<(), E>>,
{
    let (mut done, mut size, mut rest) = (0, 1, items);
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(size.min(rest.len()));
        let acts: Vec<_> = batch.iter().map(&act).collect();
        let acts = futures::stream::iter(acts);
        let results: Vec<_> = acts.buffer_unordered(WRITES_IN_FLIGHT_MAX).collect().await;
        done += results.iter().filter(|result| result.is_ok()).count();
        if let Some(error) = results.into_iter().find_map(Result::err) {
            return (done, Some(error));
        }
        (size, rest) = (size * 2, later);
    }
    (done, None)
}
