//! Reading resource quantities: exact, rounded up to the unit that is asked for; and writing whole amounts in
//! canonical form.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const NANO: i128 = 1_000_000_000;

/// The amount in billionths; `None` when the text is no quantity or out of range.
pub fn nanos(text: &str) -> Option<i128> {
    let text = text.trim();
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let (multiplier, divisor) = scale(suffix)?;
    let mut mantissa: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut places: i128 = 1;
    for digit in fraction.bytes().take(18) {
        mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        places *= 10;
    }
    let scaled = mantissa.checked_mul(multiplier)?.checked_mul(NANO)?;
    let exact = ceiling(scaled, places.checked_mul(divisor)?);
    Some(if negative { -exact } else { exact })
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    const KIBI: i128 = 1024;
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, NANO),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (NANO, 1),
        "T" => (NANO * 1000, 1),
        "P" => (NANO * 1_000_000, 1),
        "E" => (NANO * NANO, 1),
        "Ki" => (KIBI, 1),
        "Mi" => (KIBI.pow(2), 1),
        "Gi" => (KIBI.pow(3), 1),
        "Ti" => (KIBI.pow(4), 1),
        "Pi" => (KIBI.pow(5), 1),
        "Ei" => (KIBI.pow(6), 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

fn ceiling(value: i128, divisor: i128) -> i128 {
    let quotient = value / divisor;
    if value % divisor > 0 { quotient + 1 } else { quotient }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// The amount in whole units, rounded up; unreadable text counts as nothing.
pub fn value(quantity: &Quantity) -> i64 {
    clamp(ceiling(nanos(&quantity.0).unwrap_or(0), NANO))
}

/// The amount in thousandths, rounded up; unreadable text counts as nothing.
pub fn milli(quantity: &Quantity) -> i64 {
    clamp(ceiling(nanos(&quantity.0).unwrap_or(0), NANO / 1000))
}

/// How many whole `divisor`s there are in `amount`, rounded up.
pub fn divided(amount: &Quantity, divisor: &Quantity) -> i64 {
    let divisor = nanos(&divisor.0).filter(|divisor| *divisor > 0).unwrap_or(NANO);
    clamp(ceiling(nanos(&amount.0).unwrap_or(0), divisor))
}

/// Which suffixes a quantity is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `Ki`, `Mi` …
    Binary,
    /// `k`, `M` …
    Decimal,
}

impl Form {
    /// The form that a quantity is in.
    pub fn of(quantity: &Quantity) -> Self {
        if quantity.0.ends_with('i') { Self::Binary } else { Self::Decimal }
    }
}

/// A whole amount in canonical form: with the largest suffix that leaves no fraction.
pub fn text(amount: u64, form: Form) -> String {
    // Less than the least binary suffix is decimal for upstream.
    let (base, suffixes) = match form {
        Form::Binary if amount >= 1024 => (1024, ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]),
        _ => (1000, ["", "k", "M", "G", "T", "P", "E"]),
    };
    let mut left = amount;
    let mut at = 0;
    while left > 0 && left.is_multiple_of(base) && at + 1 < suffixes.len() {
        (left, at) = (left / base, at + 1);
    }
    format!("{left}{}", suffixes[at])
}

/// Whether both name the same amount.
pub fn equal(left: &Quantity, right: &Quantity) -> bool {
    nanos(&left.0) == nanos(&right.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_exactly_and_rounded_up() {
        for (text, milli_expected, value_expected) in [
            ("500m", 500, 1),
            ("1", 1000, 1),
            ("1.5", 1500, 2),
            ("1Gi", 1_073_741_824_000, 1_073_741_824),
            ("1.5Ki", 1_536_000, 1536),
            ("100n", 1, 1),
            ("1e3", 1_000_000, 1000),
            ("-2", -2000, -2),
            (".5", 500, 1),
        ] {
            let quantity = Quantity(text.to_owned());
            assert_eq!(milli(&quantity), milli_expected, "{text}");
            assert_eq!(value(&quantity), value_expected, "{text}");
        }
        for text in ["", "x", "1x", "1..2", "m", "1e", "-"] {
            assert_eq!(nanos(text), None, "{text}");
        }
    }

    #[test]
    fn whole_amounts_are_written_in_canonical_form() {
        for (amount, binary, decimal) in [
            (0, "0", "0"),
            (1000, "1k", "1k"),
            (1023, "1023", "1023"),
            (1024, "1Ki", "1024"),
            (10 << 20, "10Mi", "10485760"),
            ((1 << 30) + 1024, "1048577Ki", "1073742848"),
            (5_000_000, "5000000", "5M"),
            (1 << 63, "8Ei", "9223372036854775808"),
            (u64::MAX, "18446744073709551615", "18446744073709551615"),
        ] {
            let written = (text(amount, Form::Binary), text(amount, Form::Decimal));
            assert_eq!(written, (binary.to_owned(), decimal.to_owned()));
        }
        let form = |text: &str| Form::of(&Quantity(text.to_owned()));
        assert_eq!(["1Mi", "1M", "1"].map(form), [Form::Binary, Form::Decimal, Form::Decimal]);
    }

    #[test]
    fn division_rounds_up() {
        let quantity = |text: &str| Quantity(text.to_owned());
        assert_eq!(divided(&quantity("1500m"), &quantity("1")), 2);
        assert_eq!(divided(&quantity("1500m"), &quantity("1m")), 1500);
        assert_eq!(divided(&quantity("64Mi"), &quantity("1Mi")), 64);
        assert_eq!(divided(&quantity("64Mi"), &quantity("0")), 67_108_864);
    }
}
