//! What is said of a request to those who judge it: webhooks in a review, expressions as `request`.

use admission::{Operation, Request};
use api::meta;
use api::resource::Resource;
use serde_json::{Value, json};

use crate::call::Call;

/// The request without its objects, as of the version that `shown` stands for. Absent parts are left out.
pub(crate) fn request_body(call: &Call, request: &Request<'_>, shown: &Resource) -> Value {
    let resource = &call.resource;
    let own = |row: &Resource| json!({"group": row.group, "version": row.version, "resource": row.plural});
    let kind = kind_of(call, shown);
    let name = match request.name {
        "" => meta::name(&request.object),
        name => name,
    };
    let user = &call.user;
    let mut body = json!({
        "kind": kind,
        "resource": own(shown),
        "requestKind": kind_of(call, resource),
        "requestResource": own(resource),
        "name": name,
        "operation": request.operation.text(),
        "userInfo": {"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra},
        "dryRun": request.dry_run,
        "options": if request.options.is_null() { options(request) } else { request.options.clone() },
    });
    if !request.namespace.is_empty() {
        body["namespace"] = json!(request.namespace);
    }
    if !call.subresource().is_empty() {
        body["subResource"] = json!(call.subresource());
        body["requestSubResource"] = json!(call.subresource());
    }
    body
}

/// The kind of the request's object in a row's version: the row's own, or that of the subresource.
fn kind_of(call: &Call, row: &Resource) -> Value {
    let sub = call.resource.subresource(call.subresource()).filter(|sub| !sub.kind.is_empty());
    let (group, version, kind): (&str, &str, &str) = match sub {
        Some(sub) if sub.version.is_empty() => (sub.group, &row.version, sub.kind),
        Some(sub) => (sub.group, sub.version, sub.kind),
        None => (&row.group, &row.version, &row.kind),
    };
    json!({"group": group, "version": version, "kind": kind})
}

/// Whether the request's objects are of a kind of the subresource's own, which has no versions to convert.
pub(crate) fn has_own_kind(call: &Call) -> bool {
    call.resource.subresource(call.subresource()).is_some_and(|sub| !sub.kind.is_empty())
}

fn options(request: &Request<'_>) -> Value {
    let kind = match request.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"})
}
