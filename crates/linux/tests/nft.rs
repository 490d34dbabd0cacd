//! nf_tables messages against the kernel, in namespaces of the tests' own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use linux::netlink::NetworkNamespace;
use linux::nft::{
    Batch, Chain, ChainKind, CommitError, ConntrackKey, DynamicOperation, Element, Expression,
    Family, FibResult, Field, Hook, Key, MetaKey, Monitor, NatKind, Nftables, Operation,
    PayloadBase, Register, RejectWith, Rule, Set, SetData, TableId, Verdict, interval_elements,
};
use proptest::prelude::*;

const R0: Register = Register::new(0);
const R4: Register = Register::new(4);

const AFFINITY: Duration = Duration::from_secs(10_800);

fn table() -> TableId {
    TableId::new(Family::Ipv4, "test")
}

fn destination(into: Register) -> Expression {
    Expression::Payload { base: PayloadBase::Network, offset: 16, bytes: 4, into }
}

fn service_key(address: [u8; 4], port: u16) -> Key {
    Key::new().address(IpAddr::from(address)).protocol(6).port(port)
}

fn endpoint(address: [u8; 4], port: u16) -> Key {
    Key::new().address(IpAddr::from(address)).port(port)
}

/// Everything the model can say, once.
fn everything() -> Batch {
    let table = table();
    let mut batch = Batch::new();
    batch.replace_table(&table);
    for (name, kind, hook, priority) in [
        ("nat-prerouting", ChainKind::Nat, Hook::Prerouting, -100),
        ("nat-postrouting", ChainKind::Nat, Hook::Postrouting, 100),
        ("filter-forward", ChainKind::Filter, Hook::Forward, 0),
    ] {
        batch.push(&table, Operation::AddChain(Chain::base(name, kind, hook, priority)));
    }
    for name in ["service", "reject"] {
        batch.push(&table, Operation::AddChain(Chain::regular(name)));
    }
    for set in sets() {
        batch.push(&table, Operation::AddSet(set));
    }
    for (chain, rule) in rules() {
        batch.push(&table, Operation::AddRule(chain.into(), rule));
    }
    batch
}

fn sets() -> [Set; 4] {
    let fields = vec![Field::Ipv4Address, Field::Protocol, Field::Port];
    let to = Element::verdict(service_key([10, 43, 0, 1], 443), Verdict::Goto("service".into()));
    let numbered = |index: u32| Key::new().number(7).number(index);
    let data = SetData::Fields(vec![Field::Ipv4Address, Field::Port]);
    let two = vec![
        Element::data(numbered(0), endpoint([10, 42, 0, 2], 80)),
        Element::data(numbered(1), endpoint([10, 42, 0, 3], 80)),
    ];
    let allowed =
        interval_elements(&["10.0.0.0/8".parse().unwrap(), "192.0.2.7/32".parse().unwrap()]);
    let source = vec![Field::Ipv4Address];
    [
        Set::map("services", fields, SetData::Verdict, vec![to]),
        Set::dynamic("affinity", source, SetData::None, AFFINITY, 65_536),
        Set::map("endpoints", vec![Field::Number, Field::Number], data, two),
        Set::ranges("allowed", Field::Ipv4Address, allowed),
    ]
}

