//! Settings below `/proc/sys/net`, of the network namespace of the calling thread.

use std::io;
use std::path::PathBuf;

/// A setting could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {path} to {value}")]
pub struct SysctlError {
    path: String,
    value: String,
    #[source]
    source: io::Error,
}

/// Sets `name` (as in `ipv4/ip_forward`) below `/proc/sys/net` to `value`; writes only when it differs,
/// so that a read-only `/proc/sys` with the right value is good enough.
pub fn set_sysctl(name: &str, value: &str) -> Result<(), SysctlError> {
    let path = PathBuf::from("/proc/sys/net").join(name);
    match std::fs::read_to_string(&path) {
        Ok(current) if current.trim() == value => return Ok(()),
        _ => {}
    }
    std::fs::write(&path, value).map_err(|source| SysctlError {
        path: path.display().to_string(),
        value: value.to_owned(),
        source,
    })
}
