//! One node of a schema, and the handle through which everybody reads it.
//!
//! A node is built once ([`crate::builtin`], [`crate::structural`]) and never changes; nothing here
//! parses or validates.

use std::{borrow::Cow, fmt, sync::Arc};

use serde_json::{Map, Value};

use crate::builtin;

/// A word of a schema: borrowed from the built-in table, owned for custom resources.
pub(crate) type Word = Cow<'static, str>;

/// The shape of the values that a schema node describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An object with named fields (a Go struct).
    Object,
    /// An object whose keys are free and whose values share one schema (a Go map).
    Map,
    /// A list.
    Array,
    /// A string; see [`Schema::format`] for dates and base64 bytes.
    String,
    /// A whole number; the format says `int32` or `int64`.
    Integer,
    /// A floating point number.
    Number,
    /// True or false.
    Boolean,
    /// Either a whole number or a string, such as a port or a percentage.
    IntOrString,
    /// A quantity such as `100m` or `1Gi`: a string, or a bare number on input.
    Quantity,
    /// Any JSON value, kept as it is.
    Any,
}

/// How a list is merged by server-side apply (`x-kubernetes-list-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ListType {
    /// Replaced as a whole; upstream's default.
    #[default]
    Atomic,
    /// A set of scalars, merged by value.
    Set,
    /// A list of objects, merged by the keys in [`Schema::list_map_keys`].
    Map,
}

/// How an object or map is merged by server-side apply (`x-kubernetes-map-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MapType {
    /// Field by field; upstream's default.
    #[default]
    Granular,
    /// Replaced as a whole.
    Atomic,
}

/// The set in `x-kubernetes-patch-strategy`, read by strategic merge patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// Lists are merged by the merge key (or by value for scalars) instead of replaced.
    pub merge: bool,
    /// Objects are replaced instead of merged.
    pub replace: bool,
    /// Fields that the patch does not name in `$retainKeys` are cleared.
    pub retain_keys: bool,
}

impl PatchStrategy {
    /// Reads the comma-separated words of the extension; unknown words mean nothing, as upstream.
    pub(crate) fn parse(words: &str) -> Self {
        let mut strategy = Self::default();
        for word in words.split(',') {
            match word {
                "merge" => strategy.merge = true,
                "replace" => strategy.replace = true,
                "retainKeys" => strategy.retain_keys = true,
                _ => {}
            }
        }
        strategy
    }

    /// The value of the extension, or nothing if no strategy is set.
    pub fn extension(self) -> Option<String> {
        let words =
            [(self.merge, "merge"), (self.replace, "replace"), (self.retain_keys, "retainKeys")];
        let set: Vec<&str> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        (!set.is_empty()).then(|| set.join(","))
    }
}

/// Group, version and kind; the group of the core API is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKind {
    /// API group, such as `apps`.
    pub group: Cow<'static, str>,
    /// Version in the group, such as `v1`.
    pub version: Cow<'static, str>,
    /// Kind, such as `Deployment`.
    pub kind: Cow<'static, str>,
}

/// The named fields of an object, sorted by name.
pub(crate) type Properties = Box<[(Word, Arc<Node>)]>;

/// What a node holds. `definition` set means: this is a use of a built-in definition, and what the
/// node itself does not say is read from there.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) kind: Option<Kind>,
    pub(crate) format: Option<Word>,
    pub(crate) definition: Option<u16>,
    pub(crate) properties: Properties,
    pub(crate) element: Option<Arc<Self>>,
    pub(crate) list_type: Option<ListType>,
    pub(crate) map_type: Option<MapType>,
    pub(crate) patch_strategy: PatchStrategy,
    pub(crate) nullable: bool,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded_resource: bool,
    pub(crate) rare: Option<Box<Rare>>,
}

/// What few nodes have, kept out of [`Node`] to keep it small.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    pub(crate) name: Option<&'static str>,
    pub(crate) list_map_keys: Vec<Word>,
    pub(crate) patch_merge_key: Option<Word>,
    pub(crate) required: Vec<Word>,
    pub(crate) default: Option<Value>,
    pub(crate) enum_values: Vec<Value>,
    pub(crate) description: Option<String>,
    pub(crate) keywords: Map<String, Value>,
}

impl Node {
    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// A cheap, cloneable handle to one node of a schema.
///
/// ```
/// let pod = schema::for_kind("", "v1", "Pod").expect("built in");
/// let containers = pod.property("spec").and_then(|spec| spec.property("containers")).expect("known");
/// assert_eq!(containers.kind(), schema::Kind::Array);
/// assert_eq!(containers.list_map_keys(), ["name"]);
/// ```
#[derive(Clone)]
pub struct Schema(pub(crate) Arc<Node>);

impl Schema {
    /// A schema that takes and keeps any value.
    pub fn any() -> Self {
        Self(Arc::new(Node { kind: Some(Kind::Any), preserve_unknown: true, ..Node::default() }))
    }

    /// The node that holds the structure: this one, or the built-in definition that it uses.
    fn structure(&self) -> &Node {
        match self.0.definition {
            Some(index) => builtin::definition(index),
            None => &self.0,
        }
    }

    fn rare(&self) -> Option<&Rare> {
        self.0.rare.as_deref()
    }

    fn structure_rare(&self) -> Option<&Rare> {
        self.structure().rare.as_deref()
    }

    /// The shape of the values.
    pub fn kind(&self) -> Kind {
        self.structure().kind.unwrap_or(Kind::Any)
    }

