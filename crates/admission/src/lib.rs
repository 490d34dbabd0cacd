//! Admission: what the cluster adds to a request and what it refuses, decided without I/O.
//!
//! A [`Plugin`] sees one request and, through [`Lookup`], the cluster as it is now. Each of upstream's
//! plugins that need nothing else has its own file; webhooks and policies, which call out or evaluate
//! CEL, and quota, which writes, live in the API server and implement the same order.

pub mod plugins;
mod pods;
pub mod quota;
#[cfg(test)]
mod testing;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::object::Object;
use api::resource::Resource;
use api::status::Status;
use jiff::Timestamp;
use serde_json::Value;

pub use plugins::PLUGINS;

/// Who asks: what authentication found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `system:serviceaccount:ns:name`, `system:node:name`, …
    pub name: String,
    /// Empty where the authenticator knows none.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Further facts, such as the scopes of a token.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A changed object or subresource.
    Update,
    /// A removal.
    Delete,
    /// `exec`, `attach`, `portforward`, `proxy`.
    Connect,
}

impl Operation {
    /// The word that admission reviews use.
    pub fn text(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// One request under admission.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is about to happen.
    pub operation: Operation,
    /// The row of the resource.
    pub resource: &'a Resource,
    /// Empty for the resource itself.
    pub subresource: &'a str,
    /// Empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// May be empty on creation with `generateName`.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a User,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The new object (null on deletion); mutating plugins change it.
    pub object: Value,
    /// The present object, on update and deletion.
    pub old: Option<&'a Value>,
    /// The operation's options (`DeleteOptions` and the like), null where there are none.
    pub options: &'a Value,
    /// The time of the request.
    pub now: Timestamp,
    /// Whatever a plugin must choose at random comes from here.
    pub random: u64,
    /// `Warning` headers to send.
    pub warnings: Vec<String>,
    /// Notes for the audit log: key and value.
    pub annotations: Vec<(String, String)>,
}

impl Request<'_> {
    /// Whether it is about this resource itself (not a subresource).
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.resource.group == group
            && self.resource.plural == plural
            && self.subresource.is_empty()
    }

    /// Whether it is about this resource or one of its subresources.
    pub fn about(&self, group: &str, plural: &str) -> bool {
        self.resource.group == group && self.resource.plural == plural
    }

    /// The object's name, from the path or the object.
    pub fn object_name(&self) -> &str {
        if self.name.is_empty() { api::meta::name(&self.object) } else { self.name }
    }

    /// The present object, null when there is none.
    pub fn old_object(&self) -> &Value {
        static NULL: Value = Value::Null;
        self.old.unwrap_or(&NULL)
    }

    /// Leaves a note in the audit log.
    pub fn annotate(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.annotations.push((key.into(), value.into()));
    }

    /// A refusal in the form that upstream's plugins give it.
    pub fn forbid(&self, why: impl AsRef<str>) -> Status {
        let name = self.object_name();
        Status::forbidden(&self.resource.group, &self.resource.plural, name, why.as_ref())
    }
}

/// The cluster as it is now, from memory. Objects are in storage form.
pub trait Lookup: Send + Sync {
    /// One object; `namespace` is empty for cluster-scoped resources.
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>>;

    /// All objects of a namespace, or of the cluster when it is empty.
    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Object>>;

    /// Whether this user may do this: for plugins that check rights beyond the request's own.
    fn may(
        &self,
        user: &User,
        verb: &str,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> bool;
}

/// One admission plugin. Both phases are pure functions of the request and the cluster.
pub trait Plugin: Send + Sync + 'static {
    /// Upstream's name, as in `--disable-admission-plugins`.
    fn name(&self) -> &'static str;

    /// Completes or changes the object, or refuses.
    ///
    /// # Errors
    /// The answer to the client.
    fn mutate(&self, _request: &mut Request<'_>, _cluster: &dyn Lookup) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses, after every change has been made.
    ///
    /// # Errors
    /// The answer to the client.
    fn validate(&self, _request: &mut Request<'_>, _cluster: &dyn Lookup) -> Result<(), Status> {
        Ok(())
    }
}
