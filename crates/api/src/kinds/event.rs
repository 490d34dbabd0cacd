//! `v1 Event` and `events.k8s.io/v1 Event`: what happened to an object; stored as the former.

use jiff::Timestamp;
use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{duration, row, tree};
use crate::meta;
use crate::name;
use crate::object::SelectableFields;
use crate::resource::{Cell, Column, NameRule, Names, Resource, Strategy};

/// The kind of the core group.
struct Core;
/// The kind of the group of its own.
struct Grouped;

const INSTANCE_MAX: usize = 128;
const ACTION_MAX: usize = 128;
const REASON_MAX: usize = 128;
const NOTE_MAX: usize = 1024;
/// Namespaces in which events about cluster-scoped objects live.
const CLUSTER_EVENT_NAMESPACES: [&str; 2] = ["default", "kube-system"];

/// Fields that the two versions name differently: in `events.k8s.io/v1`, in `v1`.
const RENAMED: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let usual = |resource: Resource, columns| Resource {
        short_names: Names::Static(&["ev"]),
        create_on_update: true,
        name_rule: NameRule::PathSegment,
        columns,
        ..resource
    };
    vec![
        usual(row("", "v1", "Event", "events", &Core), core_columns()),
        usual(
            row("events.k8s.io", "v1", "Event", "events", &Grouped).stored_as("", "v1", "events"),
            grouped_columns(),
        ),
    ]
}

fn name_column() -> Column {
    Column { format: "name".into(), ..Column::wide("Name", Cell::Pointer("/metadata/name")) }
}

fn core_columns() -> Vec<Column> {
    vec![
        Column::new("Last Seen", Cell::Compute(|o, now| last_seen(o, now).into())),
        Column::new("Type", Cell::Pointer("/type")),
        Column::new("Reason", Cell::Pointer("/reason")),
        Column::new("Object", Cell::Compute(|o, _| target(o).into())),
        Column::wide("Subobject", Cell::Pointer("/involvedObject/fieldPath")),
        Column::wide("Source", Cell::Compute(|o, _| source(o).into())),
        Column::new("Message", Cell::Compute(|o, _| tree::text(o, "/message").trim().into())),
        Column::wide("First Seen", Cell::Compute(|o, now| first_seen(o, now).into())),
        Column::wide("Count", Cell::Compute(|o, _| occurrences(o).into())),
        name_column(),
    ]
}

/// The columns of the other version: the same, of the object in its core form.
fn grouped_columns() -> Vec<Column> {
    vec![
        Column::new("Last Seen", Cell::Compute(|o, now| last_seen(&core_form(o), now).into())),
        Column::new("Type", Cell::Pointer("/type")),
        Column::new("Reason", Cell::Pointer("/reason")),
        Column::new("Object", Cell::Compute(|o, _| target(&core_form(o)).into())),
        Column::wide("Subobject", Cell::Pointer("/regarding/fieldPath")),
        Column::wide("Source", Cell::Compute(|o, _| source(&core_form(o)).into())),
        Column::new("Message", Cell::Compute(|o, _| tree::text(o, "/note").trim().into())),
        Column::wide("First Seen", Cell::Compute(|o, now| first_seen(&core_form(o), now).into())),
        Column::wide("Count", Cell::Compute(|o, _| occurrences(&core_form(o)).into())),
        name_column(),
    ]
}

fn first_seen(event: &Value, now: Timestamp) -> String {
    let first = tree::at(event, "/firstTimestamp").or_else(|| tree::at(event, "/eventTime"));
    duration::since(first, now)
}

fn last_seen(event: &Value, now: Timestamp) -> String {
    let of_series = tree::at(event, "/series").map(|series| series.get("lastObservedTime"));
    match (of_series, tree::at(event, "/lastTimestamp")) {
        (Some(time), _) => duration::since(time, now),
        (None, Some(time)) => duration::since(Some(time), now),
        (None, None) => first_seen(event, now),
    }
}

fn occurrences(event: &Value) -> i64 {
    match tree::at(event, "/series") {
        Some(series) => tree::count(series, "/count"),
        None => tree::count(event, "/count").max(1),
    }
}

