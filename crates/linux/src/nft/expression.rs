//! The expressions of a rule: each reads or writes registers, or decides.
//!
//! The kernel has sixteen registers of four bytes; a value longer than that takes several in a row.

use std::time::Duration;

use super::model::{Set, Verdict};

/// One of the sixteen registers of four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(u8);

impl Register {
    /// Register `number`, which must be below 16.
    pub const fn new(number: u8) -> Self {
        assert!(number < 16, "the kernel has sixteen registers");
        Self(number)
    }

    /// The register that follows a value of `bytes` bytes in this one.
    pub const fn after(self, bytes: usize) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "values are at most 64 bytes")]
        Self::new(self.0 + bytes.div_ceil(4) as u8)
    }

    pub(super) fn number(self) -> u32 {
        super::constants::NFT_REG32_00 + u32::from(self.0)
    }
}

/// What a packet carries besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaKey {
    /// The packet mark.
    Mark,
    /// The name of the link it came by, 16 bytes.
    InputName,
    /// The name of the link it leaves by, 16 bytes.
    OutputName,
    /// The transport protocol.
    TransportProtocol,
}

impl MetaKey {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Mark => 3,
            Self::InputName => 6,
            Self::OutputName => 7,
            Self::TransportProtocol => 16,
        }
    }
}

/// Where an offset into the packet counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadBase {
    /// The IP header.
    Network,
    /// The TCP, UDP or SCTP header.
    Transport,
}

/// What connection tracking knows of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConntrackKey {
    /// A bit mask: 1 invalid, 2 established, 4 related, 8 new.
    State,
    /// A bit mask; 0x10 source rewritten, 0x20 destination rewritten.
    Status,
}

impl ConntrackKey {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::State => 0,
            Self::Status => 2,
        }
    }
}

/// Whose kind of address to look up in the routing tables; the result is a route type (2 is local).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FibResult {
    /// The type of the source address.
    SourceType,
    /// The type of the destination address.
    DestinationType,
}

/// Which side of a connection to rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

/// What a rule does to a set that rules write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynamicOperation {
    /// Adds the element or restarts its timeout; an element that is there keeps its data.
    Update,
    /// Removes the element.
    Delete,
}

/// How to refuse a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectWith {
    /// An ICMP "port unreachable" of the table's family.
    PortUnreachable,
    /// A TCP reset.
    TcpReset,
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Reads what the packet carries besides its bytes.
    Meta {
        /// What.
        key: MetaKey,
        /// Where to.
        into: Register,
    },
    /// Sets the packet mark.
    SetMark {
        /// Where the mark is.
        from: Register,
    },
    /// Reads bytes of the packet.
    Payload {
        /// Where the offset counts from.
        base: PayloadBase,
        /// First byte.
        offset: u32,
        /// How many.
        bytes: u32,
        /// Where to.
        into: Register,
    },
    /// Reads what connection tracking knows.
    Conntrack {
        /// What.
        key: ConntrackKey,
        /// Where to.
        into: Register,
    },
    /// Looks up an address in the routing tables.
    Fib {
        /// What.
        result: FibResult,
        /// Where to.
        into: Register,
    },
    /// A random number below `modulus`.
    Random {
        /// The bound.
        modulus: u32,
        /// Where to.
        into: Register,
    },
    /// `value = (value & mask) ^ xor`.
    Bitwise {
        /// The value's register.
        register: Register,
        /// Which bits stay.
        mask: Vec<u8>,
        /// Which bits turn.
        xor: Vec<u8>,
    },
    /// Writes a constant.
    Constant {
        /// The bytes.
        value: Vec<u8>,
        /// Where to.
        into: Register,
    },
    /// Goes on only when the register is equal.
    Equal {
        /// The register.
        register: Register,
        /// The bytes.
        value: Vec<u8>,
    },
    /// Goes on only when the register differs.
    NotEqual {
        /// The register.
        register: Register,
        /// The bytes.
        value: Vec<u8>,
    },
    /// Goes on only when the register's value is in the set `set` of the table.
    InSet {
        /// The set's name.
        set: String,
        /// The register.
        register: Register,
    },
    /// Goes on only when it is not.
    NotInSet {
        /// The set's name.
        set: String,
        /// The register.
        register: Register,
    },
    /// Goes on only when the register's value is in a set that lives in this rule.
    InOwnSet {
        /// The set.
        set: Set,
        /// The register.
        register: Register,
    },
    /// Goes on only when it is not in a set that lives in this rule.
    NotInOwnSet {
        /// The set.
        set: Set,
        /// The register.
        register: Register,
    },
    /// Goes on only when the map `map` has the key, with its value in `into`.
    Map {
        /// The map's name.
        map: String,
        /// The key's register.
        register: Register,
        /// Where to.
        into: Register,
    },
    /// The same with a map that lives in this rule.
    OwnMap {
        /// The map.
        map: Set,
        /// The key's register.
        register: Register,
        /// Where to.
        into: Register,
    },
    /// Does with the packet what the map `map` says; goes on when it says nothing.
    VerdictMap {
        /// The map's name.
        map: String,
        /// The key's register.
        register: Register,
    },
    /// The same with a map that lives in this rule.
    OwnVerdictMap {
        /// The map.
        map: Set,
        /// The key's register.
        register: Register,
    },
    /// Changes a set that rules write to.
    Dynamic {
        /// How.
        operation: DynamicOperation,
        /// The set's name.
        set: String,
        /// The key's register.
        key: Register,
        /// The value's register; a map needs one for every operation, also to delete.
        data: Option<Register>,
        /// How long the element lives without another update; as the set says, without.
        timeout: Option<Duration>,
    },
    /// Rewrites one side of the connection; decides.
    Nat {
        /// Which side.
        kind: NatKind,
        /// Where the address is.
        address: Register,
        /// Where the port is; unchanged without.
        port: Option<Register>,
    },
    /// Rewrites the source to this host's address towards the destination, with a random port; decides.
    Masquerade,
    /// Answers with a refusal; decides.
    Reject(RejectWith),
    /// Decides.
    Verdict(Verdict),
    /// Counts packets and bytes.
    Counter,
}

impl Expression {
    /// The set or map that lives in the rule with this expression.
    pub(super) fn own_set(&self) -> Option<&Set> {
        match self {
            Self::InOwnSet { set, .. } | Self::NotInOwnSet { set, .. } => Some(set),
            Self::OwnMap { map, .. } | Self::OwnVerdictMap { map, .. } => Some(map),
            _ => None,
        }
    }
}
