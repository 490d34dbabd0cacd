//! The embedded store: everything in memory, every write durable first.
//!
//! Reads and watches come from memory and never wait for the disk; one writer checks waiting
//! transactions in order, makes a group of them durable with a single flush, and only then shows and
//! acknowledges them. The disk belongs to the `fjall` engine; it is read once, at the start.
//!
//! What is lost when: with `fsync`, nothing that was acknowledged. A failed write is undone in memory and
//! on disk, so an error means "did not happen". A transaction that changes nothing (no operations, or
//! deletions of keys that do not exist) takes no revision, as in etcd.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use clock::Clock;
use task::Scope;

use crate::validate::validate;
use crate::{
    KeyRange, LeaseId, RangeRequest, RangeResponse, Revision, Store, StoreError, Transaction,
    TransactionResult, Watch,
};

mod chain;
mod committer;
mod disk;
mod fjall_disk;
mod index;
mod journal_check;
mod leases;
mod load;
mod options;
mod rebuild;
mod record;
mod recover;
mod restore;
mod shared;
mod state;
mod writer;

use committer::{Committer, HistoryLimits, Waiting};
use disk::{Disk, NoDisk};
use fjall_disk::FjallDisk;
use load::Contents;
pub(crate) use load::is_believed;
pub use options::EmbeddedOptions;
pub use recover::{RecoveryReport, recover};
pub use restore::restore;
use shared::Shared;
use writer::{Request, Writer};

/// How often it is looked whether a lease has ended or history has aged.
const TIMER_PERIOD: Duration = Duration::from_millis(500);

/// See the module's documentation. Cheap to clone; the last clone to go closes the store.
#[derive(Clone)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
    clock: Clock,
    scope: Scope,
}

impl EmbeddedStore {
    /// Opens the store in `options.path`, creating it when there is none, and reads all of it. Fails
    /// when another process has it open, and when anything in it is not what was written.
    pub async fn open(options: EmbeddedOptions) -> Result<Self, StoreError> {
        if !options.fsync {
            tracing::warn!(
                path = %options.path.display(),
                "fsync is off: a power cut or a crash of the machine loses acknowledged writes"
            );
        }
        let now_ms = options.clock.now().as_millisecond();
        let path = options.path.clone();
        let reserve = options.space_reserve_bytes;
        let opening = tokio::task::spawn_blocking(move || Self::read(&path, reserve));
        let opened =
            opening.await.map_err(|source| StoreError::engine("read the store", source))?;
        let (disk, contents) = opened?;
        let revision = contents.state.visible();
        tracing::info!(path = %options.path.display(), revision, "store opened");
        let (shared, committer) = assemble(contents, Box::new(disk), &options, now_ms);
        Ok(Self::start(shared, Writer::spawn(committer)?, options.clock))
    }

    fn read(path: &Path, reserve: u64) -> Result<(FjallDisk, Contents), StoreError> {
        let disk = FjallDisk::open(path, reserve)?;
        let contents = load::load(&disk)?;
        Ok((disk, contents))
    }

    /// A store that keeps nothing on disk (`options.path` is not used) and runs without a thread of its
    /// own: for simulations under virtual time, and for tests.
    pub fn volatile(options: EmbeddedOptions) -> Self {
        let now_ms = options.clock.now().as_millisecond();
        let (shared, committer) = assemble(Contents::default(), Box::new(NoDisk), &options, now_ms);
        Self::start(shared, Writer::inline(committer), options.clock)
    }

    fn start(shared: Arc<Shared>, writer: Writer, clock: Clock) -> Self {
        let (writer, scope) = (Arc::new(writer), Scope::new());
        let crowds = Arc::clone(&shared.fanout).wake_crowds(clock.clone());
        scope.spawn_until_cancelled("store-crowds", crowds);
        let timer = tick(Arc::clone(&shared), Arc::clone(&writer), clock.clone());
        scope.spawn_until_cancelled("store-timer", timer);
        Self { inner: Arc::new(Inner { shared, writer, clock, scope }) }
    }

    /// Ends the store: requests in flight are answered, watches end, the directory is released.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.inner);
        let closing = tokio::task::spawn_blocking(move || inner.close());
        if let Err(error) = closing.await {
            tracing::error!(%error, "closing the store failed");
        }
    }

    fn now_ms(&self) -> i64 {
        self.inner.clock.now().as_millisecond()
    }
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let revision = self.inner.shared.revision.load(Ordering::Acquire);
        formatter.debug_struct("EmbeddedStore").field("revision", &revision).finish_non_exhaustive()
    }
}

impl Inner {
    fn close(&self) {
        self.scope.cancel();
        self.writer.close();
        self.shared.fanout.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn assemble(
    contents: Contents,
    disk: Box<dyn Disk>,
    options: &EmbeddedOptions,
    now_ms: i64,
) -> (Arc<Shared>, Committer) {
    let limits = HistoryLimits {
        age_max_ms: i64::try_from(options.history_age_max.as_millis()).unwrap_or(i64::MAX),
        revisions_max: options.history_revisions_max,
        bytes_max: options.history_bytes_max,
    };
    let leases = contents.leases_at(now_ms);
    let shared = Arc::new(Shared::new(contents.state));
    let mut committer = Committer::new(Arc::clone(&shared), disk, leases, limits, options.fsync);
    committer.discard(contents.garbage);
    (shared, committer)
}

/// Calls the writer when a lease has ended or history has aged. Nothing is sent to an idle store.
async fn tick(shared: Arc<Shared>, writer: Arc<Writer>, clock: Clock) {
    loop {
        clock.sleep(TIMER_PERIOD).await;
        let now_ms = clock.now().as_millisecond();
        if now_ms >= shared.next_work_ms.load(Ordering::Relaxed)
            && writer.send(Request::Tick, now_ms).await.is_err()
        {
            return;
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn transact(&self, transaction: Transaction) -> Result<TransactionResult, StoreError> {
        validate(&transaction)?;
        let request = |reply| Request::Transact(Waiting { transaction, reply });
        self.inner.writer.ask(self.now_ms(), request).await
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.inner.shared.range(&request).await
    }

    async fn watch(&self, range: KeyRange, after: Revision) -> Result<Watch, StoreError> {
        let mut subscription = self.inner.shared.fanout.join(range.clone())?;
        let through = subscription.joined_at;
        let backlog = self.inner.shared.backlog(&range, after, through)?;
        subscription.start(backlog, after.0);
        let progress = subscription.progress();
        Ok(Watch::new(subscription, progress))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(Revision(self.inner.shared.revision.load(Ordering::Acquire)))
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.inner.writer.ask(self.now_ms(), |reply| Request::Compact { revision, reply }).await
    }

    async fn grant_lease(&self, ttl_seconds: u64) -> Result<LeaseId, StoreError> {
        self.inner.writer.ask(self.now_ms(), |reply| Request::Grant { ttl_seconds, reply }).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<u64, StoreError> {
        self.inner.writer.ask(self.now_ms(), |reply| Request::KeepAlive { lease, reply }).await
    }

    async fn lease_ttl(&self, lease: LeaseId) -> Result<u64, StoreError> {
        self.inner.writer.ask(self.now_ms(), |reply| Request::LeaseTtl { lease, reply }).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.writer.ask(self.now_ms(), |reply| Request::Revoke { lease, reply }).await
    }
}

#[cfg(test)]
mod tests;
