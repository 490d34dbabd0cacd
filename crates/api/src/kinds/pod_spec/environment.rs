//! Environment variables, and references to the pod's own fields and resources.

use super::super::amounts;
use super::super::check::{At, Faults};
use crate::name;

/// Fields of the pod that variables may show.
const VARIABLE_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of the pod that files may show.
pub(super) const FILE_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SIZE_DIVISORS: [&str; 13] =
    ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// `env` of a container.
pub(super) fn variables(at: &At<'_>, faults: &mut Faults) {
    for variable in at.items() {
        faults.required_rule(&variable.get("name"), name::environment_variable);
        value_from(&variable, faults);
    }
}

fn value_from(variable: &At<'_>, faults: &mut Faults) {
    let at = variable.get("valueFrom");
    if !at.is_set() {
        return;
    }
    let mut sources = 0;
    let mut source = |name: &str, faults: &mut Faults, check: &dyn Fn(&At<'_>, &mut Faults)| {
        let found = at.get(name);
        if found.is_set() {
            sources += 1;
            check(&found, faults);
        }
    };
    source("fieldRef", faults, &|at, faults| field(at, &VARIABLE_FIELDS, faults));
    source("resourceFieldRef", faults, &|at, faults| resource(at, false, faults));
    source("configMapKeyRef", faults, &key_reference);
    source("secretKeyRef", faults, &key_reference);
    source("fileKeyRef", faults, &|at, faults| {
        for field in ["key", "path", "volumeName"] {
            if at.get(field).is_zero() {
                faults.required(&at.get(field), "");
            }
        }
    });
    if sources == 0 {
        faults.invalid_as(
            &at,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        );
    } else if !variable.get("value").is_zero() {
        faults.invalid_as(&at, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        faults.invalid_as(&at, "", "may not have more than one field specified at a time");
    }
}

fn key_reference(at: &At<'_>, faults: &mut Faults) {
    faults.rule(&at.get("name"), name::subdomain);
    faults.required_rule(&at.get("key"), name::config_key);
}

/// A reference to a field of the pod, one of `fields` or a single label or annotation.
pub(super) fn field(at: &At<'_>, fields: &[&str], faults: &mut Faults) {
    let path = at.get("fieldPath");
    for needed in [&at.get("apiVersion"), &path] {
        if needed.is_zero() {
            faults.required(needed, "");
            return;
        }
    }
    if at.get("apiVersion").text() != "v1" {
        let version = at.get("apiVersion").text();
        faults.invalid(
            &path,
            format!("error converting fieldPath: unsupported pod version: {version}"),
        );
        return;
    }
    if let Some((of, key)) = path.text().strip_suffix("']").and_then(|text| text.split_once("['")) {
        match of {
            "metadata.annotations" => {
                faults.qualified_as(at, &key.to_lowercase(), key);
            }
            "metadata.labels" => {
                faults.qualified_as(at, key, key);
            }
            _ => {
                let text = format!(
                    "error converting fieldPath: field label does not support subscript: {}",
                    path.text()
                );
                faults.invalid(&path, text);
            }
        }
    } else if !fields.contains(&path.text()) {
        unknown_field(&path, fields, faults);
    }
}

fn unknown_field(path: &At<'_>, fields: &[&str], faults: &mut Faults) {
    let known = VARIABLE_FIELDS.contains(&path.text()) || FILE_FIELDS.contains(&path.text());
    if known
        || path.text() == "spec.restartPolicy"
        || path.text() == "spec.schedulerName"
        || path.text() == "status.phase"
    {
        faults.not_supported(path, fields);
    } else {
        let text =
            format!("error converting fieldPath: field label not supported: {}", path.text());
        faults.invalid(path, text);
    }
}

/// A reference to a resource of a container.
pub(super) fn resource(at: &At<'_>, is_file: bool, faults: &mut Faults) {
    let which = at.get("resource");
    if is_file && at.get("containerName").is_zero() {
        faults.required(&at.get("containerName"), "");
    } else if which.is_zero() {
        faults.required(&which, "");
    } else if !RESOURCES.contains(&which.text()) && !is_huge_page(which.text()) {
        faults.not_supported(&which, &RESOURCES);
    }
    divisor(at, which.text(), faults);
}

fn is_huge_page(resource: &str) -> bool {
    resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-")
}

fn divisor(at: &At<'_>, resource: &str, faults: &mut Faults) {
    let place = at.get("divisor");
    let Some(divisor) = amounts::read(&place).filter(|divisor| !divisor.is_zero()) else { return };
    let shown = divisor.to_string();
    let (known, what): (&[&str], _) = match resource {
        "limits.cpu" | "requests.cpu" => (&["1m", "1"], "cpu"),
        "limits.memory" | "requests.memory" => (&SIZE_DIVISORS, "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            (&SIZE_DIVISORS, "local ephemeral storage")
        }
        _ if is_huge_page(resource) => (&SIZE_DIVISORS, "hugepages"),
        _ => return,
    };
    if !known.contains(&shown.as_str()) {
        let values = if what == "cpu" { "1m and 1".to_owned() } else { known.join(", ") };
        faults.invalid_as(
            &place,
            resource,
            format!("only divisor's values {values} are supported with the {what} resource"),
        );
    }
}

/// `envFrom` of a container.
pub(super) fn sources(at: &At<'_>, faults: &mut Faults) {
    for source in at.items() {
        if !source.get("prefix").is_zero() {
            faults.rule(&source.get("prefix"), name::environment_variable);
        }
        let kinds = ["configMapRef", "secretRef"].map(|kind| source.get(kind));
        for reference in kinds.iter().filter(|reference| reference.is_set()) {
            faults.required_rule(&reference.get("name"), name::subdomain);
        }
        match kinds.iter().filter(|reference| reference.is_set()).count() {
            0 => faults.invalid_as(at, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => faults.invalid_as(at, "", "may not have more than one field specified at a time"),
        }
    }
}
