//! Schemas of custom resources: from the OpenAPI v3 value in a definition to [`Schema`].
//!
//! Reads a structural schema. It refuses what cannot be represented (wrong JSON types of keywords,
//! endless nesting); the upstream rules on which schemas are *allowed* belong to admission.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Map, Value};
use thiserror::Error;

use crate::{
    Schema, builtin,
    limits::{SCHEMA_DEPTH_MAX, SCHEMA_NODES_MAX},
    node::{Kind, ListType, MapType, Node, PatchStrategy, Properties, Word},
};

/// Why a schema cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SchemaError {
    /// A schema or keyword has the wrong JSON type.
    #[error("schema{path}: must be {expected}")]
    Malformed {
        /// Where in the schema, such as `.properties.spec`.
        path: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// A keyword has a value that Kubernetes does not know.
    #[error("schema{path}: unsupported value {value:?}")]
    Unsupported {
        /// Where in the schema.
        path: String,
        /// The value found.
        value: String,
    },
    /// The schema is nested too deeply or has too many nodes.
    #[error("schema is too large: more than {SCHEMA_DEPTH_MAX} levels or {SCHEMA_NODES_MAX} nodes")]
    TooLarge,
}

/// Keywords that have an accessor of their own on [`Schema`].
const KNOWN_KEYWORDS: [&str; 19] = [
    "type",
    "format",
    "properties",
    "items",
    "additionalProperties",
    "required",
    "default",
    "enum",
    "nullable",
    "description",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-patch-strategy",
    "x-kubernetes-patch-merge-key",
    "$ref",
];

impl Schema {
    /// Reads a structural OpenAPI v3 schema as written in a custom resource definition.
    ///
    /// Fields named `metadata` of the root are left as written; use [`Schema::custom_resource`] for
    /// the root of a resource. `$ref` to a built-in definition is understood, which only tests use.
    ///
    /// # Errors
    /// [`SchemaError`] names the place that cannot be read.
    pub fn from_openapi(value: &Value) -> Result<Self, SchemaError> {
        let mut reader = Reader { nodes: 0, path: String::new() };
        Ok(Self(Arc::new(reader.node(value, 0)?)))
    }

    /// Reads the schema of a custom resource's root: as [`Schema::from_openapi`], plus the fields
    /// that every object has (`apiVersion`, `kind`, `metadata` with the built-in ObjectMeta).
    ///
    /// # Errors
    /// As [`Schema::from_openapi`].
    pub fn custom_resource(value: &Value) -> Result<Self, SchemaError> {
        let mut reader = Reader { nodes: 0, path: String::new() };
        let mut node = reader.node(value, 0)?;
        add_object_fields(&mut node);
        Ok(Self(Arc::new(node)))
    }
}

/// Gives a node the three fields of every Kubernetes object, over what the user wrote.
fn add_object_fields(node: &mut Node) {
    let mut properties = std::mem::take(&mut node.properties).into_vec();
    properties.retain(|(name, _)| !matches!(name.as_ref(), "apiVersion" | "kind" | "metadata"));
    let string = Arc::new(Node { kind: Some(Kind::String), ..Node::default() });
    let metadata = Arc::new(Node { definition: Some(builtin::object_meta()), ..Node::default() });
    properties.push((Cow::Borrowed("apiVersion"), Arc::clone(&string)));
    properties.push((Cow::Borrowed("kind"), string));
    properties.push((Cow::Borrowed("metadata"), metadata));
    properties.sort_by(|a, b| a.0.cmp(&b.0));
    node.kind = Some(Kind::Object);
    node.properties = properties.into();
}

struct Reader {
    nodes: usize,
    path: String,
}

impl Reader {
    fn malformed(&self, expected: &'static str) -> SchemaError {
        SchemaError::Malformed { path: self.path.clone(), expected }
    }

    /// Reads below one more path segment.
    fn below<T>(
        &mut self,
        segment: &str,
        read: impl FnOnce(&mut Self) -> Result<T, SchemaError>,
    ) -> Result<T, SchemaError> {
        let length = self.path.len();
        self.path.push('.');
        self.path.push_str(segment);
        let result = read(self);
        self.path.truncate(length);
        result
    }

    fn node(&mut self, value: &Value, depth: usize) -> Result<Node, SchemaError> {
        self.nodes += 1;
        if depth > SCHEMA_DEPTH_MAX || self.nodes > SCHEMA_NODES_MAX {
            return Err(SchemaError::TooLarge);
        }
        let map = value.as_object().ok_or_else(|| self.malformed("an object"))?;
        let mut node = Node::default();
        if let Some(name) = self.string(map, "$ref")? {
            node.definition = Some(self.reference(&name)?);
        } else {
            self.structure(map, &mut node, depth)?;
        }
        self.merge_rules(map, &mut node)?;
        self.rare(map, &mut node)?;
        if node.embedded_resource {
            add_object_fields(&mut node);
        }
        Ok(node)
    }

