//! Writing pods' statuses to the API: only the newest, only what differs, never two writes for one pod
//! at a time. Also deletes a pod's object once its last status is written.

use std::collections::HashMap;
use std::sync::Arc;

use client::{Client, Outcome, WorkQueue, run_workers};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::limits::{STATUS_LINGER, STATUS_WRITERS};

/// A status that waits to be written.
#[derive(Clone, Debug)]
struct Wanted {
    namespace: String,
    name: String,
    status: PodStatus,
    /// What the API has, as far as is known.
    written: Option<Value>,
    /// The revision that the last write made.
    revision: u64,
    /// Whether the object goes when the status is there.
    delete: bool,
}

/// See the module's text; cheap to clone.
#[derive(Clone)]
pub(crate) struct StatusWriter {
    client: Client,
    queue: WorkQueue<String>,
    wanted: Arc<Mutex<HashMap<String, Wanted>>>,
}

impl StatusWriter {
    pub(crate) fn start(client: &Client, scope: &task::Scope) -> Self {
        let writer =
            Self { client: client.clone(), queue: WorkQueue::new(), wanted: Arc::default() };
        let working = writer.clone();
        run_workers(scope, "pod status", STATUS_WRITERS, &writer.queue, move |uid: String| {
            let writer = working.clone();
            async move { writer.write(&uid).await }
        });
        writer
    }

    /// Wants `status` written for `pod`; soon, or with a little patience when it says nothing final.
    pub(crate) fn set(&self, pod: &Pod, status: PodStatus, urgent: bool) {
        let uid = podlife::pod::uid(pod).to_owned();
        let mut wanted = self.wanted.lock();
        let entry = wanted.entry(uid.clone()).or_insert_with(|| Wanted {
            namespace: podlife::pod::namespace(pod).to_owned(),
            name: podlife::pod::name(pod).to_owned(),
            status: PodStatus::default(),
            written: pod.status.as_ref().map(|status| json!(status)),
            revision: 0,
            delete: false,
        });
        if entry.written.is_some() && entry.status == status {
            return;
        }
        entry.status = status;
        drop(wanted);
        if urgent {
            self.queue.add(uid);
        } else {
            self.queue.add_after(uid, STATUS_LINGER);
        }
    }

