//! The list of targets, and how an input of theirs is read.

use crate::Target;

mod apply;
mod cbor;
mod cel;
mod definitions;
mod dns;
mod images;
mod json;
mod jwt;
mod objects;
mod patches;
mod protobuf;
mod references;
mod requests;
mod scalars;
mod schedules;
mod selectors;
mod spdy;
mod store;
mod websocket;
mod yaml;

/// Every target. Adding one is a file and a line here, and its name in the test.
pub const TARGETS: &[Target] = &[
    json::TARGET,
    yaml::TARGET,
    protobuf::TARGET,
    cbor::TARGET,
    objects::TARGET,
    definitions::TARGET,
    patches::TARGET,
    apply::TARGET,
    selectors::TARGET,
    requests::TARGET,
    cel::TARGET,
    jwt::TARGET,
    spdy::TARGET,
    websocket::TARGET,
    store::TARGET,
    references::TARGET,
    images::TARGET,
    dns::TARGET,
    scalars::TARGET,
    schedules::TARGET,
];

/// What most targets are; each says the rest.
const USUAL: Target = Target {
    name: "",
    seeds: Vec::new,
    words: &[],
    input_bytes_max: 16 << 10,
    test_mutations: 1000,
    run: |_| {},
};

/// Between the parts of an input that has several.
const SEPARATOR: &[u8] = b"\n---\n";

/// The two parts of an input; the second is empty when there is one only.
fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    match input.windows(SEPARATOR.len()).position(|at| at == SEPARATOR) {
        Some(at) => (&input[..at], &input[at + SEPARATOR.len()..]),
        None => (input, &[]),
    }
}

fn joined(first: impl AsRef<[u8]>, second: impl AsRef<[u8]>) -> Vec<u8> {
    [first.as_ref(), SEPARATOR, second.as_ref()].concat()
}

/// A choice, which is the first byte of an input, and what follows.
fn choice(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, input), |(choice, rest)| (*choice, rest))
}

/// Inputs with each of the choices `0..choices` before them.
fn with_choices(choices: u8, bodies: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let before = |choice: u8| bodies.iter().map(move |body| [&[choice][..], body].concat());
    (0..choices).flat_map(before).collect()
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
