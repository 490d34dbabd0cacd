//! OpenAPI documents: what `kubectl explain`, client-side validation and patch building read.
//!
//! [`v3_for_group_version`] renders the document of one group and version, [`v2`] and [`v2_protobuf`] the one
//! document of the whole server. Both are written straight into bytes, definition by definition, because the whole of v2 as
//! a tree would be the largest thing in the server's memory. Caching, hashing and serving are the API
//! server's; the paths here are those of resources, not of discovery or health.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{Schema, descriptions::Descriptions};
use writer::Sink;

mod definition;
mod gnostic;
mod names;
mod operations;
mod paths;
mod writer;

pub use names::definition_name;

/// Which of the two versions of OpenAPI is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    /// A reference to a definition.
    pub(crate) fn reference(self, name: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{name}"),
            Self::V3 => format!("#/components/schemas/{name}"),
        }
    }
}

/// A served resource, as the documents need it.
#[derive(Clone, Debug)]
pub struct Resource<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Version in the group.
    pub version: &'a str,
    /// Kind of one object.
    pub kind: &'a str,
    /// Kind of a list of them; empty if it cannot be listed.
    pub list_kind: &'a str,
    /// The name in paths.
    pub plural: &'a str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs as in discovery: `get`, `list`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verbs: Vec<&'a str>,
    /// What lies below one object.
    pub subresources: Vec<Subresource<'a>>,
    /// The schema of a custom resource; none for built-in kinds.
    pub schema: Option<Schema>,
    /// Paths by which a custom resource can be selected.
    pub selectable_fields: Vec<&'a str>,
}

/// A part of a resource with a path of its own, such as `status` or `log`.
#[derive(Clone, Debug)]
pub struct Subresource<'a> {
    /// The name in paths.
    pub name: &'a str,
    /// Group of the kind that is read and written, such as `autoscaling` for `scale`.
    pub group: &'a str,
    /// Version of that kind.
    pub version: &'a str,
    /// That kind.
    pub kind: &'a str,
    /// Verbs as in discovery; `connect` verbs are named by their HTTP methods' verbs.
    pub verbs: Vec<&'a str>,
}

/// Renders the document of one group and version, as JSON text.
///
/// `server_version` is the one that `/version` tells, such as `v1.37.0`. Resources of other groups and versions
/// are left out.
pub fn v3_for_group_version(
    group: &str,
    version: &str,
    resources: &[Resource<'_>],
    server_version: &str,
) -> Vec<u8> {
    let of_group =
        |resource: &&Resource<'_>| resource.group == group && resource.version == version;
    let resources: Vec<&Resource<'_>> = resources.iter().filter(of_group).collect();
    let mut out = writer::Document::new();
    out.value("openapi", &json!("3.0.0"));
    out.value("info", &info(server_version));
    out.object("paths", |out| paths::write(out, &resources, Dialect::V3));
    out.object("components", |out| {
        out.object("schemas", |out| drop(definitions(out, &resources, Dialect::V3)));
        out.value("securitySchemes", &security_schemes());
    });
    out.finish()
}

/// Renders the one document of OpenAPI v2, as JSON text.
///
/// `added` are further documents (of aggregated servers), whose `paths` and `definitions` are joined; a
/// definition that is there already stays.
pub fn v2(resources: &[Resource<'_>], added: &[&Value], server_version: &str) -> Vec<u8> {
    let resources: Vec<&Resource<'_>> = resources.iter().collect();
    let mut out = writer::Document::new();
    out.value("swagger", &json!("2.0"));
    out.value("info", &info(server_version));
    out.object("paths", |out| {
        paths::write(out, &resources, Dialect::V2);
        add(out, added, "paths", &BTreeSet::new());
    });
    out.object("definitions", |out| {
        let written = definitions(out, &resources, Dialect::V2);
        add(out, added, "definitions", &written);
    });
    out.value("securityDefinitions", &security_schemes());
    out.value("security", &json!([{"BearerToken": []}]));
    out.finish()
}

/// Renders the one document of OpenAPI v2 as protobuf (`com.github.proto-openapi.spec.v2.v1.0+protobuf`).
pub fn v2_protobuf(resources: &[Resource<'_>], added: &[&Value], server_version: &str) -> Vec<u8> {
    let resources: Vec<&Resource<'_>> = resources.iter().collect();
    let mut out = gnostic::Message::default();
    out.head(&info(server_version));
    out.nested(8, |out| {
        let out = &mut gnostic::Paths(out);
        paths::write(out, &resources, Dialect::V2);
        add(out, added, "paths", &BTreeSet::new());
    });
    out.nested(9, |out| {
        let out = &mut gnostic::Definitions(out);
        let written = definitions(out, &resources, Dialect::V2);
        add(out, added, "definitions", &written);
    });
    out.security(&security_schemes());
    out.finish()
}

/// Renders the index at `/openapi/v3`: pairs of a path such as `apis/apps/v1` and the hash of its document.
pub fn v3_index<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let entry = |(path, hash): (&str, &str)| {
        let url = format!("/openapi/v3/{path}?hash={hash}");
        (path.to_owned(), json!({"serverRelativeURL": url}))
    };
    json!({"paths": documents.into_iter().map(entry).collect::<serde_json::Map<_, _>>()})
}

fn info(server_version: &str) -> Value {
    json!({"title": "Kubernetes", "version": server_version})
}

fn security_schemes() -> Value {
    json!({"BearerToken": {
        "type": "apiKey", "in": "header", "name": "authorization",
        "description": "Bearer Token authentication"
    }})
}

/// Writes what further documents have in one field and `written` does not name.
fn add(out: &mut dyn Sink, documents: &[&Value], field: &str, written: &BTreeSet<String>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for document in documents {
        for (key, value) in document.get(field).and_then(Value::as_object).into_iter().flatten() {
            if !written.contains(key) && seen.insert(key) {
                out.value(key, value);
            }
        }
    }
}

/// Writes all definitions that the resources need, and those that these refer to; their names.
fn definitions(
    out: &mut dyn Sink,
    resources: &[&Resource<'_>],
    dialect: Dialect,
) -> BTreeSet<String> {
    let descriptions = Descriptions::unpack();
    let mut needed = BTreeSet::new();
    let mut custom = Vec::new();
    for resource in resources {
        paths::kinds(resource, &mut needed);
        if let Some(schema) = &resource.schema {
            definition::references(schema, &mut needed);
            custom.push((*resource, schema));
        }
    }
    let mut waiting: Vec<&'static str> = needed.iter().copied().collect();
    while let Some(name) = waiting.pop() {
        let Some(schema) = crate::builtin(name) else { continue };
        let mut further = BTreeSet::new();
        definition::references(&schema, &mut further);
        waiting.extend(further.into_iter().filter(|name| needed.insert(name)));
    }
    let mut written = BTreeSet::new();
    for name in needed {
        if let Some(schema) = crate::builtin(name) {
            written.insert(name.to_owned());
            out.value(name, &definition::builtin(name, &schema, &descriptions, dialect));
        }
    }
    for (resource, schema) in custom {
        let name = definition_name(resource.group, resource.version, resource.kind);
        out.value(&name, &definition::custom(resource, schema, &descriptions, dialect));
        if !resource.list_kind.is_empty() {
            let list = definition_name(resource.group, resource.version, resource.list_kind);
            out.value(&list, &definition::custom_list(resource, &name, &descriptions, dialect));
            written.insert(list);
        }
        written.insert(name);
    }
    written
}

#[cfg(test)]
mod tests;
