//! Waiting until a link passes packets: bringing both ends up is not enough, the kernel activates the second
//! one in the background.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, sockopt};

use super::{NetlinkError, Protocol, Socket, attributes, messages};

/// `RTMGRP_LINK`
const LINK_GROUP: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const IFLA_OPERSTATE: u16 = 16;
const IF_OPER_UP: u8 = 6;
/// Bytes of `struct ifinfomsg`.
const LINK_HEADER_BYTES: usize = 16;

/// Hears the changes of links in one network namespace from the moment it is opened.
#[derive(Debug)]
pub struct LinkWatch {
    socket: Socket,
}

impl LinkWatch {
    /// Listens in the network namespace of the calling thread.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::open_with_groups(Protocol::Route, LINK_GROUP)? })
    }

    /// Blocks until the link is operational, at most for `limit`; says whether it is.
    pub fn wait_until_running(
        &mut self,
        index: u32,
        limit: Duration,
    ) -> Result<bool, NetlinkError> {
        let end = Instant::now() + limit;
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(false);
            }
            sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Recv, Some(rest))
                .map_err(|errno| NetlinkError::Receive(errno.into()))?;
            match self.socket.receive(RecvFlags::empty()) {
                Ok(Some(datagram)) if tells_of_running(datagram, index) => return Ok(true),
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(errno) => return Err(NetlinkError::Receive(errno.into())),
            }
        }
    }
}

fn tells_of_running(datagram: &[u8], index: u32) -> bool {
    messages(datagram).filter(|message| message.kind == RTM_NEWLINK).any(|message| {
        let of_link = message.payload.get(4..8) == Some(&index.to_ne_bytes()[..]);
        let parts = message.payload.get(LINK_HEADER_BYTES..).unwrap_or_default();
        let is_up = |part: super::Attribute<'_>| {
            part.kind == IFLA_OPERSTATE && part.value.first() == Some(&IF_OPER_UP)
        };
        of_link && attributes(parts).any(is_up)
    })
}
