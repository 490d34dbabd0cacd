//! What a backend serves, in the form of aggregated discovery.

use serde_json::{Map, Value, json};

use super::backend::Backend;
use crate::handle::text;

/// See the module's text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Remote {
    /// API group.
    pub(crate) group: String,
    /// Version in the group.
    pub(crate) version: String,
    /// Priority of its group and, within that, of its version.
    pub(crate) priorities: (i64, i64),
    /// `apidiscovery.k8s.io/v2 APIVersionDiscovery`.
    discovery: Value,
    available: bool,
    /// Hash of its OpenAPI v3 document, where it has one.
    pub(crate) document_hash: Option<String>,
}

impl Remote {
    /// Of a backend that has not answered yet.
    pub(super) fn unknown(backend: &Backend) -> Self {
        let discovery = json!({"version": backend.version});
        Self {
            group: backend.group.clone(),
            version: backend.version.clone(),
            priorities: backend.priorities(),
            discovery,
            available: backend.available,
            document_hash: None,
        }
    }

    /// Reads an `APIResourceList`.
    pub(super) fn read(backend: &Backend, body: &[u8], document_hash: Option<String>) -> Self {
        let list: Value = serde_json::from_slice(body).unwrap_or_default();
        let resources = resources(&backend.group, &backend.version, &list);
        Self {
            discovery: json!({"version": backend.version, "resources": resources}),
            available: true,
            document_hash,
            ..Self::unknown(backend)
        }
    }

    /// Whether this is what its object says now.
    pub(super) fn is_of(&self, backend: &Backend) -> bool {
        self.priorities == backend.priorities() && self.available == backend.available
    }

    /// The same resources, with what the object says now.
    pub(super) fn moved_to(&self, backend: &Backend) -> Self {
        Self { priorities: backend.priorities(), available: backend.available, ..self.clone() }
    }

    /// As aggregated discovery shows it: what an absent backend served is stale.
    pub(crate) fn discovery(&self) -> Value {
        let mut discovery = self.discovery.clone();
        discovery["freshness"] = if self.available { "Current" } else { "Stale" }.into();
        discovery
    }
}

/// The resources of an `APIResourceList` with their subresources below them.
fn resources(group: &str, version: &str, list: &Value) -> Vec<Value> {
    let entries = list.get("resources").and_then(Value::as_array);
    let entries: Vec<&Value> = entries.into_iter().flatten().collect();
    let kind_of = |entry: &Value| {
        let or = |field: &str, own: &str| match text(entry, field) {
            "" => own.to_owned(),
            given => given.to_owned(),
        };
        json!({"group": or("/group", group), "version": or("/version", version),
            "kind": text(entry, "/kind")})
    };
    let own = entries.iter().filter(|entry| !text(entry, "/name").contains('/'));
    own.map(|entry| {
        let name = text(entry, "/name");
        let mut out = Map::new();
        out.insert("resource".to_owned(), name.into());
        out.insert("responseKind".to_owned(), kind_of(entry));
        let namespaced = entry.get("namespaced") == Some(&Value::Bool(true));
        out.insert("scope".to_owned(), if namespaced { "Namespaced" } else { "Cluster" }.into());
        out.insert("singularResource".to_owned(), text(entry, "/singularName").into());
        for field in ["verbs", "shortNames", "categories"] {
            if let Some(value) = entry.get(field) {
                out.insert(field.to_owned(), value.clone());
            }
        }
        let below = |sub: &&&Value| {
            text(sub, "/name").strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
        };
        let subresources: Vec<Value> = entries
            .iter()
            .filter(below)
            .map(|sub| {
                json!({"subresource": text(sub, "/name")[name.len() + 1..],
                    "responseKind": kind_of(sub), "verbs": sub["verbs"]})
            })
            .collect();
        if !subresources.is_empty() {
            out.insert("subresources".to_owned(), subresources.into());
        }
        Value::Object(out)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_becomes_aggregated_discovery() {
        let list = json!({"resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                "verbs": ["get"], "shortNames": ["fl"]},
            {"name": "flunders/scale", "singularName": "", "namespaced": true, "kind": "Scale",
                "group": "autoscaling", "version": "v1", "verbs": ["update"]},
            {"name": "fischers", "namespaced": false, "kind": "Fischer", "verbs": ["list"]}]});
        assert_eq!(
            resources("w.e", "v1", &list),
            [
                json!({"resource": "flunders", "singularResource": "flunder", "scope": "Namespaced",
                    "responseKind": {"group": "w.e", "version": "v1", "kind": "Flunder"},
                    "verbs": ["get"], "shortNames": ["fl"], "subresources": [{
                        "subresource": "scale", "verbs": ["update"], "responseKind":
                            {"group": "autoscaling", "version": "v1", "kind": "Scale"}}]}),
                json!({"resource": "fischers", "singularResource": "", "scope": "Cluster",
                    "responseKind": {"group": "w.e", "version": "v1", "kind": "Fischer"},
                    "verbs": ["list"]}),
            ]
        );
    }
}
