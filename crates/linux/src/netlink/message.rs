//! Writing and reading netlink messages: a header, a fixed part, then nested type-length-value attributes.
//!
//! Knows no message family: the numbers are the callers'.

/// Bytes of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// Bytes of `struct nlattr`.
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// Flag bit in an attribute's type: it holds attributes.
const NESTED: u16 = 1 << 15;
/// The bits of an attribute's type that are the type.
const TYPE_MASK: u16 = 0x3fff;

/// Builds one or more messages in a buffer.
#[derive(Debug, Default)]
pub struct MessageWriter {
    buffer: Vec<u8>,
    attribute_too_long: bool,
}

impl MessageWriter {
    /// Appends a message; `body` writes its fixed part and attributes.
    pub fn message(&mut self, kind: u16, flags: u16, sequence: u32, body: impl FnOnce(&mut Self)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&0_u32.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(&flags.to_ne_bytes());
        self.buffer.extend_from_slice(&sequence.to_ne_bytes());
        self.buffer.extend_from_slice(&0_u32.to_ne_bytes());
        body(self);
        self.pad();
        let length = u32::try_from(self.buffer.len() - start).unwrap_or(u32::MAX);
        self.buffer[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Appends bytes as they are: the fixed part of a message.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Appends an attribute that holds `value`.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |writer| writer.raw(value));
    }

    /// Appends an attribute that holds one byte.
    pub fn put_u8(&mut self, kind: u16, value: u8) {
        self.put(kind, &[value]);
    }

    /// Appends an attribute in the machine's byte order (route family).
    pub fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// Appends an attribute in network byte order (netfilter family).
    pub fn put_be32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Appends an attribute in network byte order (netfilter family).
    pub fn put_be64(&mut self, kind: u16, value: u64) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Appends a string with its closing zero byte.
    pub fn put_text(&mut self, kind: u16, text: &str) {
        self.attribute(kind, |writer| {
            writer.raw(text.as_bytes());
            writer.raw(&[0]);
        });
    }

    /// Appends an attribute that holds attributes.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        self.attribute(kind | NESTED, body);
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The messages, or `None` when an attribute grew past the 64 KiB that its length field can say.
    pub fn finish(self) -> Option<Vec<u8>> {
        (!self.attribute_too_long).then_some(self.buffer)
    }

    fn attribute(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 2]);
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        body(self);
        match u16::try_from(self.buffer.len() - start) {
            Ok(length) => self.buffer[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.attribute_too_long = true,
        }
        self.pad();
    }

    fn pad(&mut self) {
        let padded = self.buffer.len().next_multiple_of(4);
        self.buffer.resize(padded, 0);
    }
}

/// A message as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is; the families number theirs.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// The sequence number of the request that it answers.
    pub sequence: u32,
    /// The socket that caused it.
    pub port: u32,
    /// The fixed part and the attributes.
    pub payload: &'a [u8],
}

/// The messages in a received datagram; stops at the first that is cut short.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        if length < HEADER_BYTES || length > bytes.len() {
            return None;
        }
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            port: u32_at(bytes, 12)?,
            payload: &bytes[HEADER_BYTES..length],
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// One attribute as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The type without its flag bits.
    pub kind: u16,
    /// What it holds.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The text before the closing zero byte.
    pub fn text(&self) -> String {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        String::from_utf8_lossy(&self.value[..end]).into_owned()
    }

    /// A number in the machine's byte order.
    pub fn u32(&self) -> Option<u32> {
        u32_at(self.value, 0)
    }

    /// A number in network byte order.
    pub fn be32(&self) -> Option<u32> {
        self.u32().map(u32::from_be)
    }

    /// The attributes that it holds.
    pub fn nested(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        attributes(self.value)
    }
}

/// The attributes in `bytes`; stops at the first that is cut short.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        if length < ATTRIBUTE_HEADER_BYTES || length > bytes.len() {
            return None;
        }
        let kind = u16_at(bytes, 2)? & TYPE_MASK;
        let value = &bytes[ATTRIBUTE_HEADER_BYTES..length];
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind, value })
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_attribute_past_its_length_field_is_refused() {
        let mut writer = MessageWriter::default();
        writer.message(1, 0, 1, |writer| writer.put(1, &vec![0; 70_000]));
        assert_eq!(writer.finish(), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            kind in 0_u16..0x3fff,
            values in proptest::collection::vec((0_u16..0x3fff, proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
        ) {
            let mut writer = MessageWriter::default();
            for sequence in 0..2 {
                writer.message(kind, 5, sequence, |writer| {
                    writer.raw(&[1, 2, 3, 4]);
                    writer.nest(7, |writer| {
                        for (kind, value) in &values {
                            writer.put(*kind, value);
                        }
                    });
                });
            }
            let bytes = writer.finish().unwrap();
            let read: Vec<Message<'_>> = messages(&bytes).collect();
            prop_assert_eq!(read.len(), 2);
            prop_assert_eq!((read[1].kind, read[1].flags, read[1].sequence), (kind, 5, 1));
            let outer: Vec<Attribute<'_>> = attributes(&read[1].payload[4..]).collect();
            prop_assert_eq!(outer.len(), 1);
            let inner: Vec<(u16, Vec<u8>)> =
                outer[0].nested().map(|inner| (inner.kind, inner.value.to_vec())).collect();
            prop_assert_eq!(inner, values);
        }

        #[test]
        fn reading_arbitrary_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            for message in messages(&bytes) {
                for attribute in attributes(message.payload) {
                    let _ = (attribute.text(), attribute.be32(), attribute.nested().count());
                }
            }
        }
    }
}
