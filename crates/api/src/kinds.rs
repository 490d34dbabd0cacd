//! The table: one file per kind, one row per served version.
//!
//! A kind's file holds its rows, its [`crate::resource::Strategy`] and its columns. What several kinds share has
//! files of its own beside them.

mod amounts;
mod api_service;
mod binding;
mod cells;
mod certificate_signing_request;
mod certificates;
mod check;
mod cluster_role;
mod cluster_role_binding;
mod cluster_trust_bundle;
mod component_status;
mod conditions;
mod config_map;
mod controller_revision;
mod cron_job;
mod csi_driver;
mod csi_node;
mod csi_storage_capacity;
mod custom_resource_definition;
mod daemon_set;
mod deployment;
mod device_class;
mod devices;
mod duration;
mod endpoint_slice;
mod endpoints;
mod event;
mod flow_schema;
mod hooks;
mod horizontal_pod_autoscaler;
mod ingress;
mod ingress_class;
mod ip_address;
mod job;
mod lease;
mod lease_candidate;
mod limit_range;
mod mutating_admission_policy;
mod mutating_admission_policy_binding;
mod mutating_webhook_configuration;
mod namespace;
mod network;
mod network_policy;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
pub mod pod;
mod pod_certificate_request;
mod pod_disruption_budget;
mod pod_spec;
mod pod_template;
mod priority_class;
mod priority_level_configuration;
mod rbac;
mod replica_set;
mod replication_controller;
mod resource_claim;
mod resource_claim_template;
mod resource_quota;
mod resource_slice;
mod role;
mod role_binding;
mod runtime_class;
mod schedule;
mod secret;
mod self_subject_review;
mod service;
mod service_account;
mod service_cidr;
mod stateful_set;
mod storage_class;
mod storage_version;
mod storage_version_migration;
mod subject_access_review;
#[cfg(test)]
mod tests;
mod token_review;
mod tree;
mod validating_admission_policy;
mod validating_admission_policy_binding;
mod validating_webhook_configuration;
mod volume_attachment;
mod volume_attributes_class;
mod workload;

pub use duration::human_duration;

/// `Age`, from the creation; `<unknown>` where there is none.
pub(crate) fn age_column() -> crate::resource::Column {
    cells::age()
}

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use crate::resource::{Resource, Strategy};

/// Every built-in resource, in the order of discovery. Adding a kind is one file and one line here.
static ALL: LazyLock<Vec<Arc<Resource>>> = LazyLock::new(|| {
    let files: &[fn() -> Vec<Resource>] = &[
        api_service::rows,
        binding::rows,
        certificate_signing_request::rows,
        cluster_role::rows,
        cluster_role_binding::rows,
        cluster_trust_bundle::rows,
        component_status::rows,
        config_map::rows,
        controller_revision::rows,
        cron_job::rows,
        csi_driver::rows,
        csi_node::rows,
        csi_storage_capacity::rows,
        custom_resource_definition::rows,
        daemon_set::rows,
        deployment::rows,
        device_class::rows,
        endpoint_slice::rows,
        endpoints::rows,
        event::rows,
        flow_schema::rows,
        horizontal_pod_autoscaler::rows,
        ingress::rows,
        ingress_class::rows,
        ip_address::rows,
        job::rows,
        lease::rows,
        lease_candidate::rows,
        limit_range::rows,
        mutating_admission_policy::rows,
        mutating_admission_policy_binding::rows,
        mutating_webhook_configuration::rows,
        namespace::rows,
        network_policy::rows,
        node::rows,
        persistent_volume::rows,
        persistent_volume_claim::rows,
        pod::rows,
        pod_certificate_request::rows,
        pod_disruption_budget::rows,
        pod_template::rows,
        priority_class::rows,
        priority_level_configuration::rows,
        replica_set::rows,
        replication_controller::rows,
        resource_claim::rows,
        resource_claim_template::rows,
        resource_quota::rows,
        resource_slice::rows,
        role::rows,
        role_binding::rows,
        runtime_class::rows,
        secret::rows,
        self_subject_review::rows,
        service::rows,
        service_account::rows,
        service_cidr::rows,
        stateful_set::rows,
        storage_class::rows,
        storage_version::rows,
        storage_version_migration::rows,
        subject_access_review::rows,
        token_review::rows,
        validating_admission_policy::rows,
        validating_admission_policy_binding::rows,
        validating_webhook_configuration::rows,
        volume_attachment::rows,
        volume_attributes_class::rows,
    ];
    let mut rows: Vec<Resource> = files.iter().flat_map(|rows| rows()).collect();
    rows.sort_by_key(|row| (version_place(&row.group, &row.version), row.plural.clone()));
    rows.into_iter().map(Arc::new).collect()
});

/// Groups in the order of discovery, each with its versions, the preferred one first.
const GROUP_VERSIONS: &[(&str, &[&str])] = &[
    ("", &["v1"]),
    ("apiregistration.k8s.io", &["v1"]),
    ("apps", &["v1"]),
    ("events.k8s.io", &["v1"]),
    ("authentication.k8s.io", &["v1", "v1beta1"]),
    ("authorization.k8s.io", &["v1"]),
    ("autoscaling", &["v2", "v1"]),
    ("batch", &["v1"]),
    ("certificates.k8s.io", &["v1", "v1beta1", "v1alpha1"]),
    ("networking.k8s.io", &["v1", "v1beta1"]),
    ("policy", &["v1"]),
    ("rbac.authorization.k8s.io", &["v1"]),
    ("storage.k8s.io", &["v1", "v1beta1", "v1alpha1"]),
    ("admissionregistration.k8s.io", &["v1", "v1beta1", "v1alpha1"]),
    ("apiextensions.k8s.io", &["v1"]),
    ("scheduling.k8s.io", &["v1"]),
    ("coordination.k8s.io", &["v1", "v1beta1", "v1alpha2"]),
    ("node.k8s.io", &["v1"]),
    ("discovery.k8s.io", &["v1"]),
    ("resource.k8s.io", &["v1", "v1beta2", "v1beta1", "v1alpha3"]),
    ("flowcontrol.apiserver.k8s.io", &["v1"]),
    ("internal.apiserver.k8s.io", &["v1alpha1"]),
    ("storagemigration.k8s.io", &["v1", "v1beta1", "v1alpha1"]),
];

/// Every built-in resource, in the order of discovery: groups and versions by preference, plurals by name.
pub fn all() -> &'static [Arc<Resource>] {
    &ALL
}

/// Every built-in group with its versions, the preferred one first, in the order of discovery.
pub fn group_versions() -> &'static [(&'static str, &'static [&'static str])] {
    GROUP_VERSIONS
}

fn version_place(group: &str, version: &str) -> (usize, usize) {
    let at = GROUP_VERSIONS.iter().position(|(name, _)| *name == group);
    let versions = at.map_or(&[] as &[&str], |at| GROUP_VERSIONS[at].1);
    let place = versions.iter().position(|name| *name == version);
    (at.unwrap_or(usize::MAX), place.unwrap_or(usize::MAX))
}

/// A row whose list kind and singular follow from the kind, as they do for every built-in.
fn row(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    strategy: &'static dyn Strategy,
) -> Resource {
    Resource {
        list_kind: Cow::Owned(format!("{kind}List")),
        singular: Cow::Owned(kind.to_lowercase()),
        ..Resource::new(group, version, kind, "", plural, "", strategy)
    }
}
