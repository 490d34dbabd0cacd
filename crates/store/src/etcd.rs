//! The store on an etcd v3 cluster (3.4 and newer), for several servers at once.
//!
//! Writes and reads go to the cluster. One watch of the whole prefix feeds all watchers of this process; it
//! survives the loss of members (`etcd/feed.rs`). Which member is asked and what is tried again is decided in
//! `etcd/members.rs`: a write whose outcome is unknown is reported as such, and tried again only where it cannot take
//! place twice (`etcd/doubt.rs`).

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use task::Scope;

mod compactor;
mod convert;
mod doubt;
mod feed;
mod freshness;
mod keys;
mod members;
mod options;
mod trust;
mod wire;

use compactor::Compactor;
use convert::{header, key_value, number};
use doubt::Tie;
use feed::{Ended, Feed, Following};
use freshness::{Freshness, newest_revision};
use keys::Keys;
use members::{Answered, Members, Repeat};
pub use options::EtcdOptions;

use crate::fanout::Fanout;
use crate::limits::{
    ETCD_BACKLOG_BATCHES_MAX, ETCD_MARK_MAX, ETCD_RANGE_PAGE_KEYS, LEASE_TTL_SECONDS,
};
use crate::validate::validate;
use crate::{
    EventBatch, KeyRange, LeaseId, RangeRequest, RangeResponse, Revision, Store, StoreError,
    Transaction, TransactionResult, Watch,
};

const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const LEASE_GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const LEASE_KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const LEASE_TIME_TO_LIVE: &str = "/etcdserverpb.Lease/LeaseTimeToLive";
const LEASE_REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";

/// See the module's documentation. Cheap to clone; with the last clone its watches end.
#[derive(Clone, Debug)]
pub struct EtcdStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    members: Arc<Members>,
    keys: Keys,
    fanout: Arc<Fanout>,
    freshness: Arc<Freshness>,
    scope: Scope,
}

impl EtcdStore {
    /// Connects, learns the newest revision, and follows the cluster from there.
    ///
    /// # Errors
    /// An option is malformed, or no member answers.
    pub async fn open(options: EtcdOptions) -> Result<Self, StoreError> {
        if !options.prefix.ends_with(b"/") {
            let reason = format!("etcd prefix {:?}: expected a / at its end", options.prefix);
            return Err(StoreError::InvalidOption { reason });
        }
        let members = Arc::new(Members::new(&options)?);
        let keys = Keys::new(&options.prefix, &options.root);
        let revision = newest_revision(&members, &keys.note("mark")).await?;
        tracing::info!(%revision, servers = ?options.servers, "following etcd");
        let fanout = Arc::new(Fanout::new(revision.0));
        let clock = options.clock.clone();
        let (for_feed, for_keys) = (Arc::clone(&fanout), keys.clone());
        let feed = Feed::new(Arc::clone(&members), for_keys, for_feed, clock.clone(), revision);
        let feed = Arc::new(feed);
        let freshness =
            Freshness::new(Arc::clone(&members), Arc::clone(&feed), &keys, clock.clone());
        let freshness = Arc::new(freshness);
        let compactor =
            Compactor::new(Arc::clone(&members), &keys, options.history_age_max, clock.clone());
        let scope = Scope::new();
        scope.spawn_until_cancelled("etcd-feed", feed.run());
        scope.spawn_until_cancelled("etcd-progress", Arc::clone(&freshness).run());
        scope.spawn_until_cancelled("etcd-compactor", compactor.run());
        scope.spawn_until_cancelled("store-crowds", Arc::clone(&fanout).wake_crowds(clock));
        Ok(Self { inner: Arc::new(Inner { members, keys, fanout, freshness, scope }) })
    }

    /// Ends the store: watches end, the cluster is left alone.
    pub fn close(&self) {
        self.inner.close();
    }

    async fn page(
        &self,
        range: &KeyRange,
        at: Revision,
        limit: usize,
    ) -> Result<wire::RangeResponse, StoreError> {
        let request = wire::RangeRequest {
            key: range.start.clone(),
            range_end: range.end.clone(),
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            revision: number(at),
            count_only: false,
        };
        let asking = self.inner.members.call(RANGE, "read a range", request, Repeat::Harmless);
        match asking.await {
            Err(error) => Err(self.explain(error, at).await),
            ended => ended,
        }
    }

