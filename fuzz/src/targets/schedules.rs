//! Schedules of cron jobs, and the times they name.

use jiff::Timestamp;
use reconcile::cron_job::schedule::Schedule;

use super::{USUAL, halves, joined, texts};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "schedules",
    seeds: || {
        let mut seeds =
            texts(&["*/5 * * * *", "0 0 31 2 *", "@every 1h30m", "TZ=Europe/Berlin 30 2 * * 0"]);
        seeds.push(joined("0-59/7 1,2,3 L * MON#2", "Asia/Kathmandu"));
        seeds
    },
    words: &[
        "*/",
        "@every ",
        "@monthly",
        "@midnight",
        "CRON_TZ=",
        "UTC ",
        "L",
        "W",
        "#5",
        "MON-FRI",
        "JAN,FEB",
        "?",
        "1-59/61",
    ],
    input_bytes_max: 256,
    run,
    ..USUAL
};

fn run(input: &[u8]) {
    let (pattern, zone) = halves(input);
    let (Ok(pattern), Ok(zone)) = (std::str::from_utf8(pattern), std::str::from_utf8(zone)) else {
        return;
    };
    let zone = (!zone.is_empty()).then_some(zone);
    let Ok(schedule) = Schedule::parse(pattern, zone) else { return };
    let now = Timestamp::from_second(1_800_000_000).unwrap_or_default();
    let long_ago = Timestamp::from_second(1_700_000_000).unwrap_or_default();
    if let Some(next) = schedule.next(now) {
        let _shown = schedule.local(next);
    }
    let _missed = schedule.missed(long_ago, None, now).is_ok();
}
