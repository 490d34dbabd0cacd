//! A row of the table of resources.
//!
//! Everything that the server does for a kind it reads from here; built-in kinds and custom resources
//! have the same row type, the former made once from code, the latter from their definition.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::field;
use crate::object::SelectableFields;

/// Text that is static for built-in kinds and owned for custom ones.
pub type Text = Cow<'static, str>;

/// A list of names that is static for built-in kinds and owned for custom ones.
#[derive(Clone, Debug)]
pub enum Names {
    /// Of a built-in kind.
    Static(&'static [&'static str]),
    /// Of a custom resource.
    Owned(Vec<String>),
}

impl Names {
    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let (fixed, owned): (&[&str], &[String]) = match self {
            Self::Static(names) => (names, &[]),
            Self::Owned(names) => (&[], names),
        };
        fixed.iter().copied().chain(owned.iter().map(String::as_str))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// Whether objects live in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One set for the whole cluster.
    Cluster,
    /// One set per namespace.
    Namespaced,
}

/// What `metadata.name` must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain: most kinds.
    Subdomain,
    /// RFC 1123 label: namespaces.
    Label,
    /// RFC 1035 label: services.
    Label1035,
    /// Anything that fits into a path segment: RBAC kinds, leases of some.
    PathSegment,
    /// The strategy's own validation says.
    Own,
}

/// Verbs of a resource or subresource, as discovery lists them.
pub const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Verbs of `status` and the like.
pub const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

/// A path below an object.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Path segment, e.g. `status`.
    pub name: &'static str,
    /// Kind of its body; empty where it is the resource's own.
    pub kind: &'static str,
    /// Group of that kind where it is not the resource's own.
    pub group: &'static str,
    /// Version of that kind where it is not the resource's own.
    pub version: &'static str,
    /// Verbs it serves.
    pub verbs: &'static [&'static str],
}

impl Subresource {
    /// The usual `status`.
    pub const STATUS: Self = Self::own("status", STATUS_VERBS);
    /// The usual `scale`, as `autoscaling/v1 Scale`.
    pub const SCALE: Self = Self {
        name: "scale",
        kind: "Scale",
        group: "autoscaling",
        version: "v1",
        verbs: STATUS_VERBS,
    };

    /// One whose body is the resource's own kind.
    pub const fn own(name: &'static str, verbs: &'static [&'static str]) -> Self {
        Self { name, kind: "", group: "", version: "", verbs }
    }
}

/// Where a column's cell comes from.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Computed; times are shown relative to the given one.
    Compute(fn(&Value, Timestamp) -> Value),
    /// A field, by JSON pointer (`/spec/type`); missing shows as an empty text.
    Pointer(&'static str),
    /// A field of a custom resource, by simple JSON path (`.spec.type`).
    Path(String),
}

/// A column of the `Table` form.
#[derive(Clone, Debug)]
pub struct Column {
    /// Heading.
    pub name: Text,
    /// OpenAPI type: `string`, `integer`, `number`, `boolean`, `date`.
    pub kind: Text,
    /// OpenAPI format; `name` marks the identifying column.
    pub format: Text,
    /// Help text.
    pub description: Text,
    /// 0 is always shown, more only with `-o wide`.
    pub priority: i32,
    /// Its content.
    pub cell: Cell,
}

impl Column {
    /// A text column that is always shown.
    pub fn new(name: &'static str, cell: Cell) -> Self {
        Self {
            name: Cow::Borrowed(name),
            kind: Cow::Borrowed("string"),
            format: Cow::Borrowed(""),
            description: Cow::Borrowed(""),
            priority: 0,
            cell,
        }
    }

    /// The same, shown only with `-o wide`.
    pub fn wide(name: &'static str, cell: Cell) -> Self {
        Self { priority: 1, ..Self::new(name, cell) }
    }

    /// A number column.
    pub fn integer(name: &'static str, cell: Cell) -> Self {
        Self { kind: Cow::Borrowed("integer"), ..Self::new(name, cell) }
    }
}

/// What is particular to one kind. All methods are pure; the object is in the row's version unless said
/// otherwise. The generic part (names, uid, timestamps, generation, managed fields) is the server's.
pub trait Strategy: Send + Sync + 'static {
    /// Fills what the user left out. Idempotent; also applied to stored objects of older programs.
    fn default(&self, _object: &mut Value) {}

