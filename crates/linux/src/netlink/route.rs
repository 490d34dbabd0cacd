//! Routes of the main table.

use std::net::IpAddr;

use ipnet::IpNet;
use rustix::io::Errno;

use super::address::{family_of, from_octets, octets};
use super::{MessageWriter, NetlinkError, RouteSocket, attributes};

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
const RT_TABLE_MAIN: u8 = 254;
/// Who made a route: a number of our own, so that ours can be told from those of others.
const RTPROT_KEELSON: u8 = 75;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTNH_F_ONLINK: u32 = 4;
/// Bytes of `struct rtmsg`.
const ROUTE_HEADER_BYTES: usize = 12;

/// A way to a network: through a gateway, or directly on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to; a prefix of length 0 is the default route.
    pub destination: IpNet,
    /// By which link.
    pub link: u32,
    /// Through whom; directly when there is none.
    pub gateway: Option<IpAddr>,
    /// The address that packets leave from when they have none yet.
    pub source: Option<IpAddr>,
}

impl RouteSocket {
    /// Adds a route or replaces the one to the same destination.
    pub fn put_route(&mut self, route: Route) -> Result<(), NetlinkError> {
        self.socket.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, |writer| {
            write_route(writer, route);
        })
    }

    /// Removes a route; one that is not there is no error.
    pub fn delete_route(&mut self, route: Route) -> Result<(), NetlinkError> {
        let outcome = self.socket.request(RTM_DELROUTE, 0, |writer| write_route(writer, route));
        match outcome {
            Err(error) if error.refusal() == Some(Errno::SRCH) => Ok(()),
            outcome => outcome,
        }
    }

    /// Every unicast route of the main table.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        self.dump_routes(|_| true)
    }

    /// The routes of the main table that [`Self::put_route`] made, in this run or an earlier one.
    pub fn own_routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        self.dump_routes(|protocol| protocol == RTPROT_KEELSON)
    }

    fn dump_routes(&mut self, wanted: impl Fn(u8) -> bool) -> Result<Vec<Route>, NetlinkError> {
        let mut found = Vec::new();
        self.socket.dump(
            RTM_GETROUTE,
            |writer| writer.raw(&[0; ROUTE_HEADER_BYTES]),
            |message| {
                if message.payload.get(5).copied().is_some_and(&wanted) {
                    found.extend(read_route(message.payload));
                }
            },
        )?;
        Ok(found)
    }
}

fn write_route(writer: &mut MessageWriter, route: Route) {
    let network = route.destination.trunc();
    // In IPv6 every address is universal; in IPv4 a route without a gateway ends at the link.
    let scope = match (route.gateway, network) {
        (None, IpNet::V4(_)) => RT_SCOPE_LINK,
        _ => RT_SCOPE_UNIVERSE,
    };
    let family = family_of(network.addr());
    writer.raw(&[family, network.prefix_len(), 0, 0]);
    writer.raw(&[RT_TABLE_MAIN, RTPROT_KEELSON, scope, RTN_UNICAST]);
    let flags = if route.gateway.is_some() { RTNH_F_ONLINK } else { 0 };
    writer.raw(&flags.to_ne_bytes());
    if network.prefix_len() > 0 {
        writer.put(RTA_DST, &octets(network.addr()));
    }
    if let Some(gateway) = route.gateway {
        writer.put(RTA_GATEWAY, &octets(gateway));
    }
    if let Some(source) = route.source {
        writer.put(RTA_PREFSRC, &octets(source));
    }
    writer.put_u32(RTA_OIF, route.link);
}

fn read_route(payload: &[u8]) -> Option<Route> {
    let header = payload.get(..ROUTE_HEADER_BYTES)?;
    if header[7] != RTN_UNICAST {
        return None;
    }
    let unspecified: IpAddr = match header[0] {
        2 => std::net::Ipv4Addr::UNSPECIFIED.into(),
        10 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let (mut destination, mut link, mut gateway, mut source) = (unspecified, None, None, None);
    let mut table = u32::from(header[4]);
    for attribute in attributes(&payload[ROUTE_HEADER_BYTES..]) {
        match attribute.kind {
            RTA_DST => destination = from_octets(attribute.value)?,
            RTA_OIF => link = attribute.u32(),
            RTA_GATEWAY => gateway = from_octets(attribute.value),
            RTA_PREFSRC => source = from_octets(attribute.value),
            RTA_TABLE => table = attribute.u32()?,
            _ => {}
        }
    }
    if table != u32::from(RT_TABLE_MAIN) {
        return None;
    }
    let destination = IpNet::new(destination, header[1]).ok()?;
    Some(Route { destination, link: link?, gateway, source })
}
