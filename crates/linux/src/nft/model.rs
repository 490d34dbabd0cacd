//! What a ruleset consists of: tables, chains, rules, sets and maps.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::expression::Expression;

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::Inet, Self::Ipv4, Self::Ipv6].into_iter().find(|family| family.number() == number)
    }
}

/// A table: the unit that a component owns, replaces and removes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId {
    /// Which packets it sees.
    pub family: Family,
    /// Its name, unique in the family.
    pub name: String,
}

impl TableId {
    /// The table `name` of `family`.
    pub fn new(family: Family, name: impl Into<String>) -> Self {
        Self { family, name: name.into() }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::Inet => "inet",
            Family::Ipv4 => "ip",
            Family::Ipv6 => "ip6",
        };
        write!(formatter, "{family} {}", self.name)
    }
}

/// A list of rules, entered from the kernel (base chain) or from other rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name, unique in the table.
    pub name: String,
    /// Where the kernel enters it, if it does.
    pub base: Option<BaseChain>,
}

impl Chain {
    /// A chain that only rules enter.
    pub fn regular(name: impl Into<String>) -> Self {
        Self { name: name.into(), base: None }
    }

    /// A chain that the kernel enters; packets that no rule decides on are accepted.
    pub fn base(name: impl Into<String>, kind: ChainKind, hook: Hook, priority: i32) -> Self {
        let base = BaseChain { kind, hook, priority, policy: Policy::Accept };
        Self { name: name.into(), base: Some(base) }
    }
}

/// Where the kernel enters a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// What it may do.
    pub kind: ChainKind,
    /// At which point of a packet's way.
    pub hook: Hook,
    /// Order at that point; lower comes first.
    pub priority: i32,
    /// What happens to packets that no rule decides on.
    pub policy: Policy,
}

/// What a base chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// Let packets pass or not; sees every packet.
    Filter,
    /// Rewrite addresses; sees the first packet of a connection.
    Nat,
}

/// A point of a packet's way through the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Arrived, not routed yet.
    Prerouting,
    /// For this host.
    Input,
    /// For another host.
    Forward,
    /// Made by this host.
    Output,
    /// Routed, about to leave.
    Postrouting,
}

impl Hook {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

/// What a base chain does with packets that no rule decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They pass.
    Accept,
    /// They do not.
    Drop,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes this base chain.
    Accept,
    /// It ends here.
    Drop,
    /// Back to the rule behind the jump.
    Return,
    /// Into a chain, and back.
    Jump(String),
    /// Into a chain, not back.
    Goto(String),
}

/// One component of a key or of a map's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// An IPv4 address.
    Ipv4Address,
    /// An IPv6 address.
    Ipv6Address,
    /// The number of a transport protocol.
    Protocol,
    /// A port.
    Port,
    /// A number in the machine's byte order.
    Number,
}

impl Field {
    /// Bytes that it takes by itself.
    pub fn bytes(self) -> usize {
        match self {
            Self::Ipv4Address | Self::Number => 4,
            Self::Ipv6Address => 16,
            Self::Protocol => 1,
            Self::Port => 2,
        }
    }

    /// The number under which `nft` knows the type; it only matters for listings.
    pub(super) fn type_number(self) -> u32 {
        match self {
            Self::Number => 19,
            Self::Ipv4Address => 7,
            Self::Ipv6Address => 8,
            Self::Protocol => 12,
            Self::Port => 13,
        }
    }
}

/// Bytes of a value made of `fields`: by itself a field has its own length, in company each starts at a
/// register of four bytes.
pub(super) fn fields_bytes(fields: &[Field]) -> usize {
    match fields {
        [field] => field.bytes(),
        fields => fields.iter().map(|field| field.bytes().next_multiple_of(4)).sum(),
    }
}

/// What a map gives for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetData {
    /// Nothing: it is a set.
    None,
    /// What becomes of the packet.
    Verdict,
    /// A value of these fields.
    Fields(Vec<Field>),
}

/// A set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name, unique in the table; not used by a set that lives inside one rule.
    pub name: String,
    /// What it is searched by.
    pub key: Vec<Field>,
    /// What it gives.
    pub data: SetData,
    /// Its elements are ranges; see [`interval_elements`].
    pub interval: bool,
    /// Rules add to it; elements expire after this long unless they say otherwise.
    pub dynamic_timeout: Option<Duration>,
    /// The most elements it takes; required for a dynamic set to be bounded.
    pub size_max: Option<u32>,
    /// What it holds from the start.
    pub elements: Vec<Element>,
}

impl Set {
    /// A set of values.
    pub fn values(name: impl Into<String>, key: Vec<Field>, elements: Vec<Element>) -> Self {
        Self::map(name, key, SetData::None, elements)
    }

    /// A map.
    pub fn map(
        name: impl Into<String>,
        key: Vec<Field>,
        data: SetData,
        elements: Vec<Element>,
    ) -> Self {
        let name = name.into();
        Self { name, key, data, interval: false, dynamic_timeout: None, size_max: None, elements }
    }

    /// A set of address ranges.
    pub fn ranges(name: impl Into<String>, field: Field, elements: Vec<Element>) -> Self {
        Self { interval: true, ..Self::values(name, vec![field], elements) }
    }

    /// A map that rules write to, with elements that expire after `timeout` without an update.
    pub fn dynamic(
        name: impl Into<String>,
        key: Vec<Field>,
        data: SetData,
        timeout: Duration,
        size_max: u32,
    ) -> Self {
        Self {
            dynamic_timeout: Some(timeout),
            size_max: Some(size_max),
            ..Self::map(name, key, data, Vec::new())
        }
    }
}

