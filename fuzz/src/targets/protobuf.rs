//! Protobuf bodies, and frames of watches.

use codec::{TypeMeta, protobuf};

use super::{USUAL, choice, with_choices};
use crate::{Target, seeds};

pub(super) const TARGET: Target = Target {
    name: "protobuf",
    seeds: || {
        let encode = |object| protobuf::encode(&object).ok().map(|bytes| bytes.to_vec());
        let mut bodies: Vec<Vec<u8>> = seeds::objects().into_iter().filter_map(encode).collect();
        let frames: Vec<Vec<u8>> = bodies
            .iter()
            .map(|body| protobuf::encode_watch_event("ADDED", body).to_vec())
            .collect();
        bodies.extend(frames);
        with_choices(2, &bodies)
    },
    words: &["k8s\0", "v1", "Pod", "Deployment", "apps/v1", "\u{8}\u{1}", "\u{a}\0", "\u{12}\0"],
    run,
    ..USUAL
};

fn run(input: &[u8]) {
    const KINDS: [(&str, &str); 4] = [
        ("v1", "Pod"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("apps/v1", "Deployment"),
        ("example.com/v1", "Widget"),
    ];
    let (choice, body) = choice(input);
    let (api_version, kind) = KINDS[usize::from(choice) % KINDS.len()];
    let fallback = TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() };
    if let Ok(value) = protobuf::decode(body, &fallback)
        && let Ok(bytes) = protobuf::encode(&value)
        && bytes.len() < codec::BODY_BYTES_MAX
    {
        let again = protobuf::decode(&bytes, &fallback);
        let again = again.and_then(|value| protobuf::encode(&value));
        assert_eq!(again.as_ref(), Ok(&bytes), "what was written stays as it is");
    }
    let mut stream = body;
    while let Ok(Some((frame, rest))) = protobuf::next_frame(stream) {
        let _event = protobuf::decode_watch_event(frame).is_ok();
        stream = rest;
    }
}
