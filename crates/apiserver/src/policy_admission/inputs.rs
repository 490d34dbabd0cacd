//! The values that expressions see of a request.

use std::sync::Arc;

use admission::{Request, User};
use api::status::Status;
use authz::{Attributes, Decision};
use expression::{
    Activation, AuthorizationDecision, AuthorizationRequest, Authorizer, Value as Operand,
};
use serde_json::{Map, Value};

use crate::call::Call;
use crate::policy::Policy;
use crate::server::Server;
use crate::webhook::{Row, request_body};

/// The request in the version that a policy or webhook matches.
pub(crate) struct Inputs {
    object: Operand,
    old: Operand,
    request: Operand,
    authorizer: Operand,
    resource_check: Operand,
}

impl Inputs {
    /// Gathers them.
    ///
    /// # Errors
    /// 500: the object cannot be had in the version of `row`.
    pub(crate) async fn new(
        server: &Server,
        call: &Call,
        request: &Request<'_>,
        row: &Row,
    ) -> Result<Self, Status> {
        let object = server.shown(call, &request.object, &call.resource, row).await?;
        let old = server.shown(call, request.old_object(), &call.resource, row).await?;
        let rights: Arc<dyn Authorizer> =
            Arc::new(Rights { policy: Arc::clone(&server.policy), user: call.user.clone() });
        let check = AuthorizationRequest {
            group: call.resource.group.to_string(),
            resource: call.resource.plural.to_string(),
            subresource: call.subresource().to_owned(),
            namespace: request.namespace.to_owned(),
            name: request.object_name().to_owned(),
            ..AuthorizationRequest::default()
        };
        Ok(Self {
            object: Operand::from_json(&object),
            old: Operand::from_json(&old),
            request: Operand::from_json(&without_empty(request_body(call, request, row))),
            authorizer: Operand::authorizer(Arc::clone(&rights)),
            resource_check: Operand::request_resource(rights, check),
        })
    }

    /// The values under their names. Null stands for a parameter or namespace that there is not.
    pub(crate) fn activation(&self, params: Option<&Value>, namespace: &Value) -> Activation<'_> {
        Activation::new()
            .with("object", self.object.clone())
            .with("oldObject", self.old.clone())
            .with("request", self.request.clone())
            .with("authorizer", self.authorizer.clone())
            .with("authorizer.requestResource", self.resource_check.clone())
            .with("params", params.map_or(Operand::Null, Operand::from_json))
            .with("namespaceObject", Operand::from_json(namespace))
    }
}

/// Parts of the user that are empty are absent to expressions.
fn without_empty(mut body: Value) -> Value {
    if let Some(user) = body.get_mut("userInfo").and_then(Value::as_object_mut) {
        user.retain(|_, value| match value {
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        });
    }
    body
}

/// What expressions see of a namespace.
pub(super) fn shown_namespace(namespace: &Value) -> Value {
    const FIELDS: [&str; 11] = [
        "name",
        "generateName",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "finalizers",
    ];
    let mut shown = Map::new();
    let seen =
        |field: &&str| Some(((*field).to_owned(), api::meta::get(namespace, field)?.clone()));
    shown.insert(
        "metadata".to_owned(),
        FIELDS.iter().filter_map(seen).collect::<Map<_, _>>().into(),
    );
    for part in ["spec", "status"] {
        if let Some(value) = namespace.get(part) {
            shown.insert(part.to_owned(), value.clone());
        }
    }
    Value::Object(shown)
}

/// The authorizer as expressions ask it: about the user of the request, or about a service account.
struct Rights {
    policy: Arc<Policy>,
    user: User,
}

impl Authorizer for Rights {
    fn authorize(&self, asked: &AuthorizationRequest) -> AuthorizationDecision {
        let account = asked.service_account.as_ref().map(|(namespace, name)| User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ],
            ..User::default()
        });
        let user = account.as_ref().unwrap_or(&self.user);
        let mut attributes = Attributes {
            user: &user.name,
            groups: &user.groups,
            extra: Some(&user.extra),
            verb: &asked.verb,
            ..Attributes::default()
        };
        match &asked.path {
            Some(path) => attributes.path = path,
            None => {
                attributes.is_resource = true;
                attributes.group = &asked.group;
                attributes.version = "*";
                attributes.resource = &asked.resource;
                attributes.subresource = &asked.subresource;
                attributes.namespace = &asked.namespace;
                attributes.name = &asked.name;
                attributes.field_selector = &asked.field_selector;
            }
        }
        let (allowed, reason) = match self.policy.decide(&attributes) {
            Decision::Allow(reason) => (true, reason),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => (false, reason),
        };
        AuthorizationDecision { allowed, reason, error: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_namespace_owners_are_not_shown() {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "spec": {}, "status": {"phase": "Active"},
            "metadata": {"name": "a", "labels": {"b": "c"}, "managedFields": [], "ownerReferences": []}});
        assert_eq!(
            shown_namespace(&namespace),
            json!({"metadata": {"name": "a", "labels": {"b": "c"}}, "spec": {}, "status": {"phase": "Active"}})
        );
    }

    #[test]
    fn empty_parts_of_the_user_are_absent() {
        let body = json!({"userInfo": {"username": "a", "uid": "", "groups": [], "extra": {}}, "name": ""});
        assert_eq!(without_empty(body), json!({"userInfo": {"username": "a"}, "name": ""}));
    }
}
