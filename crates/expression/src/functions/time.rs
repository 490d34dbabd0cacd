//! Points and spans of time.

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use super::{Native, Outcome, no_overload};
use crate::value::Value;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MILLISECOND: i64 = 1_000_000;

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "timestamp" => timestamp,
        "duration" => duration,
        "getFullYear" => |arguments| field(arguments, |time| i64::from(time.year())),
        "getMonth" => |arguments| field(arguments, |time| i64::from(time.month()) - 1),
        "getDayOfYear" => |arguments| field(arguments, |time| i64::from(time.day_of_year()) - 1),
        "getDayOfMonth" => |arguments| field(arguments, |time| i64::from(time.day()) - 1),
        "getDate" => |arguments| field(arguments, |time| i64::from(time.day())),
        "getDayOfWeek" => {
            |arguments| field(arguments, |time| i64::from(time.weekday().to_sunday_zero_offset()))
        }
        "getHours" => |arguments| match arguments {
            [Value::Duration(span)] => Ok(Value::Int(span / (3600 * NANOS_PER_SECOND))),
            _ => field(arguments, |time| i64::from(time.hour())),
        },
        "getMinutes" => |arguments| match arguments {
            [Value::Duration(span)] => Ok(Value::Int(span / (60 * NANOS_PER_SECOND))),
            _ => field(arguments, |time| i64::from(time.minute())),
        },
        "getSeconds" => |arguments| match arguments {
            [Value::Duration(span)] => Ok(Value::Int(span / NANOS_PER_SECOND)),
            _ => field(arguments, |time| i64::from(time.second())),
        },
        "getMilliseconds" => |arguments| match arguments {
            [Value::Duration(span)] => Ok(Value::Int(span / NANOS_PER_MILLISECOND)),
            _ => field(arguments, |time| i64::from(time.millisecond())),
        },
        _ => return None,
    })
}

/// Whether a time is one that CEL has: the years 1 to 9999.
pub(super) fn in_range(time: &Timestamp) -> bool {
    is_second(time.as_second())
}

/// Whether a number of seconds since 1970 is a time that CEL has.
pub(crate) fn is_second(second: i64) -> bool {
    (MIN_SECOND..=MAX_SECOND).contains(&second)
}

/// The first second of the year 1.
const MIN_SECOND: i64 = -62_135_596_800;
/// The last second of the year 9999 that is representable.
const MAX_SECOND: i64 = 253_402_300_799;

fn timestamp(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Timestamp(time)] => Ok(Value::Timestamp(*time)),
        [Value::Int(seconds)] => Timestamp::from_second(*seconds)
            .ok()
            .filter(in_range)
            .map(Value::Timestamp)
            .ok_or_else(|| "timestamp overflow".to_owned()),
        [Value::String(text)] => match parse_timestamp(text) {
            Some(time) => Ok(Value::Timestamp(time)),
            None => Err(format!(
                "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?}"
            )),
        },
        _ => no_overload(),
    }
}

/// A time as RFC 3339 has it.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() >= 20
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && bytes[10] == b'T'
        && bytes[13] == b':'
        && !text.contains('[');
    text.parse().ok().filter(|time| shaped && in_range(time))
}

fn duration(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Duration(span)] => Ok(Value::Duration(*span)),
        [Value::String(text)] => match parse_duration(text) {
            Some(span) => Ok(Value::Duration(span)),
            None => Err(format!("time: invalid duration {text:?}")),
        },
        _ => no_overload(),
    }
}

fn field(arguments: &[Value], field: fn(&Zoned) -> i64) -> Outcome {
    let (time, zone) = match arguments {
        [Value::Timestamp(time)] => (time, TimeZone::UTC),
        [Value::Timestamp(time), Value::String(name)] => (time, zone(name)?),
        _ => return no_overload(),
    };
    Ok(Value::Int(field(&time.to_zoned(zone))))
}

/// A time zone by name (`Europe/Berlin`) or offset (`-08:00`).
fn zone(name: &str) -> Result<TimeZone, String> {
    let unknown = || format!("unknown time zone {name}");
    let Some((hours, minutes)) = name.split_once(':') else {
        return if name.is_empty() || name == "UTC" {
            Ok(TimeZone::UTC)
        } else {
            TimeZone::get(name).map_err(|_| unknown())
        };
    };
    let hours_value: i32 = hours.parse().map_err(|_| unknown())?;
    let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
    if !(0..60).contains(&minutes) {
        return Err(unknown());
    }
    let sign = if hours.starts_with('-') { -1 } else { 1 };
    let seconds = hours_value.checked_mul(3600).and_then(|h| h.checked_add(sign * minutes * 60));
    let offset = seconds.and_then(|seconds| Offset::from_seconds(seconds).ok());
    offset.map(TimeZone::fixed).ok_or_else(unknown)
}

/// A span as Go writes it (`1h30m`, `-1.5s`), in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let whole_end = digits(rest);
        let (whole, after) = rest.split_at(whole_end);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => i128::from(NANOS_PER_SECOND),
            "m" => 60 * i128::from(NANOS_PER_SECOND),
            "h" => 3600 * i128::from(NANOS_PER_SECOND),
            _ => return None,
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
        total = total.checked_add(whole.checked_mul(scale)?)?;
        total = total.checked_add(part_of(fraction, scale))?;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// So many nanoseconds as a decimal fraction is of a unit.
fn part_of(fraction: &str, scale: i128) -> i128 {
    let mut part = 0;
    let mut unit = scale;
    for digit in fraction.bytes() {
        unit /= 10;
        part += unit * i128::from(digit - b'0');
    }
    part
}

/// A span as Protobuf's JSON writes it: seconds with a fraction.
pub(crate) fn format_duration(nanoseconds: i64) -> String {
    let seconds = nanoseconds.unsigned_abs() / NANOS_PER_SECOND.unsigned_abs();
    let fraction = nanoseconds.unsigned_abs() % NANOS_PER_SECOND.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let fraction = format!("{fraction:09}");
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{seconds}s"),
        digits => format!("{sign}{seconds}.{digits}s"),
    }
}
