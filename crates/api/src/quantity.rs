//! Quantities: exact decimal and binary amounts such as `500m` and `1Gi`.
//!
//! A quantity is a whole number of billionths, as upstream's is: what is finer is rounded up, what is larger
//! than 2^63-1 is cut to it. Its text is canonical. Not here: which quantities a field allows (crate module
//! `kinds`).

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde_json::Value;

/// Billionths in one.
const NANO: i128 = 1_000_000_000;
/// Billionths in one thousandth.
const NANO_PER_MILLI: i128 = 1_000_000;
/// The largest amount, in billionths.
const NANOS_MAX: i128 = (i64::MAX as i128) * NANO;
/// A decimal number with more digits than this is larger than [`NANOS_MAX`].
const DIGITS_MAX: usize = 30;
/// Digits behind the point that count for a binary quantity.
const BINARY_FRACTION_DIGITS_MAX: usize = 18;

/// How a quantity is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// `1500m`, `12k`.
    #[default]
    DecimalSi,
    /// `1Gi`.
    BinarySi,
    /// `12e3`.
    DecimalExponent,
}

/// Why a text is no quantity. The texts are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The shape is wrong.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The number is fine, what follows is no known unit.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An amount. Two quantities are equal when their amounts are, however they are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// A whole number, written in decimal.
    pub const fn from_units(units: i64) -> Self {
        Self { nanos: units as i128 * NANO, format: Format::DecimalSi }
    }

    /// A number of thousandths.
    pub const fn from_millis(millis: i64) -> Self {
        Self { nanos: millis as i128 * NANO_PER_MILLI, format: Format::DecimalSi }
    }

    /// A whole number, written in binary units where that is shorter: what sizes in bytes want.
    pub const fn from_bytes(bytes: i64) -> Self {
        Self { nanos: bytes as i128 * NANO, format: Format::BinarySi }
    }

    /// Reads a quantity from JSON, where a bare number is allowed too.
    ///
    /// # Errors
    /// The value is neither a string nor a number, or no quantity.
    pub fn from_json(value: &Value) -> Result<Self, ParseError> {
        match value {
            Value::String(text) => text.parse(),
            Value::Number(number) => number.to_string().parse(),
            _ => Err(ParseError::Format),
        }
    }

    /// The exact amount in billionths.
    pub const fn nanos(&self) -> i128 {
        self.nanos
    }

    /// How it is written.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The amount in units, rounded away from zero.
    pub fn units(&self) -> i64 {
        saturate(divide_up(self.nanos, NANO))
    }

    /// The amount in thousandths, rounded away from zero; at most `i64::MAX`.
    pub fn millis(&self) -> i64 {
        saturate(divide_up(self.nanos, NANO_PER_MILLI))
    }

    /// Whether it is a whole number.
    pub const fn is_whole(&self) -> bool {
        self.nanos % NANO == 0
    }

    /// Whether it is nothing.
    pub const fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Whether it is less than nothing.
    pub const fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// The same, rounded away from zero to thousandths: what the API keeps of resource amounts.
    #[must_use]
    pub fn round_up_to_milli(self) -> Self {
        let nanos = divide_up(self.nanos, NANO_PER_MILLI) * NANO_PER_MILLI;
        Self { nanos: cut(nanos), ..self }
    }
}

fn divide_up(amount: i128, by: i128) -> i128 {
    let whole = amount / by;
    if amount % by == 0 { whole } else { whole + amount.signum() }
}

fn saturate(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
}

fn cut(nanos: i128) -> i128 {
    nanos.clamp(-NANOS_MAX, NANOS_MAX)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// The format of a sum or difference: that of the left side unless it is nothing.
fn joint_format(left: Quantity, right: Quantity) -> Format {
    if left.is_zero() { right.format } else { left.format }
}

impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { nanos: cut(self.nanos + other.nanos), format: joint_format(self, other) }
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { nanos: cut(self.nanos - other.nanos), format: joint_format(self, other) }
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, Add::add)
    }
}

/// A text cut into its parts: `-`, `1`, `5`, `Gi`.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn digits_end(text: &str) -> usize {
    text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len())
}

fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    if text.is_empty() {
        return Err(ParseError::Format);
    }
    let (negative, rest) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, rest) = rest.split_at(digits_end(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits_end(rest)),
        None => ("", rest),
    };
    let letters = suffix.bytes().position(|b| !b"eEinumkKMGTP".contains(&b));
    let tail = letters.map_or("", |at| &suffix[at..]);
    let exponent = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if digits_end(exponent) != exponent.len() {
        return Err(ParseError::Format);
    }
    Ok(Parts { negative, whole: whole.trim_start_matches('0'), fraction, suffix })
}

/// What a suffix stands for: a power of ten or of two.
enum Scale {
    Ten(i64, Format),
    Two(u32),
}

const DECIMAL_SUFFIXES: [(&str, i64); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY_SUFFIXES: [(&str, u32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

fn scale(suffix: &str) -> Result<Scale, ParseError> {
    if let Some((_, power)) = DECIMAL_SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        return Ok(Scale::Ten(*power, Format::DecimalSi));
    }
    if let Some((_, power)) = BINARY_SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        return Ok(Scale::Two(*power));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(ParseError::Suffix)?;
    let power = exponent.parse().map_err(|_| ParseError::Suffix)?;
    Ok(Scale::Ten(power, Format::DecimalExponent))
}

/// `whole.fraction` times ten to the power, in billionths, rounded up and cut.
fn decimal_nanos(whole: &str, fraction: &str, power: i64) -> i128 {
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    let fraction_length = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let shift = power.saturating_sub(fraction_length).saturating_add(9);
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    if shift.saturating_add(length) > DIGITS_MAX as i64 {
        return NANOS_MAX;
    }
    if shift.saturating_add(length) <= 0 {
        return 1;
    }
    // Between 1 and DIGITS_MAX digits are left.
    let keep = usize::try_from(shift.saturating_add(length)).unwrap_or(0);
    let (kept, dropped) = digits.split_at(keep.min(digits.len()));
    let mut nanos: i128 = kept.parse().unwrap_or(NANOS_MAX);
    for _ in kept.len()..keep {
        nanos *= 10;
    }
    cut(nanos + i128::from(dropped.bytes().any(|b| b != b'0')))
}

/// `whole.fraction` times two to the power, in billionths, rounded up and cut.
fn binary_nanos(whole: &str, fraction: &str, power: u32) -> i128 {
    if whole.len() > DIGITS_MAX {
        return NANOS_MAX;
    }
    let units: i128 = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(NANOS_MAX) };
    let base = units.saturating_mul(1 << power).saturating_mul(NANO);
    let kept = &fraction[..fraction.len().min(BINARY_FRACTION_DIGITS_MAX)];
    let dropped = fraction[kept.len()..].bytes().any(|b| b != b'0');
    let divisor = 10_i128.pow(u32::try_from(kept.len()).unwrap_or(0));
    let part: i128 = if kept.is_empty() { 0 } else { kept.parse().unwrap_or(0) };
    let scaled = part << power;
    let nanos = (scaled / divisor) * NANO + divide_up((scaled % divisor) * NANO, divisor);
    cut(base.saturating_add(nanos).saturating_add(i128::from(dropped)))
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parts = split(text)?;
        let (nanos, format) = match scale(parts.suffix)? {
            Scale::Ten(power, format) => {
                (decimal_nanos(parts.whole, parts.fraction, power), format)
            }
            Scale::Two(power) => {
                (binary_nanos(parts.whole, parts.fraction, power), Format::BinarySi)
            }
        };
        Ok(Self { nanos: if parts.negative { -nanos } else { nanos }, format })
    }
}

impl Quantity {
    /// The number and power of two (a multiple of ten) of the binary text, when there is one without loss.
    fn as_binary(&self) -> Option<(i128, usize)> {
        let units = self.nanos / NANO;
        if !self.is_whole() || units.abs() < 1024 {
            return None;
        }
        let mut number = units;
        let mut steps = 0;
        while number % 1024 == 0 && steps < BINARY_SUFFIXES.len() {
            number /= 1024;
            steps += 1;
        }
        Some((number, steps))
    }

