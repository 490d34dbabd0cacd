//! Where informers get their objects from.

use std::sync::Arc;

use api::object::Object;
use futures::stream::BoxStream;

use crate::informer::Kind;

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WatchScope {
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural of the resource.
    pub plural: String,
    /// Empty for all namespaces.
    pub namespace: String,
    /// Label selector as in a query; empty for all.
    pub labels: String,
    /// Field selector as in a query; empty for all.
    pub fields: String,
}

impl WatchScope {
    /// All objects of a kind.
    pub fn all<K: Kind>() -> Self {
        Self {
            group: K::group(&()).into_owned(),
            version: K::version(&()).into_owned(),
            plural: K::plural(&()).into_owned(),
            ..Self::default()
        }
    }

    /// Narrowed to objects that a field selector admits.
    #[must_use]
    pub fn fields(self, fields: impl Into<String>) -> Self {
        Self { fields: fields.into(), ..self }
    }

    /// Narrowed to objects that a label selector admits.
    #[must_use]
    pub fn labels(self, labels: impl Into<String>) -> Self {
        Self { labels: labels.into(), ..self }
    }

    /// Narrowed to one namespace.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..self }
    }
}

/// One step of a watch.
#[derive(Clone, Debug)]
pub enum Update {
    /// All objects there are; replaces whatever was known. Always the first, and again after a gap.
    Reset(Vec<Arc<Object>>),
    /// An object was created or changed.
    Applied(Arc<Object>),
    /// An object is gone; its last state.
    Deleted(Arc<Object>),
}

/// A list followed by its watch, forever: gaps and errors are healed inside.
pub trait Source: Send + Sync + 'static {
    /// The stream ends when the source is gone, or serves no such resource.
    fn watch(&self, watched: WatchScope) -> BoxStream<'static, Update>;
}
