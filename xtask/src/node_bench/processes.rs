//! What all processes of one program use, as the kernel counts it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster_tests::usage::{cpu, field};

/// Sums over all processes, and the part of the largest one, which is the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) processes: usize,
    pub(super) rss_kib: u64,
    pub(super) pss_kib: u64,
    pub(super) server_rss_kib: u64,
    pub(super) server_anonymous_kib: u64,
    /// PSS of all but the server.
    pub(super) children_pss_kib: u64,
    /// Processor time since their start.
    pub(super) cpu: Duration,
}

/// What the processes that run `binary` use.
///
/// # Errors
/// `/proc` cannot be read.
pub(super) fn usage(binary: &Path) -> Result<Usage> {
    let mut sum = Usage::default();
    let mut server_pss = 0;
    for entry in fs::read_dir("/proc").context("read /proc")?.flatten() {
        let folder = entry.path();
        if fs::read_link(folder.join("exe")).ok().as_deref() != Some(binary) {
            continue;
        }
        // A process may end while it is looked at; then it uses nothing.
        let (Ok(rollup), Ok(stat)) = (
            fs::read_to_string(folder.join("smaps_rollup")),
            fs::read_to_string(folder.join("stat")),
        ) else {
            continue;
        };
        let (rss, pss) = (field(&rollup, "Rss:"), field(&rollup, "Pss:"));
        sum.processes += 1;
        sum.rss_kib += rss;
        sum.pss_kib += pss;
        sum.cpu += cpu(&stat);
        if rss > sum.server_rss_kib {
            sum.server_rss_kib = rss;
            sum.server_anonymous_kib = field(&rollup, "Anonymous:");
            server_pss = pss;
        }
    }
    sum.children_pss_kib = sum.pss_kib - server_pss;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found() {
        let usage = usage(&std::env::current_exe().unwrap()).unwrap();
        assert!(usage.processes >= 1 && usage.rss_kib >= usage.server_rss_kib && usage.pss_kib > 0);
    }
}
