//! Checks of a definition: names, versions, columns, subresources, conversion.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, hooks, tree};
use crate::meta;
use crate::name;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const WARNING_BYTES_MAX: usize = 256;
const SELECTABLE_FIELDS_MAX: usize = 8;
const APPROVED: &str = "api-approved.kubernetes.io";

/// The name is the plural and the group.
pub(super) fn own_name(object: &At<'_>, faults: &mut Faults) {
    let spec = object.get("spec");
    let text = meta::name(object.value);
    let place = object.get2("metadata", "name");
    let required = format!("{}.{}", spec.get2("names", "plural").text(), spec.get("group").text());
    if text.is_empty() {
        // That is a fault of its own.
        return;
    }
    if let Err(fault) = name::subdomain(text) {
        faults.invalid_as(&place, text, fault);
    }
    if text != required {
        faults.invalid_as(&place, text, "must be spec.names.plural+\".\"+spec.group");
    }
}

/// The whole spec, but for the insides of schemas.
pub(super) fn spec(at: &At<'_>, faults: &mut Faults) {
    let group = at.get("group");
    if group.is_zero() {
        faults.required(&group, "");
    } else if let Err(fault) = name::subdomain(group.text()) {
        faults.invalid(&group, fault);
    } else if !group.text().contains('.') {
        faults.invalid(&group, "should be a domain with at least one dot");
    }
    faults.one_of(&at.get("scope"), &["Cluster", "Namespaced"]);
    versions(&at.get("versions"), faults);
    for field in ["plural", "singular", "kind", "listKind"] {
        if at.get2("names", field).is_zero() {
            faults.required(&at.get2("names", field), "");
        }
    }
    names(&at.get("names"), faults);
    conversion(&at.get("conversion"), faults);
}

fn versions(at: &At<'_>, faults: &mut Faults) {
    for version in at.items() {
        let schema = version.get2("schema", "openAPIV3Schema");
        if !schema.is_set() {
            faults.required(&schema, "schemas are required");
        }
    }
    let mut seen = BTreeSet::new();
    let mut is_unique = true;
    for version in at.items() {
        is_unique &= seen.insert(version.get("name").text());
        faults.rule(&version.get("name"), name::label_1035);
        deprecation(&version, faults);
        subresources(&version.get("subresources"), faults);
        for column in version.get("additionalPrinterColumns").items() {
            check_column(&column, faults);
        }
        selectable_fields(&version.get("selectableFields"), faults);
    }
    if !is_unique {
        faults.invalid(at, "must contain unique version names");
    }
    if at.items().filter(|version| version.get("storage").flag()).count() != 1 {
        faults.invalid(at, "must have exactly one version marked as storage version");
    }
}

fn deprecation(version: &At<'_>, faults: &mut Faults) {
    let warning = version.get("deprecationWarning");
    if !warning.is_set() {
        return;
    }
    if !version.get("deprecated").flag() {
        faults.invalid(&warning, "can only be set for deprecated versions");
    }
    if warning.is_zero() {
        faults.invalid(&warning, "must not be an empty string");
    }
    if warning.text().len() > WARNING_BYTES_MAX {
        faults.invalid(&warning, format!("must be <= {WARNING_BYTES_MAX} characters long"));
    }
    if let Some(bad) = warning.text().chars().find(|c| c.is_control()) {
        faults.invalid(
            &warning,
            format!("must only contain printable UTF-8 characters; non-printable character found: {bad:?}"),
        );
    }
}

fn simple_path(at: &At<'_>, faults: &mut Faults) -> bool {
    let text = at.text();
    let parts: Vec<&str> = text.split('.').collect();
    let is_good = text.len() > 1 && parts[0].is_empty() && parts[1..].iter().all(|p| !p.is_empty());
    if !text.starts_with('.') {
        faults.invalid(at, "must be a simple json path starting with .");
    } else if !is_good && !text.contains('[') {
        faults.invalid(at, "must be a simple json path without empty parts");
    }
    is_good
}

fn subresources(at: &At<'_>, faults: &mut Faults) {
    let scale = at.get("scale");
    if !scale.is_set() {
        return;
    }
    let place = |field: &str| At {
        value: scale.get(field).value,
        path: at.path.child("scale").child(field),
    };
    for (field, prefix, text) in [
        ("specReplicasPath", ".spec.", "should be a json path under .spec"),
        ("statusReplicasPath", ".status.", "should be a json path under .status"),
    ] {
        let path = place(field);
        if path.is_zero() {
            faults.required(&path, "");
        } else if simple_path(&path, faults) && !path.text().starts_with(prefix) {
            faults.invalid(&path, text);
        }
    }
    let selector = place("labelSelectorPath");
    let is_known = [".spec.", ".status."].iter().any(|prefix| selector.text().starts_with(prefix));
    if !selector.is_zero() && simple_path(&selector, faults) && !is_known {
        faults.invalid(&selector, "should be a json path under either .spec or .status");
    }
}

fn check_column(at: &At<'_>, faults: &mut Faults) {
    if at.get("name").is_zero() {
        faults.required(&at.get("name"), "");
    }
    let (kind, format) = (at.get("type"), at.get("format"));
    let one_of = format!("must be one of {}", COLUMN_TYPES.join(","));
    if kind.is_zero() {
        faults.required(&kind, &one_of);
    } else if !COLUMN_TYPES.contains(&kind.text()) {
        faults.invalid(&kind, one_of);
    }
    if !format.is_zero() && !COLUMN_FORMATS.contains(&format.text()) {
        faults.invalid(&format, format!("must be one of {}", COLUMN_FORMATS.join(",")));
    }
    // Upstream's path has the name of its internal field.
    let path = At { value: at.get("jsonPath").value, path: at.named("JSONPath").path };
    if path.is_zero() {
        faults.required(&path, "");
    } else if !path.text().starts_with('.') {
        faults.invalid(&path, "must be a simple json path starting with .");
    }
}

