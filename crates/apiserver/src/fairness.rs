//! Priority and fairness: every request is of a flow, every flow of a priority level, every level has its seats.
//!
//! [`rules`] say which FlowSchema a request matches, [`seats`] who runs and who waits; both are pure. What is here
//! holds them together: a request is classified against rules that were read beforehand, takes its seats under a
//! lock that is held for the decision only, and gives them back when its [`Seat`] is dropped. [`keeping`] follows
//! the objects, [`bootstrap`] has those that every cluster has.

pub(crate) mod bootstrap;
mod keeping;
pub(crate) mod metrics;
mod rules;
mod seats;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use admission::User;
use arc_swap::ArcSwap;
use clock::Clock;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use http_body::Body as _;
use jiff::Timestamp;
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::limits::{QUEUE_WAIT_MAX, SEAT_HELD_MAX};
use crate::request::{Query, RequestInfo};
use crate::respond::{Answer, guarded, text_answer};
use crate::server::Server;
use metrics::Counters;
use rules::{Distinguisher, Rules};
use seats::{Arrival, Limits, Queuing, Refusal, Seats, Slot};

/// The schema and the level that take what no other does, and the level that is never limited.
const CATCH_ALL: &str = "catch-all";
const EXEMPT: &str = "exempt";
/// What upstream tells a client to wait, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
/// Objects that are worth one seat.
const OBJECTS_PER_SEAT: usize = 100;

/// See the module's text.
pub(crate) struct Fairness {
    current: ArcSwap<Configuration>,
    seats: Mutex<Seats<oneshot::Sender<()>>>,
    /// Seats of all levels together.
    total: u32,
    clock: Clock,
    scope: task::Scope,
    /// How long an answer keeps its seats at most.
    held_max: Duration,
}

/// The objects, read.
#[derive(Debug, Default)]
struct Configuration {
    /// By precedence, then name. The last one matches everything.
    schemas: Vec<Arc<Schema>>,
}

/// A FlowSchema with its level.
#[derive(Debug)]
struct Schema {
    name: String,
    rules: Rules,
    by: Distinguisher,
    slot: Slot,
    width_max: u32,
    is_exempt: bool,
    schema_uid: Option<HeaderValue>,
    level_uid: Option<HeaderValue>,
    counters: Arc<Counters>,
}

/// A request's seats; dropping it gives them back.
pub(crate) struct Seat {
    fairness: Arc<Fairness>,
    schema: Arc<Schema>,
    width: u32,
    since: Timestamp,
}

/// A request in a queue; dropping it takes it out, or gives back the seats it was given meanwhile.
struct Place<'a> {
    fairness: &'a Arc<Fairness>,
    schema: &'a Arc<Schema>,
    number: u64,
    width: u32,
    is_over: bool,
}

impl Fairness {
    /// With the bootstrap objects until the stored ones are read.
    pub(crate) fn new(total: u32, clock: Clock, scope: task::Scope) -> Self {
        let current = ArcSwap::from_pointee(Configuration::default());
        let (seats, held_max) = (Mutex::default(), SEAT_HELD_MAX);
        let fairness = Self { current, seats, total, clock, scope, held_max };
        fairness.configure(&[], &[]);
        fairness
    }

