//! Checks of pod templates.

use super::super::check::{At, Faults};
use super::validate;

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