fn selectable_fields(at: &At<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for field in at.items() {
        let path = field.get("jsonPath");
        if path.is_zero() {
            faults.required(&path, "");
            continue;
        }
        if path.text() == ".metadata" || path.text().starts_with(".metadata.") {
            faults.invalid(&path, "must not point to fields in metadata");
        }
        faults.unique(&path, &mut seen);
    }
    faults.at_most(at, SELECTABLE_FIELDS_MAX);
}

/// Names of the kind, in the spec or accepted.
pub(super) fn names(at: &At<'_>, faults: &mut Faults) {
    for field in ["plural", "singular"] {
        if !at.get(field).is_zero() {
            faults.rule(&at.get(field), name::label_1035);
        }
    }
    for field in ["kind", "listKind"] {
        let place = at.get(field);
        if !place.is_zero()
            && let Err(fault) = name::label_1035(&place.text().to_lowercase())
        {
            let text = format!("may have mixed case, but should otherwise match: {fault}");
            faults.invalid(&place, text);
        }
    }
    for short in at.get("shortNames").items() {
        faults.rule(&short, name::label_1035);
    }
    if !at.get("kind").is_zero() && at.get("kind").text() == at.get("listKind").text() {
        faults.invalid(&at.get("listKind"), "kind and listKind may not be the same");
    }
    for category in at.get("categories").items() {
        faults.rule(&category, name::label_1035);
    }
}

fn conversion(at: &At<'_>, faults: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let strategy = at.get("strategy");
    faults.one_of(&strategy, &["None", "Webhook"]);
    // Upstream's paths are those of its internal form, which has no `webhook` step.
    let config = at.get2("webhook", "clientConfig");
    let client = At { value: config.value, path: at.named("webhookClientConfig").path };
    let found = at.get2("webhook", "conversionReviewVersions");
    let reviews = At { value: found.value, path: at.named("conversionReviewVersions").path };
    if strategy.text() != "Webhook" {
        let text = "should not be set when strategy is not set to Webhook";
        if client.is_set() {
            faults.forbidden(&client, text);
        }
        if reviews.len() > 0 {
            faults.forbidden(&reviews, text);
        }
        return;
    }
    if client.is_set() {
        hooks::client_config(&client, faults);
    } else {
        faults.required(&client, "required when strategy is set to Webhook");
    }
    if reviews.len() == 0 {
        faults.required(&reviews, "");
    } else {
        hooks::known_review_version(&reviews, faults);
    }
}

/// What may not change: the group and plural ever, the scope and kind once established.
pub(super) fn spec_update(spec: &At<'_>, before: &At<'_>, old: &Value, faults: &mut Faults) {
    if cells::condition_is_true(old, "Established") {
        faults.immutable(&spec.get("scope"), &before.get("scope"));
        faults.immutable(&spec.get2("names", "kind"), &before.get2("names", "kind"));
    }
    faults.immutable(&spec.get("group"), &before.get("group"));
    faults.immutable(&spec.get2("names", "plural"), &before.get2("names", "plural"));
}

/// Every stored version must still be defined.
pub(super) fn stored_versions(object: &Value, faults: &mut Faults) {
    let at = At::root(object).get2("status", "storedVersions");
    if at.len() == 0 {
        faults.invalid(&at, "must have at least one stored version");
        return;
    }
    let versions = tree::list(object, "/spec/versions");
    for version in versions.iter().filter(|version| tree::flag(version, "/storage")) {
        let own_name = tree::text(version, "/name");
        if !at.items().any(|stored| stored.text() == own_name) {
            faults.invalid(&at, format!("must have the storage version {own_name}"));
        }
    }
    for stored in at.items() {
        if !versions.iter().any(|version| tree::text(version, "/name") == stored.text()) {
            faults.invalid(&stored, "must appear in spec.versions");
        }
    }
}

/// What is wrong with the approval of a group that the community keeps for itself.
fn approval_fault(annotation: Option<&str>) -> Option<String> {
    match annotation {
        None | Some("") => Some(format!(
            "protected groups must have approval annotation \"{APPROVED}\", see https://github.com/kubernetes/enhancements/pull/1111"
        )),
        Some(text) if text.starts_with("unapproved") => None,
        Some(text) if text.starts_with("https://") || text.starts_with("http://") => None,
        Some(_) => Some(format!(
            "protected groups must have approval annotation \"{APPROVED}\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
        )),
    }
}

/// Groups of the community need its approval.
pub(super) fn approval(object: &At<'_>, old: Option<&Value>, faults: &mut Faults) {
    let group = object.get2("spec", "group").text();
    let is_protected = ["k8s.io", "kubernetes.io"].iter().any(|suffix| {
        group == *suffix || group.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'))
    });
    if !is_protected {
        return;
    }
    let annotation = meta::annotation(object.value, APPROVED);
    let Some(fault) = approval_fault(annotation) else { return };
    let was_so = old.is_some_and(|old| {
        approval_fault(meta::annotation(old, APPROVED)).as_ref() == Some(&fault)
    });
    if was_so {
        return;
    }
    let annotations = object.get2("metadata", "annotations");
    let place = At { value: annotations.value, path: annotations.path.key(APPROVED) };
    match annotation {
        None | Some("") => faults.required(&place, &fault),
        Some(text) => faults.invalid_as(&place, text, fault),
    }
}
