//! Between messages on the wire and questions and answers of the zone.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record as WireRecord, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
use netplan::dns::{Data, Kind, Record};
use std::net::IpAddr;

use crate::limits::{UDP_ANSWER_BYTES, UDP_ANSWER_BYTES_MAX};

/// Seconds in the zone's SOA record; nobody transfers the zone, so they only have to look usual.
const SOA_REFRESH: i32 = 7200;
const SOA_RETRY: i32 = 1800;
const SOA_EXPIRE: i32 = 86_400;
/// Bytes before the first question.
const HEADER_BYTES: usize = 12;

/// A question that can be answered.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) request: Message,
    pub(crate) query: Query,
}

/// What a packet turned out to be.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A question.
    Question(Box<Question>),
    /// Something that is answered with a refusal.
    Refused(Box<Message>),
    /// Something that is not answered: noise, or an answer.
    Ignored,
}

/// Reads a packet.
pub(crate) fn read(bytes: &[u8]) -> Incoming {
    if bytes.len() < HEADER_BYTES || bytes[2] & 0x80 != 0 {
        return Incoming::Ignored;
    }
    let refuse = |request: Option<&Message>, code| {
        let id = u16::from_be_bytes([bytes[0], bytes[1]]);
        let mut message = match request {
            Some(request) => response_to(request),
            None => Message::response(id, OpCode::Query),
        };
        message.metadata.response_code = code;
        Incoming::Refused(Box::new(message))
    };
    let Ok(request) = Message::from_vec(bytes) else {
        return refuse(None, ResponseCode::FormErr);
    };
    if request.metadata.message_type != MessageType::Query {
        return Incoming::Ignored;
    }
    if request.metadata.op_code != OpCode::Query {
        return refuse(Some(&request), ResponseCode::NotImp);
    }
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return refuse(Some(&request), ResponseCode::BADVERS);
    }
    let [query] = &request.queries[..] else {
        return refuse(Some(&request), ResponseCode::FormErr);
    };
    if query.query_class() != DNSClass::IN {
        return refuse(Some(&request), ResponseCode::Refused);
    }
    // Transfers of the zone are nobody's business.
    if matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
        return refuse(Some(&request), ResponseCode::Refused);
    }
    let query = query.clone();
    Incoming::Question(Box::new(Question { request, query }))
}

/// An empty answer to `request`.
pub(crate) fn response_to(request: &Message) -> Message {
    let mut message = Message::response(request.metadata.id, request.metadata.op_code);
    message.metadata.recursion_desired = request.metadata.recursion_desired;
    message.metadata.checking_disabled = request.metadata.checking_disabled;
    message.metadata.recursion_available = true;
    message.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(u16::try_from(UDP_ANSWER_BYTES_MAX).unwrap_or(u16::MAX));
        message.set_edns(edns);
    }
    message
}

/// How long an answer to `request` may be over UDP.
pub(crate) fn udp_limit(request: &Message) -> usize {
    match &request.edns {
        Some(edns) => usize::from(edns.max_payload()).clamp(UDP_ANSWER_BYTES, UDP_ANSWER_BYTES_MAX),
        None => UDP_ANSWER_BYTES,
    }
}

/// The bytes of `message`, cut to `limit`; and whether it had to be cut.
pub(crate) fn encode(mut message: Message, limit: usize) -> Option<(Vec<u8>, bool)> {
    let bytes = try_encode(&message, usize::MAX)?;
    if bytes.len() <= limit {
        return Some((bytes, false));
    }
    // What nobody asked for goes first, and silently.
    message.additionals.clear();
    let bytes = try_encode(&message, usize::MAX)?;
    if bytes.len() <= limit {
        return Some((bytes, false));
    }
    message.metadata.truncation = true;
    while message.answers.len() + message.authorities.len() > 0 {
        let longest = message.answers.len().max(message.authorities.len());
        message.answers.truncate(longest / 2);
        message.authorities.truncate(longest / 2);
        let bytes = try_encode(&message, usize::MAX)?;
        if bytes.len() <= limit {
            return Some((bytes, true));
        }
    }
    try_encode(&message, usize::MAX).map(|bytes| (bytes, true))
}

fn try_encode(message: &Message, limit: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(UDP_ANSWER_BYTES);
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(u16::try_from(limit).unwrap_or(u16::MAX));
    message.emit(&mut encoder).ok()?;
    Some(bytes)
}

/// The kind of record that a type on the wire is.
pub(crate) fn kind_of(record_type: RecordType) -> Kind {
    match record_type {
        RecordType::A => Kind::A,
        RecordType::AAAA => Kind::Aaaa,
        RecordType::CNAME => Kind::Cname,
        RecordType::SRV => Kind::Srv,
        RecordType::PTR => Kind::Ptr,
        RecordType::TXT => Kind::Txt,
        RecordType::SOA => Kind::Soa,
        RecordType::NS => Kind::Ns,
        RecordType::ANY => Kind::Any,
        _ => Kind::Other,
    }
}

/// A record of the zone in the form of the wire; `asked` keeps the letters' case of the question.
pub(crate) fn to_wire(record: &Record, asked: &Name) -> Option<WireRecord> {
    let name = name(&record.name)?;
    let name = if name == *asked { asked.clone() } else { name };
    let data = match &record.data {
        Data::Address(IpAddr::V4(address)) => RData::A(A(*address)),
        Data::Address(IpAddr::V6(address)) => RData::AAAA(AAAA(*address)),
        Data::Cname(target) => RData::CNAME(CNAME(self::name(target)?)),
        Data::Srv { weight, port, target } => {
            RData::SRV(SRV::new(0, *weight, *port, self::name(target)?))
        }
        Data::Ptr(target) => RData::PTR(PTR(self::name(target)?)),
        Data::Txt(text) => RData::TXT(TXT::new(vec![text.clone()])),
        Data::Ns(target) => RData::NS(NS(self::name(target)?)),
        Data::Soa { server, contact, serial, negative_ttl } => RData::SOA(SOA::new(
            self::name(server)?,
            self::name(contact)?,
            *serial,
            SOA_REFRESH,
            SOA_RETRY,
            SOA_EXPIRE,
            *negative_ttl,
        )),
    };
    Some(WireRecord::from_rdata(name, record.ttl, data))
}

/// A name of the zone in the form of the wire.
pub(crate) fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever arrives, reading it ends, and a refusal can be sent.
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            match read(&bytes) {
                Incoming::Refused(message) => {
                    prop_assert!(encode(*message, UDP_ANSWER_BYTES).is_some());
                }
                Incoming::Question(question) => {
                    prop_assert!(encode(response_to(&question.request), 65_535).is_some());
                }
                Incoming::Ignored => {}
            }
        }
    }
}
