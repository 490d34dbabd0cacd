//! The quality-of-service class of a pod.

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};

use crate::{pod, quantity};

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Every container has limits on processor and memory, and asks for no less.
    Guaranteed,
    /// Anything between.
    Burstable,
    /// No container asks for anything.
    BestEffort,
}

impl Class {
    /// As in `status.qosClass`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// The class; the API server's own word counts when it has spoken, because it never changes.
pub fn class(pod: &Pod) -> Class {
    match pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
        Some("Guaranteed") => Class::Guaranteed,
        Some("Burstable") => Class::Burstable,
        Some("BestEffort") => Class::BestEffort,
        _ => compute(pod),
    }
}

fn compute(pod: &Pod) -> Class {
    let spec = pod::spec(pod);
    if let Some(own) = spec.resources.as_ref().filter(|own| asks(own)) {
        return if is_guaranteed(Some(own)) { Class::Guaranteed } else { Class::Burstable };
    }
    let mut all = pod::init_containers(pod).iter().chain(&spec.containers);
    if all.clone().all(|container| is_guaranteed(container.resources.as_ref())) {
        return Class::Guaranteed;
    }
    let any = all.any(|container| container.resources.as_ref().is_some_and(asks));
    if any { Class::Burstable } else { Class::BestEffort }
}

fn asks(resources: &ResourceRequirements) -> bool {
    let lists = [resources.requests.as_ref(), resources.limits.as_ref()];
    let mut entries = lists.into_iter().flatten().flatten();
    entries.any(|(name, amount)| {
        matches!(name.as_str(), "cpu" | "memory") && quantity::milli(amount) > 0
    })
}

fn is_guaranteed(resources: Option<&ResourceRequirements>) -> bool {
    let Some(resources) = resources else { return false };
    ["cpu", "memory"].into_iter().all(|name| {
        let limit = resources.limits.as_ref().and_then(|limits| limits.get(name));
        let request = resources.requests.as_ref().and_then(|requests| requests.get(name));
        limit.is_some_and(|limit| {
            quantity::milli(limit) > 0
                && request.is_none_or(|request| quantity::equal(limit, request))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;
    use serde_json::{Value, json};

    #[test]
    fn classes() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let low = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
        let same = json!({"limits": {"cpu": "1", "memory": "1Gi"},
            "requests": {"cpu": "1000m", "memory": "1024Mi"}});
        let other = json!({"limits": {"ephemeral-storage": "1Gi"}});
        for (containers, expected) in [
            (vec![json!({})], "BestEffort"),
            (vec![full.clone()], "Guaranteed"),
            (vec![same], "Guaranteed"),
            (vec![low], "Burstable"),
            (vec![full, json!({})], "Burstable"),
            (vec![other], "BestEffort"),
        ] {
            let containers: Vec<Value> = containers
                .into_iter()
                .map(|resources| json!({"name": "c", "resources": resources}))
                .collect();
            let pod = pod(json!({ "containers": containers }));
            assert_eq!(class(&pod).text(), expected);
        }
    }
}