    /// Takes over the objects as they are now. What is mandatory and missing is taken as upstream has it.
    fn configure(&self, schemas: &[Arc<FlowSchema>], levels: &[Arc<PriorityLevelConfiguration>]) {
        let mut schemas = schemas.to_vec();
        let mut levels = levels.to_vec();
        let named = |name: &Option<String>, wanted: &str| name.as_deref() == Some(wanted);
        for name in [EXEMPT, CATCH_ALL] {
            if !levels.iter().any(|level| named(&level.metadata.name, name)) {
                levels.extend(bootstrap::typed(bootstrap::level(name)).map(Arc::new));
            }
            if !schemas.iter().any(|schema| named(&schema.metadata.name, name)) {
                schemas.extend(bootstrap::typed(bootstrap::schema(name)).map(Arc::new));
            }
        }
        let limits = limits_of(&levels, self.total);
        let mut woken = Vec::new();
        let slots = self.seats.lock().configure(&limits, &mut woken);
        let mut wanted = Vec::new();
        for schema in &schemas {
            let level = &schema.spec.priority_level_configuration.name;
            // A schema whose level is not there takes no requests.
            let Some(place) = limits.iter().position(|(name, _)| name == level) else { continue };
            wanted.push((schema, &levels[place], &limits[place].1, slots[place]));
        }
        wanted.sort_by_key(|(schema, ..)| {
            (schema.spec.matching_precedence.unwrap_or_default(), schema.metadata.name.clone())
        });
        let before = self.current.load_full();
        let schemas = wanted.into_iter().map(|(schema, level, limits, slot)| {
            Arc::new(read(schema, level, limits, slot, &before))
        });
        let schemas = schemas.collect();
        self.current.store(Arc::new(Configuration { schemas }));
        self.wake(woken);
    }

    /// Lets a request in as soon as it may run, or says why not. `width` is asked for where seats are limited.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        user: &User,
        info: &RequestInfo,
        width: impl FnOnce() -> usize + Send,
    ) -> Result<Seat, Refused> {
        let Some(schema) = self.classify(user, info) else {
            return Err(Refused { schema: None });
        };
        let since = self.clock.now();
        let width = match schema.is_exempt {
            true => 1,
            false => u32::try_from(width()).unwrap_or(u32::MAX).clamp(1, schema.width_max),
        };
        let mut waking = None;
        let arrival = {
            let make = || {
                let (wake, woken) = oneshot::channel();
                waking = Some(woken);
                wake
            };
            let flow = || schema.flow(user, info);
            self.seats.lock().arrive(schema.slot, width, flow, make)
        };
        match (arrival, waking) {
            (Arrival::Waits(number), Some(woken)) => {
                let place =
                    Place { fairness: self, schema: &schema, number, width, is_over: false };
                if let Err(refusal) = place.wait(woken, since).await {
                    return Err(self.refuse(schema, refusal));
                }
            }
            (Arrival::Refused(refusal), _) => return Err(self.refuse(schema, refusal)),
            _ => schema.counters.waited(Duration::ZERO, true),
        }
        schema.counters.started(width);
        let since = self.clock.now();
        Ok(Seat { fairness: Arc::clone(self), schema, width, since })
    }

    fn refuse(&self, schema: Arc<Schema>, refusal: Refusal) -> Refused {
        schema.counters.refused(refusal);
        Refused { schema: Some(schema) }
    }

    fn classify(&self, user: &User, info: &RequestInfo) -> Option<Arc<Schema>> {
        let current = self.current.load();
        let found = current.schemas.iter().find(|schema| schema.rules.match_request(user, info));
        // A user without the two groups that everybody is in is caught nevertheless.
        let found = found.or_else(|| current.schemas.iter().find(|one| one.name == CATCH_ALL));
        found.or_else(|| current.schemas.last()).cloned()
    }

    /// Wakes those that have been given seats; who has left in the meantime gives them back through [`Place`].
    fn wake(&self, woken: Vec<oneshot::Sender<()>>) {
        for wake in woken {
            let _left = wake.send(());
        }
    }

    fn give_back(&self, slot: Slot, width: u32) {
        let mut woken = Vec::new();
        self.seats.lock().finish(slot, width, &mut woken);
        self.wake(woken);
    }
}

