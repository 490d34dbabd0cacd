//! `certificates.k8s.io PodCertificateRequest`: a certificate for a pod.

use crate::kinds::row;
use crate::resource::{Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            subresources: vec![Subresource::STATUS],
            has_status: true,
            ..row(
                "certificates.k8s.io",
                "v1",
                "PodCertificateRequest",
                "podcertificaterequests",
                &Plain,
            )
        },
        Resource {
            subresources: vec![Subresource::STATUS],
            has_status: true,
            off_by_default: true,
            ..row(
                "certificates.k8s.io",
                "v1beta1",
                "PodCertificateRequest",
                "podcertificaterequests",
                &Plain,
            )
            .stored_as("certificates.k8s.io", "v1", "podcertificaterequests")
        },
    ]
}
