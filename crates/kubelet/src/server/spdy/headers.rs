//! Blocks of headers: pairs of length-prefixed texts, compressed with one state per direction and the
//! dictionary of the protocol's specification.

use std::collections::BTreeMap;

use bytes::{Buf as _, Bytes};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::SpdyError;
use crate::limits::SPDY_HEADER_BYTES_MAX;

static DICTIONARY: &[u8] = include_bytes!("dictionary.bin");

/// Reads the client's blocks.
pub(super) struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Inflater {
    /// The headers of one block.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<BTreeMap<String, String>, SpdyError> {
        let plain = self.inflate(block)?;
        parse(plain.into()).ok_or(SpdyError::Protocol("its headers are broken"))
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let broken = SpdyError::Protocol("its compression is broken");
        let mut plain = Vec::with_capacity(1024);
        let mut rest = block;
        loop {
            if plain.len() >= SPDY_HEADER_BYTES_MAX {
                return Err(SpdyError::Protocol("its headers are too long"));
            }
            plain.reserve(1024);
            let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
            let step = self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync);
            let read = usize::try_from(self.0.total_in() - before_in).unwrap_or(0);
            rest = &rest[read.min(rest.len())..];
            match step {
                Ok(Status::StreamEnd) => return Ok(plain),
                Ok(_) if rest.is_empty() && plain.len() < plain.capacity() => return Ok(plain),
                Ok(_) if read == 0 && self.0.total_out() == before_out => return Err(broken),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    if self.0.set_dictionary(DICTIONARY).is_err() {
                        return Err(broken);
                    }
                }
                Err(_) => return Err(broken),
            }
        }
    }
}

fn parse(mut plain: Bytes) -> Option<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    let count = plain.try_get_u32().ok()?;
    for _ in 0..count {
        let name = text(&mut plain)?;
        let value = text(&mut plain)?;
        headers.insert(name.to_lowercase(), value);
    }
    Some(headers)
}

fn text(plain: &mut Bytes) -> Option<String> {
    let length = usize::try_from(plain.try_get_u32().ok()?).ok()?;
    if plain.len() < length {
        return None;
    }
    String::from_utf8(plain.split_to(length).to_vec()).ok()
}

/// Writes blocks for the client.
pub(super) struct Deflater(Compress);

impl Deflater {
    /// A writer at the beginning of its direction.
    pub(super) fn new() -> Result<Self, SpdyError> {
        let mut compress = Compress::new(Compression::fast(), true);
        compress
            .set_dictionary(DICTIONARY)
            .map_err(|_| SpdyError::Protocol("the dictionary is refused"))?;
        Ok(Self(compress))
    }

    /// A block without headers.
    pub(super) fn empty(&mut self) -> Result<Vec<u8>, SpdyError> {
        self.deflate(&0_u32.to_be_bytes())
    }

    fn deflate(&mut self, plain: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let mut block = Vec::with_capacity(plain.len() + 64);
        let mut rest = plain;
        loop {
            block.reserve(64);
            let before = self.0.total_in();
            self.0
                .compress_vec(rest, &mut block, FlushCompress::Sync)
                .map_err(|_| SpdyError::Protocol("headers cannot be compressed"))?;
            let read = usize::try_from(self.0.total_in() - before).unwrap_or(0);
            rest = &rest[read..];
            if rest.is_empty() && block.len() < block.capacity() {
                return Ok(block);
            }
        }
    }

    /// A block with these headers.
    #[cfg(test)]
    pub(super) fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        self.deflate(&plain).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_share_their_compression() {
        let (mut deflater, mut inflater) = (Deflater::new().unwrap(), Inflater::default());
        for round in 0..3 {
            let port = (8000 + round).to_string();
            let block = deflater.block(&[("Streamtype", "data"), ("port", &port)]);
            let headers = inflater.read(&block).unwrap();
            assert_eq!(headers["streamtype"], "data");
            assert_eq!(headers["port"], port);
        }
        assert!(inflater.read(&deflater.empty().unwrap()).unwrap().is_empty());
        let long = "x".repeat(5000);
        assert_eq!(inflater.read(&deflater.block(&[("a", &long)])).unwrap()["a"], long);
        assert!(inflater.read(b"nonsense").is_err());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_blocks_do_not_panic(
            blocks in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..200), 1..4),
        ) {
            let mut inflater = Inflater::default();
            for block in blocks {
                let _either = inflater.read(&block).is_ok();
            }
        }

        #[test]
        fn arbitrary_pairs_do_not_panic(plain in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let mut counted = vec![0, 0, 0, 2, 0, 0, 0];
            counted.extend(&plain);
            let _either = (parse(plain.into()), parse(counted.into()));
        }
    }

    /// A few bytes that inflate to more than headers may have are refused, and never held.
    #[test]
    fn a_bomb_is_refused() {
        let block =
            Deflater::new().unwrap().block(&[("a", &"x".repeat(SPDY_HEADER_BYTES_MAX * 64))]);
        assert!(block.len() < SPDY_HEADER_BYTES_MAX);
        assert!(Inflater::default().read(&block).is_err());
    }
}