    /// Puts the revisions into an error that etcd has given none.
    async fn explain(&self, error: StoreError, requested: Revision) -> StoreError {
        match error {
            StoreError::Compacted { .. } => {
                let compacted = self.compacted(requested).await.unwrap_or(requested);
                StoreError::Compacted { requested, compacted }
            }
            StoreError::FutureRevision { .. } => match self.inner.freshness.newest().await {
                Ok(newest) => StoreError::FutureRevision { requested, newest },
                Err(error) => error,
            },
            other => other,
        }
    }

    /// The oldest revision that is kept, as the refusal of a watch says it.
    async fn compacted(&self, requested: Revision) -> Option<Revision> {
        let note = KeyRange::key(self.inner.keys.note("none"));
        let after = requested.0.saturating_sub(1);
        let mut watch = Following::open(&self.inner.members, &note, after).await.ok()?;
        let refused = tokio::time::timeout(ETCD_MARK_MAX, watch.next(&self.inner.keys)).await;
        match refused.ok()? {
            Err(Ended::Compacted(compacted)) => Some(Revision(compacted)),
            _ => None,
        }
    }

    /// The changes of `range` behind `after`, up to and including `through`, from the cluster.
    async fn backlog(
        &self,
        range: &KeyRange,
        after: Revision,
        through: u64,
    ) -> Result<VecDeque<EventBatch>, StoreError> {
        let keys = &self.inner.keys;
        let mut following = Following::open(&self.inner.members, &keys.watched(), after.0).await?;
        // Something that comes for certain, so that it shows when everything before it has come.
        self.inner.freshness.mark().await?;
        let mut backlog = VecDeque::new();
        loop {
            let news = tokio::time::timeout(ETCD_MARK_MAX * 5, following.next(keys)).await;
            let news = match news {
                Ok(Ok(news)) => news,
                Ok(Err(Ended::Compacted(compacted))) => {
                    let compacted = Revision(compacted);
                    return Err(StoreError::Compacted { requested: after, compacted });
                }
                Ok(Err(Ended::Failed(error))) => {
                    following.leave();
                    return Err(error);
                }
                Err(late) => {
                    following.leave();
                    return Err(StoreError::engine("read the history", late));
                }
            };
            let commits = news.commits.iter().filter(|commit| commit.revision <= through);
            backlog.extend(commits.filter_map(|commit| commit.within(range)));
            if news.through > through {
                return Ok(backlog);
            }
            if backlog.len() > ETCD_BACKLOG_BATCHES_MAX {
                return Err(StoreError::TooSlow);
            }
        }
    }

    async fn lease_call<Q, A>(
        &self,
        method: &'static str,
        attempted: &'static str,
        request: Q,
        lease: LeaseId,
    ) -> Result<A, StoreError>
    where
        Q: prost::Message + Clone + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let asking = self.inner.members.call(method, attempted, request, Repeat::Harmless);
        asking.await.map_err(|error| match error {
            StoreError::LeaseNotFound(_) => StoreError::LeaseNotFound(lease),
            other => other,
        })
    }
}

