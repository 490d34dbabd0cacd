//! `/metrics` in the Prometheus text format, under upstream's names.

use std::fmt::Write as _;

use crate::server::Server;

/// The metrics as they are now.
pub(crate) fn render(server: &Server) -> String {
    let mut out = String::new();
    out.push_str("# HELP apiserver_storage_objects [STABLE] Number of stored objects at the time of last check split by kind.\n");
    out.push_str("# TYPE apiserver_storage_objects gauge\n");
    for row in server.registry.table().places().filter(|row| !row.virtual_only) {
        let name = api::status::qualified(&row.storage_group, &row.storage_plural);
        let count = server.cache_of(row).len();
        let _written = writeln!(out, "apiserver_storage_objects{{resource=\"{name}\"}} {count}");
    }
    out.push_str("# HELP apiserver_storage_revision The newest revision that reads show.\n");
    out.push_str("# TYPE apiserver_storage_revision gauge\n");
    let _written = writeln!(out, "apiserver_storage_revision {}", server.caches.revision());
    out
}