    fn reference(&self, name: &str) -> Result<u16, SchemaError> {
        let definition = name.rsplit('/').next().unwrap_or(name);
        builtin::index(definition).ok_or_else(|| SchemaError::Unsupported {
            path: self.path.clone(),
            value: name.to_owned(),
        })
    }

    /// Type, fields and elements.
    fn structure(
        &mut self,
        map: &Map<String, Value>,
        node: &mut Node,
        depth: usize,
    ) -> Result<(), SchemaError> {
        node.preserve_unknown = self.flag(map, "x-kubernetes-preserve-unknown-fields")?;
        node.embedded_resource = self.flag(map, "x-kubernetes-embedded-resource")?;
        node.format = self.string(map, "format")?;
        node.kind = Some(self.kind(map)?);
        if let Some(properties) = map.get("properties") {
            node.properties = self.below("properties", |r| r.properties(properties, depth))?;
        }
        match map.get("additionalProperties") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => {
                node.kind = Some(Kind::Map);
                node.element = Some(Arc::clone(&Self::any().0));
            }
            Some(schema) if node.properties.is_empty() => {
                node.kind = Some(Kind::Map);
                let read = |r: &mut Self| r.node(schema, depth + 1);
                node.element = Some(Arc::new(self.below("additionalProperties", read)?));
            }
            Some(_) => {}
        }
        if let Some(items) = map.get("items") {
            node.element = Some(Arc::new(self.below("items", |r| r.node(items, depth + 1))?));
        }
        Ok(())
    }

    fn any() -> Schema {
        Schema::any()
    }

    fn kind(&self, map: &Map<String, Value>) -> Result<Kind, SchemaError> {
        if self.flag(map, "x-kubernetes-int-or-string")? {
            return Ok(Kind::IntOrString);
        }
        Ok(match self.string(map, "type")?.as_deref() {
            Some("object") => Kind::Object,
            Some("array") => Kind::Array,
            Some("string") => Kind::String,
            Some("integer") => Kind::Integer,
            Some("number") => Kind::Number,
            Some("boolean") => Kind::Boolean,
            None | Some("") if map.contains_key("properties") => Kind::Object,
            None | Some("") => Kind::Any,
            Some(other) => {
                return Err(SchemaError::Unsupported {
                    path: format!("{}.type", self.path),
                    value: other.to_owned(),
                });
            }
        })
    }

    fn properties(&mut self, value: &Value, depth: usize) -> Result<Properties, SchemaError> {
        let map = value.as_object().ok_or_else(|| self.malformed("an object"))?;
        let mut properties = Vec::with_capacity(map.len());
        for (name, schema) in map {
            let node = self.below(name, |r| r.node(schema, depth + 1))?;
            properties.push((Cow::Owned(name.clone()), Arc::new(node)));
        }
        properties.sort_by(|a: &(Word, _), b| a.0.cmp(&b.0));
        Ok(properties.into())
    }

    /// What server-side apply and strategic merge patch read.
    fn merge_rules(&self, map: &Map<String, Value>, node: &mut Node) -> Result<(), SchemaError> {
        let unsupported = |keyword: &str, value: &str| SchemaError::Unsupported {
            path: format!("{}.{keyword}", self.path),
            value: value.to_owned(),
        };
        node.list_type = match self.string(map, "x-kubernetes-list-type")?.as_deref() {
            None => None,
            Some("atomic") => Some(ListType::Atomic),
            Some("set") => Some(ListType::Set),
            Some("map") => Some(ListType::Map),
            Some(other) => return Err(unsupported("x-kubernetes-list-type", other)),
        };
        node.map_type = match self.string(map, "x-kubernetes-map-type")?.as_deref() {
            None => None,
            Some("granular") => Some(MapType::Granular),
            Some("atomic") => Some(MapType::Atomic),
            Some(other) => return Err(unsupported("x-kubernetes-map-type", other)),
        };
        if let Some(words) = self.string(map, "x-kubernetes-patch-strategy")? {
            node.patch_strategy = PatchStrategy::parse(&words);
        }
        let keys = self.strings(map, "x-kubernetes-list-map-keys")?;
        if !keys.is_empty() {
            node.rare_mut().list_map_keys = keys;
        }
        if let Some(key) = self.string(map, "x-kubernetes-patch-merge-key")? {
            node.rare_mut().patch_merge_key = Some(key);
        }
        Ok(())
    }

    fn rare(&self, map: &Map<String, Value>, node: &mut Node) -> Result<(), SchemaError> {
        node.nullable = self.flag(map, "nullable")?;
        let required = self.strings(map, "required")?;
        if !required.is_empty() {
            node.rare_mut().required = required;
        }
        if let Some(default) = map.get("default") {
            node.rare_mut().default = Some(default.clone());
        }
        match map.get("enum") {
            None | Some(Value::Null) => {}
            Some(Value::Array(values)) => node.rare_mut().enum_values.clone_from(values),
            Some(_) => return Err(self.malformed("an object whose enum is a list")),
        }
        if let Some(description) = self.string(map, "description")? {
            node.rare_mut().description = Some(description.into_owned());
        }
        let other = map.iter().filter(|(name, _)| !KNOWN_KEYWORDS.contains(&name.as_str()));
        for (name, value) in other {
            node.rare_mut().keywords.insert(name.clone(), value.clone());
        }
        Ok(())
    }

    fn flag(&self, map: &Map<String, Value>, keyword: &str) -> Result<bool, SchemaError> {
        match map.get(keyword) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(_) => Err(self.keyword_malformed(keyword, "true or false")),
        }
    }

    fn string(&self, map: &Map<String, Value>, keyword: &str) -> Result<Option<Word>, SchemaError> {
        match map.get(keyword) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(Cow::Owned(text.clone()))),
            Some(_) => Err(self.keyword_malformed(keyword, "a string")),
        }
    }

    fn strings(&self, map: &Map<String, Value>, keyword: &str) -> Result<Vec<Word>, SchemaError> {
        let malformed = || self.keyword_malformed(keyword, "a list of strings");
        match map.get(keyword) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| Ok(Cow::Owned(item.as_str().ok_or_else(malformed)?.to_owned())))
                .collect(),
            Some(_) => Err(malformed()),
        }
    }

    fn keyword_malformed(&self, keyword: &str, expected: &'static str) -> SchemaError {
        SchemaError::Malformed { path: format!("{}.{keyword}", self.path), expected }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::SchemaError;
    use crate::{Kind, ListType, MapType, Schema};

    #[test]
    fn structural_schemas() {
        let schema = Schema::from_openapi(&json!({
            "type": "object", "required": ["spec"], "description": "A thing.",
            "properties": {
                "spec": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {
                    "port": {"x-kubernetes-int-or-string": true},
                    "size": {"type": "integer", "format": "int32", "minimum": 1, "default": 3},
                    "list": {"type": "array", "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["a", "b"], "items": {"type": "object"}},
                    "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                    "map": {"type": "object", "additionalProperties": {"type": "string", "nullable": true}},
                    "anything": {"x-kubernetes-preserve-unknown-fields": true},
                    "open": {"type": "object", "additionalProperties": true},
                    "pod": {"type": "object", "x-kubernetes-embedded-resource": true}}}}
        }))
        .expect("readable");
        assert_eq!(schema.required(), ["spec"]);
        assert_eq!(schema.description(), Some("A thing."));
        let spec = schema.property("spec").expect("a field");
        assert_eq!(spec.map_type(), MapType::Atomic);
        let field = |name: &str| spec.property(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(field("port").kind(), Kind::IntOrString);
        assert_eq!(field("size").default(), Some(&json!(3)));
        assert_eq!(field("size").keyword("minimum"), Some(&json!(1)));
        assert_eq!(field("list").list_type(), ListType::Map);
        assert_eq!(field("list").list_map_keys(), ["a", "b"]);
        assert_eq!(field("set").list_type(), ListType::Set);
        assert!(field("map").values().expect("values").nullable());
        assert_eq!(field("anything").kind(), Kind::Any);
        assert!(field("anything").preserve_unknown());
        assert_eq!(field("open").values().map(|values| values.kind()), Some(Kind::Any));
        let metadata = field("pod").property("metadata").expect("added");
        assert_eq!(
            metadata.definition_name(),
            Some("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (schema, expected) in [
            (json!([]), "schema: must be an object"),
            (
                json!({"properties": {"a": {"type": 5}}}),
                "schema.properties.a.type: must be a string",
            ),
            (json!({"items": {"type": "null"}}), "schema.items.type: unsupported value \"null\""),
            (
                json!({"x-kubernetes-list-type": "bag"}),
                "schema.x-kubernetes-list-type: unsupported value \"bag\"",
            ),
        ] {
            let error = Schema::from_openapi(&schema).expect_err("refused");
            assert_eq!(error.to_string(), expected);
        }
        let mut deep = json!({"type": "string"});
        for _ in 0..200 {
            deep = json!({"type": "array", "items": deep});
        }
        assert_eq!(Schema::from_openapi(&deep).expect_err("refused"), SchemaError::TooLarge);
    }

    proptest! {
        #[test]
        fn arbitrary_values_do_not_panic(text in r#"[\{\}\[\]:,"a-z0-9\-]{0,80}"#) {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let _ = Schema::custom_resource(&value);
            }
        }
    }
}
