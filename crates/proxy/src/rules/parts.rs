//! The pieces that rules are made of: where things are in a packet, and which register holds what.

use std::net::IpAddr;

use ipnet::IpNet;
use linux::nft::{
    ConntrackKey, Element, Expression, Family, FibResult, Field, Key, MetaKey, NatKind,
    PayloadBase, Register, TableId, Verdict,
};
use netplan::service::FrontEnd;

use crate::config::{Config, NodePortAddresses};

/// The first register of a key.
pub(super) const KEY: Register = Register::new(0);
/// The first register of an endpoint's address and port; behind the longest key.
pub(super) const ENDPOINT: Register = Register::new(8);
/// Bit of a connection's state: its first packet.
const STATE_NEW: u32 = 8;
/// The route type of the node's own addresses.
const ROUTE_LOCAL: u32 = 2;

/// One family's table and what its fixed rules depend on.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) table: TableId,
    pub(super) is_ipv4: bool,
    pub(super) cluster_cidr: Option<IpNet>,
    pub(super) service_cidr: Option<IpNet>,
    pub(super) masquerade_all: bool,
    pub(super) mark: u32,
    pub(super) node_port_networks: Option<Vec<IpNet>>,
    pub(super) localhost_node_ports: bool,
}

impl Layout {
    pub(crate) fn ipv4(config: &Config) -> Self {
        Self::new(config, true)
    }

    pub(crate) fn ipv6(config: &Config) -> Self {
        Self::new(config, false)
    }

    fn new(config: &Config, is_ipv4: bool) -> Self {
        let of_family = |network: &&IpNet| network.addr().is_ipv4() == is_ipv4;
        let first = |networks: &[IpNet]| networks.iter().find(of_family).map(IpNet::trunc);
        let family = if is_ipv4 { Family::Ipv4 } else { Family::Ipv6 };
        Self {
            table: super::table(family),
            is_ipv4,
            cluster_cidr: first(&config.cluster_cidrs),
            service_cidr: first(&config.service_cidrs),
            masquerade_all: config.masquerade_all,
            mark: 1 << (config.masquerade_bit & 31),
            node_port_networks: match &config.node_port_addresses {
                NodePortAddresses::All => None,
                NodePortAddresses::In(networks) => {
                    Some(networks.iter().filter(of_family).copied().collect())
                }
            },
            localhost_node_ports: config.localhost_node_ports && is_ipv4,
        }
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.is_ipv4
    }

    pub(super) fn address_field(&self) -> Field {
        if self.is_ipv4 { Field::Ipv4Address } else { Field::Ipv6Address }
    }

    /// The fields of a front end's key.
    pub(super) fn front_end_fields(&self) -> Vec<Field> {
        vec![self.address_field(), Field::Protocol, Field::Port]
    }

    /// The fields of an endpoint.
    pub(super) fn endpoint_fields(&self) -> Vec<Field> {
        vec![self.address_field(), Field::Port]
    }

    fn address_bytes(&self) -> usize {
        self.address_field().bytes()
    }

    /// The register behind a front end's key.
    pub(super) fn behind_key(&self) -> Register {
        KEY.after(self.address_bytes()).after(4).after(4)
    }

    pub(super) fn source(&self, into: Register) -> Expression {
        self.address(if self.is_ipv4 { 12 } else { 8 }, into)
    }

    pub(super) fn destination(&self, into: Register) -> Expression {
        self.address(if self.is_ipv4 { 16 } else { 24 }, into)
    }

    fn address(&self, offset: u32, into: Register) -> Expression {
        let bytes = if self.is_ipv4 { 4 } else { 16 };
        Expression::Payload { base: PayloadBase::Network, offset, bytes, into }
    }

    /// Loads the packet's front end; a node port's has the address zero.
    pub(super) fn load_key(&self, node_port: bool) -> Vec<Expression> {
        let address = if node_port {
            Expression::Constant { value: vec![0; self.address_bytes()], into: KEY }
        } else {
            self.destination(KEY)
        };
        let protocol = KEY.after(self.address_bytes());
        vec![
            address,
            Expression::Meta { key: MetaKey::TransportProtocol, into: protocol },
            Expression::Payload {
                base: PayloadBase::Transport,
                offset: 2,
                bytes: 2,
                into: protocol.after(4),
            },
        ]
    }

    /// A front end as a key.
    pub(super) fn key_of(&self, front_end: &FrontEnd) -> Key {
        let zero: IpAddr = if self.is_ipv4 {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        Key::new()
            .address(front_end.address.unwrap_or(zero))
            .protocol(front_end.protocol.number())
            .port(front_end.port)
    }

    /// Sends the connection to the endpoint in [`ENDPOINT`].
    pub(super) fn to_endpoint(&self) -> Expression {
        let port = ENDPOINT.after(self.address_bytes());
        Expression::Nat { kind: NatKind::Destination, address: ENDPOINT, port: Some(port) }
    }

    /// Goes on only when the address that `load` loads is in `network`, or only when it is not.
    pub(super) fn in_network(load: Expression, network: IpNet, wanted: bool) -> Vec<Expression> {
        let bytes = |address: IpAddr| Key::new().address(address).as_bytes().to_vec();
        let value = bytes(network.network());
        let mut expressions = vec![load];
        if network.prefix_len() < network.max_prefix_len() {
            let (mask, xor) = (bytes(network.netmask()), vec![0; value.len()]);
            expressions.push(Expression::Bitwise { register: KEY, mask, xor });
        }
        expressions.push(match wanted {
            true => Expression::Equal { register: KEY, value },
            false => Expression::NotEqual { register: KEY, value },
        });
        expressions
    }
}

/// Goes on only for the first packet of a connection.
pub(super) fn is_new() -> Vec<Expression> {
    vec![
        Expression::Conntrack { key: ConntrackKey::State, into: KEY },
        Expression::Bitwise {
            register: KEY,
            mask: STATE_NEW.to_ne_bytes().to_vec(),
            xor: vec![0; 4],
        },
        Expression::NotEqual { register: KEY, value: vec![0; 4] },
    ]
}

/// Goes on only when the address is one of the node's.
pub(super) fn is_local(result: FibResult) -> Vec<Expression> {
    vec![
        Expression::Fib { result, into: KEY },
        Expression::Equal { register: KEY, value: ROUTE_LOCAL.to_ne_bytes().to_vec() },
    ]
}

pub(super) fn jump(chain: &str) -> Expression {
    Expression::Verdict(Verdict::Jump(chain.to_owned()))
}

pub(super) fn goto(chain: &str) -> Expression {
    Expression::Verdict(Verdict::Goto(chain.to_owned()))
}

pub(super) fn verdict_map(map: &str) -> Expression {
    Expression::VerdictMap { map: map.to_owned(), register: KEY }
}

pub(super) fn in_set(set: &str) -> Expression {
    Expression::InSet { set: set.to_owned(), register: KEY }
}

/// An address pair that is twice the same: a connection from an endpoint to itself.
pub(super) fn hairpin(address: IpAddr) -> Element {
    Element::of(Key::new().address(address).address(address))
}
