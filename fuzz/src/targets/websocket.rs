//! WebSocket frames of a client that executes a command: channels, sizes of its terminal, the end.

use super::USUAL;
use super::spdy::RUNTIME;
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "websocket",
    seeds: || {
        let typed = frame(0x82, b"\0hello");
        let resized = frame(0x82, b"\x04{\"Width\":80,\"Height\":24}");
        let text = frame(0x81, "\0é".as_bytes());
        let pieces =
            [frame(0x02, b"\0a"), frame(0x00, b"b"), frame(0x89, b"ping"), frame(0x80, b"c")]
                .concat();
        let closed = [frame(0x82, b"\xff\0"), frame(0x88, b"\x03\xe8bye")].concat();
        let long = frame(0x82, &[0; 300]);
        let all = [&typed[..], &resized, &text, &pieces, &long, &closed].concat();
        vec![typed, resized, text, pieces, closed, long, all]
    },
    words: &["\u{0}\u{0}\u{0}\u{0}", "{\"Width\":65536,\"Height\":-1}"],
    run,
    ..USUAL
};

/// A frame whose mask changes nothing, so that mutations see the content.
fn frame(head: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![head];
    match u8::try_from(content.len()) {
        Ok(short @ ..126) => frame.push(0x80 | short),
        _ => {
            frame.push(0xfe);
            frame.extend(u16::try_from(content.len()).unwrap_or(0).to_be_bytes());
        }
    }
    [&frame[..], &[0; 4], content].concat()
}

fn run(input: &[u8]) {
    RUNTIME.block_on(kubelet::server::fuzzing::websocket(input));
}
