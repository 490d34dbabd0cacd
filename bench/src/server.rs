//! What the measured server takes of the machine, read from `/proc` by the numbers of its processes.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster_tests::usage::{cpu, field};

/// The processes that make up the server; none when it is on another machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    pub(crate) pids: Vec<u32>,
}

impl Server {
    /// Processor time of all since they started.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut sum = Duration::ZERO;
        for pid in &self.pids {
            let path = format!("/proc/{pid}/stat");
            sum += cpu(&fs::read_to_string(&path).with_context(|| format!("read {path}"))?);
        }
        Ok(sum)
    }

    /// Resident memory of all, in MiB.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        let mut kib = 0;
        for pid in &self.pids {
            let path = format!("/proc/{pid}/status");
            let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
            kib += field(&text, "VmRSS:");
        }
        Ok(kib as f64 / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let server = Server { pids: vec![std::process::id()] };
        assert!(server.resident_mib().unwrap() > 0.0);
        assert!(Server { pids: vec![u32::MAX] }.cpu().is_err());
    }
}
