//! Hearing of changes to the ruleset that somebody else made.

use std::collections::BTreeSet;
use std::io;

use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::unix::AsyncFd;

use crate::netlink::{NetlinkError, Protocol, Socket, messages};

use super::constants::*;
use super::model::{Family, TableId};
use super::observe::attribute_text;

/// `NFNLGRP_NFTABLES` as a bit of a bind mask.
const NFTABLES_GROUP: u32 = 1 << (7 - 1);
/// Changes of a large ruleset arrive in one burst.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What somebody else changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignChange {
    /// Tables that were changed or removed.
    pub tables: BTreeSet<TableId>,
    /// Notices were lost: anything may have changed.
    pub lost: bool,
}

impl ForeignChange {
    /// Whether `table` may have changed.
    pub fn concerns(&self, table: &TableId) -> bool {
        self.lost || self.tables.contains(table)
    }
}

/// Hears every change of the ruleset of one network namespace.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<Socket>,
}

impl Monitor {
    /// Listens in the network namespace of the calling thread. Must be called inside a tokio runtime.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = Socket::open_with_groups(Protocol::Netfilter, NFTABLES_GROUP)?;
        socket.set_buffers(RECEIVE_BUFFER_BYTES)?;
        let set = rustix::io::ioctl_fionbio(&socket, true);
        set.map_err(|errno| NetlinkError::Open(errno.into()))?;
        Ok(Self { socket: register(socket).map_err(NetlinkError::Open)? })
    }

    /// Waits for a change by anybody but the connections with the numbers `own`.
    pub async fn foreign_change(&mut self, own: &[u32]) -> Result<ForeignChange, NetlinkError> {
        loop {
            let mut ready = self.socket.readable_mut().await.map_err(NetlinkError::Receive)?;
            let change = drain(ready.get_inner_mut(), own)?;
            ready.clear_ready();
            if change != ForeignChange::default() {
                return Ok(change);
            }
        }
    }
}

#[expect(unsafe_code, reason = "tokio cannot check that the descriptor stays the same")]
fn register(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a `Socket` owns its descriptor and names the same one until it is dropped.
    unsafe { AsyncFd::register(socket) }.map_err(|error| error.into_parts().1)
}

fn drain(socket: &mut Socket, own: &[u32]) -> Result<ForeignChange, NetlinkError> {
    let mut change = ForeignChange::default();
    loop {
        let datagram = match socket.receive(RecvFlags::DONTWAIT) {
            Ok(None) => return Ok(change),
            Ok(Some(datagram)) => datagram,
            Err(Errno::NOBUFS) => {
                change.lost = true;
                continue;
            }
            Err(errno) => return Err(NetlinkError::Receive(errno.into())),
        };
        for message in messages(datagram).filter(|message| !own.contains(&message.port)) {
            let family = message.payload.first().copied().and_then(Family::from_number);
            let name = table_attribute(message.kind)
                .and_then(|kind| attribute_text(message.payload, kind));
            if let (Some(family), Some(name)) = (family, name) {
                change.tables.insert(TableId { family, name });
            }
        }
    }
}

/// Every message names its table in its first attribute, except the one that only counts generations.
fn table_attribute(kind: u16) -> Option<u16> {
    let message = kind & 0xff;
    let is_ours = kind >> 8 == NFNL_SUBSYS_NFTABLES && message != NFT_MSG_NEWGEN;
    is_ours.then_some(NFTA_TABLE_NAME)
}