    /// The OpenAPI format (`int32`, `date-time`, `byte`, ...), if any.
    pub fn format(&self) -> Option<&str> {
        self.structure().format.as_deref()
    }

    /// The name of the built-in definition that this node is or uses, such as
    /// `io.k8s.api.core.v1.PodSpec`. Custom resources have none.
    pub fn definition_name(&self) -> Option<&'static str> {
        self.structure_rare().and_then(|rare| rare.name)
    }

    /// The schema of one named field of an object.
    pub fn property(&self, name: &str) -> Option<Self> {
        let properties = &self.structure().properties;
        let index = properties.binary_search_by(|(word, _)| word.as_ref().cmp(name)).ok()?;
        Some(Self(Arc::clone(&properties[index].1)))
    }

    /// All named fields of an object, in the order of their names.
    pub fn properties(&self) -> impl ExactSizeIterator<Item = (&str, Self)> {
        self.structure()
            .properties
            .iter()
            .map(|(name, node)| (name.as_ref(), Self(Arc::clone(node))))
    }

    /// The schema of the values of a map.
    pub fn values(&self) -> Option<Self> {
        (self.kind() == Kind::Map).then(|| self.element()).flatten()
    }

    /// The schema of the items of a list.
    pub fn items(&self) -> Option<Self> {
        (self.kind() == Kind::Array).then(|| self.element()).flatten()
    }

    fn element(&self) -> Option<Self> {
        self.structure().element.clone().map(Self)
    }

    /// The schema below one key of an object or map, whichever this is.
    pub fn child(&self, key: &str) -> Option<Self> {
        match self.kind() {
            Kind::Map => self.element(),
            _ => self.property(key),
        }
    }

    /// How server-side apply merges this list.
    pub fn list_type(&self) -> ListType {
        self.0.list_type.or_else(|| self.structure().list_type).unwrap_or_default()
    }

    /// The fields that identify an item of a list of type [`ListType::Map`].
    pub fn list_map_keys(&self) -> &[Cow<'static, str>] {
        match self.rare() {
            Some(rare) if !rare.list_map_keys.is_empty() => &rare.list_map_keys,
            _ => self.structure_rare().map_or(&[], |rare| &rare.list_map_keys),
        }
    }

    /// How server-side apply merges this object or map.
    pub fn map_type(&self) -> MapType {
        self.0.map_type.or_else(|| self.structure().map_type).unwrap_or_default()
    }

    /// The map type this very node says, not the default and not that of the definition it uses.
    pub(crate) fn own_map_type(&self) -> Option<MapType> {
        self.0.map_type
    }

    /// The list type this very node says, not the default.
    pub(crate) fn own_list_type(&self) -> Option<ListType> {
        self.0.list_type
    }

    /// How strategic merge patch treats this field.
    pub fn patch_strategy(&self) -> PatchStrategy {
        self.0.patch_strategy
    }

    /// The field by which strategic merge patch matches the items of this list.
    pub fn patch_merge_key(&self) -> Option<&str> {
        self.rare().and_then(|rare| rare.patch_merge_key.as_deref())
    }

    /// The default of this field, if its schema states one.
    pub fn default(&self) -> Option<&Value> {
        self.rare().and_then(|rare| rare.default.as_ref())
    }

    /// Whether `null` is a value of its own. For built-in kinds it never is: null means unset.
    pub fn nullable(&self) -> bool {
        self.0.nullable
    }

    /// The names of the fields that must be present.
    pub fn required(&self) -> &[Cow<'static, str>] {
        self.structure_rare().map_or(&[], |rare| &rare.required)
    }

    /// The allowed values; empty means no restriction.
    pub fn enum_values(&self) -> &[Value] {
        self.rare().map_or(&[], |rare| &rare.enum_values)
    }

    /// Whether fields without a schema are kept (`x-kubernetes-preserve-unknown-fields`).
    pub fn preserve_unknown(&self) -> bool {
        self.structure().preserve_unknown
    }

    /// Whether the value is a whole Kubernetes object of its own (`x-kubernetes-embedded-resource`).
    pub fn embedded_resource(&self) -> bool {
        self.structure().embedded_resource
    }

    /// The description in a custom resource's schema. Built-in kinds keep none here.
    pub fn description(&self) -> Option<&str> {
        self.rare().and_then(|rare| rare.description.as_deref())
    }

    /// A keyword of a custom resource's schema that has no accessor of its own, as written:
    /// `pattern`, `minimum`, `oneOf`, `x-kubernetes-validations`, ...
    pub fn keyword(&self, name: &str) -> Option<&Value> {
        self.rare().and_then(|rare| rare.keywords.get(name))
    }

    /// All keywords without an accessor of their own, for rendering and validation.
    pub fn keywords(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.rare().into_iter().flat_map(|rare| rare.keywords.iter()).map(|(k, v)| (k.as_str(), v))
    }

    /// Whether two handles are the same node: a cheap key for caches.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The definition index if this node is nothing but a use of a built-in definition.
    pub(crate) fn reference(&self) -> Option<&'static str> {
        self.0.definition.map(builtin::definition_name)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Schema");
        out.field("kind", &self.kind());
        if let Some(name) = self.definition_name() {
            out.field("definition", &name);
        }
        let names: Vec<&str> =
            self.structure().properties.iter().map(|(n, _)| n.as_ref()).collect();
        out.field("properties", &names).finish_non_exhaustive()
    }
}
