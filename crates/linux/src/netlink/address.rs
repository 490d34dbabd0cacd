//! Addresses of links.

use std::net::IpAddr;

use ipnet::IpNet;
use rustix::io::Errno;

use super::{MessageWriter, NetlinkError, RouteSocket, attributes};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// No duplicate address detection: the address works at once.
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
/// Bytes of `struct ifaddrmsg`.
const ADDRESS_HEADER_BYTES: usize = 8;

/// An address of a link, with the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link that has it.
    pub link: u32,
    /// The address and its prefix length.
    pub address: IpNet,
}

/// Whether the kernel makes a route for the address's own subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SubnetRoute {
    Made,
    Omitted,
}

impl RouteSocket {
    /// Gives a link an address, with the route to its subnet. Giving it again changes nothing.
    pub fn add_address(&mut self, address: Address) -> Result<(), NetlinkError> {
        self.put_address(address, SubnetRoute::Made)
    }

    /// Gives a link an address without a route to its subnet.
    pub fn add_address_alone(&mut self, address: Address) -> Result<(), NetlinkError> {
        self.put_address(address, SubnetRoute::Omitted)
    }

    /// Takes an address from a link; one that is not there is no error.
    pub fn delete_address(&mut self, address: Address) -> Result<(), NetlinkError> {
        let outcome = self.socket.request(RTM_DELADDR, 0, |writer| write_address(writer, address));
        match outcome {
            Err(error) if error.refusal() == Some(Errno::ADDRNOTAVAIL) => Ok(()),
            outcome => outcome,
        }
    }

    /// Every address of the namespace.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let mut found = Vec::new();
        self.socket.dump(
            RTM_GETADDR,
            |writer| writer.raw(&[0; ADDRESS_HEADER_BYTES]),
            |message| found.extend(read_address(message.payload)),
        )?;
        Ok(found)
    }

    fn put_address(&mut self, address: Address, route: SubnetRoute) -> Result<(), NetlinkError> {
        let mut flags = 0;
        if address.address.addr().is_ipv6() {
            flags |= IFA_F_NODAD;
        }
        if route == SubnetRoute::Omitted {
            flags |= IFA_F_NOPREFIXROUTE;
        }
        self.socket.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, |writer| {
            write_address(writer, address);
            writer.put_u32(IFA_FLAGS, flags);
        })
    }
}

fn write_address(writer: &mut MessageWriter, address: Address) {
    let net = address.address;
    writer.raw(&[family_of(net.addr()), net.prefix_len(), 0, 0]);
    writer.raw(&address.link.to_ne_bytes());
    let bytes = octets(net.addr());
    writer.put(IFA_LOCAL, &bytes);
    writer.put(IFA_ADDRESS, &bytes);
}

fn read_address(payload: &[u8]) -> Option<Address> {
    let prefix = *payload.get(1)?;
    let link = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
    let attribute = |kind| {
        attributes(payload.get(ADDRESS_HEADER_BYTES..).unwrap_or_default())
            .find(|attribute| attribute.kind == kind)
    };
    // On a point-to-point link IFA_ADDRESS is the other end; IFA_LOCAL is always this one.
    let bytes = attribute(IFA_LOCAL).or_else(|| attribute(IFA_ADDRESS))?.value;
    Some(Address { link, address: IpNet::new(from_octets(bytes)?, prefix).ok()? })
}

pub(super) fn family_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub(super) fn from_octets(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
