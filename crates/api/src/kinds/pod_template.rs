//! `v1 PodTemplate`: a stored template for pods.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, pod_spec, row, tree};
use crate::resource::{Cell, Column, Resource, Strategy};

struct PodTemplate;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        columns: vec![
            Column::new("Containers", Cell::Compute(|o, _| texts(o, "/name").into())),
            Column::new("Images", Cell::Compute(|o, _| texts(o, "/image").into())),
            Column::new(
                "Pod Labels",
                Cell::Compute(|o, _| cells::labels(o, "/template/metadata/labels").into()),
            ),
        ],
        has_generation: true,
        shows_deleted: true,
        ..row("", "v1", "PodTemplate", "podtemplates", &PodTemplate)
    }]
}

fn texts(object: &Value, pointer: &str) -> String {
    cells::container_texts(tree::list(object, "/template/spec/containers"), pointer)
}

impl Strategy for PodTemplate {
    fn default(&self, object: &mut Value) {
        pod_spec::defaults::template(tree::make(object, "template"));
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        pod_spec::template::validate(&At::root(object).get("template"), &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn defaults_and_columns() {
        let mut object = json!({"template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}});
        PodTemplate.default(&mut object);
        assert_eq!(object["template"]["spec"]["restartPolicy"], "Always");
        assert_eq!(show(&PodTemplate.validate(&object)), "");
        assert_eq!(cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"), ["c", "i", "a=b"]);
        object["template"]["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "i"}]);
        PodTemplate.default(&mut object);
        assert_eq!(
            show(&PodTemplate.validate(&object)),
            "template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"
        );
    }
}
