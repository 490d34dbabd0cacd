//! Records as the zone knows them; names are absolute, in lower case, without the final dot.

use std::fmt;
use std::net::IpAddr;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// An alias.
    Cname,
    /// Where a service runs.
    Srv,
    /// The name of an address.
    Ptr,
    /// Text.
    Txt,
    /// The zone's data.
    Soa,
    /// The zone's server.
    Ns,
    /// Everything.
    Any,
    /// Something that the zone never has.
    Other,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// An alias.
    Cname(String),
    /// Where a service runs.
    Srv {
        /// Share among equals.
        weight: u16,
        /// The port.
        port: u16,
        /// The host's name.
        target: String,
    },
    /// The name of an address.
    Ptr(String),
    /// Text.
    Txt(String),
    /// The zone's data.
    Soa {
        /// Its server.
        server: String,
        /// Whom to write to, in the form of a name.
        contact: String,
        /// Its revision.
        serial: u32,
        /// How long a negative answer may be kept.
        negative_ttl: u32,
    },
    /// The zone's server.
    Ns(String),
}

impl Data {
    /// Whether a question for `kind` is answered by it.
    pub fn is(&self, kind: Kind) -> bool {
        match self {
            _ if kind == Kind::Any => true,
            Self::Address(IpAddr::V4(_)) => kind == Kind::A,
            Self::Address(IpAddr::V6(_)) => kind == Kind::Aaaa,
            Self::Cname(_) => kind == Kind::Cname,
            Self::Srv { .. } => kind == Kind::Srv,
            Self::Ptr(_) => kind == Kind::Ptr,
            Self::Txt(_) => kind == Kind::Txt,
            Self::Soa { .. } => kind == Kind::Soa,
            Self::Ns(_) => kind == Kind::Ns,
        }
    }
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// The name.
    pub name: String,
    /// Seconds for which it may be kept.
    pub ttl: u32,
    /// What it stands for.
    pub data: Data,
}

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}. {} IN ", self.name, self.ttl)?;
        match &self.data {
            Data::Address(address @ IpAddr::V4(_)) => write!(formatter, "A {address}"),
            Data::Address(address @ IpAddr::V6(_)) => write!(formatter, "AAAA {address}"),
            Data::Cname(name) => write!(formatter, "CNAME {name}."),
            Data::Srv { weight, port, target } => {
                write!(formatter, "SRV 0 {weight} {port} {target}.")
            }
            Data::Ptr(name) => write!(formatter, "PTR {name}."),
            Data::Txt(text) => write!(formatter, "TXT \"{text}\""),
            Data::Soa { server, contact, serial, negative_ttl } => {
                write!(formatter, "SOA {server}. {contact}. {serial} {negative_ttl}")
            }
            Data::Ns(name) => write!(formatter, "NS {name}."),
        }
    }
}
