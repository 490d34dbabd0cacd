//! Forgetting old history: once in a while, one of the stores on a cluster compacts it to where it was then.
//!
//! Stores take turns by a note with the revision that the next turn compacts to: whoever changes the note
//! first has the turn, the others see that it was changed and wait for the next.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clock::Clock;

use super::convert::{header, number, revision};
use super::keys::Keys;
use super::members::{Members, Repeat};
use super::wire;
use crate::{Revision, StoreError};

const TXN: &str = "/etcdserverpb.KV/Txn";
pub(super) const COMPACT: &str = "/etcdserverpb.KV/Compact";
const NOTE: &str = "compacted";

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Compactor {
    members: Arc<Members>,
    note: Bytes,
    period: Duration,
    clock: Clock,
    /// The note's modification revision when it was last seen: a turn that ended then.
    turn: Revision,
}

impl Compactor {
    pub(super) fn new(members: Arc<Members>, keys: &Keys, period: Duration, clock: Clock) -> Self {
        Self { members, note: keys.note(NOTE), period, clock, turn: Revision(0) }
    }

    /// Takes part in the turns, for ever.
    pub(super) async fn run(mut self) {
        loop {
            self.clock.sleep(self.period).await;
            if let Err(error) = self.take_turn().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the history in etcd could not be compacted"
                );
            }
        }
    }

    /// Compacts to the end of the turn before, if nobody else has since.
    pub(super) async fn take_turn(&mut self) -> Result<Option<Revision>, StoreError> {
        let key = self.note.clone();
        let put = wire::PutRequest { key: key.clone(), ..Default::default() };
        let read = wire::RangeRequest { key: key.clone(), ..Default::default() };
        let mod_revision = Some(number(self.turn));
        let request = wire::TxnRequest {
            compare: vec![wire::Compare { target: wire::COMPARE_MOD, key, mod_revision }],
            success: vec![wire::RequestOp { request: Some(wire::Request::Put(put)) }],
            failure: vec![wire::RequestOp { request: Some(wire::Request::Range(read)) }],
        };
        let asking =
            self.members.call(TXN, "take a turn at compacting", request, Repeat::OnlyUndone);
        let answer: wire::TxnResponse = asking.await?;
        if !answer.succeeded {
            let read = answer.responses.into_iter().find_map(|response| response.range);
            let note = read.and_then(|range| range.kvs.into_iter().next());
            self.turn = revision(note.map_or(0, |note| note.mod_revision));
            return Ok(None);
        }
        let before = std::mem::replace(&mut self.turn, header(answer.header.as_ref()));
        if before == Revision(0) {
            return Ok(None);
        }
        compact(&self.members, before).await?;
        Ok(Some(before))
    }
}

/// Forgets the history below `revision`.
pub(super) async fn compact(members: &Members, revision: Revision) -> Result<(), StoreError> {
    let request = wire::CompactionRequest { revision: number(revision) };
    let asking = members.call(COMPACT, "compact the history", request, Repeat::OnlyUndone);
    let _done: wire::CompactionResponse = asking.await?;
    Ok(())
}
