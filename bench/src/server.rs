//! What the measured server takes of the machine, read from `/proc` by the numbers of its processes.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Clock ticks per second in `/proc/PID/stat`; the same on every machine that Linux calls 64-bit.
const TICKS_PER_SECOND: u64 = 100;

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
            kib += resident(&fs::read_to_string(&path).with_context(|| format!("read {path}"))?);
        }
        Ok(kib as f64 / 1024.0)
    }
}

fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// User and system time; the second field, the name, may hold blanks.
fn cpu(stat: &str) -> Duration {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks =
        after_name.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 1000 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_understood() {
        let stat = "12 (a b) c) S 1 12 12 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu(stat), Duration::from_millis(1750));
        assert_eq!(resident("Name:\tx\nVmRSS:\t  2048 kB\n"), 2048);
    }

    #[test]
    fn this_process_uses_something() {
        let server = Server { pids: vec![std::process::id()] };
        assert!(server.resident_mib().unwrap() > 0.0);
        assert!(Server { pids: vec![u32::MAX] }.cpu().is_err());
    }
}
