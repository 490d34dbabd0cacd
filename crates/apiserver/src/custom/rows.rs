//! From a definition to rows of the table.

use std::borrow::Cow;
use std::sync::Arc;

use api::meta;
use api::resource::{
    ALL_VERBS, Cell, Column, NameRule, Names, Resource, Scope, StrategyRef, Subresource,
};
use schema::{Schema, SchemaError};
use serde_json::Value;

use super::conversion::Conversion;
use super::strategy::CustomStrategy;
use crate::discovery;
use crate::handle::text;
use crate::registry::CustomRow;

/// What is still served while a definition and its objects are deleted.
const DYING_VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Where a custom resource keeps what `scale` shows, as simple JSON paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    /// `spec.…`
    pub(crate) replicas: String,
    /// `status.…`
    pub(crate) status_replicas: String,
    /// `status.…`, may be empty.
    pub(crate) selector: String,
}

/// The served versions of a definition.
///
/// # Errors
/// A schema cannot be read.
pub(crate) fn of(definition: &Value) -> Result<Vec<CustomRow>, SchemaError> {
    let versions = versions(definition);
    let storage = versions.iter().find(|v| v["storage"] == Value::Bool(true));
    let storage = storage.map(|version| text(version, "/name").to_owned()).unwrap_or_default();
    let served = versions.iter().filter(|v| v["served"] == Value::Bool(true));
    let conversion = Conversion::of(definition);
    let rows = served.map(|version| {
        Ok(CustomRow { conversion: conversion.clone(), ..row(definition, version, &storage)? })
    });
    rows.collect()
}

fn versions(definition: &Value) -> Vec<&Value> {
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    versions.into_iter().flatten().collect()
}

fn owned(definition: &Value, pointer: &str) -> Cow<'static, str> {
    Cow::Owned(text(definition, pointer).to_owned())
}

fn names(definition: &Value, pointer: &str) -> Names {
    let list = definition.pointer(pointer).and_then(Value::as_array);
    Names::Owned(list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn row(definition: &Value, version: &Value, storage: &str) -> Result<CustomRow, SchemaError> {
    let open = Value::Object(serde_json::Map::from_iter([
        ("type".to_owned(), Value::from("object")),
        ("x-kubernetes-preserve-unknown-fields".to_owned(), Value::Bool(true)),
    ]));
    let open_api = version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or(open);
    let preserves_all =
        definition.pointer("/spec/preserveUnknownFields") == Some(&Value::Bool(true));
    let schema = if preserves_all { Schema::any() } else { Schema::custom_resource(&open_api)? };
    let has_status = version.pointer("/subresources/status").is_some();
    let scale = version.pointer("/subresources/scale").map(|scale| ScalePaths {
        replicas: text(scale, "/specReplicasPath").to_owned(),
        status_replicas: text(scale, "/statusReplicasPath").to_owned(),
        selector: text(scale, "/labelSelectorPath").to_owned(),
    });
    let mut subresources = Vec::new();
    subresources.extend(has_status.then_some(Subresource::STATUS));
    subresources.extend(scale.is_some().then_some(Subresource::SCALE));
    let namespaced = text(definition, "/spec/scope") == "Namespaced";
    let names_of = definition.pointer("/status/acceptedNames");
    let names_of = names_of.or_else(|| definition.pointer("/spec/names")).unwrap_or(&Value::Null);
    let strategy =
        CustomStrategy::new(open_api, &schema, version, &versions(definition), has_status);
    let row = Resource {
        group: owned(definition, "/spec/group"),
        version: owned(version, "/name"),
        kind: owned(names_of, "/kind"),
        list_kind: owned(names_of, "/listKind"),
        plural: owned(names_of, "/plural"),
        singular: owned(names_of, "/singular"),
        short_names: names(names_of, "/shortNames"),
        categories: names(names_of, "/categories"),
        scope: if namespaced { Scope::Namespaced } else { Scope::Cluster },
        verbs: Names::Static(if meta::is_deleting(definition) { DYING_VERBS } else { ALL_VERBS }),
        subresources,
        columns: columns(version),
        name_rule: NameRule::Subdomain,
        has_status,
        has_generation: true,
        create_on_update: false,
        shows_deleted: false,
        orphans_by_default: false,
        needs_revision: true,
        virtual_only: false,
        off_by_default: false,
        storage_group: owned(definition, "/spec/group"),
        storage_version: Cow::Owned(storage.to_owned()),
        storage_plural: owned(names_of, "/plural"),
        strategy: StrategyRef::Shared(Arc::new(strategy)),
    };
    let (row, deprecation) = (Arc::new(row), deprecation(definition, version));
    Ok(CustomRow { row, schema, scale, conversion: None, deprecation, stamp: 0 })
}

/// What clients of a deprecated version are told.
fn deprecation(definition: &Value, version: &Value) -> Option<String> {
    let is = |version: &Value, flag: &str| version[flag] == Value::Bool(true);
    if !is(version, "deprecated") {
        return None;
    }
    if let Some(own) = version.get("deprecationWarning").and_then(Value::as_str) {
        return Some(own.to_owned());
    }
    let (group, kind) = (text(definition, "/spec/group"), text(definition, "/spec/names/kind"));
    let name = |version| text(version, "/name");
    let rank = |version| discovery::version_rank(name(version));
    let candidates = versions(definition).into_iter().filter(|other| {
        is(other, "served") && !is(other, "deprecated") && rank(*other) > rank(version)
    });
    let better = candidates.max_by_key(|other| rank(*other));
    let use_it = better.map(|better| format!("; use {group}/{} {kind}", name(better)));
    Some(format!("{group}/{} {kind} is deprecated{}", name(version), use_it.unwrap_or_default()))
}

fn columns(version: &Value) -> Vec<Column> {
    let columns = version.get("additionalPrinterColumns").and_then(Value::as_array);
    columns
        .into_iter()
        .flatten()
        .map(|column| Column {
            name: owned(column, "/name"),
            kind: owned(column, "/type"),
            format: owned(column, "/format"),
            description: owned(column, "/description"),
            priority: column
                .get("priority")
                .and_then(Value::as_i64)
                .and_then(|priority| i32::try_from(priority).ok())
                .unwrap_or(0),
            cell: Cell::Path(text(column, "/jsonPath").to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deprecated_versions_say_what_to_use_instead() {
        let version = |name: &str, deprecated: bool| json!({"name": name, "served": true, "deprecated": deprecated});
        let definition = |versions: Value| json!({"spec": {"group": "acme.com", "names": {"kind": "Foo"}, "versions": versions}});
        let mut own = version("v1", true);
        own["deprecationWarning"] = json!("no more foo");
        let cases = [
            (json!([version("v1", false)]), None),
            (json!([version("v1", true)]), Some("acme.com/v1 Foo is deprecated")),
            (json!([own]), Some("no more foo")),
            (
                json!([version("v1beta1", true), version("v1beta2", false), version("v1", false)]),
                Some("acme.com/v1beta1 Foo is deprecated; use acme.com/v1 Foo"),
            ),
            (
                json!([version("v1", true), version("v1beta1", false)]),
                Some("acme.com/v1 Foo is deprecated"),
            ),
        ];
        for (versions, expected) in cases {
            let definition = definition(versions);
            let first = &definition["spec"]["versions"][0];
            assert_eq!(deprecation(&definition, first).as_deref(), expected);
        }
    }
}