fn rules() -> [(&'static str, Rule); 6] {
    let dispatch = vec![
        destination(R0),
        Expression::Meta { key: MetaKey::TransportProtocol, into: R0.after(4) },
        Expression::Payload {
            base: PayloadBase::Transport,
            offset: 2,
            bytes: 2,
            into: R0.after(8),
        },
        Expression::VerdictMap { map: "services".into(), register: R0 },
    ];
    let masquerade = vec![
        Expression::Meta { key: MetaKey::Mark, into: R0 },
        Expression::Bitwise {
            register: R0,
            mask: 0x4000_u32.to_ne_bytes().to_vec(),
            xor: vec![0; 4],
        },
        Expression::NotEqual { register: R0, value: vec![0; 4] },
        Expression::Constant { value: vec![0; 4], into: R0 },
        Expression::SetMark { from: R0 },
        Expression::Masquerade,
    ];
    let filter = vec![
        Expression::Conntrack { key: ConntrackKey::State, into: R0 },
        Expression::Equal { register: R0, value: 8_u32.to_ne_bytes().to_vec() },
        Expression::Fib { result: FibResult::DestinationType, into: R0 },
        Expression::NotEqual { register: R0, value: 2_u32.to_ne_bytes().to_vec() },
        destination(R0),
        Expression::NotInSet { set: "allowed".into(), register: R0 },
        Expression::Counter,
        Expression::Verdict(Verdict::Jump("reject".into())),
    ];
    let reject = vec![Expression::Reject(RejectWith::PortUnreachable)];
    [
        ("nat-prerouting", Rule::new(dispatch)),
        ("service", Rule::new(remembered())),
        ("service", Rule::new(chosen())),
        ("nat-postrouting", Rule::new(masquerade).comment("masquerade marked packets")),
        ("filter-forward", Rule::new(filter)),
        ("reject", Rule::new(reject)),
    ]
}

fn to_endpoint() -> Expression {
    Expression::Nat { kind: NatKind::Destination, address: R4, port: Some(R4.after(4)) }
}

fn remembered() -> Vec<Expression> {
    vec![
        Expression::Payload { base: PayloadBase::Network, offset: 12, bytes: 4, into: R0 },
        Expression::InSet { set: "affinity".into(), register: R0 },
        Expression::Dynamic {
            operation: DynamicOperation::Update,
            set: "affinity".into(),
            key: R0,
            data: None,
            timeout: Some(AFFINITY / 2),
        },
        Expression::Constant { value: vec![10, 42, 0, 2], into: R4 },
        Expression::Constant { value: vec![0, 80], into: R4.after(4) },
        to_endpoint(),
    ]
}

fn chosen() -> Vec<Expression> {
    vec![
        Expression::Constant { value: 7_u32.to_ne_bytes().to_vec(), into: R0 },
        Expression::Random { modulus: 2, into: R0.after(4) },
        Expression::Map { map: "endpoints".into(), register: R0, into: R4 },
        to_endpoint(),
    ]
}

#[test]
fn everything_is_accepted_and_read_back() {
    let node = NetworkNamespace::create().unwrap();
    let mut nft = Nftables::open_in(node.as_fd()).unwrap();
    assert_eq!(nft.observe(&table()).unwrap(), None);
    nft.commit(&everything()).unwrap();
    // A second time: replacing a table leaves no trace of the first.
    nft.commit(&everything()).unwrap();
    let observed = nft.observe(&table()).unwrap().unwrap();
    let rules: Vec<(&str, usize)> =
        observed.chains.iter().map(|(name, chain)| (name.as_str(), chain.rules)).collect();
    assert_eq!(
        rules,
        [
            ("filter-forward", 1),
            ("nat-postrouting", 1),
            ("nat-prerouting", 1),
            ("reject", 1),
            ("service", 2)
        ]
    );
    let sets: Vec<(&str, usize)> =
        observed.sets.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(sets, [("affinity", 0), ("allowed", 4), ("endpoints", 2), ("services", 1)]);
    let mut remove = Batch::new();
    remove.remove_table(&table());
    nft.commit(&remove).unwrap();
    nft.commit(&remove).unwrap();
    assert_eq!(nft.tables().unwrap(), []);
}

#[test]
fn a_refused_batch_names_the_object_and_changes_nothing() {
    let node = NetworkNamespace::create().unwrap();
    let mut nft = Nftables::open_in(node.as_fd()).unwrap();
    nft.commit(&everything()).unwrap();
    let before = nft.observe(&table()).unwrap();
    let mut batch = Batch::new();
    batch.push(&table(), Operation::FlushChain("service".into()));
    let jump = Rule::new(vec![Expression::Verdict(Verdict::Jump("nowhere".into()))]);
    batch.push(&table(), Operation::AddRule("service".into(), jump.comment("to nowhere")));
    let error = nft.commit(&batch).unwrap_err();
    assert_eq!(error.to_string(), "cannot add rule to chain service (to nowhere) in table ip test");
    assert!(matches!(error, CommitError::Refused { .. }));
    assert_eq!(nft.observe(&table()).unwrap(), before);
    // The refusal is consumed: the next batch is judged by itself.
    let mut batch = Batch::new();
    batch.push(&table(), Operation::FlushChain("service".into()));
    nft.commit(&batch).unwrap();
}

#[test]
fn elements_and_chains_change_in_place() {
    let node = NetworkNamespace::create().unwrap();
    let mut nft = Nftables::open_in(node.as_fd()).unwrap();
    nft.commit(&everything()).unwrap();
    let (table, key) = (table(), service_key([10, 43, 0, 1], 443));
    let goto = |chain: &str| Element::verdict(key.clone(), Verdict::Goto(chain.into()));
    let mut batch = Batch::new();
    batch.push(&table, Operation::AddChain(Chain::regular("service-2")));
    batch.push(&table, Operation::DeleteElements("services".into(), vec![goto("service")]));
    batch.push(&table, Operation::AddElements("services".into(), vec![goto("service-2")]));
    batch.push(&table, Operation::FlushChain("service".into()));
    batch.push(&table, Operation::DeleteChain("service".into()));
    batch.push(&table, Operation::DeleteSet("affinity".into()));
    nft.commit(&batch).unwrap();
    let observed = nft.observe(&table).unwrap().unwrap();
    assert!(observed.chains.contains_key("service-2") && !observed.chains.contains_key("service"));
    assert!(!observed.sets.contains_key("affinity"));
    let elements = nft.elements(&table, "services").unwrap();
    assert_eq!(
        elements.iter().map(|element| &element.key[..]).collect::<Vec<_>>(),
        [key.as_bytes()]
    );
}

#[test]
fn thousands_of_services_are_one_batch() {
    let node = NetworkNamespace::create().unwrap();
    let mut nft = Nftables::open_in(node.as_fd()).unwrap();
    let table = table();
    let mut batch = Batch::new();
    batch.replace_table(&table);
    let (mut elements, mut rules) = (Vec::new(), Vec::new());
    let mut endpoints = Vec::new();
    for number in 0..2_000_u16 {
        let (name, id) = (format!("service-{number}"), u32::from(number));
        batch.push(&table, Operation::AddChain(Chain::regular(name.clone())));
        let rule = Rule::new(vec![
            Expression::Constant { value: id.to_ne_bytes().to_vec(), into: R0 },
            Expression::Random { modulus: 1, into: R0.after(4) },
            Expression::Map { map: "endpoints".into(), register: R0, into: R4 },
            Expression::Verdict(Verdict::Accept),
        ]);
        rules.push((name.clone(), rule));
        let key = Key::new().number(id).number(0);
        endpoints.push(Element::data(key, endpoint([10, 42, 0, 2], number)));
        elements.push(Element::verdict(service_key([10, 43, 0, 1], number), Verdict::Goto(name)));
    }
    let data = SetData::Fields(vec![Field::Ipv4Address, Field::Port]);
    let numbers = vec![Field::Number, Field::Number];
    batch.push(&table, Operation::AddSet(Set::map("endpoints", numbers, data, Vec::new())));
    for (chain, rule) in rules {
        batch.push(&table, Operation::AddRule(chain, rule));
    }
    // Last, because the kernel walks a map's elements whenever a rule begins to refer to it.
    batch.push(&table, Operation::AddElements("endpoints".into(), endpoints));
    let fields = vec![Field::Ipv4Address, Field::Protocol, Field::Port];
    batch.push(&table, Operation::AddSet(Set::map("services", fields, SetData::Verdict, elements)));
    nft.commit(&batch).unwrap();
    let observed = nft.observe(&table).unwrap().unwrap();
    assert_eq!((observed.chains.len(), observed.sets["services"]), (2_000, 2_000));
}

#[tokio::test]
async fn changes_of_others_are_heard() {
    let node = NetworkNamespace::create().unwrap();
    let mut own = Nftables::open_in(node.as_fd()).unwrap();
    let mut other = Nftables::open_in(node.as_fd()).unwrap();
    let runtime = tokio::runtime::Handle::current();
    let mut monitor = node
        .run(|| {
            let _context = runtime.enter();
            Monitor::open().unwrap()
        })
        .unwrap();
    own.commit(&everything()).unwrap();
    let mut remove = Batch::new();
    remove.remove_table(&table());
    other.commit(&remove).unwrap();
    let ports = [own.port()];
    let limit = Duration::from_secs(5);
    let change = tokio::time::timeout(limit, monitor.foreign_change(&ports)).await;
    let change = change.unwrap().unwrap();
    assert!(change.concerns(&table()) && !change.lost);
    // Our own changes are not heard: the next notice is of the other's next change.
    own.commit(&everything()).unwrap();
    let elsewhere = TableId::new(Family::Inet, "elsewhere");
    let mut batch = Batch::new();
    batch.push(&elsewhere, Operation::AddTable);
    other.commit(&batch).unwrap();
    let change = tokio::time::timeout(limit, monitor.foreign_change(&ports)).await;
    assert_eq!(change.unwrap().unwrap().tables.into_iter().collect::<Vec<_>>(), [elsewhere]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Any mix of keys goes into the kernel and comes out the same.
    #[test]
    fn elements_survive_the_kernel(
        keys in proptest::collection::btree_set((any::<[u8; 16]>(), any::<u8>(), any::<u16>()), 1..400),
    ) {
        let node = NetworkNamespace::create().unwrap();
        let mut nft = Nftables::open_in(node.as_fd()).unwrap();
        let table = TableId::new(Family::Ipv6, "test");
        let fields = vec![Field::Ipv6Address, Field::Protocol, Field::Port];
        let data = SetData::Fields(vec![Field::Ipv6Address, Field::Port]);
        let mut expected: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let elements = keys.iter().map(|(address, protocol, port)| {
            let key = Key::new().address(IpAddr::from(*address)).protocol(*protocol).port(*port);
            let data = Key::new().address(IpAddr::from(*address)).port(port.wrapping_add(1));
            expected.push((key.as_bytes().to_vec(), data.as_bytes().to_vec()));
            Element::data(key, data)
        });
        let elements: Vec<Element> = elements.collect();
        let mut batch = Batch::new();
        batch.replace_table(&table);
        batch.push(&table, Operation::AddSet(Set::map("map", fields, data, elements)));
        nft.commit(&batch).unwrap();
        let mut read: Vec<(Vec<u8>, Vec<u8>)> = nft
            .elements(&table, "map")
            .unwrap()
            .into_iter()
            .map(|element| (element.key, element.data.unwrap_or_default()))
            .collect();
        read.sort();
        expected.sort();
        prop_assert!(read == expected, "{} read, {} written", read.len(), expected.len());
    }

    #[test]
    fn any_ranges_are_accepted(
        networks in proptest::collection::vec((any::<[u8; 4]>(), 0_u8..=32), 0..60),
    ) {
        let node = NetworkNamespace::create().unwrap();
        let mut nft = Nftables::open_in(node.as_fd()).unwrap();
        let networks: Vec<ipnet::IpNet> = networks
            .into_iter()
            .map(|(address, prefix)| ipnet::IpNet::new(address.into(), prefix).unwrap().trunc())
            .collect();
        let elements = interval_elements(&networks);
        let mut batch = Batch::new();
        batch.replace_table(&table());
        batch.push(&table(), Operation::AddSet(Set::ranges("set", Field::Ipv4Address, elements)));
        nft.commit(&batch).unwrap();
    }
}
