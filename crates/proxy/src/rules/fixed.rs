//! The part of a table that no Service changes: base chains, the shared maps, and the rules between them.

use linux::nft::{
    Batch, Chain, ChainKind, Element, Expression, FibResult, Hook, Key, MetaKey, Operation,
    RejectWith, Rule, Set, SetData, Verdict, interval_elements,
};

use netplan::service::Protocol;

use super::parts::{KEY, Layout, goto, in_set, is_local, is_new, jump, verdict_map};

const PRIORITY_RAW: i32 = -300;
/// Before destinations are rewritten.
const PRIORITY_EARLY: i32 = -110;
const PRIORITY_DESTINATION: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SOURCE: i32 = 100;
/// `lo`, as long as the kernel's names of links are.
const LOOPBACK: [u8; 16] = *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

pub(super) fn add(batch: &mut Batch, layout: &Layout) {
    let mut fixed = Fixed { batch, layout };
    fixed.chains();
    fixed.sets();
    fixed.entries();
    fixed.dispatch("services", false);
    fixed.node_ports();
    fixed.dispatch("node-ports", true);
    fixed.mark();
    fixed.postrouting();
    fixed.refused();
    fixed.loopback_guard();
}

struct Fixed<'a> {
    batch: &'a mut Batch,
    layout: &'a Layout,
}

