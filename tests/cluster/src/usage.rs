//! What a process uses, from the texts of `/proc/PID`.

use std::time::Duration;

/// Clock ticks per second in `/proc/PID/stat`; the same on every machine that Linux calls 64-bit.
const TICKS_PER_SECOND: u64 = 100;

/// A field of `smaps_rollup` or `status`, such as `Rss:`, in KiB; 0 when it is not there.
pub fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// User and system time of `stat`; the second field, the name, may hold blanks.
pub fn cpu(stat: &str) -> Duration {
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
        let rollup = "00-ff ---p 00000000 00:00 0 [rollup]\nRss:       59028 kB\nPss:   56072 kB\n";
        assert_eq!(
            (field(rollup, "Rss:"), field(rollup, "Pss:"), field(rollup, "No:")),
            (59028, 56072, 0)
        );
        assert_eq!(field("Name:\tx\nVmRSS:\t  2048 kB\n", "VmRSS:"), 2048);
        let stat = "12 (a b) c) S 1 12 12 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu(stat), Duration::from_millis(1750));
    }
}
