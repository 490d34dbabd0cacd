//! Authorization: may this user do this? Decided from memory, without I/O.

pub mod index;
pub mod node;
pub mod rbac;

use std::collections::BTreeMap;

/// One question.
#[derive(Clone, Debug, Default)]
pub struct Attributes<'a> {
    /// User name.
    pub user: &'a str,
    /// Groups of the user.
    pub groups: &'a [String],
    /// Further facts about the user.
    pub extra: Option<&'a BTreeMap<String, Vec<String>>>,
    /// `get`, `list`, …; for other paths the HTTP method in lower case.
    pub verb: &'a str,
    /// Whether a resource is asked for; else `path` counts.
    pub is_resource: bool,
    /// API group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural.
    pub resource: &'a str,
    /// Subresource, may be empty.
    pub subresource: &'a str,
    /// Namespace, may be empty.
    pub namespace: &'a str,
    /// Object name, may be empty.
    pub name: &'a str,
    /// The field selector of a list, watch or deletion of many, may be empty.
    pub field_selector: &'a str,
    /// Path of a request that is not for a resource.
    pub path: &'a str,
}

impl<'a> Attributes<'a> {
    /// The one value that the field selector asks for in a field.
    pub fn selected(&self, field: &str) -> Option<&'a str> {
        let mut terms = self.field_selector.split(',').filter_map(|term| {
            let (have, value) = term.split_once('=')?;
            (have == field).then(|| value.trim_start_matches('='))
        });
        terms.next()
    }
}

/// An authorizer's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, and why.
    Allow(String),
    /// No, whatever others say.
    Deny(String),
    /// No reason to say yes; others may.
    NoOpinion(String),
}
