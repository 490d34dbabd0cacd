//! Exact parsing of resource quantities (`100m`, `1.5Gi`, `2e3`) to integers.
//!
//! Only reading: the scheduler never writes a quantity.

use k8s_openapi::apimachinery::pkg::api::resource;

const NANO: i128 = 1_000_000_000;
/// More digits than any representable quantity has.
const DIGITS_MAX: usize = 40;
/// Exponents beyond this saturate anyway.
const EXPONENT_MAX: u32 = 38;

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity")]
pub struct QuantityError(pub String);

/// A quantity in billionths of its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    nano: i128,
}

impl Quantity {
    /// Reads a quantity as the API writes it.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        parse(text).map(|nano| Self { nano }).ok_or_else(|| QuantityError(text.to_owned()))
    }

    /// Reads the API type.
    pub fn of(quantity: &resource::Quantity) -> Result<Self, QuantityError> {
        Self::parse(&quantity.0)
    }

    /// Whole units, rounded away from zero, saturating.
    pub fn value(self) -> i64 {
        divide_up(self.nano, NANO)
    }

    /// Thousandths, rounded away from zero, saturating.
    pub fn milli_value(self) -> i64 {
        divide_up(self.nano, NANO / 1000)
    }
}

fn divide_up(nano: i128, divisor: i128) -> i64 {
    let rounding = if nano % divisor == 0 { 0 } else { nano.signum() };
    let quotient = nano / divisor + rounding;
    i64::try_from(quotient).unwrap_or(if quotient < 0 { i64::MIN } else { i64::MAX })
}

fn parse(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let number_end =
        unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') {
        return None;
    }
    let (numerator, denominator) = scale(suffix)?;
    let magnitude = combine(digits(whole)?, fraction, numerator, denominator)?;
    Some(if negative { -magnitude } else { magnitude })
}

/// `(whole + 0.fraction) * numerator / denominator` in nano units, rounded up, saturating.
fn combine(whole: i128, fraction: &str, numerator: i128, denominator: i128) -> Option<i128> {
    let scaled_whole = whole.saturating_mul(NANO).saturating_mul(numerator);
    let fraction = &fraction[..fraction.len().min(DIGITS_MAX / 2)];
    let scaled_fraction = match fraction {
        "" => 0,
        _ => {
            let power = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
            let product = digits(fraction)?.saturating_mul(numerator);
            if product > i128::MAX / NANO {
                (product / power).saturating_mul(NANO)
            } else {
                ceil(product * NANO, power)
            }
        }
    };
    Some(ceil(scaled_whole.saturating_add(scaled_fraction), denominator))
}

fn ceil(value: i128, divisor: i128) -> i128 {
    value / divisor + i128::from(value % divisor != 0)
}

fn digits(text: &str) -> Option<i128> {
    if text.is_empty() {
        return Some(0);
    }
    if text.len() > DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(i128::MAX);
    }
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => text.bytes().all(|byte| byte.is_ascii_digit()).then_some(i128::MAX),
    }
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (10_i128.pow(12), 1),
        "P" => (10_i128.pow(15), 1),
        "E" => (10_i128.pow(18), 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return exponent(suffix),
    })
}

fn exponent(suffix: &str) -> Option<(i128, i128)> {
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let size = 10_i128.pow(power.unsigned_abs().min(EXPONENT_MAX));
    Some(if power < 0 { (1, size) } else { (size, 1) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_are_read_exactly_and_rounded_up() {
        for (text, value, milli) in [
            ("0", 0, 0),
            ("1", 1, 1000),
            ("100m", 1, 100),
            ("1.5", 2, 1500),
            ("0.5Gi", 536_870_912, 536_870_912_000),
            ("1n", 1, 1),
            ("1e3", 1000, 1_000_000),
            ("1E3", 1000, 1_000_000),
            ("1E", 1_000_000_000_000_000_000, i64::MAX),
            ("2e-1", 1, 200),
            ("-1500m", -2, -1500),
            ("+5Ki", 5120, 5_120_000),
            (".5", 1, 500),
            ("5.", 5, 5000),
            ("99999999999999999999999999Ei", i64::MAX, i64::MAX),
        ] {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!((quantity.value(), quantity.milli_value()), (value, milli), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "-", "m", "1..2", "1.2.3", "1 Gi", "1gi", "1K", "0x10", "1e", "e5", "1é"]
        {
            assert!(Quantity::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_a_panic(text in "[-+]?[0-9.]{0,60}[a-zA-Z0-9+-]{0,6}") {
            let _ = Quantity::parse(&text);
        }

        #[test]
        fn integers_round_trip(number in any::<i64>()) {
            prop_assert_eq!(Quantity::parse(&number.to_string()).unwrap().value(), number);
        }
    }
}
