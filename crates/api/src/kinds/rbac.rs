//! Rules, subjects and references that the four RBAC kinds share.

use serde_json::Value;

use super::check::{At, Faults};
use super::{cells, tree};
use crate::name;
use crate::resource::{Cell, Column};

/// The group of the four kinds, to which references default.
pub(super) const GROUP: &str = "rbac.authorization.k8s.io";

/// One rule of a role.
pub(super) fn rule(at: &At<'_>, is_namespaced: bool, faults: &mut Faults) {
    if at.get("verbs").len() == 0 {
        faults.required(&at.get("verbs"), "verbs must contain at least one value");
    }
    let urls = at.get("nonResourceURLs");
    let (groups, resources) = (at.get("apiGroups"), at.get("resources"));
    if urls.len() > 0 {
        if is_namespaced {
            faults.invalid(&urls, "namespaced rules cannot apply to non-resource URLs");
        }
        if groups.len() + resources.len() + at.get("resourceNames").len() > 0 {
            faults.invalid(
                &urls,
                "rules cannot apply to both regular resources and non-resource URLs",
            );
        }
        return;
    }
    if groups.len() == 0 {
        faults.required(&groups, "resource rules must supply at least one api group");
    }
    if resources.len() == 0 {
        faults.required(&resources, "resource rules must supply at least one resource");
    }
}

/// Defaults of a binding.
pub(super) fn default_binding(object: &mut Value) {
    tree::fill_zero(tree::make(object, "roleRef"), "apiGroup", GROUP);
    tree::each(object, "subjects", |subject| {
        if matches!(tree::text(subject, "/kind"), "User" | "Group") {
            tree::fill_zero(subject, "apiGroup", GROUP);
        }
    });
}

/// A binding, whose role is of one of `kinds`.
pub(super) fn binding(object: &At<'_>, kinds: &[&str], is_namespaced: bool, faults: &mut Faults) {
    let reference = object.get("roleRef");
    if reference.get("apiGroup").text() != GROUP {
        faults.not_supported(&reference.get("apiGroup"), &[GROUP]);
    }
    if !kinds.contains(&reference.get("kind").text()) {
        faults.not_supported(&reference.get("kind"), kinds);
    }
    faults.required_rule(&reference.get("name"), name::path_segment);
    for subject in object.get("subjects").items() {
        check_subject(&subject, is_namespaced, faults);
    }
}

fn check_subject(at: &At<'_>, is_namespaced: bool, faults: &mut Faults) {
    let (subject, group) = (at.get("name"), at.get("apiGroup"));
    if subject.is_zero() {
        faults.required(&subject, "");
    }
    match at.get("kind").text() {
        "ServiceAccount" => {
            if !subject.is_zero() {
                faults.rule(&subject, name::subdomain);
            }
            if !group.is_zero() {
                faults.not_supported(&group, &[""]);
            }
            if !is_namespaced && at.get("namespace").is_zero() {
                faults.required(&at.get("namespace"), "");
            }
        }
        "User" | "Group" => {
            if group.text() != GROUP {
                faults.not_supported(&group, &[GROUP]);
            }
        }
        _ => faults.not_supported(&at.get("kind"), &["Group", "ServiceAccount", "User"]),
    }
}

/// The role of a binding stays.
pub(super) fn binding_update(new: &Value, old: &Value, faults: &mut Faults) {
    let (new, old) = (At::root(new).get("roleRef"), At::root(old).get("roleRef"));
    faults.immutable_because(&new, &old, "cannot change roleRef");
}

/// The columns of a binding.
pub(super) fn binding_columns() -> Vec<Column> {
    vec![
        Column::new("Role", Cell::Compute(|o, _| role(o).into())),
        cells::age(),
        Column::wide("Users", Cell::Compute(|o, _| subjects(o, "User").into())),
        Column::wide("Groups", Cell::Compute(|o, _| subjects(o, "Group").into())),
        Column::wide("ServiceAccounts", Cell::Compute(|o, _| subjects(o, "ServiceAccount").into())),
    ]
}

fn role(object: &Value) -> String {
    format!("{}/{}", tree::text(object, "/roleRef/kind"), tree::text(object, "/roleRef/name"))
}

fn subjects(object: &Value, kind: &str) -> String {
    let shown = |subject: &Value| {
        let name = tree::text(subject, "/name");
        match kind {
            "ServiceAccount" => format!("{}/{name}", tree::text(subject, "/namespace")),
            _ => name.to_owned(),
        }
    };
    let all = tree::list(object, "/subjects").iter();
    let of_kind = all.filter(|subject| tree::text(subject, "/kind") == kind);
    of_kind.map(shown).collect::<Vec<_>>().join(", ")
}
