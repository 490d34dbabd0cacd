//! A netlink socket: requests, dumps and acknowledgements.
//!
//! Not here: the batches of nf_tables, whose answers need the batch to be understood (see [`crate::nft`]).

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::message::{Attribute, Message, MessageWriter, attributes, messages};
use super::namespace::{NamespaceError, inside_namespace};

/// A datagram from the kernel is at most this long; the kernel sizes its dumps by the reader's buffer.
const RECEIVE_BYTES: usize = 64 * 1024;
/// The kernel answers within the `send` call; an answer that is not there after this long will not come.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
const SOL_NETLINK: c_int = 270;
const NETLINK_CAP_ACK: c_int = 10;
const NETLINK_EXT_ACK: c_int = 11;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Which part of the kernel a socket speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes.
    Route,
    /// nf_tables and connection tracking.
    Netfilter,
}

/// A netlink exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// The namespace could not be entered to open the socket there.
    #[error("cannot open a netlink socket in another namespace")]
    Namespace(#[from] NamespaceError),
    /// The request did not leave.
    #[error("cannot send {bytes} bytes of netlink messages")]
    Send {
        /// Size of the request.
        bytes: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No answer.
    #[error("cannot read the answer to a netlink request")]
    Receive(#[source] io::Error),
    /// The kernel said no.
    #[error("the kernel refused{}", in_parentheses(.detail))]
    Refused {
        /// The kernel's own words, when it has any.
        detail: String,
        /// The error number.
        #[source]
        source: io::Error,
    },
    /// A request is larger than netlink can say.
    #[error("a netlink attribute is longer than 64 KiB")]
    TooLong,
    /// Lists read one after the other kept differing.
    #[error("a list changes faster than the kernel tells it")]
    Unsteady,
}

impl NetlinkError {
    /// The error number with which the kernel refused, if it was the kernel.
    pub fn refusal(&self) -> Option<Errno> {
        match self {
            Self::Refused { source, .. } => Errno::from_io_error(source),
            _ => None,
        }
    }
}

fn in_parentheses(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

/// One answer to a batch of messages: which message, and how it ended.
#[derive(Debug)]
pub(crate) struct Acknowledgement {
    pub(crate) sequence: u32,
    pub(crate) outcome: Result<(), NetlinkError>,
}

/// A netlink socket, bound to the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> c_int {
        self.fd.as_raw_fd()
    }
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> Result<Self, NetlinkError> {
        Self::open_with_groups(protocol, 0)
    }

    /// Opens a socket that hears the multicast groups in the mask `groups`.
    pub(crate) fn open_with_groups(protocol: Protocol, groups: u32) -> Result<Self, NetlinkError> {
        let number = match protocol {
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
        };
        let open = || -> Result<OwnedFd, io::Error> {
            let fd = rustix::net::socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                number,
            )?;
            rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
            sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(ANSWER_WAIT_MAX))?;
            set_option(&fd, NETLINK_CAP_ACK)?;
            set_option(&fd, NETLINK_EXT_ACK)?;
            Ok(fd)
        };
        let fd = open().map_err(NetlinkError::Open)?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Opens a socket in the network namespace that `namespace` is open on.
    pub fn open_in(protocol: Protocol, namespace: BorrowedFd<'_>) -> Result<Self, NetlinkError> {
        inside_namespace(namespace, || Self::open(protocol))?
    }

    /// Lets requests and answers of up to `bytes` through.
    pub(crate) fn set_buffers(&self, bytes: usize) -> Result<(), NetlinkError> {
        sockopt::set_socket_send_buffer_size_force(&self.fd, bytes)
            .and_then(|()| sockopt::set_socket_recv_buffer_size_force(&self.fd, bytes))
            .map_err(|errno| NetlinkError::Open(errno.into()))
    }

    /// The number by which the kernel names this socket as a sender.
    pub fn port(&self) -> Result<u32, NetlinkError> {
        let address = rustix::net::getsockname(&self.fd)
            .and_then(SocketAddrNetlink::try_from)
            .map_err(|errno| NetlinkError::Open(errno.into()))?;
        Ok(address.pid())
    }

    /// A fresh run of `count` sequence numbers.
    pub(crate) fn reserve_sequence(&mut self, count: u32) -> u32 {
        // Zero is the kernel's own number for messages that answer nothing.
        if self.sequence.checked_add(count).is_none() {
            self.sequence = 0;
        }
        let first = self.sequence + 1;
        self.sequence += count;
        first
    }

    /// Sends messages that were built with this socket's sequence numbers.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        let kernel = SocketAddrNetlink::new(0, 0);
        let sent = rustix::io::retry_on_intr(|| {
            rustix::net::sendto(&self.fd, bytes, SendFlags::empty(), &kernel)
        });
        match sent {
            Ok(_) => Ok(()),
            Err(errno) => Err(NetlinkError::Send { bytes: bytes.len(), source: errno.into() }),
        }
    }

    /// One datagram, or `None` when none is there and `flags` say not to wait.
    pub(crate) fn receive(&mut self, flags: RecvFlags) -> Result<Option<&[u8]>, Errno> {
        let fd = &self.fd;
        let buffer = &mut self.buffer;
        let read = rustix::io::retry_on_intr(|| {
            rustix::net::recv(fd, &mut buffer[..], flags).map(|(read, _)| read)
        });
        match read {
            Ok(read) => Ok(Some(&self.buffer[..read])),
            Err(Errno::AGAIN) if flags.contains(RecvFlags::DONTWAIT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Every acknowledgement that is waiting; never blocks.
    pub(crate) fn acknowledgements(&mut self) -> Result<Vec<Acknowledgement>, NetlinkError> {
        let mut found = Vec::new();
        while let Some(datagram) = self
            .receive(RecvFlags::DONTWAIT)
            .map_err(|errno| NetlinkError::Receive(errno.into()))?
        {
            found.extend(messages(datagram).filter(|message| message.kind == NLMSG_ERROR).map(
                |message| Acknowledgement {
                    sequence: message.sequence,
                    outcome: read_outcome(&message),
                },
            ));
        }
        Ok(found)
    }

    /// Sends one request and waits until the kernel has carried it out.
    pub fn request(
        &mut self,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut MessageWriter),
    ) -> Result<(), NetlinkError> {
        self.exchange(kind, flags | NLM_F_ACK, body, |_| {})
    }

    /// Sends one request and hands every answer to `each`.
    pub fn query(
        &mut self,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut MessageWriter),
        each: impl FnMut(&Message<'_>),
    ) -> Result<(), NetlinkError> {
        self.exchange(kind, flags | NLM_F_ACK, body, each)
    }

    /// Asks for a whole table and hands every entry to `each`.
    pub fn dump(
        &mut self,
        kind: u16,
        body: impl FnOnce(&mut MessageWriter),
        each: impl FnMut(&Message<'_>),
    ) -> Result<(), NetlinkError> {
        self.exchange(kind, NLM_F_DUMP, body, each)
    }

    fn exchange(
        &mut self,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut MessageWriter),
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), NetlinkError> {
        let sequence = self.reserve_sequence(1);
        let mut writer = MessageWriter::default();
        writer.message(kind, flags | NLM_F_REQUEST, sequence, body);
        self.send(&writer.finish().ok_or(NetlinkError::TooLong)?)?;
        loop {
            let datagram = self
                .receive(RecvFlags::empty())
                .map_err(|errno| NetlinkError::Receive(errno.into()))?
                .unwrap_or_default();
            for message in messages(datagram).filter(|message| message.sequence == sequence) {
                match message.kind {
                    NLMSG_ERROR => return read_outcome(&message),
                    NLMSG_DONE => return read_done(&message),
                    _ => each(&message),
                }
            }
        }
    }
}

fn read_done(message: &Message<'_>) -> Result<(), NetlinkError> {
    match message
        .payload
        .get(..4)
        .map(|code| i32::from_ne_bytes([code[0], code[1], code[2], code[3]]))
    {
        Some(code) if code < 0 => Err(refused(code, String::new())),
        _ => Ok(()),
    }
}

fn read_outcome(message: &Message<'_>) -> Result<(), NetlinkError> {
    let word = |at: usize| message.payload.get(at..at + 4).map(|b| [b[0], b[1], b[2], b[3]]);
    let code = word(0).map_or_else(|| -Errno::BADMSG.raw_os_error(), i32::from_ne_bytes);
    if code == 0 {
        return Ok(());
    }
    let detail = (message.flags & NLM_F_ACK_TLVS != 0)
        .then(|| {
            // Behind the error code comes the request: its header alone, or the whole of it.
            let request = match message.flags & NLM_F_CAPPED {
                0 => word(4).map_or(16, |length| u32::from_ne_bytes(length) as usize),
                _ => 16,
            };
            let rest = message.payload.get(4 + request.next_multiple_of(4)..).unwrap_or_default();
            attributes(rest).find(|attribute| attribute.kind == NLMSGERR_ATTR_MSG)
        })
        .flatten()
        .map(|attribute: Attribute<'_>| attribute.text())
        .unwrap_or_default();
    Err(refused(code, detail))
}

fn refused(code: i32, detail: String) -> NetlinkError {
    NetlinkError::Refused { detail, source: io::Error::from_raw_os_error(-code) }
}

#[expect(unsafe_code, reason = "no safe wrapper offers the options of the netlink level")]
fn set_option(fd: &OwnedFd, option: c_int) -> io::Result<()> {
    const LENGTH: nix::libc::socklen_t = 4;
    const { assert!(size_of::<c_int>() == LENGTH as usize) };
    let on: c_int = 1;
    // SAFETY: the pointer and the length describe `on`, which outlives the call.
    let outcome = unsafe {
        nix::libc::setsockopt(fd.as_raw_fd(), SOL_NETLINK, option, (&raw const on).cast(), LENGTH)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
