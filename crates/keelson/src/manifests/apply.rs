//! The folder's dealings with the API: apply an object, delete one, look up its resource.

use client::{Client, WatchScope};
use kube::Api;
use kube::api::{
    DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, ValidationDirective,
};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiResource, Scope};

use super::documents::{Fault, Identity};

/// The field manager of everything that comes from the folder.
pub(crate) const FIELD_MANAGER: &str = "keelson-manifests";

/// An object's resource and namespace, as the API has them.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    resource: ApiResource,
    namespace: Option<String>,
}

impl Place {
    /// Looks up the resource of a kind.
    ///
    /// # Errors
    /// The API does not serve it (yet).
    pub(crate) async fn find(client: &Client, identity: &Identity) -> Result<Self, Fault> {
        let kind = GroupVersionKind::gvk(identity.group(), identity.version(), &identity.kind);
        let found = kube::discovery::pinned_kind(&client.kube(), &kind).await;
        let (resource, capabilities) = found.map_err(|error| match error {
            kube::Error::Discovery(_) => no_such_kind(identity),
            kube::Error::Api(status) if status.code == 404 => no_such_kind(identity),
            error => plain(&error),
        })?;
        let namespace = match capabilities.scope {
            Scope::Namespaced => Some(identity.namespace_or_default().to_owned()),
            Scope::Cluster => None,
        };
        Ok(Self { resource, namespace })
    }

    /// The watch that shows this one object.
    pub(crate) fn watch(&self, name: &str) -> WatchScope {
        WatchScope {
            group: self.resource.group.clone(),
            version: self.resource.version.clone(),
            plural: self.resource.plural.clone(),
            namespace: self.namespace.clone().unwrap_or_default(),
            labels: String::new(),
            fields: format!("metadata.name={name}"),
        }
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.kube(), namespace, &self.resource),
            None => Api::all_with(client.kube(), &self.resource),
        }
    }
}

/// Applies an object by server-side apply; what the folder says wins over other managers. Answers its UID.
///
/// # Errors
/// What the API says, with the field that it names.
pub(crate) async fn apply(
    client: &Client,
    place: &Place,
    name: &str,
    value: &serde_json::Value,
) -> Result<String, Fault> {
    let parameters =
        PatchParams::apply(FIELD_MANAGER).force().validation(ValidationDirective::Strict);
    let applied = place.api(client).patch(name, &parameters, &Patch::Apply(value)).await;
    applied.map(|object| object.metadata.uid.unwrap_or_default()).map_err(|error| plain(&error))
}

/// Deletes an object that was applied from the folder; one that somebody else has made anew stays. Without a
/// UID the field manager tells.
///
/// # Errors
/// What the API says.
pub(crate) async fn delete(client: &Client, identity: &Identity, uid: &str) -> Result<(), Fault> {
    let place = match Place::find(client, identity).await {
        // With its kind the object has gone.
        Err(fault) if fault == no_such_kind(identity) => return Ok(()),
        found => found?,
    };
    let api = place.api(client);
    let live = api.get_opt(&identity.name).await.map_err(|error| plain(&error))?;
    let is_the_one = |live: &DynamicObject| match uid {
        "" => is_ours(live),
        uid => live.metadata.uid.as_deref() == Some(uid),
    };
    let Some(live) = live.filter(is_the_one) else { return Ok(()) };
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { uid: live.metadata.uid, resource_version: None }),
        ..DeleteParams::background()
    };
    match api.delete(&identity.name, &parameters).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        deleted => deleted.map(drop).map_err(|error| plain(&error)),
    }
}

fn is_ours(object: &DynamicObject) -> bool {
    let managers = object.metadata.managed_fields.iter().flatten();
    managers.filter_map(|entry| entry.manager.as_deref()).any(|manager| manager == FIELD_MANAGER)
}

fn no_such_kind(identity: &Identity) -> Fault {
    Fault {
        document: 0,
        field: "kind".to_owned(),
        message: format!(
            "no matches for kind \"{}\" in version \"{}\"",
            identity.kind, identity.api_version
        ),
    }
}

fn plain(error: &kube::Error) -> Fault {
    let kube::Error::Api(status) = error else {
        return Fault { document: 0, field: String::new(), message: error.to_string() };
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let fields: Vec<&str> = causes.map(|cause| &*cause.field).filter(|it| !it.is_empty()).collect();
    let field = match fields.as_slice() {
        [] => named_field(&status.message).unwrap_or_default().to_owned(),
        fields => fields.join(", "),
    };
    Fault { document: 0, field, message: status.message.clone() }
}

/// The field that a message without causes names: `…: .spec.colour: field not declared in schema`, or
/// `unknown field "spec.colour"`.
fn named_field(message: &str) -> Option<&str> {
    let quoted = message.split_once("field \"").and_then(|(_, rest)| rest.split_once('"'));
    let path = || {
        let rest = message.split_once(": .").map(|(_, rest)| rest)?;
        rest.split_once(':')
    };
    quoted.or_else(path).map(|(field, _)| field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_messages() {
        let cases = [
            (
                "failed to create typed patch object (/bad; /v1, Kind=Service): .spec.colour: field not declared in schema",
                Some("spec.colour"),
            ),
            ("strict decoding error: unknown field \"spec.a\"", Some("spec.a")),
            ("namespaces \"x\" not found", None),
            ("", None),
        ];
        for (message, field) in cases {
            assert_eq!(named_field(message), field, "{message}");
        }
    }
}
