//! The pod network's packet rules: masquerading towards the world, host ports, and what must not pass.

use std::net::IpAddr;

use ipnet::IpNet;
use linux::nft::{
    Batch, Chain, ChainKind, Element, Expression, Family, FibResult, Field, Hook, Key, MetaKey,
    NatKind, Operation, PayloadBase, Register, Rule, Set, SetData, TableId, Verdict,
    interval_elements,
};

use crate::config::Config;
use crate::state::{Attachment, HostPort};

const KEY: Register = Register::new(0);
const TARGET: Register = Register::new(8);
const PRIORITY_RAW: i32 = -300;
/// Before the proxy's: a host port is more particular than a Service.
const PRIORITY_DESTINATION: i32 = -101;
/// Behind the proxy's, whose marks come first.
const PRIORITY_SOURCE: i32 = 101;
const ROUTE_LOCAL: u32 = 2;
const ICMP: u8 = 1;
const ICMP_REDIRECT: u8 = 5;
const ICMPV6: u8 = 58;
const ICMPV6_REDIRECT: u8 = 137;

/// One family's table.
#[derive(Clone, Debug)]
pub(crate) struct PodRules {
    table: TableId,
    is_ipv4: bool,
}

impl PodRules {
    pub(crate) const BOTH: [bool; 2] = [true, false];

    pub(crate) fn new(is_ipv4: bool) -> Self {
        let family = if is_ipv4 { Family::Ipv4 } else { Family::Ipv6 };
        Self { table: TableId::new(family, "keelson-pods"), is_ipv4 }
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.is_ipv4
    }

