//! `apiregistration.k8s.io/v1 APIService`: who serves an API group version.

use serde_json::{Value, json};

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row, tree};
use crate::meta;
use crate::name;
use crate::resource::{Cell, Column, NameRule, Names, Resource, Scope, Strategy, Subresource};

struct ApiService;

const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1000;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        categories: Names::Static(&["api-extensions"]),
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        columns: vec![
            Column::new("Service", Cell::Compute(|o, _| service(o).into())),
            Column::new("Available", Cell::Compute(|o, _| available(o).into())),
            cells::age(),
        ],
        name_rule: NameRule::Own,
        has_status: true,
        needs_revision: true,
        ..row("apiregistration.k8s.io", "v1", "APIService", "apiservices", &ApiService)
    }]
}

fn service(object: &Value) -> String {
    match tree::at(object, "/spec/service") {
        Some(service) => {
            format!("{}/{}", tree::text(service, "/namespace"), tree::text(service, "/name"))
        }
        None => "Local".to_owned(),
    }
}

fn available(object: &Value) -> String {
    let conditions = tree::list(object, "/status/conditions");
    let found = conditions.iter().find(|c| tree::text(c, "/type") == "Available");
    let Some(condition) = found else { return "Unknown".to_owned() };
    let (status, reason) = (tree::text(condition, "/status"), tree::text(condition, "/reason"));
    if status == "True" || reason.is_empty() {
        status.to_owned()
    } else {
        format!("{status} ({reason})")
    }
}

fn own_name(object: &At<'_>, faults: &mut Faults) {
    let spec = object.get("spec");
    let required = format!("{}.{}", spec.get("version").text(), spec.get("group").text());
    let (text, place) = (meta::name(object.value), object.get2("metadata", "name"));
    if text.is_empty() {
        // That is a fault of its own.
    } else if let Err(fault) = name::path_segment(text) {
        faults.invalid_as(&place, text, fault);
    } else if text != required {
        faults.invalid_as(
            &place,
            text,
            format!("must be `spec.version+\".\"+spec.group`: \"{required}\""),
        );
    }
}

fn priority(at: &At<'_>, max: i64, faults: &mut Faults) {
    let number = at.int().unwrap_or_default();
    if !(1..=max).contains(&number) {
        faults.invalid_as(at, number, format!("must be positive and less than {max}"));
    }
}

fn backend(spec: &At<'_>, faults: &mut Faults) {
    let (service, bundle) = (spec.get("service"), spec.get("caBundle"));
    let insecure = spec.get("insecureSkipTLSVerify");
    if !service.is_set() {
        if !bundle.is_zero() {
            let shown = format!("{} bytes", bundle.text().len() / 4 * 3);
            faults.invalid_as(&bundle, shown, "local APIServices may not have a caBundle");
        }
        if insecure.flag() {
            faults.invalid(&insecure, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    for field in ["namespace", "name"] {
        if service.get(field).is_zero() {
            faults.required(&service.get(field), "");
        }
    }
    let port = service.get("port");
    if !(1..=65535).contains(&port.int().unwrap_or_default()) {
        faults.invalid_as(
            &port,
            port.int().unwrap_or_default(),
            "port is not valid: must be between 1 and 65535, inclusive",
        );
    }
    if insecure.flag() && !bundle.is_zero() {
        faults.invalid(&insecure, "may not be true if caBundle is present");
    }
}

impl Strategy for ApiService {
    fn default(&self, object: &mut Value) {
        if let Some(service) = tree::at_mut(object, "/spec/service") {
            tree::fill(service, "port", 443);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        // What this server serves itself is there as soon as it is said.
        if tree::at(object, "/spec/service").is_none() {
            let since = meta::text(object, "creationTimestamp").to_owned();
            let condition = json!({"type": "Available", "status": "True", "reason": "Local",
                "message": "Local APIServices are always available", "lastTransitionTime": since});
            tree::set(object, "status", json!({"conditions": [condition]}));
        }
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let spec = at.get("spec");
        let mut faults = Faults::default();
        own_name(&at, &mut faults);
        if spec.get("group").is_zero() {
            if spec.get("version").text() != "v1" {
                faults.required(
                    &spec.get("group"),
                    "only v1 may have an empty group and it better be legacy kube",
                );
            }
        } else {
            faults.rule(&spec.get("group"), name::subdomain);
        }
        faults.rule(&spec.get("version"), name::label_1035);
        priority(&spec.get("groupPriorityMinimum"), GROUP_PRIORITY_MAX, &mut faults);
        priority(&spec.get("versionPriority"), VERSION_PRIORITY_MAX, &mut faults);
        backend(&spec, &mut faults);
        faults.0
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        for condition in At::root(new).get2("status", "conditions").items() {
            faults.optional_one_of(&condition.get("status"), &["False", "True", "Unknown"]);
        }
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn the_name_is_the_version_and_group() {
        let mut object = json!({"metadata": {"name": "v1.a.b"}, "spec": {"group": "a.b",
            "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
            "service": {"namespace": "n", "name": "s"}},
            "status": {"conditions": [{"type": "Available", "status": "False", "reason": "Gone"}]}});
        ApiService.default(&mut object);
        assert_eq!(object["spec"]["service"]["port"], 443);
        assert_eq!(show(&ApiService.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["n/s", "False (Gone)", "<unknown>"]
        );
        object["spec"]["version"] = json!("v2");
        object["spec"]["versionPriority"] = json!(0);
        assert_eq!(
            show(&ApiService.validate(&object)),
            "metadata.name: Invalid value: \"v1.a.b\": must be `spec.version+\".\"+spec.group`: \"v2.a.b\"\n\
             spec.versionPriority: Invalid value: 0: must be positive and less than 1000"
        );
    }
}