impl Fixed<'_> {
    fn chains(&mut self) {
        use ChainKind::{Filter, Nat};
        let base = [
            ("nat-prerouting", Nat, Hook::Prerouting, PRIORITY_DESTINATION),
            ("nat-output", Nat, Hook::Output, PRIORITY_DESTINATION),
            ("nat-postrouting", Nat, Hook::Postrouting, PRIORITY_SOURCE),
            ("firewall-prerouting", Filter, Hook::Prerouting, PRIORITY_EARLY),
            ("firewall-output", Filter, Hook::Output, PRIORITY_EARLY),
            ("filter-input", Filter, Hook::Input, PRIORITY_FILTER),
            ("filter-forward", Filter, Hook::Forward, PRIORITY_FILTER),
            ("filter-output", Filter, Hook::Output, PRIORITY_FILTER),
        ];
        for (name, kind, hook, priority) in base {
            self.chain(Chain::base(name, kind, hook, priority));
        }
        for name in ["services", "node-ports", "mark-for-masquerade", "refused", "reject"] {
            self.chain(Chain::regular(name));
        }
    }

    fn sets(&mut self) {
        let layout = self.layout;
        let front_end = || layout.front_end_fields();
        let numbered = || [front_end(), vec![linux::nft::Field::Number]].concat();
        let endpoint = || SetData::Fields(layout.endpoint_fields());
        let address = || layout.address_field();
        for name in ["services", "services-inside", "refused", "firewalls"] {
            self.set(Set::map(name, front_end(), SetData::Verdict, Vec::new()));
        }
        for name in ["endpoints", "endpoints-inside"] {
            self.set(Set::map(name, numbered(), endpoint(), Vec::new()));
        }
        for name in ["masquerade", "short-circuit"] {
            self.set(Set::values(name, front_end(), Vec::new()));
        }
        self.set(Set::values("cluster-ips", vec![address()], Vec::new()));
        self.set(Set::values("hairpin", vec![address(), address()], Vec::new()));
        if let Some(networks) = &layout.node_port_networks {
            let elements = interval_elements(networks);
            self.set(Set::ranges("node-port-addresses", address(), elements));
        }
    }

    fn entries(&mut self) {
        for chain in ["nat-prerouting", "nat-output"] {
            self.rule(chain, vec![jump("services")]);
        }
        for chain in ["firewall-prerouting", "firewall-output"] {
            let key = self.layout.load_key(false);
            self.rule(chain, [is_new(), key, vec![verdict_map("firewalls")]].concat());
        }
        for chain in ["filter-input", "filter-forward", "filter-output"] {
            self.rule(chain, [is_new(), vec![jump("refused")]].concat());
        }
    }

    /// The way of a connection's first packet to the chain that picks its endpoint.
    fn dispatch(&mut self, chain: &str, node_port: bool) {
        let layout = self.layout;
        let key = || layout.load_key(node_port);
        if !node_port {
            self.mark_cluster_traffic();
        }
        let mark = vec![in_set("masquerade"), jump("mark-for-masquerade")];
        self.rule(chain, [key(), mark].concat());
        let inside = || vec![verdict_map("services-inside")];
        if let Some(cidr) = layout.cluster_cidr {
            let from_pod = Layout::in_network(layout.source(KEY), cidr, true);
            self.rule(chain, [from_pod, key(), inside()].concat());
        }
        let from_node = || is_local(FibResult::SourceType);
        let mark = vec![in_set("short-circuit"), jump("mark-for-masquerade")];
        self.rule(chain, [from_node(), key(), mark].concat());
        self.rule(chain, [from_node(), key(), inside()].concat());
        self.rule(chain, [key(), vec![verdict_map("services")]].concat());
    }

    /// Traffic to cluster addresses from outside the pod networks must come back through this node.
    fn mark_cluster_traffic(&mut self) {
        let layout = self.layout;
        let mut expressions = vec![layout.destination(KEY), in_set("cluster-ips")];
        match layout.cluster_cidr {
            _ if layout.masquerade_all => {}
            Some(cidr) => {
                expressions.extend(Layout::in_network(layout.source(KEY), cidr, false));
            }
            None => return,
        }
        expressions.push(jump("mark-for-masquerade"));
        self.rule("services", expressions);
    }

    fn node_ports(&mut self) {
        let layout = self.layout;
        let mut expressions = is_local(FibResult::DestinationType);
        if layout.node_port_networks.is_some() {
            expressions.extend([layout.destination(KEY), in_set("node-port-addresses")]);
        }
        if !layout.localhost_node_ports {
            let loopback = if layout.is_ipv4 {
                ipnet::IpNet::from(ipnet::Ipv4Net::new_assert([127, 0, 0, 0].into(), 8))
            } else {
                std::net::IpAddr::from(std::net::Ipv6Addr::LOCALHOST).into()
            };
            expressions.extend(Layout::in_network(layout.destination(KEY), loopback, false));
        }
        expressions.push(jump("node-ports"));
        self.rule("services", expressions);
    }

    fn mark(&mut self) {
        let mark = self.layout.mark;
        let expressions = vec![
            Expression::Meta { key: MetaKey::Mark, into: KEY },
            Expression::Bitwise {
                register: KEY,
                mask: (!mark).to_ne_bytes().to_vec(),
                xor: mark.to_ne_bytes().to_vec(),
            },
            Expression::SetMark { from: KEY },
        ];
        self.rule("mark-for-masquerade", expressions);
    }

    fn postrouting(&mut self) {
        let (layout, mark) = (self.layout, self.layout.mark);
        let load = || Expression::Meta { key: MetaKey::Mark, into: KEY };
        let keep = |mask: u32| Expression::Bitwise {
            register: KEY,
            mask: mask.to_ne_bytes().to_vec(),
            xor: vec![0; 4],
        };
        let marked = vec![
            load(),
            keep(mark),
            Expression::NotEqual { register: KEY, value: vec![0; 4] },
            // The packet may be wrapped and come by again, when it is not ours to rewrite any more.
            load(),
            keep(!mark),
            Expression::SetMark { from: KEY },
            Expression::Masquerade,
        ];
        self.rule("nat-postrouting", marked);
        let behind = KEY.after(layout.address_field().bytes());
        let hairpin = vec![
            layout.source(KEY),
            layout.destination(behind),
            in_set("hairpin"),
            Expression::Masquerade,
        ];
        self.rule("nat-postrouting", hairpin);
    }

    fn refused(&mut self) {
        let layout = self.layout;
        let refused = || vec![verdict_map("refused")];
        self.rule("refused", [layout.load_key(false), refused()].concat());
        let local = is_local(FibResult::DestinationType);
        self.rule("refused", [local, layout.load_key(true), refused()].concat());
        // An address that the node has itself, such as the name server's, is served like any other.
        let own =
            [is_local(FibResult::DestinationType), vec![Expression::Verdict(Verdict::Return)]];
        self.rule("refused", own.concat());
        let other_port = vec![layout.destination(KEY), in_set("cluster-ips"), goto("reject")];
        self.rule("refused", other_port);
        if let Some(cidr) = layout.service_cidr {
            let mut unused = Layout::in_network(layout.destination(KEY), cidr, true);
            unused.push(Expression::Verdict(Verdict::Drop));
            self.rule("refused", unused);
        }
        // A reset reaches a connecting process at once; an ICMP message may be rate-limited, and one to
        // this node itself arrives while the socket is still busy sending, and is lost.
        let tcp = vec![
            Expression::Meta { key: MetaKey::TransportProtocol, into: KEY },
            Expression::Equal { register: KEY, value: vec![Protocol::Tcp.number()] },
            Expression::Reject(RejectWith::TcpReset),
        ];
        self.rule("reject", tcp);
        self.rule("reject", vec![Expression::Reject(RejectWith::PortUnreachable)]);
    }

    /// With loopback addresses routable, neighbours must not reach what listens on them only.
    fn loopback_guard(&mut self) {
        if !self.layout.localhost_node_ports {
            return;
        }
        let chain =
            Chain::base("loopback-guard", ChainKind::Filter, Hook::Prerouting, PRIORITY_RAW);
        self.chain(chain);
        let loopback = ipnet::Ipv4Net::new_assert([127, 0, 0, 0].into(), 8).into();
        let mut expressions = vec![
            Expression::Meta { key: MetaKey::InputName, into: KEY },
            Expression::NotEqual { register: KEY, value: LOOPBACK.to_vec() },
        ];
        expressions.extend(Layout::in_network(self.layout.destination(KEY), loopback, true));
        expressions.push(Expression::Verdict(Verdict::Drop));
        self.rule("loopback-guard", expressions);
    }

    fn chain(&mut self, chain: Chain) {
        self.batch.push(&self.layout.table, Operation::AddChain(chain));
    }

    fn set(&mut self, set: Set) {
        self.batch.push(&self.layout.table, Operation::AddSet(set));
    }

    fn rule(&mut self, chain: &str, expressions: Vec<Expression>) {
        let rule = Operation::AddRule(chain.to_owned(), Rule::new(expressions));
        self.batch.push(&self.layout.table, rule);
    }
}

/// The element of the set of cluster addresses.
pub(super) fn cluster_ip(address: std::net::IpAddr) -> Element {
    Element::of(Key::new().address(address))
}