    /// Appends the whole table for the pods of `networks`, with the host ports of `attachments`.
    pub(crate) fn replace<'a>(
        &self,
        batch: &mut Batch,
        config: &Config,
        network: IpNet,
        attachments: impl Iterator<Item = &'a Attachment>,
    ) {
        batch.replace_table(&self.table);
        self.add_chains(batch);
        self.add_sets(batch, config, network);
        self.add_masquerade(batch);
        self.add_host_ports(batch);
        self.add_guards(batch, &config.bridge);
        for attachment in attachments {
            self.add_ports_of(batch, attachment);
        }
    }

    /// Appends the removal of the table.
    pub(crate) fn remove(&self, batch: &mut Batch) {
        batch.remove_table(&self.table);
    }

    /// Appends the host ports of a pod.
    pub(crate) fn add_ports_of(&self, batch: &mut Batch, attachment: &Attachment) {
        self.change_ports(batch, attachment, Operation::AddElements);
    }

    /// Appends the end of the host ports of a pod.
    pub(crate) fn delete_ports_of(&self, batch: &mut Batch, attachment: &Attachment) {
        self.change_ports(batch, attachment, Operation::DeleteElements);
    }

    fn change_ports(
        &self,
        batch: &mut Batch,
        attachment: &Attachment,
        operation: impl Fn(String, Vec<Element>) -> Operation,
    ) {
        let own = |address: &&IpAddr| address.is_ipv4() == self.is_ipv4;
        let Some(pod) = attachment.addresses.iter().find(own) else { return };
        let ports: Vec<Element> =
            attachment.ports.iter().filter_map(|port| self.host_port(port, *pod)).collect();
        if ports.is_empty() {
            return;
        }
        let twice = Element::of(Key::new().address(*pod).address(*pod));
        batch.push(&self.table, operation("host-ports".into(), ports));
        batch.push(&self.table, operation("hairpin".into(), vec![twice]));
    }

    fn host_port(&self, port: &HostPort, pod: IpAddr) -> Option<Element> {
        let address = port.address.unwrap_or_else(|| self.unspecified());
        if address.is_ipv4() != self.is_ipv4 {
            return None;
        }
        let key = Key::new().address(address).protocol(port.protocol).port(port.port);
        Some(Element::data(key, Key::new().address(pod).port(port.container_port)))
    }

    fn add_chains(&self, batch: &mut Batch) {
        use ChainKind::{Filter, Nat};
        for (name, kind, hook, priority) in [
            ("nat-prerouting", Nat, Hook::Prerouting, PRIORITY_DESTINATION),
            ("nat-output", Nat, Hook::Output, PRIORITY_DESTINATION),
            ("nat-postrouting", Nat, Hook::Postrouting, PRIORITY_SOURCE),
            ("guard-prerouting", Filter, Hook::Prerouting, PRIORITY_RAW),
            ("guard-output", Filter, Hook::Output, PRIORITY_RAW),
        ] {
            let chain = Chain::base(name, kind, hook, priority);
            batch.push(&self.table, Operation::AddChain(chain));
        }
        batch.push(&self.table, Operation::AddChain(Chain::regular("host-ports")));
    }

    fn add_sets(&self, batch: &mut Batch, config: &Config, network: IpNet) {
        let address = self.address_field();
        let endpoint = SetData::Fields(vec![address, Field::Port]);
        let front_end = vec![address, Field::Protocol, Field::Port];
        let of_family = |network: &IpNet| network.addr().is_ipv4() == self.is_ipv4;
        let own = vec![network];
        let mut inside: Vec<IpNet> =
            config.cluster_cidrs.iter().copied().filter(of_family).collect();
        inside.push(network);
        // Groups are nobody's to rewrite.
        let groups = if self.is_ipv4 { "224.0.0.0/4" } else { "ff00::/8" };
        inside.extend(groups.parse::<IpNet>());
        for set in [
            Set::map("host-ports", front_end, endpoint, Vec::new()),
            Set::values("hairpin", vec![address, address], Vec::new()),
            Set::ranges("pods", address, interval_elements(&own)),
            Set::ranges("inside", address, interval_elements(&inside)),
        ] {
            batch.push(&self.table, Operation::AddSet(set));
        }
    }

    /// Pods that talk to the world borrow the node's address; so do loopback clients of a host port, and
    /// pods that reach themselves through one.
    fn add_masquerade(&self, batch: &mut Batch) {
        let (source, destination) = (self.source(), self.destination(KEY));
        let from_pod = vec![
            source.clone(),
            in_set("pods"),
            destination.clone(),
            Expression::NotInSet { set: "inside".into(), register: KEY },
            Expression::Masquerade,
        ];
        let mut from_loopback = vec![source.clone()];
        from_loopback.extend(self.is_loopback());
        from_loopback.extend([destination, in_set("pods"), Expression::Masquerade]);
        let behind = KEY.after(self.address_field().bytes());
        let to_itself =
            vec![source, self.destination(behind), in_set("hairpin"), Expression::Masquerade];
        for expressions in [from_pod, from_loopback, to_itself] {
            self.rule(batch, "nat-postrouting", expressions);
        }
    }

    fn add_host_ports(&self, batch: &mut Batch) {
        for chain in ["nat-prerouting", "nat-output"] {
            let jump = Expression::Verdict(Verdict::Jump("host-ports".into()));
            self.rule(batch, chain, [self.is_to_node(), vec![jump]].concat());
        }
        let any = Expression::Constant { value: octets(self.unspecified()), into: KEY };
        for address in [self.destination(KEY), any] {
            let protocol = KEY.after(self.address_field().bytes());
            let port = TARGET.after(self.address_field().bytes());
            let expressions = vec![
                address,
                Expression::Meta { key: MetaKey::TransportProtocol, into: protocol },
                Expression::Payload {
                    base: PayloadBase::Transport,
                    offset: 2,
                    bytes: 2,
                    into: protocol.after(4),
                },
                Expression::Map { map: "host-ports".into(), register: KEY, into: TARGET },
                Expression::Nat { kind: NatKind::Destination, address: TARGET, port: Some(port) },
            ];
            self.rule(batch, "host-ports", expressions);
        }
    }

    fn add_guards(&self, batch: &mut Batch, bridge: &str) {
        let mut name = bridge.as_bytes().to_vec();
        name.resize(16, 0);
        let by_bridge = |key| {
            vec![
                Expression::Meta { key, into: KEY },
                Expression::Equal { register: KEY, value: name.clone() },
            ]
        };
        let drop = || vec![Expression::Verdict(Verdict::Drop)];
        // Loopback addresses are routable on the bridge for host ports; pods must not make use of it.
        let mut to_loopback = vec![self.destination(KEY)];
        to_loopback.extend(self.is_loopback());
        let martian = [by_bridge(MetaKey::InputName), to_loopback, drop()].concat();
        self.rule(batch, "guard-prerouting", martian);
        // A pod that is told of the short way to its neighbour would go past the rewriting of Services.
        let (protocol, kind) =
            if self.is_ipv4 { (ICMP, ICMP_REDIRECT) } else { (ICMPV6, ICMPV6_REDIRECT) };
        let redirect = vec![
            Expression::Meta { key: MetaKey::TransportProtocol, into: KEY },
            Expression::Equal { register: KEY, value: vec![protocol] },
            Expression::Payload { base: PayloadBase::Transport, offset: 0, bytes: 1, into: KEY },
            Expression::Equal { register: KEY, value: vec![kind] },
        ];
        let redirect = [by_bridge(MetaKey::OutputName), redirect, drop()].concat();
        self.rule(batch, "guard-output", redirect);
    }

    fn is_to_node(&self) -> Vec<Expression> {
        vec![
            Expression::Fib { result: FibResult::DestinationType, into: KEY },
            Expression::Equal { register: KEY, value: ROUTE_LOCAL.to_ne_bytes().to_vec() },
        ]
    }

    /// Goes on only when the address in [`KEY`] is a loopback address.
    fn is_loopback(&self) -> Vec<Expression> {
        if self.is_ipv4 {
            let (mask, xor) = (vec![255, 0, 0, 0], vec![0; 4]);
            let network = Expression::Bitwise { register: KEY, mask, xor };
            return vec![network, Expression::Equal { register: KEY, value: vec![127, 0, 0, 0] }];
        }
        let value = octets(std::net::Ipv6Addr::LOCALHOST.into());
        vec![Expression::Equal { register: KEY, value }]
    }

    fn source(&self) -> Expression {
        self.address(if self.is_ipv4 { 12 } else { 8 }, KEY)
    }

    fn destination(&self, into: Register) -> Expression {
        self.address(if self.is_ipv4 { 16 } else { 24 }, into)
    }

    fn address(&self, offset: u32, into: Register) -> Expression {
        let bytes = if self.is_ipv4 { 4 } else { 16 };
        Expression::Payload { base: PayloadBase::Network, offset, bytes, into }
    }

    fn address_field(&self) -> Field {
        if self.is_ipv4 { Field::Ipv4Address } else { Field::Ipv6Address }
    }

    fn unspecified(&self) -> IpAddr {
        if self.is_ipv4 {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        }
    }

    fn rule(&self, batch: &mut Batch, chain: &str, expressions: Vec<Expression>) {
        let rule = Rule::new(expressions);
        batch.push(&self.table, Operation::AddRule(chain.to_owned(), rule));
    }
}

fn in_set(set: &str) -> Expression {
    Expression::InSet { set: set.to_owned(), register: KEY }
}

fn octets(address: IpAddr) -> Vec<u8> {
    Key::new().address(address).as_bytes().to_vec()
}
