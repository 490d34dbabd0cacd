//! The two kinds that list webhooks: what they share is everything but who may change the request.

use serde_json::Value;

use super::super::{cells, row, tree};
use super::{GROUP, default_webhook, webhooks};
use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::resource::{Cell, Column, Names, Resource, Scope, Strategy};

/// Webhooks that change requests or that judge them.
pub(in crate::kinds) struct Configuration {
    /// Whether they change requests.
    pub(in crate::kinds) is_mutating: bool,
}

/// The row of such a kind.
pub(in crate::kinds) fn configuration(
    kind: &'static str,
    plural: &'static str,
    strategy: &'static Configuration,
) -> Resource {
    Resource {
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
        needs_revision: true,
        ..row(GROUP, "v1", kind, plural, strategy)
    }
}

impl Strategy for Configuration {
    fn default(&self, object: &mut Value) {
        tree::each(object, "webhooks", |webhook| default_webhook(webhook, self.is_mutating));
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        webhooks(&At::root(object).get("webhooks"), self.is_mutating, &mut faults);
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
        for is_mutating in [false, true] {
            let kind = Configuration { is_mutating };
            let mut object = json!({"webhooks": [{"name": "a.b.c", "sideEffects": "None",
                "admissionReviewVersions": ["v1"], "clientConfig": {"service": {"name": "s", "namespace": "n"}},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]});
            kind.default(&mut object);
            let webhook = &object["webhooks"][0];
            assert_eq!(webhook["timeoutSeconds"], 10);
            assert_eq!(webhook["rules"][0]["scope"], "*");
            assert_eq!(webhook["clientConfig"]["service"]["port"], 443);
            assert_eq!(webhook.get("reinvocationPolicy").is_some(), is_mutating);
            assert_eq!(show(&kind.validate(&object)), "");
            let row = configuration("Kind", "kinds", &Configuration { is_mutating: false });
            assert_eq!(cells::show(&row, &object, "2026-01-01T00:00:00Z")[0], "1");
            object["webhooks"][0]["name"] = json!("a");
            object["webhooks"][0]["sideEffects"] = json!(null);
            object["webhooks"][0]["clientConfig"] = json!({"url": "http://a"});
            object["webhooks"][0]["rules"][0]["resources"] = json!(["*", "pods"]);
            assert_eq!(
                show(&kind.validate(&object)),
                "webhooks[0].name: Invalid value: \"a\": should be a domain with at least three segments separated by dots\n\
                 webhooks[0].rules[0].resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources\n\
                 webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun\n\
                 webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]"
            );
        }
    }
}