/// The levels' limits by name.
fn limits_of(levels: &[Arc<PriorityLevelConfiguration>], total: u32) -> Vec<(String, Limits)> {
    let number = |value: Option<i32>| u32::try_from(value.unwrap_or_default()).unwrap_or_default();
    let shares = |level: &PriorityLevelConfiguration| {
        let exempt =
            level.spec.exempt.as_ref().and_then(|exempt| exempt.nominal_concurrency_shares);
        let limited = level.spec.limited.as_ref();
        number(exempt.or_else(|| limited.and_then(|limited| limited.nominal_concurrency_shares)))
    };
    let all: u32 = levels.iter().map(|level| shares(level)).sum();
    let read = |level: &Arc<PriorityLevelConfiguration>| {
        let name = level.metadata.name.clone().unwrap_or_default();
        let Some(limited) = &level.spec.limited else {
            let lendable = level.spec.exempt.as_ref().and_then(|exempt| exempt.lendable_percent);
            let limits = seats::limits(total, all, shares(level), number(lendable), Some(0));
            return (name, Limits { exempt: true, ..limits });
        };
        let borrowing = limited.borrowing_limit_percent.map(|percent| number(Some(percent)));
        let lendable = number(limited.lendable_percent);
        let limits = seats::limits(total, all, shares(level), lendable, borrowing);
        let queuing = limited.limit_response.queuing.as_ref().map(|queuing| Queuing {
            queues: u64::from(number(queuing.queues)),
            hand: u64::from(number(queuing.hand_size)),
            length_max: number(queuing.queue_length_limit) as usize,
        });
        (name, Limits { queuing, ..limits })
    };
    levels.iter().map(read).collect()
}

fn read(
    schema: &FlowSchema,
    level: &PriorityLevelConfiguration,
    limits: &Limits,
    slot: Slot,
    before: &Configuration,
) -> Schema {
    let name = schema.metadata.name.clone().unwrap_or_default();
    let level_name = level.metadata.name.clone().unwrap_or_default();
    let header = |uid: &Option<String>| {
        uid.as_deref().and_then(|uid| HeaderValue::from_str(uid).ok()).filter(|uid| !uid.is_empty())
    };
    let known = before.schemas.iter().map(|schema| &schema.counters);
    let counters = known.into_iter().find(|counters| counters.are_of(&name, &level_name)).cloned();
    let counters = counters.unwrap_or_else(|| Arc::new(Counters::new(&name, &level_name)));
    Schema {
        rules: Rules::new(schema.spec.rules.as_deref().unwrap_or_default()),
        by: Distinguisher::of(&schema.spec),
        slot,
        width_max: seats::width_max(limits),
        is_exempt: limits.exempt,
        schema_uid: header(&schema.metadata.uid),
        level_uid: header(&level.metadata.uid),
        counters,
        name,
    }
}

impl Schema {
    fn flow(&self, user: &User, info: &RequestInfo) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.name.hash(&mut hasher);
        self.by.flow(user, info).hash(&mut hasher);
        hasher.finish()
    }

    fn mark(&self, headers: &mut HeaderMap) {
        for (name, uid) in [(SCHEMA_UID, &self.schema_uid), (LEVEL_UID, &self.level_uid)] {
            if let Some(uid) = uid {
                headers.insert(name, uid.clone());
            }
        }
    }
}

impl Place<'_> {
    async fn wait(mut self, woken: oneshot::Receiver<()>, since: Timestamp) -> Result<(), Refusal> {
        self.schema.counters.queued(1);
        let result = tokio::time::timeout(QUEUE_WAIT_MAX, woken).await;
        let in_time = matches!(result, Ok(Ok(())));
        // Woken in the very moment in which the time was up: it has its seats, so it runs.
        let runs = in_time || !self.fairness.seats.lock().leave(self.schema.slot, self.number);
        self.is_over = true;
        let waited = self.fairness.clock.now().duration_since(since);
        self.schema.counters.waited(waited.try_into().unwrap_or_default(), runs);
        if runs { Ok(()) } else { Err(Refusal::TimeOut) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.schema.counters.queued(-1);
        if self.is_over {
            return;
        }
        // The client has gone.
        let (fairness, slot) = (self.fairness, self.schema.slot);
        if !fairness.seats.lock().leave(slot, self.number) {
            fairness.give_back(slot, self.width);
        }
        self.schema.counters.refused(Refusal::Cancelled);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let took = self.fairness.clock.now().duration_since(self.since);
        self.schema.counters.finished(self.width, took.try_into().unwrap_or_default());
        self.fairness.give_back(self.schema.slot, self.width);
    }
}

