//! The documents against what clients look for in them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Resource, Subresource, v2, v3_for_group_version, v3_index};
use crate::Schema;

const ALL: [&str; 8] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

fn pods() -> Resource<'static> {
    Resource {
        group: "",
        version: "v1",
        kind: "Pod",
        list_kind: "PodList",
        plural: "pods",
        namespaced: true,
        verbs: ALL.to_vec(),
        subresources: vec![
            subresource("status", ("", "v1", "Pod"), &["get", "update", "patch"]),
            subresource("log", ("", "v1", "Pod"), &["get"]),
            subresource("exec", ("", "v1", "PodExecOptions"), &["get", "create"]),
            subresource("eviction", ("policy", "v1", "Eviction"), &["create"]),
        ],
        schema: None,
        selectable_fields: Vec::new(),
    }
}

fn subresource(
    name: &'static str,
    (group, version, kind): (&'static str, &'static str, &'static str),
    verbs: &[&'static str],
) -> Subresource<'static> {
    Subresource { name, group, version, kind, verbs: verbs.to_vec() }
}

fn cron_tabs() -> Resource<'static> {
    let schema = Schema::custom_resource(&json!({"type": "object", "description": "A tab.", "properties": {
        "spec": {"type": "object", "required": ["cron"], "properties": {
            "cron": {"type": "string", "pattern": "^x$", "default": "x"},
            "size": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "tabs": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}}}}}}}}))
    .expect("structural");
    Resource {
        group: "stable.example.com",
        version: "v1",
        kind: "CronTab",
        list_kind: "CronTabList",
        plural: "crontabs",
        namespaced: true,
        verbs: ALL.to_vec(),
        subresources: Vec::new(),
        schema: Some(schema),
        selectable_fields: Vec::new(),
    }
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// Every reference in a document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("$ref", Value::String(target)) => drop(found.insert(target.clone())),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn assert_closed(document: &Value) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    for target in found {
        assert!(document.pointer(&target[1..]).is_some(), "{target}");
    }
}

#[test]
fn v3_of_the_core_group() {
    let document = parse(&v3_for_group_version("", "v1", &[pods(), cron_tabs()], "v1.37.0"));
    assert_closed(&document);
    assert_eq!(document["info"]["version"], "v1.37.0");
    let paths = document["paths"].as_object().expect("paths");
    let names: Vec<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "/api/v1/namespaces/{namespace}/pods",
            "/api/v1/namespaces/{namespace}/pods/{name}",
            "/api/v1/namespaces/{namespace}/pods/{name}/eviction",
            "/api/v1/namespaces/{namespace}/pods/{name}/exec",
            "/api/v1/namespaces/{namespace}/pods/{name}/log",
            "/api/v1/namespaces/{namespace}/pods/{name}/status",
            "/api/v1/pods",
        ]
    );
    let patch = &paths["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert_eq!(patch["operationId"], "patchCoreV1NamespacedPod");
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "", "version": "v1", "kind": "Pod"})
    );
    let names: Vec<&Value> =
        patch["parameters"].as_array().expect("a list").iter().map(|p| &p["name"]).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let schemas = &document["components"]["schemas"];
    let protocol = &schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"];
    assert_eq!(protocol["default"], "TCP");
    assert!(protocol["description"].as_str().expect("described").starts_with("Protocol for port."));
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    let created = &schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"]["creationTimestamp"];
    assert_eq!(
        created["allOf"],
        json!([{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.Time"}])
    );
    let exec = &paths["/api/v1/namespaces/{namespace}/pods/{name}/exec"]["post"];
    assert_eq!(exec["operationId"], "connectCoreV1PostNamespacedPodExec");
}

#[test]
fn v3_of_a_custom_group() {
    let document =
        parse(&v3_for_group_version("stable.example.com", "v1", &[cron_tabs()], "v1.37.0"));
    assert_closed(&document);
    let schema = &document["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(
        schema["x-kubernetes-group-version-kind"],
        json!([{"group": "stable.example.com", "version": "v1", "kind": "CronTab"}])
    );
    assert_eq!(schema["description"], "A tab.");
    let spec = &schema["properties"]["spec"];
    assert_eq!(
        spec["properties"]["cron"],
        json!({"type": "string", "pattern": "^x$", "default": "x"})
    );
    assert_eq!(spec["properties"]["size"]["x-kubernetes-int-or-string"], true);
    assert!(spec["properties"]["size"].get("type").is_none());
    assert_eq!(spec["properties"]["tabs"]["x-kubernetes-list-map-keys"], json!(["name"]));
    let patch = &document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]
        ["patch"];
    assert!(
        patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none()
    );
    assert_eq!(patch["operationId"], "patchStableExampleComV1NamespacedCronTab");
}

#[test]
fn v2_of_everything() {
    let document = parse(&v2(&[pods(), cron_tabs()], &[], "v1.37.0"));
    assert_closed(&document);
    assert_eq!(document["swagger"], "2.0");
    let definitions = &document["definitions"];
    let quantity = &definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"];
    assert_eq!(quantity["type"], "string");
    let size =
        &definitions["com.example.stable.v1.CronTab"]["properties"]["spec"]["properties"]["size"];
    assert!(size.get("anyOf").is_none());
    let post = &document["paths"]["/api/v1/namespaces/{namespace}/pods"]["post"];
    assert_eq!(post["parameters"][0]["name"], "body");
}

#[test]
fn the_index_names_hashes() {
    assert_eq!(
        v3_index([("api/v1", "AB")]),
        json!({"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=AB"}}})
    );
}

