//! Pod templates: checks, and warnings that templates and Pods share.

use std::collections::BTreeSet;

use super::super::check::{At, Faults};
use super::{environment, validate};

/// A template with labels, annotations and a spec.
pub(in super::super) fn validate(at: &At<'_>, faults: &mut Faults) {
    validate_metadata(at, faults);
    let spec = at.get("spec");
    validate::spec(&spec, faults, validate::Place::Template);
    if spec.get("ephemeralContainers").len() > 0 {
        faults.forbidden(
            &spec.get("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

/// The labels and annotations of a template.
pub(in super::super) fn validate_metadata(at: &At<'_>, faults: &mut Faults) {
    faults.labels(&at.named_value("labels", &at.get2("metadata", "labels")));
    let annotations = at.named_value("annotations", &at.get2("metadata", "annotations"));
    faults.annotations(&annotations);
    validate::annotations_of_pod(&annotations, faults);
}

/// What is likely a mistake in a spec, but no fault.
pub(in super::super) fn warnings(spec: &At<'_>, warnings: &mut Vec<String>) {
    for list in ["initContainers", "containers"] {
        for container in spec.get(list).items() {
            environment::duplicate_warnings(&container.get("env"), warnings);
            port_warnings(&container, warnings);
        }
    }
    for volume in spec.get("volumes").items() {
        if volume.get("gitRepo").is_set() {
            warnings.push(format!(
                "{}: deprecated in v1.11, and disabled by default in v1.33+",
                volume.get("gitRepo").path
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for secret in spec.get("imagePullSecrets").items() {
        let own_name = secret.get("name").text();
        if own_name.is_empty() {
            warnings.push(format!("{}: invalid empty name \"\"", secret.get("name").path));
        } else if !seen.insert(own_name) {
            warnings.push(format!("{}: duplicate name \"{own_name}\"", secret.get("name").path));
        }
    }
    let grace = spec.get("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|seconds| seconds < 0) {
        warnings.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            grace.path
        ));
    }
}

fn port_warnings(container: &At<'_>, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for port in container.get("ports").items() {
        let key = (
            port.get("containerPort").int(),
            port.get("protocol").text(),
            port.get("hostPort").int(),
            port.get("hostIP").text(),
        );
        if !seen.insert(key) {
            warnings.push(format!(
                "{}: duplicate port definition with {}",
                port.path,
                container.get("ports").path.index(0)
            ));
        }
    }
}
