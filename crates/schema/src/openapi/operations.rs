//! One operation on a path: parameters, bodies, answers and the extensions that kubectl looks for.

use serde_json::{Map, Value, json};

use super::{
    Dialect, Resource,
    names::{capitalized, definition_name, operation, tag},
};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const OBJECT_TYPES: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAM_TYPES: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// Whose path an operation is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Everywhere,
    Collection,
    Object,
}

/// What is rendered.
pub(super) struct Operation<'a> {
    /// HTTP method in lower case.
    pub(super) method: &'static str,
    /// Verb of discovery.
    pub(super) verb: &'static str,
    /// Word at the start of the operation's name.
    pub(super) word: &'static str,
    /// Value of `x-kubernetes-action`.
    pub(super) action: &'static str,
    pub(super) scope: Scope,
    /// Group, version and kind of what is read or written.
    pub(super) gvk: (&'a str, &'a str, &'a str),
    pub(super) subresource: Option<&'a str>,
}

/// Query parameters: name, type, text, and the verbs that take it.
const PARAMETERS: [(&str, &str, &str, &[&str]); 18] = [
    ("allowWatchBookmarks", "boolean", "send bookmarks on a watch", &["list"]),
    ("continue", "string", "token of the next chunk of a list", &["list", "deletecollection"]),
    (
        "dryRun",
        "string",
        "All: run every stage but do not store the result",
        &["create", "update", "patch", "delete", "deletecollection"],
    ),
    (
        "fieldManager",
        "string",
        "name of the actor that makes the change",
        &["create", "update", "patch"],
    ),
    (
        "fieldSelector",
        "string",
        "restrict the objects by their fields",
        &["list", "deletecollection"],
    ),
    (
        "fieldValidation",
        "string",
        "Ignore, Warn or Strict: what to do about unknown and duplicate fields",
        &["create", "update", "patch"],
    ),
    ("force", "boolean", "take over fields that others manage; for apply", &["patch"]),
    (
        "gracePeriodSeconds",
        "integer",
        "seconds before the object is deleted; zero for at once",
        &["delete", "deletecollection"],
    ),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "delete an object that cannot be read from the store",
        &["delete", "deletecollection"],
    ),
    (
        "labelSelector",
        "string",
        "restrict the objects by their labels",
        &["list", "deletecollection"],
    ),
    ("limit", "integer", "most objects in one chunk", &["list", "deletecollection"]),
    (
        "orphanDependents",
        "boolean",
        "deprecated: leave the dependents",
        &["delete", "deletecollection"],
    ),
    (
        "propagationPolicy",
        "string",
        "Orphan, Background or Foreground: what happens to dependents",
        &["delete", "deletecollection"],
    ),
    ("resourceVersion", "string", "oldest acceptable state", &["list", "deletecollection"]),
    (
        "resourceVersionMatch",
        "string",
        "how resourceVersion applies to a list",
        &["list", "deletecollection"],
    ),
    ("sendInitialEvents", "boolean", "begin a watch with the state", &["list", "deletecollection"]),
    ("timeoutSeconds", "integer", "end the call after this time", &["list", "deletecollection"]),
    ("watch", "boolean", "stream changes instead of listing", &["list"]),
];

/// The query parameters that a verb takes.
pub(super) fn parameters(verb: &str, dialect: Dialect) -> Vec<Value> {
    let taken = PARAMETERS.iter().filter(|(_, _, _, verbs)| verbs.contains(&verb));
    taken.map(|(name, kind, text, _)| parameter("query", name, kind, text, dialect)).collect()
}

/// One parameter.
pub(super) fn parameter(
    place: &str,
    name: &str,
    kind: &str,
    text: &str,
    dialect: Dialect,
) -> Value {
    let mut out = json!({"name": name, "in": place, "description": text});
    match dialect {
        Dialect::V2 => {
            out["type"] = kind.into();
            out["uniqueItems"] = true.into();
        }
        Dialect::V3 => out["schema"] = json!({"type": kind, "uniqueItems": true}),
    }
    if place == "path" {
        out["required"] = true.into();
    }
    out
}

pub(super) fn render(resource: &Resource<'_>, op: &Operation<'_>, dialect: Dialect) -> Value {
    let mut out = Map::new();
    let mut set = |key: &str, value: Value| out.insert(key.to_owned(), value);
    set("description", description(resource, op).into());
    set("tags", json!([tag(resource.group, resource.version)]));
    set("operationId", identity(resource, op).into());
    set("x-kubernetes-action", op.action.into());
    let (group, version, kind) = op.gvk;
    let gvk = json!({"group": group, "version": version, "kind": kind});
    set("x-kubernetes-group-version-kind", gvk);
    // The path of all namespaces carries its parameters itself.
    let mut query = match op.scope {
        Scope::Everywhere => Vec::new(),
        _ if op.action == "connect" => Vec::new(),
        _ => parameters(op.verb, dialect),
    };
    let body = body(op).map(|name| dialect.reference(&name));
    match (dialect, body) {
        (Dialect::V3, Some(reference)) => {
            set("requestBody", request_body(op, &reference));
        }
        (Dialect::V2, Some(reference)) => {
            let required = !op.verb.starts_with("delete");
            let mut parameter =
                json!({"name": "body", "in": "body", "schema": {"$ref": reference}});
            if required {
                parameter["required"] = true.into();
            }
            query.insert(0, parameter);
        }
        (_, None) => {}
    }
    if dialect == Dialect::V2 {
        set("schemes", json!(["https"]));
        set("consumes", consumes(op));
        set("produces", produces(op));
    }
    if !query.is_empty() {
        set("parameters", query.into());
    }
    set("responses", responses(resource, op, dialect));
    out.into()
}

