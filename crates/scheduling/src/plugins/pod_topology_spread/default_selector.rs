//! Which pods belong together when a pod has no constraint of its own: those of its Services and its
//! controller.

use crate::{
    Snapshot,
    labels::{Labels, Selector},
    pod::{PodInfo, controller_of},
};

/// Everything, when nothing is known of the pod's company.
pub(super) fn of(snapshot: &Snapshot, pod: &PodInfo) -> Selector {
    let mut labels = Labels::new();
    for service in snapshot.services.in_namespace(pod.namespace()) {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let Some(selector) = selector else { continue };
        if selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value)) {
            labels.extend(selector.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
    }
    let Some(owner) = controller_of(&pod.pod) else { return Selector::from_set(&labels) };
    let (namespace, name) = (pod.namespace(), owner.name.as_str());
    let mut selector = Selector::from_set(&labels);
    let owners = match (owner.api_version.as_str(), owner.kind.as_str()) {
        ("v1", "ReplicationController") => {
            let controller = snapshot.replication_controllers.get(namespace, name);
            let spec = controller.and_then(|controller| controller.spec.as_ref());
            spec.and_then(|spec| spec.selector.as_ref())
                .map(|labels| Ok(Selector::from_set(labels)))
        }
        ("apps/v1", "ReplicaSet") => {
            let set = snapshot.replica_sets.get(namespace, name);
            set.map(|set| Selector::compile(Some(&set.spec.selector)))
        }
        ("apps/v1", "StatefulSet") => {
            let set = snapshot.stateful_sets.get(namespace, name);
            set.map(|set| Selector::compile(Some(&set.spec.selector)))
        }
        _ => None,
    };
    if let Some(Ok(owners)) = owners {
        selector.require(&owners);
    }
    selector
}
