//! The wire format: tags, varints and lengths. Knows no messages.

use crate::result::DecodeError;

/// The value of one field as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

pub(super) fn broken(message: &str) -> DecodeError {
    DecodeError::Protobuf(format!("proto: {message}"))
}

/// Reads the fields of a message one after the other.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field's number and value; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| broken("illegal tag"))?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Wire::Bytes(self.bytes()?),
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(broken("illegal wireType")),
        };
        Ok(Some((number, wire)))
    }

    /// A varint alone, as in packed lists; nothing at the end.
    pub(super) fn next_varint(&mut self) -> Result<Option<u64>, DecodeError> {
        if self.rest.is_empty() { Ok(None) } else { self.varint().map(Some) }
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for index in 0..10 {
            let byte = *self.rest.get(index).ok_or_else(|| broken("unexpected EOF"))?;
            if index == 9 && byte > 1 {
                return Err(broken("integer overflow"));
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(broken("integer overflow"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(|| broken("unexpected EOF"))?;
        self.rest = rest;
        Ok(*head)
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.varint()?).map_err(|_| broken("invalid length"))?;
        if length > self.rest.len() {
            return Err(broken("unexpected EOF"));
        }
        let (head, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(head)
    }
}

pub(super) fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

pub(super) fn write_varint_field(out: &mut Vec<u8>, number: u32, value: u64) {
    write_varint(out, u64::from(number) << 3);
    write_varint(out, value);
}

pub(super) fn write_double_field(out: &mut Vec<u8>, number: u32, value: f64) {
    write_varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn write_bytes_field(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    write_varint(out, u64::from(number) << 3 | 2);
    write_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Writes a field whose bytes `write` appends; the length is put in front afterwards.
pub(super) fn write_nested<E>(
    out: &mut Vec<u8>,
    number: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    write_varint(out, u64::from(number) << 3 | 2);
    let start = out.len();
    write(out)?;
    let mut length = Vec::with_capacity(4);
    write_varint(&mut length, (out.len() - start) as u64);
    out.splice(start..start, length);
    Ok(())
}