/// A key or a value, put together field by field.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    bytes: Vec<u8>,
    fields: usize,
}

impl Key {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an address of either family.
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.push(&address.octets()),
            IpAddr::V6(address) => self.push(&address.octets()),
        }
    }

    /// Adds the number of a transport protocol.
    pub fn protocol(self, number: u8) -> Self {
        self.push(&[number])
    }

    /// Adds a port.
    pub fn port(self, port: u16) -> Self {
        self.push(&port.to_be_bytes())
    }

    /// Adds a number in the machine's byte order.
    pub fn number(self, number: u32) -> Self {
        self.push(&number.to_ne_bytes())
    }

    /// The bytes as the kernel compares them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn push(mut self, bytes: &[u8]) -> Self {
        if self.fields > 0 {
            self.pad();
        }
        self.bytes.extend_from_slice(bytes);
        self.fields += 1;
        if self.fields > 1 {
            self.pad();
        }
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// What an element of a map gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// What becomes of the packet.
    Verdict(Verdict),
    /// Bytes for registers.
    Data(Key),
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// What it is found by.
    pub key: Key,
    /// What it gives, in a map.
    pub value: Option<Value>,
    /// In a set of ranges: the first value behind a range.
    pub ends_interval: bool,
}

impl Element {
    /// An element of a set.
    pub fn of(key: Key) -> Self {
        Self { key, value: None, ends_interval: false }
    }

    /// An element of a map that decides on the packet.
    pub fn verdict(key: Key, verdict: Verdict) -> Self {
        Self { value: Some(Value::Verdict(verdict)), ..Self::of(key) }
    }

    /// An element of a map that gives a value.
    pub fn data(key: Key, data: Key) -> Self {
        Self { value: Some(Value::Data(data)), ..Self::of(key) }
    }
}

/// The elements of a set of ranges that holds exactly the addresses of `networks`, which must be of one
/// family. Networks that touch or contain each other are joined, because the kernel refuses overlaps.
pub fn interval_elements(networks: &[ipnet::IpNet]) -> Vec<Element> {
    let mut elements = Vec::new();
    for network in ranges(networks) {
        let (first, behind) = network;
        elements.push(Element::of(Key::new().address(first)));
        if let Some(behind) = behind {
            elements
                .push(Element { ends_interval: true, ..Element::of(Key::new().address(behind)) });
        }
    }
    elements
}

/// First address of each range, and the first behind it (none at the end of the address space).
fn ranges(networks: &[ipnet::IpNet]) -> Vec<(IpAddr, Option<IpAddr>)> {
    let mut sorted: Vec<(IpAddr, IpAddr)> =
        networks.iter().map(|network| (network.network(), last_address(network))).collect();
    sorted.sort();
    let mut joined: Vec<(IpAddr, IpAddr)> = Vec::new();
    for (first, last) in sorted {
        match joined.last_mut() {
            Some((_, end)) if next_address(*end).is_none_or(|behind| first <= behind) => {
                *end = (*end).max(last);
            }
            _ => joined.push((first, last)),
        }
    }
    joined.into_iter().map(|(first, last)| (first, next_address(last))).collect()
}

fn last_address(network: &ipnet::IpNet) -> IpAddr {
    network.broadcast()
}

fn next_address(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            u32::from(address).checked_add(1).map(|next| IpAddr::V4(next.into()))
        }
        IpAddr::V6(address) => {
            u128::from(address).checked_add(1).map(|next| IpAddr::V6(next.into()))
        }
    }
}

/// A rule: expressions, carried out one after the other until one does not match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub expressions: Vec<Expression>,
    /// For the reader of a listing, at most 127 bytes; longer ones are cut.
    pub comment: Option<String>,
}

impl Rule {
    /// A rule without a comment.
    pub fn new(expressions: Vec<Expression>) -> Self {
        Self { expressions, comment: None }
    }

    /// The same rule with a comment.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &[&str]) -> Vec<ipnet::IpNet> {
        text.iter().map(|network| network.parse().unwrap()).collect()
    }

    #[test]
    fn ranges_that_touch_are_joined() {
        let shown = |text: &[&str]| -> Vec<String> {
            ranges(&networks(text))
                .into_iter()
                .map(|(first, behind)| {
                    format!("{first}-{}", behind.map_or_else(|| "end".into(), |b| b.to_string()))
                })
                .collect()
        };
        assert_eq!(shown(&[]), Vec::<String>::new());
        assert_eq!(shown(&["10.0.0.0/24", "10.0.1.0/24"]), ["10.0.0.0-10.0.2.0"]);
        assert_eq!(shown(&["10.0.0.0/8", "10.1.0.0/16"]), ["10.0.0.0-11.0.0.0"]);
        assert_eq!(
            shown(&["192.0.2.1/32", "10.0.0.0/8"]),
            ["10.0.0.0-11.0.0.0", "192.0.2.1-192.0.2.2"]
        );
        assert_eq!(shown(&["0.0.0.0/0", "10.0.0.0/8"]), ["0.0.0.0-end"]);
        assert_eq!(shown(&["::/0"]), ["::-end"]);
    }

    #[test]
    fn fields_in_company_start_at_registers() {
        assert_eq!(Key::new().port(80).as_bytes(), [0, 80]);
        let key = Key::new().address([10, 0, 0, 1].into()).protocol(6).port(80);
        assert_eq!(key.as_bytes(), [10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0]);
        assert_eq!(fields_bytes(&[Field::Ipv4Address, Field::Protocol, Field::Port]), 12);
        assert_eq!(fields_bytes(&[Field::Port]), 2);
    }
}