impl Seat {
    /// Names the schema and the level in an answer, and keeps the seats until it has been sent, though not for
    /// ever: who reads slowly must not keep others out. A watch gives them back as soon as it has begun.
    pub(crate) fn answered(self, mut answer: Answer, is_watch: bool) -> Answer {
        self.schema.mark(answer.headers_mut());
        let is_whole = answer.body().size_hint().exact().is_some();
        if is_watch || is_whole || self.schema.is_exempt {
            return answer;
        }
        let (scope, held_max) = (self.fairness.scope.clone(), self.fairness.held_max);
        let seat = Arc::new(Mutex::new(Some(self)));
        let (done, ended) = oneshot::channel::<()>();
        let left = Arc::clone(&seat);
        scope.spawn_until_cancelled("seat", async move {
            let _ended = tokio::time::timeout(held_max, ended).await;
            left.lock().take();
        });
        guarded(answer, Held { seat, _done: done })
    }
}

/// A request that is not served for want of room.
pub(crate) struct Refused {
    schema: Option<Arc<Schema>>,
}

impl Refused {
    /// What the client is told.
    pub(crate) fn answer(&self) -> Answer {
        let mut answer = text_answer(429, "Too many requests, please try again later.\n");
        let headers = answer.headers_mut();
        headers.insert(http::header::RETRY_AFTER, RETRY_AFTER);
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        if let Some(schema) = &self.schema {
            schema.mark(headers);
        }
        answer
    }
}

/// The seats of an answer that is still being made.
struct Held {
    seat: Arc<Mutex<Option<Seat>>>,
    /// Its end is told by being dropped.
    _done: oneshot::Sender<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.seat.lock().take();
    }
}

/// Whether a request goes on for as long as both sides like: those take no seats. (Watches do, to begin.)
pub(crate) fn is_long_running(info: &RequestInfo) -> bool {
    const SUBRESOURCES: [&str; 5] = ["attach", "exec", "proxy", "log", "portforward"];
    info.is_resource && SUBRESOURCES.contains(&info.subresource.as_str())
}

impl Server {
    /// How many seats a request is worth, as upstream estimates it: lists by the objects that they look at.
    pub(crate) fn width(&self, info: &RequestInfo, query: &Query) -> usize {
        let initial = info.verb == "watch" && query.flag("sendInitialEvents");
        let selects_one = info.field_selector.contains("metadata.name=");
        if !(info.verb == "list" || initial) || selects_one {
            return 1;
        }
        let table = self.registry.table();
        let Some(row) = table.find(&info.group, &info.version, &info.resource) else { return 1 };
        if row.virtual_only {
            return 1;
        }
        let stored = self.cache_of(row).len();
        let limit = query.text("limit").parse().ok().filter(|limit| *limit > 0 && !initial);
        limit.map_or(stored, |limit: usize| stored.min(2 * limit)).div_ceil(OBJECTS_PER_SEAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_loses_its_seat_but_not_its_answer() {
        let scope = task::Scope::new();
        let mut fairness = Fairness::new(1, Clock::system(), scope.child());
        fairness.held_max = Duration::from_millis(20);
        let fairness = Arc::new(fairness);
        let (user, info) = (User::default(), RequestInfo::default());
        let enter = || fairness.enter(&user, &info, || 1);
        let slow = || crate::respond::stream(futures::stream::pending());
        let Ok(seat) = enter().await else { panic!("no seat") };
        let open = seat.answered(Answer::new(slow()), false);
        let refused = enter().await.err().unwrap();
        assert_eq!(refused.answer().status(), 429);
        let next = async {
            loop {
                match enter().await {
                    Ok(seat) => return seat,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let seat = tokio::time::timeout(Duration::from_secs(20), next).await.unwrap();
        // Its end gives nothing back a second time.
        drop(open);
        assert!(enter().await.is_err());
        drop(seat);
        assert!(enter().await.is_ok());
    }
}
