//! What every node may do whatever runs on it.

use std::sync::OnceLock;

use k8s_openapi::api::rbac::v1::PolicyRule;

/// Verbs, group and resources of one rule.
type Row = (&'static [&'static str], &'static str, &'static [&'static str]);

/// The rows of upstream's role `system:node` that are not decided object by object.
const ROWS: &[Row] = &[
    (&["create"], "authentication.k8s.io", &["tokenreviews"]),
    (&["create"], "authorization.k8s.io", &["subjectaccessreviews", "localsubjectaccessreviews"]),
    (&["get", "list", "watch"], "", &["services"]),
    (&["create", "update", "patch"], "", &["events"]),
    (&["get"], "", &["endpoints"]),
    (&["create", "get", "list", "watch"], "certificates.k8s.io", &["certificatesigningrequests"]),
    (&["get", "list", "watch"], "storage.k8s.io", &["csidrivers"]),
    (&["get", "list", "watch"], "node.k8s.io", &["runtimeclasses"]),
    (&["get", "list", "watch"], "certificates.k8s.io", &["clustertrustbundles"]),
    (&["create", "get", "list", "watch"], "certificates.k8s.io", &["podcertificaterequests"]),
];

/// The rows as rules.
pub(super) fn node_rules() -> &'static [PolicyRule] {
    static RULES: OnceLock<Vec<PolicyRule>> = OnceLock::new();
    let list =
        |items: &[&str]| -> Vec<String> { items.iter().map(|item| (*item).to_owned()).collect() };
    RULES.get_or_init(|| {
        let rules = ROWS.iter().map(|(verbs, group, resources)| PolicyRule {
            verbs: list(verbs),
            api_groups: Some(list(&[group])),
            resources: Some(list(resources)),
            ..PolicyRule::default()
        });
        rules.collect()
    })
}
