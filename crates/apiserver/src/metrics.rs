//! `/metrics` in the Prometheus text format, under upstream's names.

pub(crate) mod histogram;
mod process;
pub(crate) mod requests;

use std::fmt::Write as _;

use crate::server::Server;

/// Writes the two lines that stand before the series of a metric.
pub(crate) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _written = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// The metrics as they are now.
pub(crate) fn render(server: &Server) -> String {
    let mut out = String::new();
    server.requests.render(&mut out);
    process::render(&mut out);
    crate::fairness::metrics::render(&server.fairness, &mut out);
    if let Some(audit) = &server.audit {
        audit.render(&mut out);
    }
    let name = "apiserver_storage_objects";
    let help = "[STABLE] Number of stored objects at the time of last check split by kind.";
    head(&mut out, name, "gauge", help);
    for row in server.registry.table().places().filter(|row| !row.virtual_only) {
        let resource = api::status::qualified(&row.storage_group, &row.storage_plural);
        let count = server.cache_of(row).len();
        let _written = writeln!(out, "{name}{{resource=\"{resource}\"}} {count}");
    }
    let name = "apiserver_storage_revision";
    head(&mut out, name, "gauge", "The newest revision that reads show.");
    let _written = writeln!(out, "{name} {}", server.caches.revision());
    let name = "kubernetes_build_info";
    let help = "[ALPHA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.";
    head(&mut out, name, "gauge", help);
    let version = crate::discovery::version();
    let text = |key: &str| version[key].as_str().unwrap_or_default().to_owned();
    let _written = writeln!(
        out,
        "{name}{{git_version=\"{}\",major=\"{}\",minor=\"{}\",platform=\"{}\"}} 1",
        text("gitVersion"),
        text("major"),
        text("minor"),
        text("platform")
    );
    out
}