fn target(event: &Value) -> String {
    let kind = tree::text(event, "/involvedObject/kind").to_lowercase();
    match tree::text(event, "/involvedObject/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value) -> String {
    let first = |one: &str, other: &str| {
        let found = tree::text(event, one);
        (if found.is_empty() { tree::text(event, other) } else { found }).to_owned()
    };
    let component = first("/source/component", "/reportingComponent");
    let instance = first("/source/host", "/reportingInstance");
    if instance.is_empty() { component } else { format!("{component}, {instance}") }
}

fn rename(object: &mut Value, to_core: bool) {
    for (grouped, core) in RENAMED {
        let (from, to) = if to_core { (grouped, core) } else { (core, grouped) };
        if let Some(value) = tree::remove(object, from) {
            tree::set(object, to, value);
        }
    }
}

fn core_form(event: &Value) -> Value {
    let mut core = event.clone();
    rename(&mut core, true);
    core
}

/// Fields that Go writes even when they say nothing.
fn fill(object: &mut Value) {
    tree::make(object, "source");
    tree::make(object, "involvedObject");
    for field in ["reportingComponent", "reportingInstance"] {
        tree::fill(object, field, "");
    }
}

fn too_long(at: &At<'_>, max: usize, faults: &mut Faults) {
    if at.text().len() > max {
        faults.invalid_as(at, "", format!("can have at most {max} characters"));
    }
}

/// Rules of both versions, for the core form; `controller` is the version's name of the reporting controller.
fn validate_core(event: &Value, controller: &str) -> Faults {
    let at = At::root(event);
    let mut faults = Faults::default();
    let namespace = meta::namespace(event);
    let of_object = At {
        value: at.get2("involvedObject", "namespace").value,
        path: at.get2("involvedObject", "namespace").path,
    };
    let mismatch = "does not match event.namespace";
    if !at.get("eventTime").is_set() {
        let fits = match of_object.text() {
            "" => matches!(namespace, "" | "default"),
            other => other == namespace,
        };
        if !fits {
            faults.invalid_as(&of_object, of_object.text(), mismatch);
        }
    } else {
        if of_object.text().is_empty() && !CLUSTER_EVENT_NAMESPACES.contains(&namespace) {
            faults.invalid_as(&of_object, "", mismatch);
        }
        let reporter =
            At { value: at.get("reportingComponent").value, path: at.get(controller).path };
        if reporter.text().is_empty() {
            faults.required(&reporter, "");
        }
        faults.qualified(&reporter);
        for (field, max) in
            [("reportingInstance", INSTANCE_MAX), ("action", ACTION_MAX), ("reason", REASON_MAX)]
        {
            if at.get(field).is_zero() {
                faults.required(&at.get(field), "");
            }
            too_long(&at.get(field), max, &mut faults);
        }
        too_long(&at.get("message"), NOTE_MAX, &mut faults);
    }
    if let Err(fault) = name::subdomain(namespace) {
        faults.invalid_as(&at.named("namespace"), namespace, fault);
    }
    faults
}

fn series(at: &At<'_>, faults: &mut Faults) {
    let series = at.get("series");
    if !series.is_set() {
        return;
    }
    if series.get("count").int().unwrap_or_default() < 2 {
        faults.invalid_as(&series.get("count"), "", "should be at least 2");
    }
    if !series.get("lastObservedTime").is_set() {
        faults.required(&series.get("lastObservedTime"), "");
    }
}

impl Strategy for Core {
    fn default(&self, object: &mut Value) {
        fill(object);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        validate_core(object, "reportingComponent").0
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        let text = |pointer: &str| -> Box<str> { tree::text(object, pointer).into() };
        let component = tree::text(object, "/source/component");
        let source = match component {
            "" => tree::text(object, "/reportingComponent"),
            component => component,
        };
        vec![
            ("involvedObject.kind", text("/involvedObject/kind")),
            ("involvedObject.namespace", text("/involvedObject/namespace")),
            ("involvedObject.name", text("/involvedObject/name")),
            ("involvedObject.uid", text("/involvedObject/uid")),
            ("involvedObject.apiVersion", text("/involvedObject/apiVersion")),
            ("involvedObject.resourceVersion", text("/involvedObject/resourceVersion")),
            ("involvedObject.fieldPath", text("/involvedObject/fieldPath")),
            ("reason", text("/reason")),
            ("reportingComponent", text("/reportingComponent")),
            ("source", source.into()),
            ("type", text("/type")),
        ]
    }
}

impl Strategy for Grouped {
    fn default(&self, object: &mut Value) {
        rename(object, true);
        fill(object);
        rename(object, false);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let core = core_form(object);
        let at = At::root(&core);
        let mut faults = validate_core(&core, "reportingController");
        if !meta::name(object).is_empty() {
            faults.rule(&at.get2("metadata", "name"), name::subdomain);
        }
        series(&at, &mut faults);
        if !at.get("eventTime").is_set() {
            faults.required(&at.get("eventTime"), "");
        }
        let kind = at.get("type").text();
        if !matches!(kind, "Normal" | "Warning") {
            faults.invalid_as(&at.get("type"), "", format!("has invalid value: {kind}"));
        }
        for field in ["firstTimestamp", "lastTimestamp", "count"] {
            if !at.get(field).is_zero() {
                faults.invalid_as(&at.get(field), "", "needs to be unset");
            }
        }
        let source = at.get("source");
        if !source.get("component").is_zero() || !source.get("host").is_zero() {
            faults.invalid_as(&source, "", "needs to be unset");
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let (new, old) = (core_form(new), core_form(old));
        let (at, before) = (At::root(&new), At::root(&old));
        let mut faults = validate_core(&new, "reportingController");
        let is_empty_now = at.get("series").is_set() && !before.get("series").is_set();
        if is_empty_now || !tree::same_at(&new, &old, "/series") {
            series(&at, &mut faults);
        }
        for field in [
            "involvedObject",
            "reason",
            "message",
            "source",
            "firstTimestamp",
            "lastTimestamp",
            "count",
            "type",
            "eventTime",
            "action",
            "related",
            "reportingInstance",
        ] {
            faults.immutable(&at.get(field), &before.get(field));
        }
        let reporter = At {
            value: at.get("reportingComponent").value,
            path: at.get("reportingController").path,
        };
        faults.immutable(&reporter, &before.get("reportingComponent"));
        faults.0
    }

    fn to_storage(&self, object: &mut Value) {
        rename(object, true);
    }

    fn from_storage(&self, object: &mut Value) {
        rename(object, false);
        // The core kind has them always.
        for field in ["reportingController", "reportingInstance"] {
            if tree::at(object, &format!("/{field}")).is_some_and(tree::is_zero) {
                tree::remove(object, field);
            }
        }
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        Core.selectable_fields(&core_form(object))
    }

    fn stored_field(&self, path: &str) -> Option<&'static str> {
        let fields = Core.selectable_fields(&Value::Null).into_iter();
        fields.map(|(name, _)| name).find(|name| grouped_name(name) == Some(path))
    }
}

/// What a selectable field of the core kind is called in this version, if it can be selected here.
fn grouped_name(name: &'static str) -> Option<&'static str> {
    Some(match name {
        "involvedObject.kind" => "regarding.kind",
        "involvedObject.namespace" => "regarding.namespace",
        "involvedObject.name" => "regarding.name",
        "involvedObject.uid" => "regarding.uid",
        "involvedObject.apiVersion" => "regarding.apiVersion",
        "involvedObject.resourceVersion" => "regarding.resourceVersion",
        "involvedObject.fieldPath" => "regarding.fieldPath",
        "reportingComponent" => "reportingController",
        "reason" | "type" => name,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::cells;
    use crate::kinds::check::show;

    fn sample() -> Value {
        json!({"metadata": {"name": "e", "namespace": "n"}, "type": "Normal", "reason": "Started",
            "regarding": {"kind": "Pod", "name": "p", "namespace": "n"}, "note": " hi ",
            "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Binding",
            "reportingController": "example.com/c", "reportingInstance": "c-1"})
    }

    #[test]
    fn fields_are_selected_by_the_names_of_the_version() {
        let cases = [
            ("reportingController", Some("reportingComponent")),
            ("regarding.kind", Some("involvedObject.kind")),
            ("reason", Some("reason")),
            ("involvedObject.kind", None),
            ("source", None),
        ];
        for (path, stored) in cases {
            assert_eq!(Grouped.stored_field(path), stored, "{path}");
        }
        assert_eq!(Core.stored_field("source"), Some("source"));
        assert_eq!(Core.stored_field("regarding.kind"), None);
    }

    #[test]
    fn the_two_versions_convert() {
        let mut object = sample();
        Grouped.to_storage(&mut object);
        assert_eq!(object["involvedObject"]["name"], "p");
        assert_eq!(object["message"], " hi ");
        assert_eq!(object["reportingComponent"], "example.com/c");
        assert_eq!(show(&Core.validate(&object)), "");
        let fields = Core.selectable_fields(&object);
        assert_eq!(fields[2], ("involvedObject.name", "p".into()));
        Grouped.from_storage(&mut object);
        assert_eq!(object, sample());
        assert_eq!(show(&Grouped.validate(&object)), "");
        let mut silent = json!({"reportingComponent": "", "reportingInstance": "", "reason": ""});
        Grouped.from_storage(&mut silent);
        assert_eq!(silent, json!({"reason": ""}));
    }

    #[test]
    fn columns_are_the_same_for_both() {
        let grouped = sample();
        let core = core_form(&grouped);
        let expected =
            ["60s", "Normal", "Started", "pod/p", "", "example.com/c, c-1", "hi", "60s", "1", "e"];
        for (row, object) in rows().iter().zip([core, grouped]) {
            assert_eq!(cells::show(row, &object, "2026-01-01T00:01:00Z"), expected);
        }
    }

    #[test]
    fn faults_read_as_upstreams() {
        let core = json!({"metadata": {"namespace": "n"}, "involvedObject": {"namespace": "m"}});
        assert_eq!(
            show(&Core.validate(&core)),
            "involvedObject.namespace: Invalid value: \"m\": does not match event.namespace"
        );
        let mut new = sample();
        new["note"] = json!("other");
        new["series"] = json!({"count": 1});
        assert_eq!(
            show(&Grouped.validate_update(&new, &sample())),
            "series.count: Invalid value: \"\": should be at least 2\n\
             series.lastObservedTime: Required value\n\
             message: Invalid value: \"other\": field is immutable"
        );
    }
}
