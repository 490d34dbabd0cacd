//! A body with something that is dropped when it has been sent, or is not sent any further.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::{Answer, Body, BodyError};

struct Guarded<G> {
    body: Body,
    _guard: G,
}

/// Keeps `guard` for as long as the answer is being sent.
pub(crate) fn guarded<G: Send + Unpin + 'static>(answer: Answer, guard: G) -> Answer {
    answer.map(|body| Guarded { body, _guard: guard }.boxed_unsync())
}

impl<G: Unpin> http_body::Body for Guarded<G> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
