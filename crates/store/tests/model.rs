//! The embedded store against a model that is too simple to be wrong: a list of all states.
#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use store::embedded::{EmbeddedOptions, EmbeddedStore};
use store::{
    Compare, Event, KeyRange, KeyValue, Operation, RangeRequest, Revision, Store, StoreError,
    Transaction, TransactionResult,
};

/// What one step of a trial does; numbers are taken modulo what makes sense.
#[derive(Clone, Debug)]
enum Step {
    Transact { guess: Option<(u8, bool)>, operations: Vec<(u8, Option<u8>)> },
    Range { at: u16, range: u8, limit: usize },
    Watch { after: u16, range: u8 },
    Compact { at: u16 },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let operations =
        prop::collection::vec((0..12u8, prop::option::weighted(0.7, any::<u8>())), 0..4);
    let guess = prop::option::weighted(0.5, (0..12u8, prop::bool::weighted(0.8)));
    prop_oneof![
        8 => (guess, operations).prop_map(|(guess, operations)| Step::Transact { guess, operations }),
        3 => (any::<u16>(), 0..5u8, 0..6usize)
            .prop_map(|(at, range, limit)| Step::Range { at, range, limit }),
        2 => (any::<u16>(), 0..5u8).prop_map(|(after, range)| Step::Watch { after, range }),
        1 => any::<u16>().prop_map(|at| Step::Compact { at }),
        1 => Just(Step::Reopen),
    ]
}

/// Keys share prefixes in every way that matters to ranges.
fn key(number: u8) -> Bytes {
    const KEYS: [&str; 12] =
        ["a", "a/", "a/1", "a/2", "a0", "b", "b/1", "b/1/x", "b/2", "c", "c/\u{ff}", "d"];
    Bytes::from_static(KEYS[usize::from(number) % KEYS.len()].as_bytes())
}

fn range(number: u8) -> KeyRange {
    match number {
        0 => KeyRange::all(),
        1 => KeyRange::prefix("a/"),
        2 => KeyRange::prefix("b/1"),
        3 => KeyRange::key("a/1"),
        _ => KeyRange { start: "a/2".into(), end: "b/2".into() },
    }
}

type Snapshot = BTreeMap<Bytes, KeyValue>;

/// Every state there ever was, and every change.
#[derive(Default)]
struct Model {
    states: Vec<Arc<Snapshot>>,
    changes: Vec<Vec<Event>>,
    compacted: u64,
}

impl Model {
    fn new() -> Self {
        Self { states: vec![Arc::default()], ..Self::default() }
    }

    fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn newest(&self) -> &Snapshot {
        &self.states[self.states.len() - 1]
    }

    fn transact(&mut self, transaction: &Transaction) -> TransactionResult {
        let newest = self.newest();
        let held = |compare: &Compare| {
            newest.get(&compare.key).map_or(0, |item| item.mod_revision.0) == compare.mod_revision.0
        };
        if !transaction.compares.iter().all(held) {
            let present =
                transaction.compares.iter().map(|compare| newest.get(&compare.key).cloned());
            let present = present.collect();
            return TransactionResult::Conflict { revision: Revision(self.revision()), present };
        }
        let revision = Revision(self.revision() + 1);
        let mut state = newest.clone();
        let mut events = Vec::new();
        for operation in &transaction.operations {
            let previous = state.get(operation.key()).cloned();
            match operation {
                Operation::Put { key, value, lease } => {
                    let current = KeyValue {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: previous
                            .as_ref()
                            .map_or(revision, |was| was.create_revision),
                        mod_revision: revision,
                        version: previous.as_ref().map_or(0, |was| was.version) + 1,
                        lease: *lease,
                    };
                    state.insert(key.clone(), current.clone());
                    events.push(Event::Put { current, previous: previous.map(Box::new) });
                }
                Operation::Delete { key } if previous.is_some() => {
                    state.remove(key);
                    events.push(Event::Delete {
                        key: key.clone(),
                        mod_revision: revision,
                        previous: previous.map(Box::new),
                    });
                }
                Operation::Delete { .. } => {}
            }
        }
        if events.is_empty() {
            return TransactionResult::Committed { revision: Revision(self.revision()) };
        }
        self.states.push(Arc::new(state));
        self.changes.push(events);
        TransactionResult::Committed { revision }
    }

    fn range(&self, at: u64, range: &KeyRange) -> Vec<KeyValue> {
        let at = if at == 0 { self.revision() } else { at };
        let state = &self.states[at as usize];
        state.values().filter(|item| range.contains(&item.key)).cloned().collect()
    }

    fn events(&self, after: u64, range: &KeyRange) -> Vec<(u64, Vec<Event>)> {
        let all = (1..).zip(&self.changes).filter(|(revision, _)| *revision > after);
        all.map(|(revision, events)| {
            let inside = events.iter().filter(|event| range.contains(event.key()));
            (revision, inside.cloned().collect::<Vec<_>>())
        })
        .filter(|(_, events)| !events.is_empty())
        .collect()
    }
}

/// A store, its model, and a watch that was there from the beginning.
struct Trial {
    store: EmbeddedStore,
    directory: Option<tempfile::TempDir>,
    model: Model,
}

