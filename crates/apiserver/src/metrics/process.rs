//! What the operating system says of this process, under the names that every Prometheus client has.

use std::fmt::Write as _;

use super::head;

/// Clock ticks in a second, as `/proc` counts them on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

/// Figures of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Figures {
    cpu_seconds: f64,
    started_at: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
}

/// Writes what can be found out.
pub(super) fn render(out: &mut String) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let Some(figures) = parse(&read("/proc/self/stat"), &read("/proc/stat")) else { return };
    let mut gauge = |name: &str, kind: &str, help: &str, value: String| {
        head(out, name, kind, help);
        let _written = writeln!(out, "{name} {value}");
    };
    let Figures { cpu_seconds, started_at, resident_bytes, virtual_bytes } = figures;
    let help = "Total user and system CPU time spent in seconds.";
    gauge("process_cpu_seconds_total", "counter", help, cpu_seconds.to_string());
    let help = "Resident memory size in bytes.";
    gauge("process_resident_memory_bytes", "gauge", help, resident_bytes.to_string());
    let help = "Virtual memory size in bytes.";
    gauge("process_virtual_memory_bytes", "gauge", help, virtual_bytes.to_string());
    let help = "Start time of the process since unix epoch in seconds.";
    gauge("process_start_time_seconds", "gauge", help, started_at.to_string());
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let help = "Number of open file descriptors.";
        gauge("process_open_fds", "gauge", help, open.count().to_string());
    }
}

/// From the process's line and the machine's lines.
fn parse(process: &str, machine: &str) -> Option<Figures> {
    // The program's name may have spaces; what is behind it has none.
    let fields: Vec<&str> = process.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND;
    let booted = machine.lines().find_map(|line| line.strip_prefix("btime "));
    let booted: u64 = booted?.trim().parse().ok()?;
    Some(Figures {
        cpu_seconds: seconds(number(11)? + number(12)?),
        started_at: booted as f64 + seconds(number(19)?),
        virtual_bytes: number(20)?,
        resident_bytes: number(21)? * PAGE_BYTES,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read() {
        let process =
            "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 1000 8192000 300 1";
        let figures = Figures {
            cpu_seconds: 2.0,
            started_at: 1_700_000_010.0,
            virtual_bytes: 8_192_000,
            resident_bytes: 300 * 4096,
        };
        assert_eq!(parse(process, "cpu 1 2\nbtime 1700000000\n"), Some(figures));
        assert_eq!(parse("", ""), None);
        assert_eq!(parse(process, "cpu"), None);
    }
}
