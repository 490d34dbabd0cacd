//! From a layer as it was shipped to a directory: decompression, digests, chain ids.

use std::fs;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use crate::digest::HashingReader;
use crate::error::LayerProblem;
use crate::limits::LAYER_UNPACKED_BYTES_MAX;
use crate::store::Ingest;
use crate::{Digest, Error, unpack};

/// The chain ids of layers, from their diff ids, the lowest first (OCI image specification, "ChainID").
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

/// Unpacks the layer at `index` of `chain` from `blob`, compressed or not, and checks its diff id. The
/// layers below must be there.
pub(crate) fn unpack_into(
    ingest: &Ingest,
    chain: &[Digest],
    index: usize,
    diff_id: &Digest,
    blob: impl Read,
) -> Result<(), Error> {
    let target = ingest.layer_directory(&chain[index]);
    fs::create_dir_all(&target).map_err(Error::io("create", &target))?;
    let below: Vec<PathBuf> =
        chain[..index].iter().rev().map(|chain| ingest.layer_directory(chain)).collect();
    let problem = |problem| Error::Layer { layer: diff_id.clone(), problem };
    let damaged = |error| problem(LayerProblem::Damaged(error));
    let mut reader =
        HashingReader::new(decompress(blob).map_err(damaged)?, LAYER_UNPACKED_BYTES_MAX);
    let info = unpack::unpack(&mut reader, &target, &below).map_err(problem)?;
    let (found, _) = reader.finish().map_err(damaged)?;
    if found != *diff_id {
        let what = "unpacked layer".to_owned();
        return Err(Error::Digest { what, expected: diff_id.clone(), found });
    }
    ingest.layer_done(&chain[index], info)
}

/// Reads gzip, zstd or plain bytes, told apart by how they begin.
pub(crate) fn decompress<'a>(mut blob: impl Read + 'a) -> std::io::Result<Box<dyn Read + 'a>> {
    const GZIP: &[u8] = &[0x1f, 0x8b];
    const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    const BUFFER_BYTES: usize = 128 << 10;
    let mut start = Vec::with_capacity(ZSTD.len());
    blob.by_ref().take(ZSTD.len() as u64).read_to_end(&mut start)?;
    let gzip = start.starts_with(GZIP);
    let zstd = start.starts_with(ZSTD);
    let whole = std::io::Cursor::new(start).chain(blob);
    let whole = BufReader::with_capacity(BUFFER_BYTES, whole);
    Ok(if gzip {
        Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            flate2::bufread::MultiGzDecoder::new(whole),
        ))
    } else if zstd {
        Box::new(zstd::stream::read::Decoder::with_buffer(whole)?)
    } else {
        Box::new(whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_chain_of_one_layer_is_its_diff_id() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(chain_ids(&[]), []);
        assert_eq!(
            chain_ids(&[a.clone(), b.clone()]),
            [a.clone(), Digest::of(format!("{a} {b}").as_bytes())]
        );
    }

    #[test]
    fn every_compression_is_recognised() {
        let text = b"some text ".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let zstd = zstd::encode_all(&text[..], 3).unwrap();
        for blob in [gzip.finish().unwrap(), zstd, text.clone()] {
            let mut read = Vec::new();
            decompress(&blob[..]).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, text);
        }
        let mut read = Vec::new();
        decompress(&b"ab"[..]).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, b"ab");
    }
}
