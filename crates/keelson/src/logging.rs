//! The log: one line per event on standard error, filtered by `KEELSON_LOG`.

use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("KEELSON_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
