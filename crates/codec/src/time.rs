//! Times as the API writes them: RFC 3339 in UTC, in whole seconds (`Time`) or with six digits
//! (`MicroTime`).
//!
//! Reads what Go's `time.Parse` reads, and says what it says when it refuses. Knows no clock.

/// Which of the two types of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// `metav1.Time`: fractions are accepted and cut off.
    Seconds,
    /// `metav1.MicroTime`: exactly six digits.
    Micros,
}

impl Precision {
    fn layout(self) -> &'static str {
        match self {
            Self::Seconds => "2006-01-02T15:04:05Z07:00",
            Self::Micros => "2006-01-02T15:04:05.000000Z07:00",
        }
    }
}

/// A moment: seconds since 1970 in UTC and nanoseconds on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Seconds since the epoch; negative before it.
    pub seconds: i64,
    /// Nanoseconds, below one billion.
    pub nanos: u32,
}

/// Reads a time.
///
/// # Errors
/// The text of Go's `time.ParseError`.
pub fn parse(text: &str, precision: Precision) -> Result<Moment, String> {
    let mut cursor = Cursor { whole: text, rest: text, layout: precision.layout() };
    let year = cursor.number(4, "2006")?;
    cursor.expect('-')?;
    let month = cursor.number(2, "01")?;
    cursor.check(month == 0 || month > 12, "month out of range")?;
    cursor.expect('-')?;
    let day = cursor.number(2, "02")?;
    cursor.expect('T')?;
    let hour = cursor.number(2, "15")?;
    cursor.check(hour > 23, "hour out of range")?;
    cursor.expect(':')?;
    let minute = cursor.number(2, "04")?;
    cursor.check(minute > 59, "minute out of range")?;
    cursor.expect(':')?;
    let second = cursor.number(2, "05")?;
    cursor.check(second > 59, "second out of range")?;
    let nanos = cursor.fraction(precision)?;
    let offset = cursor.zone()?;
    if !cursor.rest.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {:?}", cursor.rest));
    }
    cursor.check(day == 0 || day > days_in_month(year, month), "day out of range")?;
    let days = days_from_civil(year, month, day);
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    Ok(Moment { seconds, nanos })
}

