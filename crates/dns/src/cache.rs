//! Answers of others, kept for a while.
//!
//! Two generations: new answers go into the young one; when that is full it becomes the old one and the old
//! one is forgotten. An answer that is used moves back, so what is asked for often stays.

use std::collections::HashMap;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use crate::limits::{CACHE_ANSWERS_MAX, CACHE_RECORDS_MAX, CACHE_TTL_MAX_SECONDS};

/// What an answer depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) name: Name,
    pub(crate) record_type: RecordType,
    pub(crate) dnssec_ok: bool,
    pub(crate) checking_disabled: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    message: Message,
    stored: Timestamp,
    seconds: u32,
}

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, Entry>,
    old: HashMap<Key, Entry>,
}

impl Generations {
    fn put(&mut self, key: Key, entry: Entry) {
        if self.young.len() >= CACHE_ANSWERS_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }
}

impl Cache {
    /// The answer for `key`, with what is left of its records' times.
    pub(crate) fn get(&self, key: &Key, now: Timestamp) -> Option<Message> {
        let mut generations = self.generations.lock();
        let entry = match generations.young.get(key) {
            Some(entry) => entry.clone(),
            None => {
                let entry = generations.old.remove(key)?;
                generations.put(key.clone(), entry.clone());
                entry
            }
        };
        let age = u32::try_from(now.duration_since(entry.stored).as_secs()).unwrap_or(u32::MAX);
        if age >= entry.seconds {
            generations.young.remove(key);
            return None;
        }
        let mut message = entry.message;
        for record in message
            .answers
            .iter_mut()
            .chain(&mut message.authorities)
            .chain(&mut message.additionals)
        {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(message)
    }

    /// Keeps an answer, if it may be kept.
    pub(crate) fn put(&self, key: Key, message: &Message, now: Timestamp) {
        let records = message.answers.len() + message.authorities.len() + message.additionals.len();
        let Some(seconds) = seconds_to_keep(message).filter(|_| records <= CACHE_RECORDS_MAX)
        else {
            return;
        };
        let entry = Entry { message: message.clone(), stored: now, seconds };
        self.generations.lock().put(key, entry);
    }
}

/// How long an answer may be kept: as long as all its records, a negative one as its SOA record says.
fn seconds_to_keep(message: &Message) -> Option<u32> {
    if message.metadata.truncation {
        return None;
    }
    let all = || message.answers.iter().chain(&message.authorities);
    let shortest = all().map(|record| record.ttl).min();
    let negative = || {
        message.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        })
    };
    let seconds = match message.metadata.response_code {
        ResponseCode::NoError if !message.answers.is_empty() => shortest,
        ResponseCode::NoError | ResponseCode::NXDomain => negative(),
        _ => None,
    };
    seconds.filter(|seconds| *seconds > 0).map(|seconds| seconds.min(CACHE_TTL_MAX_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::OpCode;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::A;

    fn key(number: usize) -> Key {
        Key {
            name: Name::from_ascii(format!("n{number}.example.")).unwrap(),
            record_type: RecordType::A,
            dnssec_ok: false,
            checking_disabled: false,
        }
    }

    fn answer(ttl: u32) -> Message {
        let mut message = Message::response(1, OpCode::Query);
        message.add_answer(Record::from_rdata(key(0).name, ttl, RData::A(A::new(192, 0, 2, 1))));
        message
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn answers_age_and_end() {
        let cache = Cache::default();
        cache.put(key(0), &answer(20), at(100));
        assert_eq!(cache.get(&key(0), at(107)).unwrap().answers[0].ttl, 13);
        assert!(cache.get(&key(0), at(120)).is_none());
        cache.put(key(1), &answer(3600), at(100));
        assert!(cache.get(&key(1), at(129)).is_some());
        assert!(cache.get(&key(1), at(130)).is_none());
    }

    #[test]
    fn what_must_not_be_kept_is_not() {
        let cache = Cache::default();
        let mut failure = answer(20);
        failure.metadata.response_code = ResponseCode::ServFail;
        let mut cut = answer(20);
        cut.metadata.truncation = true;
        let bare = Message::response(1, OpCode::Query);
        for message in [failure, cut, bare, answer(0)] {
            cache.put(key(0), &message, at(100));
            assert!(cache.get(&key(0), at(100)).is_none());
        }
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let cache = Cache::default();
        for number in 0..CACHE_ANSWERS_MAX * 3 {
            cache.put(key(number), &answer(20), at(100));
            assert!(cache.get(&key(0), at(100)).is_some());
        }
        let generations = cache.generations.lock();
        assert!(generations.young.len() + generations.old.len() <= CACHE_ANSWERS_MAX);
    }
}