    /// Clears what a creator may not set. The server has already dropped `status` where the row says
    /// that it has one, and has already set the name (a generated one too) and the UID.
    fn prepare_for_create(&self, _object: &mut Value) {}

    /// Restores what an updater may not change. The server has already restored `status`.
    fn prepare_for_update(&self, _new: &mut Value, _old: &Value) {}

    /// Faults of a new object.
    fn validate(&self, _object: &Value) -> Vec<field::Error> {
        Vec::new()
    }

    /// Faults of a changed object, those of [`Strategy::validate`] included where they matter.
    fn validate_update(&self, new: &Value, _old: &Value) -> Vec<field::Error> {
        self.validate(new)
    }

    /// Restores what an updater of `status` may not change. The server has already restored everything
    /// but `status` and the metadata.
    fn prepare_for_status_update(&self, _new: &mut Value, _old: &Value) {}

    /// Faults of a changed status.
    fn validate_status_update(&self, _new: &Value, _old: &Value) -> Vec<field::Error> {
        Vec::new()
    }

    /// Restores what an updater of another subresource than `status` may not change, e.g. of a Pod's `resize`.
    fn prepare_for_subresource_update(&self, _subresource: &str, _new: &mut Value, _old: &Value) {}

    /// Faults of an object changed through another subresource than `status`.
    fn validate_subresource_update(
        &self,
        _subresource: &str,
        _new: &Value,
        _old: &Value,
    ) -> Vec<field::Error> {
        Vec::new()
    }

    /// `Warning` header texts for a created or changed object.
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Values that field selectors may use, beside name and namespace. Every selectable path is
    /// present, with an empty value where the field is unset.
    fn selectable_fields(&self, _object: &Value) -> SelectableFields {
        Vec::new()
    }

    /// Under which name a stored object has the field that selectors of this version call `path`: `None` when this
    /// version cannot select by it.
    fn stored_field(&self, path: &str) -> Option<&'static str> {
        let fields = self.selectable_fields(&Value::Null);
        fields.into_iter().map(|(name, _)| name).find(|name| *name == path)
    }

    /// Turns an object of the row's version into storage form (`apiVersion` is set by the server).
    fn to_storage(&self, _object: &mut Value) {}

    /// The reverse of [`Strategy::to_storage`].
    #[expect(clippy::wrong_self_convention, reason = "it converts the object, not the strategy")]
    fn from_storage(&self, _object: &mut Value) {}
}

/// For kinds with nothing particular.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Strategy for Plain {}

/// The particular part of a row: static for built-in kinds.
#[derive(Clone)]
pub enum StrategyRef {
    /// Of a built-in kind.
    Static(&'static dyn Strategy),
    /// Of a custom resource.
    Shared(Arc<dyn Strategy>),
}

impl std::ops::Deref for StrategyRef {
    type Target = dyn Strategy;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Static(strategy) => *strategy,
            Self::Shared(strategy) => &**strategy,
        }
    }
}

impl std::fmt::Debug for StrategyRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Static(_) => "Static",
            Self::Shared(_) => "Shared",
        })
    }
}

