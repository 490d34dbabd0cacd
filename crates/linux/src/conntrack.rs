//! Forgetting tracked connections whose rewritten destination is gone.
//!
//! A UDP sender that never pauses keeps its entry, and with it the address of an endpoint that no longer
//! exists: nothing but deleting the entry makes its next packet choose again. Not here: which entries are
//! stale, which the proxy decides.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::netlink::{Attribute, MessageWriter, NetlinkError, Protocol, Socket, attributes};

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
/// Bytes of `struct nfgenmsg`.
const GENERIC_HEADER_BYTES: usize = 4;

/// A tracked connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The transport protocol's number.
    pub protocol: u8,
    /// Who began it.
    pub source: SocketAddr,
    /// Where the first packet was sent to.
    pub destination: SocketAddr,
    /// Who answers: after rewriting, the endpoint.
    pub answered_by: SocketAddr,
    original: Vec<u8>,
    id: Option<u32>,
}

/// A connection to the connection tracking of one network namespace.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// Speaks to the network namespace of the calling thread.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::open(Protocol::Netfilter)? })
    }

    /// Speaks to the network namespace that `namespace` is open on.
    pub fn open_in(namespace: BorrowedFd<'_>) -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::open_in(Protocol::Netfilter, namespace)? })
    }

    /// Every tracked connection that `wanted` picks; only those are kept in memory.
    pub fn flows(&mut self, wanted: impl Fn(&Flow) -> bool) -> Result<Vec<Flow>, NetlinkError> {
        let mut found = Vec::new();
        self.socket.dump(
            NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET,
            |writer| writer.raw(&[0; GENERIC_HEADER_BYTES]),
            |message| found.extend(read_flow(message.payload).filter(|flow| wanted(flow))),
        )?;
        Ok(found)
    }

    /// Deletes every tracked connection that `stale` picks and says how many there were.
    pub fn forget(&mut self, stale: impl Fn(&Flow) -> bool) -> Result<usize, NetlinkError> {
        let flows = self.flows(stale)?;
        let mut forgotten = 0;
        for flow in &flows {
            match self.delete(flow) {
                Ok(()) => forgotten += 1,
                // It ended by itself in the meantime.
                Err(error) if error.refusal() == Some(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(forgotten)
    }

    fn delete(&mut self, flow: &Flow) -> Result<(), NetlinkError> {
        let family = if flow.source.is_ipv4() { 2 } else { 10 };
        let kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
        self.socket.request(kind, 0, |writer: &mut MessageWriter| {
            writer.raw(&[family, 0, 0, 0]);
            writer.nest(CTA_TUPLE_ORIG, |writer| writer.raw(&flow.original));
            if let Some(id) = flow.id {
                // With the identity a successor with the same addresses is left alone.
                writer.put_u32(CTA_ID, id);
            }
        })
    }
}

fn read_flow(payload: &[u8]) -> Option<Flow> {
    let parts = || attributes(payload.get(GENERIC_HEADER_BYTES..).unwrap_or_default());
    let part = |kind| parts().find(|attribute| attribute.kind == kind);
    let original = part(CTA_TUPLE_ORIG)?;
    let (protocol, source, destination) = read_tuple(original)?;
    let (_, answered_by, _) = read_tuple(part(CTA_TUPLE_REPLY)?)?;
    let id = part(CTA_ID).and_then(|attribute| attribute.u32());
    Some(Flow { protocol, source, destination, answered_by, original: original.value.to_vec(), id })
}

fn read_tuple(tuple: Attribute<'_>) -> Option<(u8, SocketAddr, SocketAddr)> {
    let part = |kind| tuple.nested().find(|attribute| attribute.kind == kind);
    let (addresses, transport) = (part(CTA_TUPLE_IP)?, part(CTA_TUPLE_PROTO)?);
    let address = |four, six| {
        addresses.nested().find_map(|attribute| match attribute.value.len() {
            4 if attribute.kind == four => {
                <[u8; 4]>::try_from(attribute.value).ok().map(IpAddr::from)
            }
            16 if attribute.kind == six => {
                <[u8; 16]>::try_from(attribute.value).ok().map(IpAddr::from)
            }
            _ => None,
        })
    };
    let field = |kind| transport.nested().find(|attribute| attribute.kind == kind);
    let port = |kind| {
        let bytes = field(kind)?.value;
        <[u8; 2]>::try_from(bytes).ok().map(u16::from_be_bytes)
    };
    let protocol = *field(CTA_PROTO_NUM)?.value.first()?;
    // Protocols without ports are of no interest to anybody here.
    let source = SocketAddr::new(address(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?, port(CTA_PROTO_SRC_PORT)?);
    let destination =
        SocketAddr::new(address(CTA_IP_V4_DST, CTA_IP_V6_DST)?, port(CTA_PROTO_DST_PORT)?);
    Some((protocol, source, destination))
}
