//! Links: bridges, veth pairs, and what every link has (state, size of packets, master).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::{MessageWriter, NetlinkError, RouteSocket, attributes};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const AF_UNSPEC: u8 = 0;
const AF_BRIDGE: u8 = 7;
const IFF_UP: u32 = 1;
/// Bytes of `struct ifinfomsg`.
const LINK_HEADER_BYTES: usize = 16;

/// A link as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it, unique in its namespace.
    pub index: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Whether it is administratively up.
    pub up: bool,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// The bridge that it is a port of.
    pub master: Option<u32>,
    /// `bridge`, `veth`, …; none for loopback and physical links.
    pub kind: Option<String>,
    /// The free text that goes with it.
    pub alias: Option<String>,
    /// Its link-layer address.
    pub hardware_address: Vec<u8>,
}

/// The other end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct VethPeer<'a> {
    /// Its name in its namespace.
    pub name: &'a str,
    /// The network namespace in which it is born.
    pub namespace: BorrowedFd<'a>,
    /// Its link-layer address; one is made up when there is none.
    pub hardware_address: Option<[u8; 6]>,
}

/// How a bridge treats one of its ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortOptions {
    /// Frames may leave by the port they came from.
    pub hairpin: bool,
    /// Frames do not pass directly to another isolated port.
    pub isolated: bool,
}

impl RouteSocket {
    /// The link named `name`, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut found = None;
        let outcome = self.socket.query(
            RTM_GETLINK,
            0,
            |writer| {
                link_header(writer, AF_UNSPEC, 0, 0, 0);
                writer.put_text(IFLA_IFNAME, name);
            },
            |message| found = read_link(message.payload),
        );
        match outcome {
            Ok(()) => Ok(found),
            Err(error) if error.refusal() == Some(Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every link of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut found = Vec::new();
        self.socket.dump(
            RTM_GETLINK,
            |writer| link_header(writer, AF_UNSPEC, 0, 0, 0),
            |message| found.extend(read_link(message.payload)),
        )?;
        Ok(found)
    }

    /// Makes a bridge and brings it up. Refused with `EEXIST` when the name is taken.
    pub fn create_bridge(
        &mut self,
        name: &str,
        mtu: u32,
        hardware_address: [u8; 6],
    ) -> Result<(), NetlinkError> {
        self.socket.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, |writer| {
            link_header(writer, AF_UNSPEC, 0, IFF_UP, IFF_UP);
            writer.put_text(IFLA_IFNAME, name);
            writer.put_u32(IFLA_MTU, mtu);
            // An address of its own keeps the bridge's from following its first port's.
            writer.put(IFLA_ADDRESS, &hardware_address);
            writer.nest(IFLA_LINKINFO, |writer| writer.put_text(IFLA_INFO_KIND, "bridge"));
        })
    }

