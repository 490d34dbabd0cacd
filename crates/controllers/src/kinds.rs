//! Small questions about objects and errors that several controllers ask.

use k8s_openapi::api::core::v1::Namespace;

/// The name of an object.
pub(crate) fn name_of<K: kube::Resource>(object: &K) -> String {
    object.meta().name.clone().unwrap_or_default()
}

/// The namespace of an object, empty for cluster-scoped ones.
pub(crate) fn namespace_of<K: kube::Resource>(object: &K) -> String {
    object.meta().namespace.clone().unwrap_or_default()
}

/// Whether new objects may be made in a namespace.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

fn code(error: &kube::Error) -> Option<(u16, &str)> {
    match error {
        kube::Error::Api(status) => Some((status.code, status.reason.as_str())),
        _ => None,
    }
}

/// Whether a creation failed because the object is there.
pub(crate) fn already_exists(error: &kube::Error) -> bool {
    matches!(code(error), Some((409, "AlreadyExists")))
}

/// Whether a write failed because someone else wrote first.
pub(crate) fn conflicts(error: &kube::Error) -> bool {
    matches!(code(error), Some((409, _)))
}

/// Whether the object is not there.
pub(crate) fn not_found(error: &kube::Error) -> bool {
    matches!(code(error), Some((404, _)))
}

/// Whether a creation failed because its namespace is gone or going.
pub(crate) fn namespace_gone(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            status.code == 404
                || (status.code == 403 && status.message.contains("because it is being terminated"))
        }
        _ => false,
    }
}
