//! Events about pods and their containers.

use client::{EventKind, Recorder, Subject};
use k8s_openapi::api::core::v1::Pod;
use podlife::pod::{self, ContainerRef};

/// Writes events about pods; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    recorder: Recorder,
}

/// The subject of events about a pod.
pub(crate) fn subject(pod: &Pod) -> Subject {
    Subject {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: pod::namespace(pod).to_owned(),
        name: pod::name(pod).to_owned(),
        uid: pod::uid(pod).to_owned(),
        field_path: String::new(),
    }
}

impl Events {
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self { recorder }
    }

    pub(crate) fn about(&self, subject: &Subject, kind: EventKind, reason: &str, message: String) {
        self.recorder.event(subject, kind, reason, message);
    }

    pub(crate) fn pod(&self, pod: &Pod, kind: EventKind, reason: &str, message: String) {
        self.recorder.event(&subject(pod), kind, reason, message);
    }

    pub(crate) fn container(
        &self,
        pod: &Pod,
        (reference, name): (ContainerRef, &str),
        kind: EventKind,
        reason: &str,
        message: String,
    ) {
        let subject = subject(pod).part(pod::field_path(reference, name));
        self.recorder.event(&subject, kind, reason, message);
    }
}
