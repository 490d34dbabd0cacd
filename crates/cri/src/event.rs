//! Events of containers: why the kubelet never has to ask again and again.

use std::pin::Pin;

use futures::Stream;
use serde::{Deserialize, Serialize};

/// What happened. A sandbox reports the same events with its own id as the container's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerEventType {
    /// It exists.
    Created,
    /// Its process runs.
    Started,
    /// Its process ended.
    Stopped,
    /// It is gone.
    Deleted,
}

/// Something happened to a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEvent {
    /// The container, or the sandbox itself.
    pub container_id: String,
    /// The sandbox.
    pub pod_sandbox_id: String,
    /// UID of the pod, so that the kubelet need not look the sandbox up.
    pub pod_uid: String,
    /// What.
    pub event_type: ContainerEventType,
    /// Nanoseconds since 1970.
    pub created_at: i64,
}

/// Events from the moment of the call on. The stream ends when the reader is so slow that events were
/// lost, or when the runtime ends: the reader then subscribes again and lists everything.
pub type EventStream = Pin<Box<dyn Stream<Item = ContainerEvent> + Send>>;
