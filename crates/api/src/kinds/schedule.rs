//! Whether a text is a cron schedule of five fields, with the texts of the parser that upstream uses. Finding
//! the times that a schedule stands for is the CronJob controller's.

/// Lowest, highest and names (the first stands for the lowest) of each field.
const FIELDS: [(u32, u32, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

/// Checks a schedule such as `*/5 * * * *` or `@daily`.
///
/// # Errors
/// The text to show behind `Invalid value`.
pub(super) fn check(text: &str) -> Result<(), String> {
    let text = strip_time_zone(text)?;
    if let Some(descriptor) = text.strip_prefix('@') {
        return check_descriptor(descriptor);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    }
    fields.iter().zip(&FIELDS).try_for_each(|(field, bounds)| {
        field.split(',').filter(|part| !part.is_empty()).try_for_each(|part| range(part, bounds))
    })
}

fn strip_time_zone(text: &str) -> Result<&str, String> {
    if text.is_empty() {
        return Err("empty spec string".to_owned());
    }
    if !text.starts_with("TZ=") && !text.starts_with("CRON_TZ=") {
        return Ok(text);
    }
    let (zone, rest) = text.split_once(' ').unwrap_or((text, ""));
    let name = zone.split_once('=').map_or("", |(_, name)| name);
    if jiff::tz::TimeZone::get(name).is_err() {
        return Err(format!("provided bad location {name}: unknown time zone {name}"));
    }
    Ok(rest.trim())
}

fn check_descriptor(descriptor: &str) -> Result<(), String> {
    const KNOWN: [&str; 7] =
        ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
    if KNOWN.contains(&descriptor) {
        return Ok(());
    }
    match descriptor.strip_prefix("every ") {
        Some(duration) if is_duration(duration) => Ok(()),
        Some(duration) => Err(format!(
            "failed to parse duration @every {duration}: time: invalid duration \"{duration}\""
        )),
        None => Err(format!("unrecognized descriptor: @{descriptor}")),
    }
}

/// Whether the text is a duration as Go writes them: `1h30m`, `1.5s`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(number);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let is_number = digits.bytes().any(|b| b.is_ascii_digit());
        if !is_number || !matches!(unit, "ns" | "us" | "µs" | "ms" | "s" | "m" | "h") {
            return false;
        }
        rest = tail;
    }
    true
}

fn number(text: &str) -> Result<u32, String> {
    let parsed: Result<i64, _> = text.parse();
    match parsed {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(_) => Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax"
        )),
    }
}

fn number_or_name(text: &str, low: u32, names: &[&str]) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match names.iter().position(|name| *name == lower) {
        Some(place) => Ok(low + u32::try_from(place).unwrap_or(0)),
        None => number(text),
    }
}

fn range(text: &str, (low, high, names): &(u32, u32, &[&str])) -> Result<(), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (start, mut end) = match ends.as_slice() {
        ["*" | "?", ..] => (*low, *high),
        [one] => {
            let number = number_or_name(one, *low, names)?;
            (number, number)
        }
        [first, last] => (number_or_name(first, *low, names)?, number_or_name(last, *low, names)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            if ends.len() == 1 {
                end = *high;
            }
            number(step)?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < *low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {text}"));
    }
    if end > *high {
        return Err(format!("end of range ({end}) above maximum ({high}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_checked_as_upstreams() {
        for good in [
            "* * * * *",
            "*/5 0-3,5 1 JAN sun",
            "@daily",
            "@every 1h30m",
            "0 0 ? * *",
            "5/10 * * * 1-5",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let bad = [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            (
                "a * * * *",
                "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax",
            ),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("@never", "unrecognized descriptor: @never"),
        ];
        for (text, fault) in bad {
            assert_eq!(check(text), Err(fault.to_owned()));
        }
    }
}
