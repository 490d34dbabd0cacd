//! Schedules in cron's language, in a time zone.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// More missed times than this are worth a warning.
const MISSED_MANY: i64 = 100;

/// Why a schedule cannot be used; the texts are those of the events.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The zone is not known.
    #[error("invalid timeZone: \"{zone}\": {source}")]
    Zone {
        /// As written.
        zone: String,
        /// Why.
        source: jiff::Error,
    },
    /// The pattern cannot be read.
    #[error("unparseable schedule: \"{pattern}\" : {reason}")]
    Pattern {
        /// As written.
        pattern: String,
        /// Why.
        reason: String,
    },
}

impl ScheduleError {
    /// Reason of the event.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Zone { .. } => "UnknownTimeZone",
            Self::Pattern { .. } => "UnparseableSchedule",
        }
    }
}

/// Why nothing can be said of missed times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("time difference between two schedules is less than 1 second")]
pub struct NeverDue;

#[derive(Clone, Debug)]
enum Rule {
    Pattern(Box<Cron>),
    Every(Duration),
}

/// A schedule that can be asked for its times.
#[derive(Clone, Debug)]
pub struct Schedule {
    rule: Rule,
    zone: TimeZone,
}

/// Times that have passed without a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The latest of them.
    pub latest: Timestamp,
    /// Whether there are very many.
    pub many: bool,
}

impl Schedule {
    /// Reads a schedule; without a zone it means UTC.
    ///
    /// # Errors
    /// The pattern or the zone is not one.
    pub fn parse(pattern: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let (own_zone, rest) = own_zone(pattern);
        let zone = match zone.or(own_zone).filter(|zone| !zone.is_empty()) {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name)
                .map_err(|source| ScheduleError::Zone { zone: name.to_owned(), source })?,
        };
        let unreadable =
            |reason: String| ScheduleError::Pattern { pattern: pattern.to_owned(), reason };
        if let Some(period) = rest.strip_prefix("@every ") {
            let period = go_duration(period.trim())
                .ok_or_else(|| unreadable(format!("failed to parse duration {rest}")))?;
            return Ok(Self { rule: Rule::Every(period.max(Duration::from_secs(1))), zone });
        }
        let rest = if rest == "@midnight" { "@daily" } else { rest };
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(rest).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self { rule: Rule::Pattern(Box::new(cron)), zone })
    }

    /// The first time after `after`; `None` when there is none.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Every(period) => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                whole.checked_add(SignedDuration::try_from(*period).ok()?).ok()
            }
            Rule::Pattern(cron) => {
                let local = after.to_zoned(self.zone.clone());
                cron.find_next_occurrence(&local, false).ok().map(|next| next.timestamp())
            }
        }
    }

    /// A time as the zone's clocks show it.
    pub fn local(&self, at: Timestamp) -> String {
        let offset = self.zone.to_offset(at);
        if offset == jiff::tz::Offset::UTC {
            return at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        }
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// Times after `since` that have passed, of those not older than `deadline_seconds`.
    ///
    /// # Errors
    /// The schedule has no times.
    pub fn missed(
        &self,
        since: Timestamp,
        deadline_seconds: Option<i64>,
        now: Timestamp,
    ) -> Result<Option<Missed>, NeverDue> {
        let oldest =
            deadline_seconds.and_then(|s| now.checked_sub(SignedDuration::from_secs(s)).ok());
        let since = oldest.map_or(since, |oldest| oldest.max(since));
        let first = self.next(since).ok_or(NeverDue)?;
        if now < first {
            return Ok(None);
        }
        let second = self.next(first).ok_or(NeverDue)?;
        if now < second {
            return Ok(Some(Missed { latest: first, many: false }));
        }
        let between = second.duration_since(first).as_secs();
        if between < 1 {
            return Err(NeverDue);
        }
        let number = now.duration_since(first).as_secs() / between + 1;
        // Two periods before the end is near enough to walk, and right for regular schedules.
        let jump = SignedDuration::from_secs((number - 2).max(0).saturating_mul(between));
        let mut latest = first;
        let mut candidate = self.next(first.checked_add(jump).unwrap_or(first));
        while let Some(time) = candidate.filter(|time| *time <= now && *time > latest) {
            latest = time;
            candidate = self.next(time);
        }
        Ok(Some(Missed { latest, many: number > MISSED_MANY }))
    }
}

/// A zone written before the pattern, as some cron programs allow.
fn own_zone(pattern: &str) -> (Option<&str>, &str) {
    for prefix in ["CRON_TZ=", "TZ="] {
        if let Some(rest) = pattern.strip_prefix(prefix)
            && let Some((zone, rest)) = rest.split_once(' ')
        {
            return (Some(zone), rest.trim());
        }
    }
    (None, pattern.trim())
}

/// A duration as Go writes it: `1h30m`.
fn go_duration(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (0.0_f64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let tail = &rest[digits..];
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit = match &tail[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total += number * unit;
        rest = &tail[end..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(total).ok())?
}