    /// Makes a veth pair in one step: this end a port of `master` (when given), the other end in its
    /// namespace, both down.
    pub fn create_veth(
        &mut self,
        name: &str,
        peer: VethPeer<'_>,
        master: Option<u32>,
        mtu: u32,
    ) -> Result<(), NetlinkError> {
        self.socket.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, |writer| {
            link_header(writer, AF_UNSPEC, 0, 0, 0);
            writer.put_text(IFLA_IFNAME, name);
            writer.put_u32(IFLA_MTU, mtu);
            if let Some(master) = master {
                writer.put_u32(IFLA_MASTER, master);
            }
            writer.nest(IFLA_LINKINFO, |writer| {
                writer.put_text(IFLA_INFO_KIND, "veth");
                writer.nest(IFLA_INFO_DATA, |writer| {
                    writer.nest(VETH_INFO_PEER, |writer| write_peer(writer, peer, mtu));
                });
            });
        })
    }

    /// Brings a link up.
    pub fn set_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.change(index, IFF_UP, |_| {})
    }

    /// Makes a link a port of the bridge `master`.
    pub fn set_master(&mut self, index: u32, master: u32) -> Result<(), NetlinkError> {
        self.change(index, 0, |writer| writer.put_u32(IFLA_MASTER, master))
    }

    /// Sets the largest packet of a link, in bytes.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<(), NetlinkError> {
        self.change(index, 0, |writer| writer.put_u32(IFLA_MTU, mtu))
    }

    /// Sets the free text that goes with a link.
    pub fn set_alias(&mut self, index: u32, alias: &str) -> Result<(), NetlinkError> {
        self.change(index, 0, |writer| writer.put(IFLA_IFALIAS, alias.as_bytes()))
    }

    /// Sets how the bridge treats its port `index`.
    pub fn set_port_options(
        &mut self,
        index: u32,
        options: PortOptions,
    ) -> Result<(), NetlinkError> {
        self.socket.request(RTM_SETLINK, 0, |writer| {
            link_header(writer, AF_BRIDGE, index, 0, 0);
            writer.nest(IFLA_PROTINFO, |writer| {
                writer.put_u8(IFLA_BRPORT_MODE, u8::from(options.hairpin));
                writer.put_u8(IFLA_BRPORT_ISOLATED, u8::from(options.isolated));
            });
        })
    }

    /// Deletes a link; its veth peer goes with it. A link that is not there is no error.
    pub fn delete_link(&mut self, name: &str) -> Result<(), NetlinkError> {
        let outcome = self.socket.request(RTM_DELLINK, 0, |writer| {
            link_header(writer, AF_UNSPEC, 0, 0, 0);
            writer.put_text(IFLA_IFNAME, name);
        });
        match outcome {
            Err(error) if error.refusal() == Some(Errno::NODEV) => Ok(()),
            outcome => outcome,
        }
    }

    fn change(
        &mut self,
        index: u32,
        flags: u32,
        body: impl FnOnce(&mut MessageWriter),
    ) -> Result<(), NetlinkError> {
        self.socket.request(RTM_SETLINK, 0, |writer| {
            link_header(writer, AF_UNSPEC, index, flags, flags);
            body(writer);
        })
    }
}

fn write_peer(writer: &mut MessageWriter, peer: VethPeer<'_>, mtu: u32) {
    link_header(writer, AF_UNSPEC, 0, 0, 0);
    writer.put_text(IFLA_IFNAME, peer.name);
    writer.put_u32(IFLA_MTU, mtu);
    if let Some(address) = peer.hardware_address {
        writer.put(IFLA_ADDRESS, &address);
    }
    writer.put(IFLA_NET_NS_FD, &peer.namespace.as_raw_fd().to_ne_bytes());
}

fn link_header(writer: &mut MessageWriter, family: u8, index: u32, flags: u32, change: u32) {
    writer.raw(&[family, 0, 0, 0]);
    writer.raw(&index.to_ne_bytes());
    writer.raw(&flags.to_ne_bytes());
    writer.raw(&change.to_ne_bytes());
}

fn read_link(payload: &[u8]) -> Option<Link> {
    let word = |at: usize| {
        let bytes = payload.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let mut link = Link {
        index: word(4)?,
        name: String::new(),
        up: word(8)? & IFF_UP != 0,
        mtu: 0,
        master: None,
        kind: None,
        alias: None,
        hardware_address: Vec::new(),
    };
    for attribute in attributes(payload.get(LINK_HEADER_BYTES..)?) {
        match attribute.kind {
            IFLA_ADDRESS => link.hardware_address = attribute.value.to_vec(),
            IFLA_IFNAME => link.name = attribute.text(),
            IFLA_MTU => link.mtu = attribute.u32()?,
            IFLA_MASTER => link.master = attribute.u32(),
            IFLA_IFALIAS => link.alias = Some(attribute.text()),
            IFLA_LINKINFO => {
                link.kind = attribute
                    .nested()
                    .find(|inner| inner.kind == IFLA_INFO_KIND)
                    .map(|inner| inner.text());
            }
            _ => {}
        }
    }
    Some(link)
}
