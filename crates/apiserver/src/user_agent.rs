//! The default field manager: what stands before the first slash of `User-Agent`.

/// Longest manager name.
const MANAGER_BYTES_MAX: usize = 128;

/// The manager that a request without `fieldManager` writes as.
pub(crate) fn default_manager(user_agent: &str) -> &str {
    let manager = user_agent.split('/').next().unwrap_or_default();
    if manager.is_empty() || manager.len() > MANAGER_BYTES_MAX { "unknown" } else { manager }
}