/// The subject of an operation's name: `NamespacedPodStatus`, `CollectionNode`, `PodForAllNamespaces`.
fn identity(resource: &Resource<'_>, op: &Operation<'_>) -> String {
    let mut rest = String::new();
    if op.verb == "deletecollection" {
        rest.push_str("Collection");
    }
    if op.action == "connect" {
        rest.push_str(&capitalized(op.method));
    }
    if resource.namespaced && op.scope != Scope::Everywhere {
        rest.push_str("Namespaced");
    }
    rest.push_str(resource.kind);
    rest.push_str(&op.subresource.map(capitalized).unwrap_or_default());
    if op.scope == Scope::Everywhere {
        rest.push_str("ForAllNamespaces");
    }
    operation(op.word, resource.group, resource.version, &rest)
}

fn description(resource: &Resource<'_>, op: &Operation<'_>) -> String {
    let kind = resource.kind;
    match (op.action, op.subresource) {
        ("connect", Some(name)) => {
            format!("connect {} requests to {name} of {kind}", op.method.to_uppercase())
        }
        ("list", _) => format!("list or watch objects of kind {kind}"),
        ("deletecollection", _) => format!("delete collection of {kind}"),
        ("post", Some(name)) => format!("create {name} of a {kind}"),
        ("post", None) => format!("create a {kind}"),
        ("delete", None) => format!("delete a {kind}"),
        (_, subject) => {
            let verb = if op.action == "patch" { "partially update" } else { op.word };
            let subject = subject.map(|name| format!("{name} of ")).unwrap_or_default();
            format!("{verb} {subject}the specified {kind}")
        }
    }
}

/// The definition of the request's body.
fn body(op: &Operation<'_>) -> Option<String> {
    let (group, version, kind) = op.gvk;
    match op.verb {
        _ if op.action == "connect" => None,
        "create" | "update" => Some(definition_name(group, version, kind)),
        "patch" => Some(format!("{META}.Patch")),
        "delete" | "deletecollection" => Some(format!("{META}.DeleteOptions")),
        _ => None,
    }
}

/// The content types that a patch may have; custom resources know no strategic merge.
fn patch_types(op: &Operation<'_>) -> Vec<&'static str> {
    let mut types = vec!["application/json-patch+json", "application/merge-patch+json"];
    let (group, version, kind) = op.gvk;
    if crate::definition_for_kind(group, version, kind).is_some() {
        types.push("application/strategic-merge-patch+json");
    }
    types.push("application/apply-patch+yaml");
    types
}

fn request_body(op: &Operation<'_>, reference: &str) -> Value {
    let schema = json!({"schema": {"$ref": reference}});
    let types = if op.verb == "patch" { patch_types(op) } else { vec!["*/*"] };
    let content: Map<String, Value> =
        types.into_iter().map(|name| (name.to_owned(), schema.clone())).collect();
    let mut out = json!({"content": content});
    if !op.verb.starts_with("delete") {
        out["required"] = true.into();
    }
    out
}

fn consumes(op: &Operation<'_>) -> Value {
    if op.verb == "patch" { json!(patch_types(op)) } else { json!(["*/*"]) }
}

fn produces(op: &Operation<'_>) -> Value {
    match (op.action, op.subresource) {
        ("connect", _) => json!(["*/*"]),
        ("get", Some("log")) => json!(["text/plain"]),
        ("list", _) => json!([OBJECT_TYPES.as_slice(), STREAM_TYPES.as_slice()].concat()),
        _ => json!(OBJECT_TYPES),
    }
}

/// The definition of the answer; nothing for plain text.
fn answer(resource: &Resource<'_>, op: &Operation<'_>) -> Option<String> {
    let (group, version, kind) = op.gvk;
    match (op.action, op.subresource) {
        ("connect", _) | ("get", Some("log")) => None,
        ("list", _) => Some(definition_name(resource.group, resource.version, resource.list_kind)),
        ("delete" | "deletecollection", _) => Some(format!("{META}.Status")),
        _ => Some(definition_name(group, version, kind)),
    }
}

fn responses(resource: &Resource<'_>, op: &Operation<'_>, dialect: Dialect) -> Value {
    let codes: &[(&str, &str)] = match op.action {
        "post" => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
        "put" | "patch" => &[("200", "OK"), ("201", "Created")],
        "delete" => &[("200", "OK"), ("202", "Accepted")],
        _ => &[("200", "OK")],
    };
    let schema = match answer(resource, op) {
        Some(name) => json!({"$ref": dialect.reference(&name)}),
        None => json!({"type": "string"}),
    };
    let mut out = Map::new();
    for (code, text) in codes {
        let mut response = json!({"description": text});
        match dialect {
            Dialect::V2 => response["schema"] = schema.clone(),
            Dialect::V3 => {
                let types = produces(op);
                let names = types.as_array().into_iter().flatten().filter_map(Value::as_str);
                let content: Map<String, Value> =
                    names.map(|name| (name.to_owned(), json!({"schema": schema}))).collect();
                response["content"] = content.into();
            }
        }
        out.insert((*code).to_owned(), response);
    }
    out.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    out.into()
}
