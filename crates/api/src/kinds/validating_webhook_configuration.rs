//! `admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration`: webhooks that judge requests.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, hooks, row, tree};
use crate::resource::{Cell, Column, Names, Resource, Scope, Strategy};

struct ValidatingWebhookConfiguration;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        categories: Names::Static(&["api-extensions"]),
        scope: Scope::Cluster,
        columns: vec![
            Column::integer(
                "Webhooks",
                Cell::Compute(|o, _| tree::list(o, "/webhooks").len().into()),
            ),
            cells::age(),
        ],
        has_generation: true,
        ..row(
            hooks::GROUP,
            "v1",
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
            &ValidatingWebhookConfiguration,
        )
    }]
}

impl Strategy for ValidatingWebhookConfiguration {
    fn default(&self, object: &mut Value) {
        tree::each(object, "webhooks", |webhook| hooks::default_webhook(webhook, false));
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        hooks::webhooks(&At::root(object).get("webhooks"), false, &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn defaults_and_faults() {
        let mut object = json!({"webhooks": [{"name": "a.b.c", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": {"service": {"name": "s", "namespace": "n"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]});
        ValidatingWebhookConfiguration.default(&mut object);
        let webhook = &object["webhooks"][0];
        assert_eq!(webhook["timeoutSeconds"], 10);
        assert_eq!(webhook["rules"][0]["scope"], "*");
        assert_eq!(webhook["clientConfig"]["service"]["port"], 443);
        assert!(webhook.get("reinvocationPolicy").is_none());
        assert_eq!(show(&ValidatingWebhookConfiguration.validate(&object)), "");
        assert_eq!(cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z")[0], "1");
        object["webhooks"][0]["name"] = json!("a");
        object["webhooks"][0]["sideEffects"] = json!(null);
        object["webhooks"][0]["clientConfig"] = json!({"url": "http://a"});
        object["webhooks"][0]["rules"][0]["resources"] = json!(["*", "pods"]);
        assert_eq!(
            show(&ValidatingWebhookConfiguration.validate(&object)),
            "webhooks[0].name: Invalid value: \"a\": should be a domain with at least three segments separated by dots\n\
             webhooks[0].rules[0].resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources\n\
             webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun\n\
             webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]"
        );
    }
}