/// Writes a time.
pub fn format(moment: Moment, precision: Precision) -> String {
    let days = moment.seconds.div_euclid(86_400);
    let second = moment.seconds.rem_euclid(86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let date = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    match precision {
        Precision::Seconds => date + "Z",
        Precision::Micros => format!("{date}.{:06}Z", moment.nanos / 1_000),
    }
}

/// Reads a time and writes it in the one form of the API.
///
/// # Errors
/// As [`parse`].
pub fn canonical(text: &str, precision: Precision) -> Result<String, String> {
    parse(text, precision).map(|moment| format(moment, precision))
}

struct Cursor<'a> {
    whole: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl Cursor<'_> {
    fn refuse(&self, element: &str) -> String {
        format!(
            "parsing time {:?} as {:?}: cannot parse {:?} as {element:?}",
            self.whole, self.layout, self.rest
        )
    }

    fn check(&self, wrong: bool, message: &str) -> Result<(), String> {
        if wrong { Err(format!("parsing time {:?}: {message}", self.whole)) } else { Ok(()) }
    }

    fn number(&mut self, digits: usize, element: &str) -> Result<i64, String> {
        let head = self.rest.as_bytes().get(..digits);
        let head = head.filter(|head| head.iter().all(u8::is_ascii_digit));
        let Some(head) = head else { return Err(self.refuse(element)) };
        let value = head.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
        self.rest = &self.rest[digits..];
        Ok(value)
    }

    fn expect(&mut self, character: char) -> Result<(), String> {
        let mut buffer = [0; 4];
        match self.rest.strip_prefix(character) {
            Some(rest) => self.rest = rest,
            None => return Err(self.refuse(character.encode_utf8(&mut buffer))),
        }
        Ok(())
    }

    fn fraction(&mut self, precision: Precision) -> Result<u32, String> {
        let digits = match self.rest.strip_prefix(['.', ',']) {
            Some(rest) => rest.bytes().take_while(u8::is_ascii_digit).count(),
            None => 0,
        };
        if precision == Precision::Micros && digits != 6 {
            return Err(self.refuse(".000000"));
        }
        if digits == 0 {
            return Ok(0);
        }
        let text = &self.rest[1..=digits];
        self.rest = &self.rest[1 + digits..];
        let nanos = text.bytes().chain(std::iter::repeat(b'0')).take(9);
        Ok(nanos.fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
    }

    /// Seconds east of UTC.
    fn zone(&mut self) -> Result<i64, String> {
        const ELEMENT: &str = "Z07:00";
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let refusal = self.refuse(ELEMENT);
        let bytes = self.rest.as_bytes();
        let sign = match bytes.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(refusal),
        };
        if bytes.get(3) != Some(&b':') || !self.rest.is_char_boundary(6) || bytes.len() < 6 {
            return Err(refusal);
        }
        let number = |text: &str| text.parse::<i64>().map_err(|_| refusal.clone());
        let hours = number(self.rest.get(1..3).ok_or_else(|| refusal.clone())?)?;
        let minutes = number(self.rest.get(4..6).ok_or_else(|| refusal.clone())?)?;
        self.check(hours > 24, "time zone offset hour out of range")?;
        self.check(minutes > 60, "time zone offset minute out of range")?;
        self.rest = &self.rest[6..];
        Ok(sign * (hours * 3_600 + minutes * 60))
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, counted in eras of 400 years that
/// begin in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::{Moment, Precision, canonical, format, parse};

    #[test]
    fn canonical_forms() {
        for (text, precision, expected) in [
            ("2024-02-29T12:30:45Z", Precision::Seconds, "2024-02-29T12:30:45Z"),
            ("2024-02-29T12:30:45.999Z", Precision::Seconds, "2024-02-29T12:30:45Z"),
            ("2024-03-01T01:00:00+02:00", Precision::Seconds, "2024-02-29T23:00:00Z"),
            ("0001-01-01T00:00:00Z", Precision::Seconds, "0001-01-01T00:00:00Z"),
            ("1969-12-31T23:59:59-00:30", Precision::Seconds, "1970-01-01T00:29:59Z"),
            ("2024-01-02T03:04:05.123456Z", Precision::Micros, "2024-01-02T03:04:05.123456Z"),
        ] {
            assert_eq!(canonical(text, precision).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refusals_read_as_in_go() {
        let layout = "as \"2006-01-02T15:04:05Z07:00\"";
        for (text, expected) in [
            ("abc", format!("parsing time \"abc\" {layout}: cannot parse \"abc\" as \"2006\"")),
            ("", format!("parsing time \"\" {layout}: cannot parse \"\" as \"2006\"")),
            (
                "2024-01-02 03:04:05Z",
                format!(
                    "parsing time \"2024-01-02 03:04:05Z\" {layout}: cannot parse \" 03:04:05Z\" as \"T\""
                ),
            ),
            (
                "2024-13-02T03:04:05Z",
                "parsing time \"2024-13-02T03:04:05Z\": month out of range".to_owned(),
            ),
            (
                "2023-02-29T03:04:05Z",
                "parsing time \"2023-02-29T03:04:05Z\": day out of range".to_owned(),
            ),
            (
                "2023-02-28T03:04:05ZZ",
                "parsing time \"2023-02-28T03:04:05ZZ\": extra text: \"Z\"".to_owned(),
            ),
        ] {
            assert_eq!(parse(text, Precision::Seconds), Err(expected));
        }
        assert!(parse("2024-01-02T03:04:05Z", Precision::Micros).is_err());
        assert!(parse("2024-01-02T03:04:05+ä:00", Precision::Seconds).is_err());
    }

    #[test]
    fn every_day_of_four_centuries_returns() {
        for day in -200_000..200_000 {
            let moment = Moment { seconds: day * 86_400 + 1, nanos: 0 };
            assert_eq!(parse(&format(moment, Precision::Seconds), Precision::Seconds), Ok(moment));
        }
    }
}
