//! Frames: eight bytes of head, then what the kind says.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::SpdyError;
use crate::limits::SPDY_FRAME_BYTES_MAX;

const VERSION: u16 = 3;
const FIN: u8 = 1;
const SYN_STREAM: u16 = 1;
/// Kind of the answer to a new stream.
pub(super) const SYN_REPLY: u16 = 2;
/// Kind of the refusal of a stream.
pub(super) const RST_STREAM: u16 = 3;
/// Kind of a sign of life.
pub(super) const PING: u16 = 6;
/// Kind of the farewell.
pub(super) const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// A frame of the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Data { stream: u32, bytes: Bytes, last: bool },
    Control(Control),
}

/// A frame that is no data.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control {
    SynStream {
        stream: u32,
        block: Bytes,
        last: bool,
    },
    Headers {
        block: Bytes,
    },
    Reset {
        stream: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// Settings and window updates, which change nothing here.
    Other,
}

/// Takes the next whole frame; `None` when there is none yet.
pub(super) fn take(buffer: &mut BytesMut) -> Result<Option<Frame>, SpdyError> {
    if buffer.len() < 8 {
        return Ok(None);
    }
    let length =
        usize::from(buffer[5]) << 16 | usize::from(buffer[6]) << 8 | usize::from(buffer[7]);
    if length > SPDY_FRAME_BYTES_MAX {
        return Err(SpdyError::Protocol("its frame is too long"));
    }
    if buffer.len() < 8 + length {
        buffer.reserve(8 + length - buffer.len());
        return Ok(None);
    }
    let mut head = buffer.split_to(8);
    let body = buffer.split_to(length).freeze();
    let first = head.get_u32();
    let last = head.get_u8() & FIN != 0;
    if first & 0x8000_0000 == 0 {
        return Ok(Some(Frame::Data { stream: first, bytes: body, last }));
    }
    let [.., version_high, version_low, kind_high, kind_low] = first.to_be_bytes();
    if u16::from_be_bytes([version_high & 0x7f, version_low]) != VERSION {
        return Err(SpdyError::Protocol("it speaks another version"));
    }
    control(u16::from_be_bytes([kind_high, kind_low]), body, last)
        .map(|it| Some(Frame::Control(it)))
}

fn control(kind: u16, mut body: Bytes, last: bool) -> Result<Control, SpdyError> {
    let needed = match kind {
        SYN_STREAM => 10,
        SYN_REPLY | HEADERS | PING => 4,
        RST_STREAM => 8,
        _ => 0,
    };
    if body.len() < needed {
        return Err(SpdyError::Protocol("its frame is too short"));
    }
    Ok(match kind {
        SYN_STREAM => {
            let stream = body.get_u32() & 0x7fff_ffff;
            body.advance(6);
            Control::SynStream { stream, block: body, last }
        }
        SYN_REPLY | HEADERS => {
            body.advance(4);
            Control::Headers { block: body }
        }
        RST_STREAM => Control::Reset { stream: body.get_u32() & 0x7fff_ffff },
        PING => Control::Ping { id: body.get_u32() },
        GOAWAY => Control::GoAway,
        _ => Control::Other,
    })
}

fn put_length(buffer: &mut BytesMut, flags: u8, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX) & 0x00ff_ffff;
    buffer.put_u32(u32::from(flags) << 24 | length);
}

/// Appends the head of a control frame.
pub(super) fn put_control(buffer: &mut BytesMut, kind: u16, length: usize) {
    buffer.put_u16(0x8000 | VERSION);
    buffer.put_u16(kind);
    put_length(buffer, 0, length);
}

/// Appends the head of a data frame.
pub(super) fn put_data(buffer: &mut BytesMut, stream: u32, length: usize, last: bool) {
    buffer.put_u32(stream & 0x7fff_ffff);
    put_length(buffer, u8::from(last), length);
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Every frame that is taken shortens what is left, so that reading ends.
        #[test]
        fn arbitrary_bytes_do_not_panic(
            bytes in proptest::collection::vec(
                proptest::prelude::prop_oneof![0_u8..4, proptest::prelude::Just(0x80), proptest::num::u8::ANY],
                0..200,
            ),
        ) {
            let mut buffer = BytesMut::from(&bytes[..]);
            let mut left = buffer.len();
            while let Ok(Some(_)) = take(&mut buffer) {
                assert!(buffer.len() < left);
                left = buffer.len();
            }
        }
    }
}
