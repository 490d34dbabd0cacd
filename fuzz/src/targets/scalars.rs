//! Quantities, times, durations for people, numbers that may be texts.

use api::quantity::Quantity;
use codec::time::{self, Precision};
use serde_json::Value;

use super::{USUAL, texts};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "scalars",
    seeds: || {
        texts(&[
            "1.5Gi",
            "100m",
            "-12e3",
            "0.000000001",
            "9223372036854775807E",
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.123456+01:00",
            "25%",
            "8080",
            "12345678901234567890",
        ])
    },
    words: &[
        "Ki",
        "Ei",
        "n",
        "u",
        "e-9",
        "E+18",
        ".",
        "T00:00:60Z",
        "+24:00",
        "9999-12-31",
        "-0001-",
        "%",
    ],
    input_bytes_max: 256,
    run,
    ..USUAL
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(quantity) = text.parse::<Quantity>() {
        let shown = quantity.to_string();
        assert_eq!(shown.parse(), Ok(quantity), "{shown}");
        let other = Quantity::from_units(i64::MAX);
        let _sums = (quantity + other, other - quantity, quantity + quantity, quantity.cmp(&other));
        let _parts = (
            quantity.units(),
            quantity.millis(),
            quantity.is_whole(),
            quantity.round_up_to_milli(),
        );
    }
    for precision in [Precision::Seconds, Precision::Micros] {
        if let Ok(moment) = time::parse(text, precision) {
            let shown = time::format(moment, precision);
            assert!(time::parse(&shown, precision).is_ok(), "{shown}");
        }
        let _canonical = time::canonical(text, precision).is_ok();
    }
    if let Ok(seconds) = text.parse() {
        let _shown = api::kinds::human_duration(seconds);
    }
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let _quantity = Quantity::from_json(&value).is_ok();
    }
}