#[test]
fn every_built_in_kind_renders() {
    let names: Vec<(String, String, String)> = crate::builtin_names()
        .flat_map(crate::builtin::kinds_of)
        .map(|gvk| (gvk.group.into_owned(), gvk.version.into_owned(), gvk.kind.into_owned()))
        .collect();
    let resources: Vec<Resource<'_>> = names
        .iter()
        .map(|(group, version, kind)| Resource {
            group,
            version,
            kind,
            list_kind: "",
            plural: kind,
            namespaced: false,
            verbs: vec!["get"],
            subresources: Vec::new(),
            schema: None,
            selectable_fields: Vec::new(),
        })
        .collect();
    let bytes = v2(&resources, &[], "v1.37.0");
    let document = parse(&bytes);
    assert_closed(&document);
    assert!(document["definitions"].as_object().expect("definitions").len() > 700);
}

/// The length-delimited fields of a message: number and bytes.
fn wire_fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if *byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        assert_eq!(tag & 7, 2, "only nested messages and texts at this level");
        let length = usize::try_from(varint(&mut bytes)).expect("short");
        let (field, rest) = bytes.split_at(length);
        fields.push((tag >> 3, field));
        bytes = rest;
    }
    fields
}

#[test]
fn v2_in_protobuf_has_the_same_entries() {
    let resources = [pods(), cron_tabs()];
    let document = parse(&v2(&resources, &[], "v1.37.0"));
    let bytes = super::v2_protobuf(&resources, &[], "v1.37.0");
    let fields = wire_fields(&bytes);
    let field = |number| fields.iter().find(|(n, _)| *n == number).expect("present").1;
    assert_eq!(field(1), b"2.0");
    for (number, key) in [(8, "paths"), (9, "definitions")] {
        let names: Vec<&[u8]> =
            wire_fields(field(number)).iter().map(|(_, entry)| wire_fields(entry)[0].1).collect();
        let expected = document[key].as_object().expect("a map");
        assert_eq!(names.len(), expected.len());
        for name in names {
            assert!(expected.contains_key(std::str::from_utf8(name).expect("a name")));
        }
    }
}

/// A custom resource with this schema, as one dialect defines it.
fn rendered(schema: Value, dialect: super::Dialect) -> Value {
    let schema = Schema::custom_resource(&schema).expect("readable");
    let resource = cron_tabs();
    let descriptions = crate::descriptions::Descriptions::unpack();
    super::definition::custom(&resource, &schema, &descriptions, dialect)
}

#[test]
fn version_2_leaves_open_values_open() {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"a": {"type": "string"}}});
    let v2 = rendered(open.clone(), super::Dialect::V2);
    assert_eq!(v2["type"], "object");
    assert_eq!(v2.as_object().expect("a map").len(), 2, "{v2}");
    let v3 = rendered(open, super::Dialect::V3);
    assert_eq!(v3["properties"]["a"]["type"], "string");
    let nested = json!({"type": "object", "required": ["n", "o"], "properties": {
        "n": {"type": "string", "nullable": true},
        "o": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"x": {"type": "string"}}}}});
    let v2 = rendered(nested, super::Dialect::V2);
    assert_eq!(v2["required"], json!(["o"]));
    assert_eq!(v2["properties"]["o"], json!({"x-kubernetes-preserve-unknown-fields": true}));
    assert_eq!(v2["properties"]["n"], json!({}));
}
