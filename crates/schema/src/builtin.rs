//! The schemas of the built-in kinds, read from the checked-in table `builtin/definitions.txt`.
//!
//! The table is text in the program's read-only pages: at the first use its headings are indexed, and
//! a definition becomes nodes on the heap only when somebody asks for it. `cargo xtask gen schema`
//! writes the table; its head explains the notation.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock, OnceLock},
};

use serde_json::Value;

use crate::{
    Schema,
    defaults::default_of,
    node::{GroupVersionKind, Kind, ListType, MapType, Node, PatchStrategy, Word},
};

static TABLE: &str = include_str!("builtin/definitions.txt");
static INDEX: LazyLock<Index> = LazyLock::new(|| Index::scan(TABLE));

/// Every object's metadata.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Where each definition is in the table, and which kinds it stands for.
struct Index {
    entries: Vec<Entry>,
    /// Group, version, kind and entry, sorted.
    kinds: Vec<(&'static str, &'static str, &'static str, u16)>,
}

struct Entry {
    name: &'static str,
    /// What follows the name in the heading.
    heading: &'static str,
    /// The field lines.
    body: &'static str,
    node: OnceLock<Arc<Node>>,
}

impl Index {
    fn scan(table: &'static str) -> Self {
        let mut entries = Vec::with_capacity(1024);
        let mut kinds = Vec::with_capacity(1024);
        for block in table.split("\n\n").filter(|block| !block.starts_with('#')) {
            let (heading, body) = block.split_once('\n').unwrap_or((block, ""));
            let (name, heading) = heading.split_once(' ').unwrap_or((heading, ""));
            if name.is_empty() {
                continue;
            }
            let index =
                u16::try_from(entries.len()).expect("the table has fewer than 65536 entries");
            for gvk in gvks_of_heading(heading) {
                kinds.push((gvk.0, gvk.1, gvk.2, index));
            }
            entries.push(Entry { name, heading, body, node: OnceLock::new() });
        }
        kinds.sort_unstable();
        Self { entries, kinds }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.name.cmp(name)).ok()
    }
}

fn gvks_of_heading(
    heading: &'static str,
) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    heading.split(' ').filter_map(|word| word.strip_prefix("gvk=")).filter_map(|gvk| {
        let mut parts = gvk.split('/');
        Some((parts.next()?, parts.next()?, parts.next()?))
    })
}

/// The schema of a built-in definition by its OpenAPI name, such as `io.k8s.api.core.v1.Pod`.
pub fn builtin(definition: &str) -> Option<Schema> {
    INDEX.position(definition).map(|position| Schema(node(&INDEX.entries[position])))
}

/// The schema of a built-in kind, lists and request kinds included. The core group is `""`.
///
/// Kinds that exist in every group (`DeleteOptions`, `WatchEvent`) are found under each.
pub fn for_kind(group: &str, version: &str, kind: &str) -> Option<Schema> {
    builtin(definition_for_kind(group, version, kind)?)
}

/// The name of the definition behind a built-in kind.
pub fn definition_for_kind(group: &str, version: &str, kind: &str) -> Option<&'static str> {
    let kinds = &INDEX.kinds;
    let key = (group, version, kind);
    let position = kinds.binary_search_by(|(g, v, k, _)| (*g, *v, *k).cmp(&key)).ok()?;
    Some(INDEX.entries[usize::from(kinds[position].3)].name)
}

/// The names of all built-in definitions, sorted.
pub fn builtin_names() -> impl ExactSizeIterator<Item = &'static str> {
    INDEX.entries.iter().map(|entry| entry.name)
}

/// The kinds that a definition stands for, as in `x-kubernetes-group-version-kind`.
pub(crate) fn kinds_of(definition: &str) -> Vec<GroupVersionKind> {
    let heading = INDEX.position(definition).map_or("", |position| INDEX.entries[position].heading);
    gvks_of_heading(heading)
        .map(|(group, version, kind)| GroupVersionKind {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            kind: Cow::Borrowed(kind),
        })
        .collect()
}

/// The JSON text of a definition's `x-kubernetes-unions`.
pub(crate) fn unions_of(definition: &str) -> Option<&'static str> {
    let position = INDEX.position(definition)?;
    INDEX.entries[position].heading.split(' ').find_map(|word| word.strip_prefix("unions="))
}

pub(crate) fn index(definition: &str) -> Option<u16> {
    INDEX.position(definition).and_then(|position| u16::try_from(position).ok())
}

pub(crate) fn object_meta() -> u16 {
    index(OBJECT_META).expect("the table has ObjectMeta")
}

pub(crate) fn definition_name(index: u16) -> &'static str {
    INDEX.entries[usize::from(index)].name
}

pub(crate) fn definition(index: u16) -> &'static Node {
    INDEX.entries[usize::from(index)].node.get_or_init(|| read(&INDEX.entries[usize::from(index)]))
}

