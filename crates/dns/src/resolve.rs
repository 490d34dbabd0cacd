//! From a question to an answer: the zone first, then the cache, then the host's name servers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Message, Query, ResponseCode};
use netplan::dns::{Answer, Data, Record};

use crate::forward::{ForwardError, Forwarder};
use crate::message::{Question, kind_of, name, response_to, to_wire};
use crate::metrics::Metrics;
use crate::zone_keeper::SharedZone;

/// Answers questions.
#[derive(Debug)]
pub(crate) struct Resolver {
    zone: SharedZone,
    forwarder: Forwarder,
    metrics: Arc<Metrics>,
    turn: AtomicUsize,
}

/// What is known at once.
#[derive(Debug)]
pub(crate) enum Prompt {
    /// The answer.
    Answer(Message),
    /// Somebody else has to be asked this; the answer is to follow what is there already.
    Ask(Message, Query),
}

impl Resolver {
    pub(crate) fn new(zone: SharedZone, forwarder: Forwarder, metrics: Arc<Metrics>) -> Self {
        Self { zone, forwarder, metrics, turn: AtomicUsize::new(0) }
    }

    /// What is known without waiting.
    pub(crate) fn prompt(&self, question: &Question) -> Prompt {
        let asked = question.query.name();
        let mut response = response_to(&question.request);
        let zone = self.zone.load();
        let Some(zone) = zone.as_ref() else {
            // Nobody knows yet which names there are; outside the zone it does not matter.
            let is_outside = !self.zone.is_ours(asked);
            return if is_outside {
                self.prompt_outside(question, response, question.query.clone())
            } else {
                response.metadata.response_code = ResponseCode::ServFail;
                Prompt::Answer(response)
            };
        };
        let kind = kind_of(question.query.query_type());
        let answer = zone.answer(&asked.to_ascii(), kind);
        if answer != Answer::NotOurs {
            self.metrics.zone_answers.add();
            response.metadata.authoritative = true;
        }
        let wire = |record: &Record| to_wire(record, asked);
        match answer {
            Answer::NotOurs => {
                return self.prompt_outside(question, response, question.query.clone());
            }
            Answer::Records { mut answers, additional } => {
                self.rotate(&mut answers);
                response.insert_answers(answers.iter().filter_map(wire).collect());
                response.insert_additionals(additional.iter().filter_map(wire).collect());
            }
            Answer::Alias { record, target } => {
                response.insert_answers(wire(&record).into_iter().collect());
                if let Some(target) = name(&target) {
                    let mut query = Query::query(target, question.query.query_type());
                    query.set_query_class(question.query.query_class());
                    return self.prompt_outside(question, response, query);
                }
            }
            Answer::NoData(soa) => response.insert_authorities(wire(&soa).into_iter().collect()),
            Answer::NoSuchName(soa) => {
                self.metrics.zone_no_such_name.add();
                response.metadata.response_code = ResponseCode::NXDomain;
                response.insert_authorities(wire(&soa).into_iter().collect());
            }
        }
        Prompt::Answer(response)
    }

    /// Asks somebody else and completes `response`.
    pub(crate) async fn complete(
        &self,
        question: &Question,
        response: Message,
        query: &Query,
        client: IpAddr,
    ) -> Message {
        match self.forwarder.ask(question, query, client).await {
            Ok(answer) => join(response, answer),
            Err(error) => {
                if let ForwardError::Loop = error {
                    tracing::warn!(%client, %query, "{error}");
                } else {
                    tracing::debug!(error = &error as &dyn std::error::Error, %query, "no answer");
                }
                failed(response)
            }
        }
    }

    fn prompt_outside(&self, question: &Question, response: Message, query: Query) -> Prompt {
        match self.forwarder.cached(question, &query) {
            Some(answer) => Prompt::Answer(join(response, answer)),
            None => Prompt::Ask(response, query),
        }
    }

    /// Clients take the first address; each gets another one first.
    fn rotate(&self, answers: &mut [Record]) {
        let addresses = answers.iter().all(|record| matches!(record.data, Data::Address(_)));
        if addresses && answers.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            answers.rotate_left(turn % answers.len());
        }
    }
}

/// An answer of somebody else behind what was known already.
fn join(mut response: Message, answer: Message) -> Message {
    let is_alias = !response.answers.is_empty();
    response.metadata.response_code = answer.metadata.response_code;
    response.metadata.truncation = answer.metadata.truncation;
    response.metadata.authoritative = is_alias;
    response.metadata.authentic_data = answer.metadata.authentic_data && !is_alias;
    response.answers.extend(answer.answers);
    response.authorities.extend(answer.authorities);
    response.additionals.extend(answer.additionals);
    response
}

/// Nobody could be asked. An alias stands by itself: its asker may try the target again.
pub(crate) fn failed(mut response: Message) -> Message {
    response.metadata.response_code = ResponseCode::ServFail;
    response
}
