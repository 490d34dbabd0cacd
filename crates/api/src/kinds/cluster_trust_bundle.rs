//! `certificates.k8s.io ClusterTrustBundle`: root certificates for pods.

use crate::kinds::row;
use crate::resource::{NameRule, Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            scope: Scope::Cluster,
            name_rule: NameRule::Own,
            ..row("certificates.k8s.io", "v1", "ClusterTrustBundle", "clustertrustbundles", &Plain)
        },
        Resource {
            scope: Scope::Cluster,
            name_rule: NameRule::Own,
            off_by_default: true,
            ..row(
                "certificates.k8s.io",
                "v1beta1",
                "ClusterTrustBundle",
                "clustertrustbundles",
                &Plain,
            )
            .stored_as("certificates.k8s.io", "v1", "clustertrustbundles")
        },
        Resource {
            scope: Scope::Cluster,
            name_rule: NameRule::Own,
            off_by_default: true,
            ..row(
                "certificates.k8s.io",
                "v1alpha1",
                "ClusterTrustBundle",
                "clustertrustbundles",
                &Plain,
            )
            .stored_as("certificates.k8s.io", "v1", "clustertrustbundles")
        },
    ]
}