/// One served version of one resource.
#[derive(Clone)]
pub struct Resource {
    /// API group, empty for core.
    pub group: Text,
    /// Version, e.g. `v1`.
    pub version: Text,
    /// Kind, e.g. `Pod`.
    pub kind: Text,
    /// Kind of lists, usually the kind with `List` behind it.
    pub list_kind: Text,
    /// Plural, the path segment.
    pub plural: Text,
    /// Singular, for kubectl.
    pub singular: Text,
    /// Short names, for kubectl.
    pub short_names: Names,
    /// Categories such as `all`, for kubectl.
    pub categories: Names,
    /// Scope.
    pub scope: Scope,
    /// Verbs served.
    pub verbs: Names,
    /// Subresources served.
    pub subresources: Vec<Subresource>,
    /// Columns as [`Resource::table_columns`] completes them.
    pub columns: Vec<Column>,
    /// Rule for names.
    pub name_rule: NameRule,
    /// Whether `status` belongs to the `status` subresource alone.
    pub has_status: bool,
    /// Whether the server keeps `metadata.generation`, bumped when anything but metadata and status changes.
    pub has_generation: bool,
    /// Whether PUT to a name that does not exist creates it.
    pub create_on_update: bool,
    /// Whether PUT must name the revision that it changes; elsewhere one without changes whatever is there.
    pub needs_revision: bool,
    /// Whether DELETE answers the object that is gone; elsewhere it answers a `Status`.
    pub shows_deleted: bool,
    /// Whether a deletion that names no policy leaves what it owns to itself.
    pub orphans_by_default: bool,
    /// Whether nothing is ever stored: a handler of the server answers (reviews, bindings, made-up kinds).
    pub virtual_only: bool,
    /// Whether the version is served only when asked for (alpha and beta, as `--runtime-config` has it).
    pub off_by_default: bool,
    /// Group of the storage form: with [`Resource::storage_plural`] the place in the store.
    pub storage_group: Text,
    /// Version of the storage form.
    pub storage_version: Text,
    /// Plural of the storage form.
    pub storage_plural: Text,
    /// What is particular to the kind.
    pub strategy: StrategyRef,
}

impl Resource {
    /// A row with the usual shape; refine it with struct update syntax.
    pub fn new(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        list_kind: &'static str,
        plural: &'static str,
        singular: &'static str,
        strategy: &'static dyn Strategy,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            kind: Cow::Borrowed(kind),
            list_kind: Cow::Borrowed(list_kind),
            plural: Cow::Borrowed(plural),
            singular: Cow::Borrowed(singular),
            short_names: Names::Static(&[]),
            categories: Names::Static(&[]),
            scope: Scope::Namespaced,
            verbs: Names::Static(ALL_VERBS),
            subresources: Vec::new(),
            columns: Vec::new(),
            name_rule: NameRule::Subdomain,
            has_status: false,
            has_generation: false,
            create_on_update: false,
            needs_revision: false,
            shows_deleted: false,
            orphans_by_default: false,
            virtual_only: false,
            off_by_default: false,
            storage_group: Cow::Borrowed(group),
            storage_version: Cow::Borrowed(version),
            storage_plural: Cow::Borrowed(plural),
            strategy: StrategyRef::Static(strategy),
        }
    }

    /// The same row, stored in the form of another group and version.
    #[must_use]
    pub fn stored_as(
        mut self,
        group: &'static str,
        version: &'static str,
        plural: &'static str,
    ) -> Self {
        self.storage_group = Cow::Borrowed(group);
        self.storage_version = Cow::Borrowed(version);
        self.storage_plural = Cow::Borrowed(plural);
        self
    }

    /// `group/version`, or `version` in the core group.
    pub fn api_version(&self) -> String {
        join_version(&self.group, &self.version)
    }

    /// `group/version` of the storage form.
    pub fn storage_api_version(&self) -> String {
        join_version(&self.storage_group, &self.storage_version)
    }

    /// Whether the stored bytes are this version's own.
    pub fn is_storage_form(&self) -> bool {
        self.group == self.storage_group && self.version == self.storage_version
    }

    /// All columns of the `Table` form: `Name` in front unless the kind has it elsewhere, and `Age` where it
    /// has no columns of its own.
    pub fn table_columns(&self) -> Vec<Column> {
        let mut all = Vec::with_capacity(self.columns.len() + 2);
        if !self.columns.iter().any(|column| column.format == "name") {
            all.push(Column {
                format: Cow::Borrowed("name"),
                description: Cow::Borrowed("Name must be unique within a namespace."),
                ..Column::new("Name", Cell::Pointer("/metadata/name"))
            });
        }
        all.extend(self.columns.iter().cloned());
        if self.columns.is_empty() {
            all.push(Column { kind: Cow::Borrowed("date"), ..crate::kinds::age_column() });
        }
        all
    }

    /// Whether objects live in namespaces.
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// A subresource by its path segment.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.api_version(), self.plural)
    }
}

fn join_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
