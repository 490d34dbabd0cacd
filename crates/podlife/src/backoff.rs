//! The growing pause between tries of something that keeps failing.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN, BACKOFF_RESET};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pause: Duration,
    updated: Timestamp,
}

/// Pauses by key. Bounded by what the owner uses as keys: it calls [`Backoffs::retain`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoffs {
    entries: BTreeMap<String, Entry>,
    min: Duration,
    max: Duration,
}

impl Default for Backoffs {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), min: BACKOFF_MIN, max: BACKOFF_MAX }
    }
}

/// A pause that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its whole length.
    pub pause: Duration,
    /// When it ends.
    pub until: Timestamp,
}

impl Backoffs {
    /// Pauses of another range.
    pub fn between(min: Duration, max: Duration) -> Self {
        Self { entries: BTreeMap::new(), min, max }
    }

    fn live(&self, key: &str, event: Timestamp) -> Option<Entry> {
        let entry = *self.entries.get(key)?;
        let quiet = Duration::try_from(event.duration_since(entry.updated)).unwrap_or_default();
        (quiet <= BACKOFF_RESET.max(self.max.saturating_mul(2))).then_some(entry)
    }

    /// The pause that `key`, which failed at `event`, is in.
    pub fn waiting(&self, key: &str, event: Timestamp, now: Timestamp) -> Option<Waiting> {
        let pause = self.live(key, event)?.pause;
        let until = event.checked_add(pause).ok()?;
        (now < until).then_some(Waiting { pause, until })
    }

    /// Notes that `key`, which failed at `event`, is tried again now: the next pause is longer.
    pub fn advance(&mut self, key: &str, event: Timestamp, now: Timestamp) {
        let pause = match self.live(key, event) {
            Some(entry) => (entry.pause * 2).min(self.max),
            None => self.min,
        };
        self.entries.insert(key.to_owned(), Entry { pause, updated: now });
    }

    /// Forgets a key.
    pub fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }

    /// Forgets all keys that `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.entries.retain(|key, _| keep(key));
    }
}

/// A duration as Go prints it: `10s`, `2m40s`, `5m0s`, `1h0m0s`.
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let millis = duration.subsec_millis();
    if seconds == 0 && millis > 0 {
        return format!("{millis}ms");
    }
    let rest = match millis {
        0 => rest.to_string(),
        _ => format!("{rest}.{millis:03}").trim_end_matches('0').to_owned(),
    };
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn pauses_double_to_the_limit_and_start_over_after_a_long_run() {
        let mut backoffs = Backoffs::default();
        assert_eq!(backoffs.waiting("c", at(0), at(0)), None);
        backoffs.advance("c", at(0), at(0));
        let mut now = 0;
        for expected in [10, 20, 40, 80, 160, 300, 300] {
            let waiting = backoffs.waiting("c", at(now), at(now)).unwrap();
            assert_eq!(waiting.pause.as_secs(), expected);
            let event = now;
            now += i64::try_from(expected).unwrap();
            assert_eq!(backoffs.waiting("c", at(event), at(now)), None);
            backoffs.advance("c", at(event), at(now));
        }
        let much_later = now + 601;
        assert_eq!(backoffs.waiting("c", at(much_later), at(much_later)), None);
        backoffs.advance("c", at(much_later), at(much_later));
        let waiting = backoffs.waiting("c", at(much_later), at(much_later)).unwrap();
        assert_eq!(waiting.pause.as_secs(), 10);
    }

    #[test]
    fn durations_read_as_in_go() {
        for (seconds, text) in
            [(10, "10s"), (160, "2m40s"), (300, "5m0s"), (3600, "1h0m0s"), (0, "0s")]
        {
            assert_eq!(go_duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(go_duration(Duration::from_millis(1500)), "1.5s");
    }
}
