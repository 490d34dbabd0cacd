//! SPDY as `exec`, `attach` and `port-forward` of older clients speak it: raw bytes, and frames that are put in form
//! here, for headers are compressed.

use std::sync::LazyLock;

use flate2::{Compress, Compression, FlushCompress};
use tokio::runtime::{Builder, Runtime};

use super::{USUAL, choice, with_choices};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "spdy",
    seeds: || {
        let headers: &[&[u8]] = &[
            b"\0\0\0\x02\0\0\0\x0astreamtype\0\0\0\x04data\0\0\0\x04port\0\0\0\x048080",
            b"\0\0\0\x01\0\0\0\x0astreamtype\0\0\0\x05error",
        ];
        let pieces: Vec<u8> = [
            piece(1, 1, headers[0]),
            piece(1, 3, headers[1]),
            piece(0, 1, b"hello"),
            piece(8, 1, headers[1]),
            piece(6, 0, b"\0\0\0\x01"),
            piece(4, 0, b"\0\0\0\0"),
            piece(0x80, 1, b""),
            piece(3, 3, b"\0\0\0\x05"),
            piece(7, 0, b"\0\0\0\0\0\0\0\0"),
        ]
        .concat();
        let raw = in_form(&pieces);
        [with_choices(1, &[pieces]), with_choices(2, &[raw])].concat()
    },
    words: &["streamtype", "\0\0\0\u{1}", "port", "8080", "requestID", "data"],
    run,
    ..USUAL
};

static DICTIONARY: &[u8] = include_bytes!("../../../crates/kubelet/src/server/spdy/dictionary.bin");

/// A worker of the program has the same, but more of them.
pub(super) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime without threads needs nothing")
});

fn piece(kind: u8, stream: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
    [&[kind, stream, length], &body[..usize::from(length)]].concat()
}

/// Frames out of pieces: kind (0 is data, the high bit ends the stream), stream, length, content.
fn in_form(mut pieces: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::fast(), true);
    let _known = compress.set_dictionary(DICTIONARY);
    let mut frames = Vec::new();
    while let Some(([kind, stream, length], rest)) = pieces.split_first_chunk() {
        let (body, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        pieces = rest;
        let (last, kind) = (kind >> 7, kind & 0x7f);
        let stream = u32::from(*stream).to_be_bytes();
        let content = match kind {
            0 => {
                frames.extend(stream);
                body.to_vec()
            }
            1 => [&stream[..], &[0; 6], &deflate(&mut compress, body)].concat(),
            2 | 8 => [&stream[..], &deflate(&mut compress, body)].concat(),
            3 => [&stream[..], body].concat(),
            _ => body.to_vec(),
        };
        if kind != 0 {
            frames.extend([0x80, 3, 0, kind]);
        }
        let length = u32::try_from(content.len()).unwrap_or(0) & 0x00ff_ffff;
        frames.extend((u32::from(last) << 24 | length).to_be_bytes());
        frames.extend(content);
    }
    frames
}

fn deflate(compress: &mut Compress, plain: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(plain.len() + 128);
    let _grown = compress.compress_vec(plain, &mut block, FlushCompress::Sync);
    block
}

fn run(input: &[u8]) {
    let (choice, body) = choice(input);
    let framed;
    let bytes = if choice % 2 == 0 {
        framed = in_form(body);
        &framed
    } else {
        body
    };
    RUNTIME.block_on(kubelet::server::fuzzing::spdy(bytes));
}
