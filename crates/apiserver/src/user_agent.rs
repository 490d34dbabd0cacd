//! What `User-Agent` decides: the default field manager, which is what stands before its first slash, and whether
//! answers are laid out for people.

/// Whether what this client receives is looked at as it is: browsers, and what one types into a shell.
pub(crate) fn is_read_by_people(user_agent: &str) -> bool {
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|known| user_agent.starts_with(known))
}

/// Longest manager name.
const MANAGER_BYTES_MAX: usize = 128;

/// The manager that a request without `fieldManager` writes as.
pub(crate) fn default_manager(user_agent: &str) -> &str {
    let manager = user_agent.split('/').next().unwrap_or_default();
    if manager.is_empty() || manager.len() > MANAGER_BYTES_MAX { "unknown" } else { manager }
}
