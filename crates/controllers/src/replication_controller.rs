//! ReplicationControllers: the older kind that keeps a number of pods. The loop is the ReplicaSets'.

use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerCondition,
    ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use reconcile::replica_set::{Condition, Status};

use crate::Context;
use crate::replica_set::{Replicated, start_for};

pub(crate) fn start(context: &Context) {
    start_for::<ReplicationController>(context);
}

fn said(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

impl Replicated for ReplicationController {
    const COMPONENT: &'static str = "replication-controller";
    const WORKER: &'static str = "replication controller";
    const REPORTS_TERMINATING: bool = false;

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn selector(&self) -> Option<LabelSelector> {
        let labels = self.spec.as_ref()?.selector.clone().filter(|labels| !labels.is_empty())?;
        Some(LabelSelector { match_labels: Some(labels), match_expressions: None })
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn status(&self) -> Status {
        let Some(status) = &self.status else { return Status::default() };
        let conditions = status.conditions.iter().flatten().map(|condition| Condition {
            kind: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            since: condition.last_transition_time.clone(),
        });
        Status {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            terminating: None,
            observed_generation: status.observed_generation.unwrap_or(0),
            conditions: conditions.collect(),
        }
    }

    fn with_status(&self, status: Status) -> Self {
        let conditions: Vec<_> = status
            .conditions
            .into_iter()
            .map(|condition| ReplicationControllerCondition {
                type_: condition.kind,
                status: condition.status,
                reason: condition.reason,
                message: condition.message,
                last_transition_time: condition.since,
            })
            .collect();
        Self {
            status: Some(ReplicationControllerStatus {
                replicas: status.replicas,
                fully_labeled_replicas: said(status.fully_labeled),
                ready_replicas: said(status.ready),
                available_replicas: said(status.available),
                observed_generation: Some(status.observed_generation),
                conditions: (!conditions.is_empty()).then_some(conditions),
            }),
            ..self.clone()
        }
    }
}
