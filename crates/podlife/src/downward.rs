//! What a pod may read of itself: fields and resources.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::{pod, quantity, resources};

/// What the node adds to the pod's own text.
#[derive(Clone, Copy, Debug, Default)]
pub struct DownwardFacts<'a> {
    /// The node's addresses, the primary one first.
    pub host_ips: &'a [String],
    /// The pod's addresses, the primary one first.
    pub pod_ips: &'a [String],
    /// What the node can give to pods; stands in for absent limits.
    pub allocatable: Option<&'a BTreeMap<String, Quantity>>,
}

/// A field that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Of the pod.
    #[error("unsupported fieldPath: {0}")]
    Path(String),
    /// Of a container's resources.
    #[error("unsupported container resource : {0}")]
    Resource(String),
    /// Of a container that there is not.
    #[error("container {0} not found")]
    Container(String),
}

/// The text of a field.
///
/// # Errors
/// There is no such field.
pub fn field(pod: &Pod, path: &str, facts: &DownwardFacts<'_>) -> Result<String, FieldError> {
    let first = |list: &[String]| list.first().cloned().unwrap_or_default();
    Ok(match path {
        "metadata.name" => pod::name(pod).to_owned(),
        "metadata.namespace" => pod::namespace(pod).to_owned(),
        "metadata.uid" => pod::uid(pod).to_owned(),
        "metadata.labels" => lines(pod.metadata.labels.as_ref()),
        "metadata.annotations" => lines(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => pod::spec(pod).node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => {
            pod::spec(pod).service_account_name.clone().unwrap_or_default()
        }
        "status.hostIP" => first(facts.host_ips),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => first(facts.pod_ips),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return subscript(pod, path),
    })
}

fn subscript(pod: &Pod, path: &str) -> Result<String, FieldError> {
    let unknown = || FieldError::Path(path.to_owned());
    let (name, rest) = path.split_once("['").ok_or_else(unknown)?;
    let key = rest.strip_suffix("']").ok_or_else(unknown)?;
    let map = match name {
        "metadata.labels" => pod.metadata.labels.as_ref(),
        "metadata.annotations" => pod.metadata.annotations.as_ref(),
        _ => return Err(unknown()),
    };
    Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default())
}

fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    lines.join("\n")
}

/// As Go's `%q` prints a string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() && (c as u32) < 0x80 => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The text of a resource of `container`, or of the container that the selector names.
///
/// # Errors
/// There is no such resource or container.
pub fn resource(
    pod: &Pod,
    container: Option<&Container>,
    selector: &ResourceFieldSelector,
    facts: &DownwardFacts<'_>,
) -> Result<String, FieldError> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let found;
    let container = match (named, container) {
        (Some(name), Some(own)) if own.name == name => own,
        (None, Some(own)) => own,
        (name, _) => {
            let name = name.unwrap_or_default();
            let missing = || FieldError::Container(name.to_owned());
            found = pod::find(pod, name).ok_or_else(missing)?.1;
            &found
        }
    };
    let unknown = || FieldError::Resource(selector.resource.clone());
    let (list, name) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let supported =
        matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    let amount = match list {
        "requests" => resources::request(container, name),
        "limits" => resources::limit(container, name)
            .or_else(|| facts.allocatable.and_then(|allocatable| allocatable.get(name))),
        _ => return Err(unknown()),
    };
    if !supported {
        return Err(unknown());
    }
    let one = Quantity("1".to_owned());
    let divisor = selector.divisor.as_ref().unwrap_or(&one);
    Ok(amount.map_or(0, |amount| quantity::divided(amount, divisor)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_and_resources() {
        let mut pod = crate::testing::pod(json!({"nodeName": "n", "containers": [
            {"name": "c", "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "1Mi"}}}]}));
        pod.metadata.labels =
            Some(BTreeMap::from([("a".into(), "1".into()), ("b".into(), "x\"y\n".into())]));
        let allocatable = BTreeMap::from([("memory".to_owned(), Quantity("2Gi".into()))]);
        let ips = ["10.0.0.1".to_owned(), "fd00::1".to_owned()];
        let facts =
            DownwardFacts { host_ips: &ips, pod_ips: &ips, allocatable: Some(&allocatable) };
        for (path, expected) in [
            ("metadata.uid", "u"),
            ("metadata.labels", "a=\"1\"\nb=\"x\\\"y\\n\""),
            ("metadata.labels['a']", "1"),
            ("metadata.annotations['no']", ""),
            ("spec.nodeName", "n"),
            ("status.podIP", "10.0.0.1"),
            ("status.hostIPs", "10.0.0.1,fd00::1"),
        ] {
            assert_eq!(field(&pod, path, &facts).unwrap(), expected, "{path}");
        }
        assert!(field(&pod, "spec.foo", &facts).is_err());
        for (name, divisor, expected) in [
            ("limits.cpu", None, "2"),
            ("limits.cpu", Some("1m"), "1500"),
            ("requests.memory", Some("1Ki"), "1024"),
            ("limits.memory", Some("1Gi"), "2"),
            ("requests.cpu", None, "0"),
        ] {
            let selector = ResourceFieldSelector {
                container_name: Some("c".into()),
                divisor: divisor.map(|text: &str| Quantity(text.to_owned())),
                resource: name.to_owned(),
            };
            assert_eq!(resource(&pod, None, &selector, &facts).unwrap(), expected, "{name}");
        }
    }
}
