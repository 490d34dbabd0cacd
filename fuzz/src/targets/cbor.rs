//! CBOR bodies.

use codec::cbor;

use super::json::chosen;
use super::{USUAL, choice, with_choices};
use crate::{Target, seeds};

pub(super) const TARGET: Target = Target {
    name: "cbor",
    seeds: || {
        let mut bodies: Vec<_> = seeds::objects().iter().map(cbor::encode).collect();
        bodies.extend(MORE.iter().map(|bytes| bytes.to_vec()));
        with_choices(4, &bodies)
    },
    words: &["kind", "metadata", "\u{1f}", "\u{7f}", "\u{3b}"],
    run,
    ..USUAL
};

/// Endless items, tags of times, of large numbers and of base64, halves of floats.
const MORE: &[&[u8]] = &[
    b"\xd9\xd9\xf7\xbf\x61a\x9f\x01\x02\xff\xff",
    b"\xa1\x61t\xc1\x1a\x65\x00\x00\x00",
    b"\xa1\x61n\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\xa1\x61b\xd6\x43abc",
    b"\xa2\x61f\xf9\x3c\x00\x61g\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00",
    b"\x7f\x61a\x61b\xff",
    b"\x5f\x41a\x41b\xff",
];

fn run(input: &[u8]) {
    let (choice, body) = choice(input);
    let (schema, mode) = chosen(choice);
    let _decoded = cbor::decode(body, schema, mode).is_ok();
    if let Ok(value) = cbor::decode_any(body)
        && body.len() < codec::BODY_BYTES_MAX / 10
    {
        let again = cbor::decode_any(&cbor::encode(&value));
        assert_eq!(again.as_ref(), Ok(&value), "what was read is written as it was");
    }
}
