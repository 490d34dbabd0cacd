//! `certificates.k8s.io/v1 CertificateSigningRequest`: asks for a certificate.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, STATUS_VERBS, Scope, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["csr"]),
        scope: Scope::Cluster,
        subresources: vec![Subresource::own("approval", STATUS_VERBS), Subresource::STATUS],
        has_status: true,
        ..row(
            "certificates.k8s.io",
            "v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
            &Plain,
        )
    }]
}