impl Trial {
    async fn new(durable: bool) -> Self {
        let directory = durable.then(|| tempfile::tempdir().unwrap());
        let store = match &directory {
            Some(directory) => Self::open(directory).await,
            None => EmbeddedStore::volatile(EmbeddedOptions::new("")),
        };
        Self { store, directory, model: Model::new() }
    }

    async fn open(directory: &tempfile::TempDir) -> EmbeddedStore {
        let mut options = EmbeddedOptions::new(directory.path());
        options.fsync = false;
        EmbeddedStore::open(options).await.unwrap()
    }

    async fn run(&mut self, step: Step) {
        match step {
            Step::Transact { guess, operations } => self.transact(guess, operations).await,
            Step::Range { at, range: number, limit } => self.range(at, &range(number), limit).await,
            Step::Watch { after, range: number } => self.watch(after, range(number)).await,
            Step::Compact { at } => self.compact(at).await,
            Step::Reopen => self.reopen().await,
        }
        assert_eq!(self.store.revision().await.unwrap().0, self.model.revision());
    }

    async fn transact(&mut self, guess: Option<(u8, bool)>, operations: Vec<(u8, Option<u8>)>) {
        let mut transaction = Transaction::default();
        if let Some((number, right)) = guess {
            let present = self.model.newest().get(&key(number));
            let truth = present.map_or(0, |item| item.mod_revision.0);
            let mod_revision = Revision(if right { truth } else { truth + 1 });
            transaction.compares.push(Compare { key: key(number), mod_revision });
        }
        for (number, value) in operations {
            let key = key(number);
            if transaction.operations.iter().any(|operation| *operation.key() == key) {
                continue;
            }
            transaction.operations.push(match value {
                Some(value) => Operation::Put { key, value: vec![value; 3].into(), lease: None },
                None => Operation::Delete { key },
            });
        }
        let expected = self.model.transact(&transaction);
        assert_eq!(self.store.transact(transaction).await.unwrap(), expected);
    }

    async fn range(&self, at: u16, range: &KeyRange, limit: usize) {
        let at = u64::from(at) % (self.model.revision() + 2);
        let request = RangeRequest { range: range.clone(), revision: Revision(at), limit };
        let answer = self.store.range(request).await;
        if at > self.model.revision() {
            assert!(matches!(answer, Err(StoreError::FutureRevision { .. })));
        } else if at != 0 && at < self.model.compacted {
            assert!(matches!(answer, Err(StoreError::Compacted { .. })));
        } else {
            let answer = answer.unwrap();
            let mut expected = self.model.range(at, range);
            let taken = if limit == 0 { expected.len() } else { limit.min(expected.len()) };
            assert_eq!(answer.remaining, expected.len() - taken);
            expected.truncate(taken);
            assert_eq!(answer.items, expected);
            assert_eq!(answer.revision.0, self.model.revision());
        }
    }

    async fn watch(&self, after: u16, range: KeyRange) {
        let after = u64::from(after) % (self.model.revision() + 1);
        let watch = self.store.watch(range.clone(), Revision(after)).await;
        if after < self.model.compacted {
            assert!(matches!(watch, Err(StoreError::Compacted { .. })), "after {after}");
            return;
        }
        let mut watch = watch.unwrap();
        watch.progress_requester().request();
        let mut seen = Vec::new();
        loop {
            let batch = watch.next().await.unwrap().unwrap();
            if batch.events.is_empty() {
                assert_eq!(batch.revision.0, self.model.revision());
                break;
            }
            seen.push((batch.revision.0, batch.events.to_vec()));
        }
        assert_eq!(seen, self.model.events(after, &range));
    }

    async fn compact(&mut self, at: u16) {
        let at = u64::from(at) % (self.model.revision() + 2);
        let answer = self.store.compact(Revision(at)).await;
        if at > self.model.revision() {
            assert!(matches!(answer, Err(StoreError::FutureRevision { .. })));
        } else if at <= self.model.compacted {
            assert!(matches!(answer, Err(StoreError::Compacted { .. })));
        } else {
            answer.unwrap();
            self.model.compacted = at;
        }
    }

    async fn reopen(&mut self) {
        if let Some(directory) = &self.directory {
            self.store.close().await;
            self.store = Self::open(directory).await;
        }
    }
}

fn run(durable: bool, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut trial = Trial::new(durable).await;
        let mut all = trial.store.watch(KeyRange::all(), Revision(0)).await.unwrap();
        let reopens = durable && steps.iter().any(|step| matches!(step, Step::Reopen));
        for step in steps {
            trial.run(step).await;
        }
        if !reopens {
            for expected in trial.model.events(0, &KeyRange::all()) {
                let batch = all.next().await.unwrap().unwrap();
                assert_eq!((batch.revision.0, batch.events.to_vec()), expected);
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
    #[test]
    fn the_volatile_store_is_the_model(steps in prop::collection::vec(step(), 1..60)) {
        run(false, steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_durable_store_is_the_model(steps in prop::collection::vec(step(), 1..80)) {
        run(true, steps);
    }
}
