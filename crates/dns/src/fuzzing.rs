//! The fuzzer's door to messages: a question from a client with its answer from the zone, and the answer of
//! another name server.
//!
//! Not here: sockets, the cache and the asking of others.

use hickory_proto::op::Message;
use netplan::dns::{Answer, Record, Zone};

use crate::message::{self, Incoming};

/// What a client that sends these bytes is told out of `zone` alone.
pub fn answer(zone: &Zone, bytes: &[u8]) -> Option<Vec<u8>> {
    let response = match message::read(bytes) {
        Incoming::Ignored => return None,
        Incoming::Refused(response) => *response,
        Incoming::Question(question) => {
            let asked = question.query.name();
            let wire = |record: &Record| message::to_wire(record, asked);
            let mut response = message::response_to(&question.request);
            let kind = message::kind_of(question.query.query_type());
            match zone.answer(&asked.to_ascii(), kind) {
                Answer::NotOurs => {}
                Answer::Records { answers, additional } => {
                    response.insert_answers(answers.iter().filter_map(wire).collect());
                    response.insert_additionals(additional.iter().filter_map(wire).collect());
                }
                Answer::Alias { record, target } => {
                    response.insert_answers(wire(&record).into_iter().collect());
                    message::name(&target)?;
                }
                Answer::NoData(soa) | Answer::NoSuchName(soa) => {
                    response.insert_authorities(wire(&soa).into_iter().collect());
                }
            }
            let limit = message::udp_limit(&question.request);
            return message::encode(response, limit).map(|(bytes, _)| bytes);
        }
    };
    message::encode(response, crate::limits::UDP_ANSWER_BYTES).map(|(bytes, _)| bytes)
}

/// What is passed on of these bytes when another name server sends them in answer to its own question.
pub fn pass_on(bytes: &[u8]) -> Option<Vec<u8>> {
    let request = Message::from_vec(bytes).ok()?;
    let answer = crate::forward::read_answer(&request, bytes)?;
    message::encode(answer, crate::limits::UDP_ANSWER_BYTES).map(|(bytes, _)| bytes)
}