impl Inner {
    fn close(&self) {
        self.scope.cancel();
        self.fanout.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn transact(&self, transaction: Transaction) -> Result<TransactionResult, StoreError> {
        validate(&transaction)?;
        let leases = transaction.operations.iter().filter_map(|operation| match operation {
            crate::Operation::Put { lease, .. } => *lease,
            crate::Operation::Delete { .. } => None,
        });
        let lease = leases.last();
        let inner = &self.inner;
        let tie = Tie::of(&transaction);
        let repeat = if tie.is_some() { Repeat::Tied } else { Repeat::OnlyUndone };
        let request = convert::transaction(&inner.keys, transaction)?;
        let asking = inner.members.call_with_doubt(TXN, "commit a transaction", request, repeat);
        match asking.await {
            Ok(Answered { answer, is_doubtful }) => {
                let result = convert::result(&inner.keys, answer);
                match tie.filter(|_| is_doubtful) {
                    Some(tie) => tie.settle(&inner.members, &inner.keys, result).await,
                    None => Ok(result),
                }
            }
            Err(StoreError::LeaseNotFound(id)) => {
                Err(StoreError::LeaseNotFound(lease.unwrap_or(id)))
            }
            Err(error) => Err(error),
        }
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        let Some(mut range) = self.inner.keys.range(&request.range) else {
            let revision = self.inner.freshness.newest().await?;
            return Ok(RangeResponse { revision, items: Vec::new(), remaining: 0 });
        };
        let wanted = if request.limit == 0 { usize::MAX } else { request.limit };
        let mut found: Option<RangeResponse> = None;
        let mut at = request.revision;
        loop {
            let have = found.as_ref().map_or(0, |found| found.items.len());
            let page = self.page(&range, at, ETCD_RANGE_PAGE_KEYS.min(wanted - have)).await?;
            let revision = header(page.header.as_ref());
            let count = usize::try_from(page.count).unwrap_or_default();
            let last = page.kvs.last().map(|kv| [&kv.key[..], &[0]].concat());
            let remaining = count.saturating_sub(page.kvs.len());
            let response = found.get_or_insert_with(|| {
                // All pages are of one revision: the one asked for, or that of the first page.
                if at == Revision(0) {
                    at = revision;
                }
                RangeResponse { revision, items: Vec::new(), remaining }
            });
            let items = page.kvs.into_iter().filter_map(|kv| key_value(&self.inner.keys, kv));
            response.items.extend(items);
            response.remaining = remaining;
            match last {
                Some(last) if remaining > 0 && response.items.len() < wanted => {
                    range.start = last.into();
                }
                _ => break,
            }
        }
        Ok(found.unwrap_or(RangeResponse { revision: at, items: Vec::new(), remaining: 0 }))
    }

    async fn watch(&self, range: KeyRange, after: Revision) -> Result<Watch, StoreError> {
        let mut subscription = self.inner.fanout.join(range.clone())?;
        let through = subscription.joined_at;
        let backlog = if after.0 < through {
            self.backlog(&range, after, through).await?
        } else {
            VecDeque::new()
        };
        subscription.start(backlog, after.0);
        let progress = self.inner.freshness.progress_request(subscription.progress());
        Ok(Watch::new(subscription, progress))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.inner.freshness.newest().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        match compactor::compact(&self.inner.members, revision).await {
            Err(error) => Err(self.explain(error, revision).await),
            ended => ended,
        }
    }

    async fn grant_lease(&self, ttl_seconds: u64) -> Result<LeaseId, StoreError> {
        if !LEASE_TTL_SECONDS.contains(&ttl_seconds) {
            let reason = format!("a lease cannot last {ttl_seconds} seconds");
            return Err(StoreError::InvalidTransaction { reason });
        }
        let ttl = i64::try_from(ttl_seconds).unwrap_or(i64::MAX);
        let request = wire::LeaseGrantRequest { ttl };
        // A lease that nobody has heard of ends by itself.
        let asking =
            self.inner.members.call(LEASE_GRANT, "grant a lease", request, Repeat::Harmless);
        let answer: wire::LeaseGrantResponse = asking.await?;
        Ok(LeaseId(answer.id))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<u64, StoreError> {
        let request = wire::LeaseRequest { id: lease.0 };
        let answer: wire::LeaseResponse = self
            .inner
            .members
            .first_of_stream(LEASE_KEEP_ALIVE, "keep a lease alive", request)
            .await?;
        match u64::try_from(answer.ttl) {
            Ok(ttl) if ttl > 0 => Ok(ttl),
            _ => Err(StoreError::LeaseNotFound(lease)),
        }
    }

    async fn lease_ttl(&self, lease: LeaseId) -> Result<u64, StoreError> {
        let request = wire::LeaseRequest { id: lease.0 };
        let answer: wire::LeaseResponse =
            self.lease_call(LEASE_TIME_TO_LIVE, "look at a lease", request, lease).await?;
        match u64::try_from(answer.granted_ttl) {
            // An ended lease has a remaining time of -1.
            Ok(ttl) if ttl > 0 && answer.ttl >= 0 => Ok(ttl),
            _ => Err(StoreError::LeaseNotFound(lease)),
        }
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        let request = wire::LeaseRequest { id: lease.0 };
        let _done: wire::LeaseRevokeResponse =
            self.lease_call(LEASE_REVOKE, "revoke a lease", request, lease).await?;
        Ok(())
    }
}