    /// Takes note of a pod as the API now has it: where someone else has changed what the kubelet
    /// answers for, it is written again.
    pub(crate) fn seen(&self, pod: &Pod) {
        let uid = podlife::pod::uid(pod);
        let mut wanted = self.wanted.lock();
        let Some(entry) = wanted.get_mut(uid) else { return };
        if entry.written.is_none() || revision_of(pod) <= entry.revision {
            return;
        }
        let have = json!(pod.status.clone().unwrap_or_default());
        let target = json!(entry.status);
        let owned = |value: &Value| {
            let conditions = value["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.into_iter().filter(|it| {
                matches!(it["type"].as_str(), Some("Ready" | "ContainersReady" | "Initialized"))
            });
            let ready: Vec<_> =
                ready.map(|it| (it["type"].to_string(), it["status"].to_string())).collect();
            (value["phase"].clone(), value["podIP"].clone(), ready)
        };
        let (mut have_owned, mut target_owned) = (owned(&have), owned(&target));
        have_owned.2.sort();
        target_owned.2.sort();
        if have_owned != target_owned {
            entry.written = Some(have);
            drop(wanted);
            self.queue.add_after(uid.to_owned(), STATUS_LINGER);
        }
    }

    /// Deletes the pod's object as soon as its status is written.
    pub(crate) fn delete(&self, uid: &str) {
        let mut wanted = self.wanted.lock();
        if let Some(entry) = wanted.get_mut(uid)
            && !entry.delete
        {
            entry.delete = true;
            drop(wanted);
            self.queue.add(uid.to_owned());
        }
    }

    /// The pod's object is gone: nothing is written any more.
    pub(crate) fn forget(&self, uid: &str) {
        self.wanted.lock().remove(uid);
    }

    async fn write(&self, uid: &str) -> Result<Outcome, kube::Error> {
        let Some(wanted) = self.wanted.lock().get(uid).cloned() else {
            return Ok(Outcome::Done);
        };
        let target = json!(wanted.status);
        let known = wanted.written.clone().unwrap_or_else(|| json!({}));
        let patch = difference(&known, &target);
        let mut revision = wanted.revision;
        if !patch.is_empty() {
            let Some(answer) = self.patch(uid, &wanted, patch).await? else {
                self.forget(uid);
                return Ok(Outcome::Done);
            };
            revision = revision_of(&answer);
        }
        if let Some(entry) = self.wanted.lock().get_mut(uid) {
            entry.written = Some(target);
            entry.revision = revision;
        }
        if wanted.delete {
            self.delete_now(uid, &wanted).await?;
            self.forget(uid);
        }
        Ok(Outcome::Done)
    }

    /// The pod as it is afterwards; `None` when it no longer exists.
    async fn patch(
        &self,
        uid: &str,
        wanted: &Wanted,
        patch: Map<String, Value>,
    ) -> Result<Option<Pod>, kube::Error> {
        let pods = self.client.namespaced::<Pod>(&wanted.namespace);
        let body = json!({"metadata": {"uid": uid}, "status": patch});
        let done =
            pods.patch_status(&wanted.name, &PatchParams::default(), &Patch::Strategic(body)).await;
        match done {
            // The name belongs to another pod by now.
            Ok(pod) if podlife::pod::uid(&pod) != uid => Ok(None),
            Ok(pod) => Ok(Some(pod)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let now = pods.get_opt(&wanted.name).await?;
                match now.filter(|pod| podlife::pod::uid(pod) == uid) {
                    Some(_) => Err(kube::Error::Api(status)),
                    None => Ok(None),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn delete_now(&self, uid: &str, wanted: &Wanted) -> Result<(), kube::Error> {
        let pods = self.client.namespaced::<Pod>(&wanted.namespace);
        let params = DeleteParams::default()
            .grace_period(0)
            .preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        match pods.delete(&wanted.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn revision_of(pod: &Pod) -> u64 {
    let revision = pod.metadata.resource_version.as_deref();
    revision.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Lists that a strategic merge patch merges by a key instead of replacing them.
const MERGED_LISTS: [(&str, &str); 3] =
    [("conditions", "type"), ("podIPs", "ip"), ("hostIPs", "ip")];

/// The strategic merge patch from one status to another, field by field.
pub(crate) fn difference(from: &Value, to: &Value) -> Map<String, Value> {
    let empty = Map::new();
    let (from, to) = (from.as_object().unwrap_or(&empty), to.as_object().unwrap_or(&empty));
    let mut patch = Map::new();
    for (key, value) in to {
        let before = from.get(key);
        if before == Some(value) {
            continue;
        }
        let merged = MERGED_LISTS.iter().find(|(list, _)| list == key);
        match (merged, before) {
            (Some((_, merge_key)), Some(before)) => {
                patch.insert(key.clone(), list_difference(before, value, merge_key));
                if *merge_key == "ip" {
                    let order = value.as_array().into_iter().flatten();
                    let order: Vec<Value> = order.cloned().collect();
                    patch.insert(format!("$setElementOrder/{key}"), Value::Array(order));
                }
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    patch
}

fn list_difference(from: &Value, to: &Value, key: &str) -> Value {
    let empty = Vec::new();
    let (from, to) = (from.as_array().unwrap_or(&empty), to.as_array().unwrap_or(&empty));
    let mut items = Vec::new();
    for item in to {
        let before = from.iter().find(|before| before[key] == item[key]);
        if before == Some(item) {
            continue;
        }
        let mut item = item.clone();
        let dropped = before.and_then(Value::as_object).into_iter().flat_map(Map::keys);
        let dropped: Vec<String> =
            dropped.filter(|field| item.get(*field).is_none()).cloned().collect();
        for field in dropped {
            item[field] = Value::Null;
        }
        items.push(item);
    }
    for gone in from.iter().filter(|gone| to.iter().all(|item| item[key] != gone[key])) {
        items.push(json!({"$patch": "delete", key: gone[key]}));
    }
    Value::Array(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_hold_what_differs() {
        let from = json!({"phase": "Pending", "reason": "x", "qosClass": "BestEffort",
            "conditions": [{"type": "Ready", "status": "False", "reason": "r"},
                {"type": "Other", "status": "True"}],
            "podIPs": [{"ip": "1"}]});
        let to = json!({"phase": "Running", "qosClass": "BestEffort",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "True"}],
            "podIPs": [{"ip": "2"}]});
        let expected = json!({"phase": "Running", "reason": null,
            "conditions": [{"type": "Ready", "status": "True", "reason": null}],
            "podIPs": [{"ip": "2"}, {"$patch": "delete", "ip": "1"}],
            "$setElementOrder/podIPs": [{"ip": "2"}]});
        assert_eq!(Value::Object(difference(&from, &to)), expected);
        assert!(difference(&to, &to).is_empty());
    }
}
