//! Requests on resources that are known only at run time, found through discovery.

use client::WatchScope;
use serde::Deserialize;
use serde_json::{Value, json};

/// A resource as discovery describes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Found {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

/// Why a dynamic request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DynamicError {
    #[error("cannot build a request")]
    Request(#[from] http::Error),
    #[error("the API server refused")]
    Api(#[from] kube::Error),
}

impl DynamicError {
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Api(kube::Error::Api(status)) => status.code,
            _ => 0,
        }
    }

    /// The server's own words where there are some.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Api(kube::Error::Api(status)) => status.message.clone(),
            other => other.to_string(),
        }
    }
}

impl Found {
    pub(crate) fn has(&self, verb: &str) -> bool {
        self.verbs.iter().any(|have| have == verb)
    }

    pub(crate) fn scope(&self) -> WatchScope {
        WatchScope {
            group: self.group.clone(),
            version: self.version.clone(),
            plural: self.plural.clone(),
            ..WatchScope::default()
        }
    }

    /// The path of an object, or of a collection when `name` is empty.
    pub(crate) fn path(&self, namespace: &str, name: &str) -> String {
        let mut path = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(&self.plural);
        if !name.is_empty() {
            path.push('/');
            path.push_str(name);
        }
        path
    }
}

#[derive(Debug, Deserialize)]
struct Discovery {
    items: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    metadata: Option<Named>,
    versions: Vec<Version>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource: String,
    scope: String,
    verbs: Vec<String>,
    response_kind: Option<ResponseKind>,
}

#[derive(Debug, Deserialize)]
struct ResponseKind {
    kind: String,
}

const ACCEPT: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// Every resource, once, in its group's preferred version that has it.
pub(crate) async fn discover(kube: &kube::Client) -> Result<Vec<Found>, DynamicError> {
    let mut all: Vec<Found> = Vec::new();
    for root in ["/api", "/apis"] {
        let request = http::Request::get(root).header("accept", ACCEPT).body(Vec::new())?;
        let discovery: Discovery = kube.request(request).await?;
        for group in discovery.items {
            let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
            for version in group.versions {
                for resource in version.resources {
                    let known =
                        all.iter().any(|f| f.group == name && f.plural == resource.resource);
                    if known {
                        continue;
                    }
                    all.push(Found {
                        group: name.clone(),
                        version: version.version.clone(),
                        plural: resource.resource,
                        kind: resource.response_kind.map(|kind| kind.kind).unwrap_or_default(),
                        namespaced: resource.scope == "Namespaced",
                        verbs: resource.verbs,
                    });
                }
            }
        }
    }
    Ok(all)
}

/// Deletes an object if it is still the one with this UID.
pub(crate) async fn delete(
    kube: &kube::Client,
    path: &str,
    uid: &str,
    policy: Option<&str>,
) -> Result<(), DynamicError> {
    let mut options =
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
    if let Some(policy) = policy {
        options["propagationPolicy"] = json!(policy);
    }
    send(kube, "DELETE", path, "application/json", &options).await
}

/// Merge-patches an object.
pub(crate) async fn merge(
    kube: &kube::Client,
    path: &str,
    patch: &Value,
) -> Result<(), DynamicError> {
    send(kube, "PATCH", path, "application/merge-patch+json", patch).await
}

/// Deletes a whole collection in the background.
pub(crate) async fn delete_collection(kube: &kube::Client, path: &str) -> Result<(), DynamicError> {
    let options =
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
    send(kube, "DELETE", path, "application/json", &options).await
}

async fn send(
    kube: &kube::Client,
    method: &str,
    path: &str,
    media_type: &str,
    body: &Value,
) -> Result<(), DynamicError> {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", media_type)
        .body(body.to_string().into_bytes())?;
    kube.request_text(request).await?;
    Ok(())
}

/// The metadata of all objects of a collection.
pub(crate) async fn list_metadata(
    kube: &kube::Client,
    path: &str,
) -> Result<Vec<Value>, DynamicError> {
    let accept =
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
    let request = http::Request::get(path).header("accept", accept).body(Vec::new())?;
    let mut list: Value = kube.request(request).await?;
    Ok(match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    })
}

/// An object as a tree; `None` when it is not there.
pub(crate) async fn get(kube: &kube::Client, path: &str) -> Result<Option<Value>, DynamicError> {
    let request = http::Request::get(path).body(Vec::new())?;
    match kube.request::<Value>(request).await.map_err(DynamicError::from) {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.code() == 404 => Ok(None),
        Err(error) => Err(error),
    }
}