    /// The number and power of ten (a multiple of three) of the decimal text.
    fn as_decimal(&self) -> (i128, i64) {
        let mut number = self.nanos;
        let mut power = -9;
        while number != 0 && number % 1000 == 0 && power < 18 {
            number /= 1000;
            power += 3;
        }
        (number, power)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi
            && let Some((number, steps)) = self.as_binary()
        {
            let suffix = if steps == 0 { "" } else { BINARY_SUFFIXES[steps - 1].0 };
            return write!(f, "{number}{suffix}");
        }
        let (number, power) = self.as_decimal();
        if self.format == Format::DecimalExponent {
            return if power == 0 { write!(f, "{number}") } else { write!(f, "{number}e{power}") };
        }
        let suffix = DECIMAL_SUFFIXES.iter().find(|(_, have)| *have == power);
        write!(f, "{number}{}", suffix.map_or("", |(name, _)| name))
    }
}

impl serde::Serialize for Quantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Quantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(of: &str) -> String {
        of.parse::<Quantity>().map_or_else(|fault| fault.to_string(), |q| q.to_string())
    }

    #[test]
    fn texts_become_canonical() {
        let cases = [
            ("0", "0"),
            ("0Mi", "0"),
            ("1", "1"),
            ("1.5", "1500m"),
            ("0.1", "100m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("12345", "12345"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1000e0", "1e3"),
            ("1E", "1E"),
            ("1Ki", "1Ki"),
            ("1024Ki", "1Mi"),
            ("0.5Gi", "512Mi"),
            ("0.5Ki", "512"),
            ("1.5Ki", "1536"),
            ("100Ki", "100Ki"),
            ("-1Gi", "-1Gi"),
            ("+5", "5"),
            ("1.0000000001", "1000000001n"),
            ("0.0000000001", "1n"),
            ("1e-12", "1e-9"),
            ("9223372036854775808", "9223372036854775807"),
            ("100Ei", "9223372036854775807"),
            ("1e99", "9223372036854775807e0"),
            ("10M", "10M"),
            (".5", "500m"),
            ("5.", "5"),
        ];
        for (from, to) in cases {
            // The exponent form of a number without trailing zeros has no exponent.
            assert_eq!(text(from), to.trim_end_matches("e0"), "{from}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (from, fault) in [
            ("", ParseError::Format),
            ("abc", ParseError::Format),
            ("1 Gi", ParseError::Format),
            ("1Gib", ParseError::Format),
            ("1K", ParseError::Suffix),
            ("1KM", ParseError::Suffix),
            ("1ii", ParseError::Suffix),
            ("1Gi5", ParseError::Suffix),
        ] {
            assert_eq!(from.parse::<Quantity>(), Err(fault), "{from}");
        }
    }

    #[test]
    fn amounts_compare_add_and_round() {
        let of = |text: &str| text.parse::<Quantity>().unwrap();
        assert!(of("1Gi") > of("1G"));
        assert_eq!(of("1000m"), of("1"));
        assert_eq!((of("500m") + of("0.5")).to_string(), "1");
        assert_eq!((of("1Gi") - of("1Mi")).to_string(), "1023Mi");
        assert_eq!((Quantity::ZERO + of("1Mi")).to_string(), "1Mi");
        assert_eq!((of("1m").units(), of("-1m").units(), of("1.0001").millis()), (1, -1, 1001));
        assert_eq!(of("1.00001").round_up_to_milli().to_string(), "1001m");
        assert_eq!([of("1"), of("2")].into_iter().sum::<Quantity>(), of("3"));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails(text in "[-+0-9.eEinumkKMGTP]{0,45}") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                let shown = quantity.to_string();
                let again: Quantity = shown.parse().unwrap();
                prop_assert_eq!(quantity, again);
                prop_assert_eq!(shown, again.to_string());
            }
        }

        #[test]
        fn order_is_that_of_the_numbers(a in -1_000_000_000_000_i64.., b in -1_000_000_000_000_i64..) {
            let (left, right) = (Quantity::from_millis(a), Quantity::from_bytes(b));
            let exact = (i128::from(a)).cmp(&(i128::from(b) * 1000));
            prop_assert_eq!(left.cmp(&right), exact);
            prop_assert_eq!((left + right) - right == left, cut(left.nanos + right.nanos) == left.nanos + right.nanos);
            prop_assert_eq!(left.to_string().parse::<Quantity>().unwrap(), left);
            prop_assert_eq!(right.to_string().parse::<Quantity>().unwrap(), right);
        }
    }
}
