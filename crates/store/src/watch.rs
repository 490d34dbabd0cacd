//! A watch as its consumer sees it, whatever store it comes from.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};

use crate::{EventBatch, StoreError};

type BatchStream = Pin<Box<dyn Stream<Item = Result<EventBatch, StoreError>> + Send>>;

/// The changes of a range, in order, each once. After an error it has ended.
pub struct Watch {
    stream: BatchStream,
    progress: ProgressRequester,
}

impl Watch {
    /// A watch over `stream`; `request_progress` must make it deliver a progress mark soon.
    pub fn new(
        stream: impl Stream<Item = Result<EventBatch, StoreError>> + Send + 'static,
        request_progress: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self { stream: Box::pin(stream), progress: ProgressRequester(Arc::new(request_progress)) }
    }

    /// The next batch; waits for one. `None` after the end.
    pub async fn next(&mut self) -> Option<Result<EventBatch, StoreError>> {
        self.stream.next().await
    }

    /// A handle to ask for progress marks while somebody else reads the watch.
    pub fn progress_requester(&self) -> ProgressRequester {
        self.progress.clone()
    }
}

impl Stream for Watch {
    type Item = Result<EventBatch, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(context)
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// Asks a watch to say how far it is, even when nothing in its range changes.
#[derive(Clone)]
pub struct ProgressRequester(Arc<dyn Fn() + Send + Sync>);

impl ProgressRequester {
    /// Makes the watch deliver an empty batch whose revision is at least the newest one acknowledged
    /// before this call, after all changes up to it.
    pub fn request(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for ProgressRequester {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("ProgressRequester").finish()
    }
}
