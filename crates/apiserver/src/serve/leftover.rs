//! What is left of a request's body when its answer is there.
//!
//! A request that is refused early, or whose body nobody reads, would be answered while its body is still on its way.
//! HTTP/2 then has to reset the stream, and clients (curl) take that for a failure of the connection and never show the
//! answer; HTTP/1 has to close the connection. So a body that is left over is read first, if it is short and comes soon.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use crate::limits::{LEFTOVER_BYTES_MAX, LEFTOVER_WAIT_MAX};

/// Where a body comes back to.
#[derive(Debug)]
pub(super) struct Leftover<B>(Arc<Mutex<Option<B>>>);

/// A body that comes back if whoever has it lets go of it before its end.
#[derive(Debug)]
pub(super) struct Lent<B> {
    body: Option<B>,
    place: Arc<Mutex<Option<B>>>,
}

/// Lends a body out.
pub(super) fn lend<B>(body: B) -> (Lent<B>, Leftover<B>) {
    let place = Arc::new(Mutex::new(None));
    (Lent { body: Some(body), place: Arc::clone(&place) }, Leftover(place))
}

impl<B: Body + Unpin> Leftover<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Reads past what is left, as long as that is little.
    pub(super) async fn drain(self) {
        let Some(body) = self.0.lock().take() else { return };
        let mut rest = Limited::new(body, LEFTOVER_BYTES_MAX);
        let reading = async { while let Some(Ok(_)) = rest.frame().await {} };
        // What takes longer is cut off, as anything that is left over used to be.
        let _in_time = tokio::time::timeout(LEFTOVER_WAIT_MAX, reading).await;
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Lent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for Lent<B> {
    fn drop(&mut self) {
        *self.place.lock() = self.body.take();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn what_is_not_read_comes_back_and_is_read_past() {
        let (mut read, leftover) = lend(Full::new(Bytes::from_static(b"whole")));
        assert_eq!(read.size_hint().exact(), Some(5));
        assert!(read.frame().await.is_some() && read.frame().await.is_none());
        drop(read);
        assert!(leftover.0.lock().is_none());

        let (unread, leftover) = lend(Full::new(Bytes::from_static(b"unread")));
        drop(unread);
        assert!(leftover.0.lock().is_some());
        leftover.drain().await;
    }

    #[tokio::test]
    async fn what_never_comes_is_not_waited_for_long() {
        let never = futures::stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
        let (unread, leftover) = lend(http_body_util::StreamBody::new(never));
        drop(unread);
        leftover.drain().await;
    }
}
