//! What the embedded store reads from disk, behind its checksums: snapshots, and rows.

use std::collections::BTreeMap;

use super::{USUAL, choice};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "store",
    seeds: || {
        let rows = [
            row(b"mcompacted", &fact(2)),
            row(b"mformat", &fact(1)),
            row(b"l\0\0\0\0\0\0\0\x07", &fact(60)),
            row(&change_row(3, 0), &change(1, b"/registry/pods/a", b"value", 3, 1, 7)),
            row(&change_row(4, 0), &change(1, b"/registry/pods/a", b"other", 3, 2, 0)),
            row(&change_row(5, 1), &change(2, b"/registry/pods/a", b"", 0, 0, 0)),
            row(&change_row(6, 0), &change(1, b"/registry/pods/a", b"again", 6, 1, 0)),
        ]
        .concat();
        vec![[&[0][..], &snapshot()].concat(), [&[1][..], &rows].concat()]
    },
    words: &[
        "keelson snapshot\n",
        "mformat",
        "mcompacted",
        "\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{1}",
    ],
    run,
    ..USUAL
};

fn row(key: &[u8], body: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    [&[length(key)], key, &[length(body)], body].concat()
}

fn fact(number: u64) -> Vec<u8> {
    [&[1, 0, 0, 0, 0, 0, 0, 0], &number.to_le_bytes()[..]].concat()
}

fn change_row(revision: u64, sub: u32) -> Vec<u8> {
    [b"r", &revision.to_be_bytes()[..], &sub.to_be_bytes()].concat()
}

fn change(kind: u8, key: &[u8], value: &[u8], created: u64, version: u64, lease: u64) -> Vec<u8> {
    let key_bytes = u32::try_from(key.len()).unwrap_or(0).to_le_bytes();
    let numbers = [5, created, version, lease].map(u64::to_le_bytes).concat();
    [&[1, kind, 0, 0], &key_bytes[..], &numbers, key, value].concat()
}

fn snapshot() -> Vec<u8> {
    let numbers =
        |numbers: &[u64]| numbers.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<u8>>();
    let lengths = [3_u32.to_le_bytes(), 5_u32.to_le_bytes()].concat();
    let item = [&[1][..], &lengths, &numbers(&[3, 5, 2, 7]), b"keyvalue"].concat();
    let lease = [&[2][..], &numbers(&[7, 60])].concat();
    let end = [&[255][..], &numbers(&[1, 1])].concat();
    [b"keelson snapshot\n\x01", &numbers(&[7, 0])[..], &item, &lease, &end].concat()
}

fn take<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = input.split_first()?;
    let (bytes, rest) = rest.split_at_checked(usize::from(*length))?;
    *input = rest;
    Some(bytes)
}

fn run(input: &[u8]) {
    let (choice, mut body) = choice(input);
    if choice % 2 == 0 {
        let _seen = store::fuzzing::snapshot(body);
        return;
    }
    let mut rows = BTreeMap::new();
    while let (Some(key), Some(value)) = (take(&mut body), take(&mut body)) {
        rows.insert(key.to_vec(), value.to_vec());
    }
    let _believed = store::fuzzing::rows(&rows);
}
