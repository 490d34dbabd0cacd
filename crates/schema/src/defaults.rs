//! The defaults that upstream's OpenAPI documents state for built-in fields.
//!
//! Only values other than the zero value of the type; the table that the definitions come from has
//! none. Server-side apply needs them where a field is a list key (`protocol`). The defaults that the
//! server writes into objects are another matter and live with the kinds (`api`).

/// Definition, field, default (a string in every case). Source: the documents under
/// `api/openapi-spec/v3` of the Kubernetes repository.
pub(crate) const DEFAULTS: [(&str, &str, &str); 17] = [
    ("io.k8s.api.core.v1.AzureDiskVolumeSource", "cachingMode", "ReadWrite"),
    ("io.k8s.api.core.v1.AzureDiskVolumeSource", "fsType", "ext4"),
    ("io.k8s.api.core.v1.AzureDiskVolumeSource", "kind", "Shared"),
    ("io.k8s.api.core.v1.ContainerPort", "protocol", "TCP"),
    ("io.k8s.api.core.v1.ISCSIPersistentVolumeSource", "iscsiInterface", "default"),
    ("io.k8s.api.core.v1.ISCSIVolumeSource", "iscsiInterface", "default"),
    ("io.k8s.api.core.v1.RBDPersistentVolumeSource", "keyring", "/etc/ceph/keyring"),
    ("io.k8s.api.core.v1.RBDPersistentVolumeSource", "pool", "rbd"),
    ("io.k8s.api.core.v1.RBDPersistentVolumeSource", "user", "admin"),
    ("io.k8s.api.core.v1.RBDVolumeSource", "keyring", "/etc/ceph/keyring"),
    ("io.k8s.api.core.v1.RBDVolumeSource", "pool", "rbd"),
    ("io.k8s.api.core.v1.RBDVolumeSource", "user", "admin"),
    ("io.k8s.api.core.v1.ScaleIOPersistentVolumeSource", "fsType", "xfs"),
    ("io.k8s.api.core.v1.ScaleIOPersistentVolumeSource", "storageMode", "ThinProvisioned"),
    ("io.k8s.api.core.v1.ScaleIOVolumeSource", "fsType", "xfs"),
    ("io.k8s.api.core.v1.ScaleIOVolumeSource", "storageMode", "ThinProvisioned"),
    ("io.k8s.api.core.v1.ServicePort", "protocol", "TCP"),
];

/// The stated default of a built-in field.
pub(crate) fn default_of(definition: &str, field: &str) -> Option<&'static str> {
    let key = (definition, field);
    let index = DEFAULTS.binary_search_by(|(name, field, _)| (*name, *field).cmp(&key)).ok()?;
    Some(DEFAULTS[index].2)
}
