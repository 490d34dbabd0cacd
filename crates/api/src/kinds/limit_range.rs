//! `v1 LimitRange`: bounds and defaults for resources in a namespace.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::pod_spec::containers;
use crate::kinds::pod_spec::defaults::resource_list;
use crate::kinds::{amounts, cells, row, tree};
use crate::meta;
use crate::quantity::Quantity;
use crate::resource::{Names, Resource, Strategy};

struct LimitRange;

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["limits"]),
        columns: vec![cells::created_at()],
        create_on_update: true,
        ..row("", "v1", "LimitRange", "limitranges", &LimitRange)
    }]
}

fn fill_from(item: &mut Value, target: &str, source: &str) {
    let amounts = item.get(source).and_then(Value::as_object).cloned().unwrap_or_default();
    let target = tree::make(item, target);
    for (name, amount) in amounts {
        tree::fill(target, &name, amount);
    }
}

fn fill_item(item: &mut Value) {
    for list in LISTS {
        if let Some(list) = tree::child(item, list) {
            resource_list(list);
        }
    }
    if tree::text(item, "/type") == "Container" {
        fill_from(item, "default", "max");
        fill_from(item, "defaultRequest", "default");
        fill_from(item, "defaultRequest", "min");
    }
}

fn kind(at: &At<'_>, faults: &mut Faults) {
    const KNOWN: [&str; 3] = ["Container", "PersistentVolumeClaim", "Pod"];
    if faults.qualified(at) && !at.text().contains('/') && !KNOWN.contains(&at.text()) {
        faults.invalid(at, "must be a standard limit type or fully qualified");
    }
}

/// Pods and containers are limited in what containers may have; anything else in what there is a word for.
fn resource_name(at: &At<'_>, resource: &str, of: &str, faults: &mut Faults) {
    if matches!(of, "Container" | "Pod") {
        containers::resource_name(at, resource, true, faults);
    } else if faults.qualified_as(at, resource, resource)
        && !resource.contains('/')
        && !amounts::is_known(resource)
    {
        faults.invalid_as(at, resource, amounts::UNKNOWN_RESOURCE);
    }
}

fn item(at: &At<'_>, faults: &mut Faults) {
    let own_kind = at.get("type").text();
    kind(&at.get("type"), faults);
    for list in LISTS {
        for (resource, amount) in at.get(list).entries() {
            resource_name(&amount, resource, own_kind, faults);
            amounts::required(&amount, faults);
        }
    }
    if own_kind == "Pod" {
        for list in ["default", "defaultRequest"] {
            if at.get(list).len() > 0 {
                faults.forbidden(&at.get(list), "may not be specified when `type` is 'Pod'");
            }
        }
    }
    let has_storage = |list| at.get2(list, "storage").is_set();
    if own_kind == "PersistentVolumeClaim" && !has_storage("min") && !has_storage("max") {
        faults.required(
            &at.named("limits"),
            "either minimum or maximum storage value is required, but neither was provided",
        );
    }
    let names: BTreeSet<&str> =
        LISTS.iter().flat_map(|list| at.get(list).entries()).map(|(name, _)| name).collect();
    for resource in names {
        bounds(at, resource, faults);
    }
}

/// The amounts of one resource must be in order: least, default request, default, most.
fn bounds(at: &At<'_>, resource: &str, faults: &mut Faults) {
    let read = |list: &str| {
        amounts::read(&at.get2(list, resource)).map(|amount| (list.to_owned(), amount))
    };
    let have: BTreeMap<String, Quantity> = LISTS.iter().filter_map(|list| read(list)).collect();
    let pairs = [
        ("min", "max", "min", "min", "max value"),
        ("min", "defaultRequest", "defaultRequest", "min", "default request value"),
        ("defaultRequest", "max", "defaultRequest", "default request", "max value"),
        ("defaultRequest", "default", "defaultRequest", "default request", "default limit value"),
        ("min", "default", "default", "min", "default value"),
        ("default", "max", "default", "default", "max value"),
    ];
    for (low, high, place, low_text, high_text) in pairs {
        let (Some(less), Some(more)) = (have.get(low), have.get(high)) else { continue };
        if less <= more {
            continue;
        }
        let text = format!("{low_text} value {less} is greater than {high_text} {more}");
        let list = at.get(place);
        let shown = match (place, low) {
            ("default", "min") => less,
            ("default", _) => more,
            _ => &have[place],
        };
        let at = At { value: list.value, path: list.path.key(resource) };
        faults.invalid_as(&at, shown.to_string(), text);
    }
    ratio(at, resource, &have, faults);
}

fn ratio(at: &At<'_>, resource: &str, have: &BTreeMap<String, Quantity>, faults: &mut Faults) {
    let Some(ratio) = have.get("maxLimitRequestRatio") else { return };
    let list = at.get("maxLimitRequestRatio");
    let place = At { value: list.value, path: list.path.key(resource) };
    if *ratio < Quantity::from_units(1) {
        faults.invalid_as(&place, ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
    let (Some(min), Some(max)) = (have.get("min"), have.get("max")) else { return };
    let limit = max.nanos() as f64 / min.nanos() as f64;
    if ratio.nanos() as f64 / 1e9 > limit {
        let text = format!("ratio {ratio} is greater than max/min = {limit:.6}");
        faults.invalid_as(&place, ratio.to_string(), text);
    }
}

impl Strategy for LimitRange {
    fn default(&self, object: &mut Value) {
        tree::each(tree::make(object, "spec"), "limits", fill_item);
    }

    /// One without a name gets one, whatever it is to be.
    fn prepare_for_create(&self, object: &mut Value) {
        if meta::name(object).is_empty() {
            meta::set(object, "name", meta::uid(object).to_owned());
        }
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        let mut kinds = BTreeSet::new();
        for limit in At::root(object).get2("spec", "limits").items() {
            item(&limit, &mut faults);
            faults.unique(&limit.get("type"), &mut kinds);
        }
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn defaults_come_from_bounds() {
        let mut object = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"},
            "min": {"memory": "1024Ki"}}]}});
        LimitRange.default(&mut object);
        assert_eq!(
            object["spec"]["limits"][0],
            json!({"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"},
                "default": {"cpu": "2"}, "defaultRequest": {"cpu": "2", "memory": "1Mi"}})
        );
        assert_eq!(show(&LimitRange.validate(&object)), "");
        object["spec"]["limits"][0]["max"]["zzz"] = json!("1");
        assert_eq!(
            show(&LimitRange.validate(&object)),
            "spec.limits[0].max[zzz]: Invalid value: \"zzz\": must be a standard resource type or fully qualified\n\
             spec.limits[0].max[zzz]: Invalid value: \"zzz\": must be a standard resource for containers"
        );
        let mut nameless = json!({"metadata": {"uid": "u-1"}});
        LimitRange.prepare_for_create(&mut nameless);
        assert_eq!(nameless["metadata"]["name"], "u-1");
    }

    #[test]
    fn bounds_are_in_order() {
        let object = json!({"spec": {"limits": [
            {"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}, "default": {"cpu": "1"}},
            {"type": "Pod"}, {"type": "PersistentVolumeClaim"}, {"type": "Foo"}]}});
        assert_eq!(
            show(&LimitRange.validate(&object)),
            "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'\n\
             spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1\n\
             spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1\n\
             spec.limits[1].type: Duplicate value: \"Pod\"\n\
             spec.limits[2].limits: Required value: either minimum or maximum storage value is required, but neither was provided\n\
             spec.limits[3].type: Invalid value: \"Foo\": must be a standard limit type or fully qualified"
        );
    }
}
