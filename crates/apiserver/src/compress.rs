//! Large answers as gzip, for clients that take it.
//!
//! As upstream: single objects and lists only, from a size on that makes it worth while, at the fastest level.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;

use crate::limits::GZIP_BYTES_MIN;
use crate::respond::{Answer, Body, BodyError, full};

/// Whether a client takes gzip.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    let given = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    given.is_some_and(|list| list.split(',').any(|token| token.trim() == "gzip"))
}

/// Compresses an answer that is large enough.
pub(crate) async fn answer(answer: Answer) -> Answer {
    let known = answer.body().size_hint();
    let small = known.exact().is_some_and(|size| size < GZIP_BYTES_MIN as u64);
    let plain =
        answer.status() == http::StatusCode::OK && !answer.headers().contains_key(CONTENT_ENCODING);
    if small || !plain {
        return answer;
    }
    let (mut parts, mut body) = answer.into_parts();
    let mut begun = Vec::new();
    while begun.len() < GZIP_BYTES_MIN {
        match body.frame().await {
            None => return Answer::from_parts(parts, full(begun)),
            Some(Ok(frame)) => begun.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            Some(Err(error)) => {
                // The client is to see it break off where it did.
                let broken = futures::stream::iter([Ok(Bytes::from(begun)), Err(error)]);
                return Answer::from_parts(parts, crate::respond::stream(broken));
            }
        }
    }
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    parts.headers.remove(CONTENT_LENGTH);
    let encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    let compressed = Compressed { body, begun: Some(begun.into()), encoder };
    Answer::from_parts(parts, compressed.boxed_unsync())
}

/// A body that is compressed piece by piece, as it is sent.
struct Compressed {
    body: Body,
    /// What was read to see how large it is.
    begun: Option<Bytes>,
    /// `None` when the end has been written.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Compressed {
    /// Compresses a piece, or writes the end; what is ready to be sent.
    fn take(&mut self, piece: Option<&[u8]>) -> Result<Vec<u8>, BodyError> {
        let failed = |error: std::io::Error| BodyError(error.into());
        let Some(encoder) = &mut self.encoder else { return Ok(Vec::new()) };
        if let Some(piece) = piece {
            encoder.write_all(piece).map_err(failed)?;
            return Ok(std::mem::take(encoder.get_mut()));
        }
        let ended = self.encoder.take().map(GzEncoder::finish);
        ended.unwrap_or_else(|| Ok(Vec::new())).map_err(failed)
    }
}

impl http_body::Body for Compressed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while self.encoder.is_some() {
            let piece = match self.begun.take() {
                Some(begun) => Some(begun),
                None => match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                    Some(Ok(frame)) => Some(frame.into_data().unwrap_or_default()),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => None,
                },
            };
            match self.take(piece.as_deref()) {
                Ok(ready) if ready.is_empty() => {}
                Ok(ready) => return Poll::Ready(Some(Ok(Frame::data(ready.into())))),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn clients_say_what_they_take() {
        let cases = [
            ("", false),
            ("gzip", true),
            ("deflate, gzip", true),
            ("br", false),
            ("gzip;q=0", false),
            ("identity", false),
        ];
        for (given, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, given.parse().unwrap());
            assert_eq!(is_wanted(&headers), expected, "{given}");
        }
    }

    #[tokio::test]
    async fn large_bodies_are_compressed_and_read_back() {
        let text = |length: usize| -> Vec<u8> { (0..=250).cycle().take(length).collect() };
        let pieces = |text: &[u8]| {
            let pieces: Vec<_> =
                text.chunks(10_000).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
            crate::respond::stream(futures::stream::iter(pieces))
        };
        let cases = [
            (0, false),
            (GZIP_BYTES_MIN - 1, false),
            (GZIP_BYTES_MIN, true),
            (GZIP_BYTES_MIN * 3 + 17, true),
        ];
        for (length, compressed) in cases {
            let text = text(length);
            for body in [full(text.clone()), pieces(&text)] {
                let (parts, body) = answer(Answer::new(body)).await.into_parts();
                assert_eq!(parts.headers.contains_key(CONTENT_ENCODING), compressed, "{length}");
                let sent = body.collect().await.unwrap().to_bytes();
                if !compressed {
                    assert_eq!(sent, text);
                    continue;
                }
                assert!(sent.len() < text.len() / 4);
                let mut read = Vec::new();
                flate2::read::GzDecoder::new(&sent[..]).read_to_end(&mut read).unwrap();
                assert!(read == text, "{length}");
            }
        }
    }

    #[tokio::test]
    async fn bodies_that_break_off_break_off() {
        for good in [10, GZIP_BYTES_MIN * 2] {
            let error = || BodyError(Box::from("gone"));
            let pieces = [Ok(Bytes::from(vec![0; good])), Err(error())];
            let body = crate::respond::stream(futures::stream::iter(pieces));
            let answered = answer(Answer::new(body)).await;
            assert!(answered.into_body().collect().await.is_err(), "{good}");
        }
    }
}
