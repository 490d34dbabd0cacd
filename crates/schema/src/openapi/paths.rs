//! The paths of resources: collections, objects, subresources.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    Dialect, Resource,
    operations::{self, Operation, Scope},
    writer::Sink,
};
use crate::definition_for_kind;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Adds the built-in definitions that a resource's operations name.
pub(super) fn kinds(resource: &Resource<'_>, found: &mut BTreeSet<&'static str>) {
    let mut add = |group: &str, version: &str, kind: &str| {
        found.extend(definition_for_kind(group, version, kind));
    };
    add(resource.group, resource.version, resource.kind);
    add(resource.group, resource.version, resource.list_kind);
    for subresource in &resource.subresources {
        add(subresource.group, subresource.version, subresource.kind);
    }
    add("", "v1", "Status");
    add("", "v1", "DeleteOptions");
    // The list of a custom resource refers to it.
    let extra = ["Patch", "ListMeta", "WatchEvent"].map(|name| format!("{META}.{name}"));
    found.extend(extra.iter().filter_map(|name| crate::builtin(name)?.definition_name()));
}

/// Writes the paths of all resources, sorted.
pub(super) fn write(out: &mut dyn Sink, resources: &[&Resource<'_>], dialect: Dialect) {
    let mut sorted: BTreeMap<String, (usize, Place)> = BTreeMap::new();
    for (index, resource) in resources.iter().enumerate() {
        for (path, place) in places(resource) {
            sorted.insert(path, (index, place));
        }
    }
    for (path, (index, place)) in sorted {
        let item = path_item(resources[index], place, dialect);
        out.value(&path, &item);
    }
}

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A namespaced collection across all namespaces.
    Everywhere,
    Collection,
    Object,
    /// A subresource by its index.
    Subresource(usize),
}

fn places(resource: &Resource<'_>) -> Vec<(String, Place)> {
    let root = match resource.group {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    let plural = resource.plural;
    let mut places = Vec::new();
    let collection = if resource.namespaced {
        if resource.verbs.contains(&"list") {
            places.push((format!("{root}/{plural}"), Place::Everywhere));
        }
        format!("{root}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{root}/{plural}")
    };
    let object = format!("{collection}/{{name}}");
    for (index, subresource) in resource.subresources.iter().enumerate() {
        let path = format!("{object}/{}", subresource.name);
        if matches!(subresource.name, "proxy") {
            places.push((format!("{path}/{{path}}"), Place::Subresource(index)));
        }
        places.push((path, Place::Subresource(index)));
    }
    if ["list", "create", "deletecollection"].iter().any(|verb| resource.verbs.contains(verb)) {
        places.push((collection, Place::Collection));
    }
    if ["get", "update", "patch", "delete"].iter().any(|verb| resource.verbs.contains(verb)) {
        places.push((object, Place::Object));
    }
    places
}

fn path_item(resource: &Resource<'_>, place: Place, dialect: Dialect) -> Value {
    let mut item = Map::new();
    for operation in operations_at(resource, place) {
        item.insert(operation.method.to_owned(), operations::render(resource, &operation, dialect));
    }
    let mut parameters = Vec::new();
    if matches!(place, Place::Object | Place::Subresource(_)) {
        let text = format!("name of the {}", resource.kind);
        parameters.push(operations::parameter("path", "name", "string", &text, dialect));
    }
    if resource.namespaced && place != Place::Everywhere {
        let text = "object name and auth scope, such as for teams and projects";
        parameters.push(operations::parameter("path", "namespace", "string", text, dialect));
    }
    parameters.push(operations::parameter(
        "query",
        "pretty",
        "string",
        "indent the output",
        dialect,
    ));
    if place == Place::Everywhere {
        parameters.extend(operations::parameters("list", dialect));
    }
    item.insert("parameters".to_owned(), json!(parameters));
    item.into()
}

/// HTTP method, verb of discovery, word in the operation's name, action.
const COLLECTION: [(&str, &str, &str, &str); 3] = [
    ("get", "list", "list", "list"),
    ("post", "create", "create", "post"),
    ("delete", "deletecollection", "delete", "deletecollection"),
];
const OBJECT: [(&str, &str, &str, &str); 4] = [
    ("get", "get", "read", "get"),
    ("put", "update", "replace", "put"),
    ("patch", "patch", "patch", "patch"),
    ("delete", "delete", "delete", "delete"),
];

fn operations_at<'a>(resource: &Resource<'a>, place: Place) -> Vec<Operation<'a>> {
    let own = (resource.group, resource.version, resource.kind);
    let served = |verb: &str| resource.verbs.contains(&verb);
    let operation = |(method, verb, word, action), scope, gvk, subresource| Operation {
        method,
        verb,
        word,
        action,
        scope,
        gvk,
        subresource,
    };
    match place {
        Place::Everywhere => vec![operation(COLLECTION[0], Scope::Everywhere, own, None)],
        Place::Collection => COLLECTION
            .into_iter()
            .filter(|row| served(row.1))
            .map(|row| operation(row, Scope::Collection, own, None))
            .collect(),
        Place::Object => OBJECT
            .into_iter()
            .filter(|row| served(row.1))
            .map(|row| operation(row, Scope::Object, own, None))
            .collect(),
        Place::Subresource(index) => {
            let subresource = &resource.subresources[index];
            let gvk = (subresource.group, subresource.version, subresource.kind);
            let connects = matches!(subresource.name, "exec" | "attach" | "portforward" | "proxy");
            let rows = [OBJECT[0], OBJECT[1], OBJECT[2], OBJECT[3], COLLECTION[1]];
            rows.into_iter()
                .filter(|row| subresource.verbs.contains(&row.1))
                .map(|(method, verb, word, action)| {
                    let (word, action) =
                        if connects { ("connect", "connect") } else { (word, action) };
                    let row = (method, verb, word, action);
                    operation(row, Scope::Object, gvk, Some(subresource.name))
                })
                .collect()
        }
    }
}