fn node(entry: &'static Entry) -> Arc<Node> {
    Arc::clone(entry.node.get_or_init(|| read(entry)))
}

fn read(entry: &'static Entry) -> Arc<Node> {
    let mut node = Node { kind: Some(Kind::Object), ..Node::default() };
    node.rare_mut().name = Some(entry.name);
    for word in entry.heading.split(' ') {
        if let Some(shape) = word.strip_prefix("is=") {
            apply_shape(&mut node, shape);
        }
        apply_option(&mut node, word);
    }
    let mut properties = Vec::new();
    for line in entry.body.lines() {
        let (name, rest) = line.split_once(' ').expect("a field line has a type");
        let (name, required) = match name.strip_suffix('!') {
            Some(name) => (name, true),
            None => (name, false),
        };
        if required {
            node.rare_mut().required.push(Cow::Borrowed(name));
        }
        properties.push((Word::Borrowed(name), field(entry.name, name, rest)));
    }
    node.properties = properties.into();
    Arc::new(node)
}

fn field(definition: &str, name: &str, rest: &'static str) -> Arc<Node> {
    let (shape, options) = rest.split_once(' ').unwrap_or((rest, ""));
    let default = default_of(definition, name);
    let values = crate::enums::values_of(definition, name);
    if options.is_empty() && default.is_none() && values.is_none() {
        return shared(shape);
    }
    let mut node = Node::default();
    apply_shape(&mut node, shape);
    for option in options.split(' ') {
        apply_option(&mut node, option);
    }
    if let Some(default) = default {
        node.rare_mut().default = Some(default.into());
    }
    if let Some(values) = values {
        restrict(&mut node, values.map(Value::from).collect());
    }
    Arc::new(node)
}

/// Says which values a field may have, or the items of a list.
fn restrict(node: &mut Node, values: Vec<Value>) {
    match &mut node.element {
        Some(items) => {
            let mut one = Node { kind: items.kind, ..Node::default() };
            one.rare_mut().enum_values = values;
            *items = Arc::new(one);
        }
        None => node.rare_mut().enum_values = values,
    }
}

/// A node that says nothing but its shape. The commonest are one allocation for all uses.
fn shared(shape: &'static str) -> Arc<Node> {
    static STRING: LazyLock<Arc<Node>> = LazyLock::new(|| shaped("string"));
    static INT32: LazyLock<Arc<Node>> = LazyLock::new(|| shaped("integer/int32"));
    static BOOLEAN: LazyLock<Arc<Node>> = LazyLock::new(|| shaped("boolean"));
    match shape {
        "string" => Arc::clone(&STRING),
        "integer/int32" => Arc::clone(&INT32),
        "boolean" => Arc::clone(&BOOLEAN),
        other => shaped(other),
    }
}

fn shaped(shape: &'static str) -> Arc<Node> {
    let mut node = Node::default();
    apply_shape(&mut node, shape);
    Arc::new(node)
}

fn apply_shape(node: &mut Node, shape: &'static str) {
    if let Some(definition) = shape.strip_prefix('&') {
        node.definition = Some(index(definition).expect("the table is closed under references"));
        return;
    }
    if let Some(items) = shape.strip_prefix('[') {
        node.kind = Some(Kind::Array);
        node.element = Some(shared(items));
        return;
    }
    if let Some(values) = shape.strip_prefix('{') {
        node.kind = Some(Kind::Map);
        node.element = Some(shared(values));
        return;
    }
    let (name, format) = match shape.split_once('/') {
        Some((name, format)) => (name, Some(Cow::Borrowed(format))),
        None => (shape, None),
    };
    node.format = format;
    node.preserve_unknown = name == "any";
    node.kind = Some(match name {
        "string" => Kind::String,
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        "boolean" => Kind::Boolean,
        "int-or-string" => Kind::IntOrString,
        "quantity" => Kind::Quantity,
        "object" => Kind::Object,
        _ => Kind::Any,
    });
}

fn apply_option(node: &mut Node, option: &'static str) {
    let Some((name, value)) = option.split_once('=') else { return };
    match name {
        "list" => apply_list(node, value),
        "map" if value == "atomic" => node.map_type = Some(MapType::Atomic),
        "map" => node.map_type = Some(MapType::Granular),
        "patch" => node.patch_strategy = PatchStrategy::parse(value),
        "key" => node.rare_mut().patch_merge_key = Some(Cow::Borrowed(value)),
        _ => {}
    }
}

fn apply_list(node: &mut Node, value: &'static str) {
    let (list_type, keys) = value.split_once(':').unwrap_or((value, ""));
    node.list_type = Some(match list_type {
        "map" => ListType::Map,
        "set" => ListType::Set,
        _ => ListType::Atomic,
    });
    if !keys.is_empty() {
        node.rare_mut().list_map_keys = keys.split(',').map(Cow::Borrowed).collect();
    }
}

#[cfg(test)]
mod tests;
