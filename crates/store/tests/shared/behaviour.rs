//! What every store promises, as one function for each promise. Run against all of them by `both.rs`.
//!
//! Revisions of a cluster do not start at 0, so all are counted from the one that is found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::{
    Compare, Event, EventBatch, KeyRange, KeyValue, Operation, RangeRequest, RangeResponse,
    Revision, Store, StoreError, Transaction, TransactionResult, Watch,
};

use crate::transactions::{delete, put, put_leased, when};

/// A store under test.
pub(crate) type Tested = Arc<dyn Store>;

/// How long anything may take to show.
const WAIT_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn commit(store: &Tested, transaction: Transaction) -> u64 {
    match store.transact(transaction).await.unwrap() {
        TransactionResult::Committed { revision } => revision.0,
        conflict => panic!("{conflict:?}"),
    }
}

async fn read(store: &Tested, prefix: &str, at: u64, limit: usize) -> RangeResponse {
    let range = KeyRange::prefix(prefix.to_owned());
    store.range(RangeRequest { range, revision: Revision(at), limit }).await.unwrap()
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn show(response: &RangeResponse) -> Vec<String> {
    response.items.iter().map(|item| format!("{}={}", text(&item.key), text(&item.value))).collect()
}

async fn next_batch(watch: &mut Watch) -> EventBatch {
    let waited = tokio::time::timeout(WAIT_MAX, watch.next()).await;
    waited.expect("an event comes").expect("the watch goes on").unwrap()
}

/// The next batch in words, its revision counted from `base`.
async fn next(watch: &mut Watch, base: u64) -> String {
    let batch = next_batch(watch).await;
    let mut shown = format!("{}:", batch.revision.0 - base);
    for event in batch.events.iter() {
        let sign = if matches!(event, Event::Put { .. }) { '+' } else { '-' };
        shown += &format!(" {sign}{}", text(event.key()));
    }
    shown
}

async fn newest(store: &Tested) -> u64 {
    store.revision().await.unwrap().0
}

pub(crate) async fn comparisons_decide(store: Tested) {
    let first = commit(&store, when(put("a", "1"), "a", 0)).await;
    let again = store.transact(when(put("a", "2"), "a", 0)).await.unwrap();
    let TransactionResult::Conflict { revision, present } = again else { panic!("{again:?}") };
    assert_eq!(revision.0, first);
    assert_eq!(present[0].as_ref().unwrap().value, "1");
    let second = commit(&store, when(put("a", "2"), "a", first)).await;
    commit(&store, when(delete("a"), "a", second)).await;
    let gone = store.transact(when(put("a", "3"), "a", second)).await.unwrap();
    assert!(matches!(gone, TransactionResult::Conflict { present, .. } if present == [None]));
    let third = commit(&store, when(put("a", "3"), "a", 0)).await;
    let item = &read(&store, "a", 0, 0).await.items[0];
    let numbers = (item.create_revision.0, item.mod_revision.0, item.version);
    assert_eq!(numbers, (third, third, 1), "a new life starts at 1");
}

pub(crate) async fn all_comparisons_must_hold(store: Tested) {
    let first = commit(&store, put("a", "1")).await;
    let both = when(when(put("c", "1"), "a", first), "b", 0);
    let second = commit(&store, both.clone()).await;
    let again = when(when(put("b", "1"), "b", 0), "c", first);
    let refused = store.transact(again).await.unwrap();
    let TransactionResult::Conflict { present, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(present[0], None);
    assert_eq!(present[1].as_ref().unwrap().mod_revision.0, second);
    assert_eq!(show(&read(&store, "", 0, 0).await), ["a=1", "c=1"], "nothing happened");
}

pub(crate) async fn ranges_are_limited_and_counted(store: Tested) {
    let base = newest(&store).await;
    for hundred in 0..25 {
        let operation = |number: usize| Operation::Put {
            key: format!("k/{number:05}").into(),
            value: Bytes::new(),
            lease: None,
        };
        let operations = (hundred * 100..hundred * 100 + 100).map(operation).collect();
        commit(&store, Transaction { compares: vec![], operations }).await;
    }
    commit(&store, delete("k/02000")).await;
    commit(&store, put("other", "")).await;
    let page = read(&store, "k/", 0, 10).await;
    assert_eq!((page.items.len(), page.remaining), (10, 2489));
    let page = read(&store, "k/", base + 15, 10).await;
    assert_eq!((page.items.len(), page.remaining, page.revision.0), (10, 1490, base + 27));
    assert_eq!(read(&store, "k/", 0, 0).await.items.len(), 2499);
    let most = read(&store, "k/", 0, 2400).await;
    assert_eq!((most.items.len(), most.remaining), (2400, 99));
    assert!(most.items.is_sorted_by(|one, other| one.key < other.key));
    let request = RangeRequest { range: KeyRange::key("k/00007"), revision: Revision(0), limit: 0 };
    assert_eq!(store.range(request).await.unwrap().items[0].mod_revision.0, base + 1);
    let range = KeyRange { start: "k/02498".into(), end: "p".into() };
    let request = RangeRequest { range, revision: Revision(0), limit: 0 };
    let keys = show(&store.range(request).await.unwrap());
    assert_eq!(keys, ["k/02498=", "k/02499=", "other="]);
    let future = RangeRequest { range: KeyRange::all(), revision: Revision(base + 1000), limit: 0 };
    let refused = store.range(future).await;
    assert!(matches!(refused, Err(StoreError::FutureRevision { .. })), "{refused:?}");
}

pub(crate) async fn compaction_ends_old_reads_and_watches(store: Tested) {
    let base = newest(&store).await;
    for value in ["1", "2", "3"] {
        commit(&store, put("a", value)).await;
    }
    store.compact(Revision(base + 2)).await.unwrap();
    let old = RangeRequest { range: KeyRange::all(), revision: Revision(base + 1), limit: 0 };
    let refused = store.range(old).await;
    let Err(StoreError::Compacted { requested, compacted }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((requested.0, compacted.0), (base + 1, base + 2));
    assert_eq!(show(&read(&store, "", base + 2, 0).await), ["a=2"]);
    let watch = store.watch(KeyRange::all(), Revision(base)).await;
    assert!(matches!(watch, Err(StoreError::Compacted { .. })), "{watch:?}");
    let mut watch = store.watch(KeyRange::all(), Revision(base + 2)).await.unwrap();
    assert_eq!(next(&mut watch, base).await, "3: +a");
    let future = store.compact(Revision(base + 1000)).await;
    assert!(matches!(future, Err(StoreError::FutureRevision { .. })), "{future:?}");
    let again = store.compact(Revision(base + 2)).await;
    assert!(matches!(again, Err(StoreError::Compacted { .. })), "{again:?}");
}

pub(crate) async fn watches_see_their_range(store: Tested) {
    let base = newest(&store).await;
    let at = Revision(base);
    let mut pods = store.watch(KeyRange::prefix("pods/"), at).await.unwrap();
    let mut one = store.watch(KeyRange::key("pods/b"), at).await.unwrap();
    commit(&store, put("pods/a", "")).await;
    commit(&store, put("nodes/a", "")).await;
    let operations = ["nodes/b", "pods/b", "pods/c"].map(|key| Operation::Put {
        key: key.into(),
        value: Bytes::new(),
        lease: None,
    });
    commit(&store, Transaction { compares: vec![], operations: operations.into() }).await;
    commit(&store, put("nodes/z", "")).await;
    assert_eq!(next(&mut pods, base).await, "1: +pods/a");
    assert_eq!(next(&mut pods, base).await, "3: +pods/b +pods/c");
    assert_eq!(next(&mut one, base).await, "3: +pods/b");
    let mut late = store.watch(KeyRange::prefix("pods/"), Revision(base + 2)).await.unwrap();
    assert_eq!(next(&mut late, base).await, "3: +pods/b +pods/c");
    let mut future = store.watch(KeyRange::prefix("pods/"), Revision(base + 5)).await.unwrap();
    let fifth = commit(&store, put("pods/d", "")).await - base;
    let sixth = commit(&store, put("pods/e", "")).await - base;
    assert_eq!(next(&mut pods, base).await, format!("{fifth}: +pods/d"));
    if fifth > 5 {
        assert_eq!(next(&mut future, base).await, format!("{fifth}: +pods/d"));
    }
    assert_eq!(next(&mut future, base).await, format!("{sixth}: +pods/e"));
}

pub(crate) async fn events_carry_what_was_before(store: Tested) {
    let base = newest(&store).await;
    let mut watch = store.watch(KeyRange::all(), Revision(base)).await.unwrap();
    commit(&store, put("a", "1")).await;
    commit(&store, put("a", "2")).await;
    commit(&store, delete("a")).await;
    let mut shown = Vec::new();
    for _ in 0..3 {
        for event in next_batch(&mut watch).await.events.iter() {
            let previous = event.previous().map(|previous| text(&previous.value));
            shown.push((text(event.key()), previous));
        }
    }
    let (one, two) = (Some("1".to_owned()), Some("2".to_owned()));
    assert_eq!(shown, [("a".to_owned(), None), ("a".to_owned(), one), ("a".to_owned(), two)]);
}

pub(crate) async fn progress_marks_are_true(store: Tested) {
    let base = newest(&store).await;
    let mut watch = store.watch(KeyRange::prefix("pods/"), Revision(base)).await.unwrap();
    let progress = watch.progress_requester();
    for round in 0..20u64 {
        let pod = commit(&store, put("pods/a", &round.to_string())).await;
        let node = commit(&store, put("nodes/a", &round.to_string())).await;
        progress.request();
        let batch = next_batch(&mut watch).await;
        assert_eq!((batch.revision.0, batch.events.len()), (pod, 1), "the change comes first");
        let mark = next_batch(&mut watch).await;
        assert!(mark.events.is_empty());
        assert!(mark.revision.0 >= node, "everything acknowledged before is covered");
    }
}

pub(crate) async fn a_lease_takes_its_keys_with_it(store: Tested) {
    let base = newest(&store).await;
    let short = store.grant_lease(1).await.unwrap();
    let long = store.grant_lease(3600).await.unwrap();
    assert_eq!(store.keep_alive(long).await.unwrap(), 3600);
    assert_eq!(store.lease_ttl(long).await.unwrap(), 3600);
    let last = {
        commit(&store, put_leased("a", short)).await;
        commit(&store, put_leased("b", short)).await;
        commit(&store, put_leased("b", long)).await
    };
    let mut watch = store.watch(KeyRange::all(), Revision(last)).await.unwrap();
    assert_eq!(next(&mut watch, last).await, "1: -a");
    assert!(matches!(store.keep_alive(short).await, Err(StoreError::LeaseNotFound(_))));
    assert!(matches!(store.lease_ttl(short).await, Err(StoreError::LeaseNotFound(_))));
    let unknown = store.transact(put_leased("x", short)).await;
    assert!(matches!(unknown, Err(StoreError::LeaseNotFound(lease)) if lease == short));
    assert_eq!(show(&read(&store, "", 0, 0).await), ["b="]);
    store.revoke_lease(long).await.unwrap();
    assert_eq!(next(&mut watch, last).await, "2: -b");
    let gone = store.revoke_lease(long).await;
    assert!(matches!(gone, Err(StoreError::LeaseNotFound(lease)) if lease == long), "{gone:?}");
    assert!(newest(&store).await > base);
}

pub(crate) async fn malformed_transactions_are_refused(store: Tested) {
    let base = newest(&store).await;
    let mut twice = put("a", "1");
    twice.operations.extend(put("a", "2").operations);
    let huge = "x".repeat(store::limits::TRANSACTION_BYTES_MAX);
    for bad in [twice, put("", "1"), put("a", &huge), put(&huge, "")] {
        let refused = store.transact(bad).await;
        assert!(matches!(refused, Err(StoreError::InvalidTransaction { .. })), "{refused:?}");
    }
    assert_eq!(commit(&store, delete("missing")).await, base, "nothing changed, no revision");
    assert_eq!(commit(&store, Transaction::default()).await, base);
    assert_eq!(newest(&store).await, base);
}

pub(crate) async fn concurrent_increments_lose_nothing(store: Tested) {
    let tasks: Vec<_> = (0..16).map(|_| tokio::spawn(increment(Arc::clone(&store), 10))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(show(&read(&store, "", 0, 0).await), ["counter=160"]);
}

async fn increment(store: Tested, times: usize) {
    let mut done = 0;
    while done < times {
        let present = read(&store, "counter", 0, 0).await.items.pop();
        let (value, revision) = present.map_or((0, 0), |item| {
            (text(&item.value).parse::<u64>().unwrap(), item.mod_revision.0)
        });
        let next = when(put("counter", &(value + 1).to_string()), "counter", revision);
        let result = store.transact(next).await.unwrap();
        done += usize::from(matches!(result, TransactionResult::Committed { .. }));
    }
}

/// Random transactions against a map with all its former states.
pub(crate) async fn a_simple_model_agrees(store: Tested) {
    let mut random = fastrand::Rng::with_seed(7);
    let base = newest(&store).await;
    let mut states = vec![BTreeMap::<Bytes, KeyValue>::new()];
    let mut revisions = vec![base];
    for step in 0..300u32 {
        let key = |random: &mut fastrand::Rng| {
            Bytes::from(format!("{}/{}", random.u8(0..3), random.u8(0..4)))
        };
        let state = states[states.len() - 1].clone();
        let compared = key(&mut random);
        let present = state.get(&compared).map_or(0, |item| item.mod_revision.0);
        let guess = if random.u8(0..4) == 0 { present + 1 } else { present };
        let mut operations: BTreeMap<Bytes, Operation> = BTreeMap::new();
        for _ in 0..random.u8(0..4) {
            let key = key(&mut random);
            let value = Bytes::from(step.to_string());
            let operation = match random.u8(0..3) {
                0 => Operation::Delete { key: key.clone() },
                _ => Operation::Put { key: key.clone(), value, lease: None },
            };
            operations.insert(key, operation);
        }
        let compares = vec![Compare { key: compared.clone(), mod_revision: Revision(guess) }];
        let operations: Vec<_> = operations.into_values().collect();
        let transaction = Transaction { compares, operations: operations.clone() };
        let result = store.transact(transaction).await.unwrap();
        let newest = revisions[revisions.len() - 1];
        if guess != present {
            let expected = TransactionResult::Conflict {
                revision: Revision(newest),
                present: vec![state.get(&compared).cloned()],
            };
            assert_eq!(result, expected, "step {step}");
            continue;
        }
        let next = applied(&state, &operations, newest + 1);
        let changed = next != state;
        let revision = Revision(newest + u64::from(changed));
        assert_eq!(result, TransactionResult::Committed { revision }, "step {step}");
        if changed {
            states.push(next);
            revisions.push(newest + 1);
        }
    }
    for (state, revision) in states.iter().zip(&revisions).skip(1) {
        let found = read(&store, "", *revision, 0).await;
        assert_eq!(found.items, state.values().cloned().collect::<Vec<_>>(), "at {revision}");
    }
}

fn applied(
    state: &BTreeMap<Bytes, KeyValue>,
    operations: &[Operation],
    revision: u64,
) -> BTreeMap<Bytes, KeyValue> {
    let mut next = state.clone();
    for operation in operations {
        match operation {
            Operation::Put { key, value, .. } => {
                let was = state.get(key);
                let item = KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: was.map_or(Revision(revision), |was| was.create_revision),
                    mod_revision: Revision(revision),
                    version: was.map_or(0, |was| was.version) + 1,
                    lease: None,
                };
                next.insert(key.clone(), item);
            }
            Operation::Delete { key } => drop(next.remove(key)),
        }
    }
    next
}

/// A snapshot taken here comes back there.
pub(crate) async fn a_snapshot_comes_back(store: Tested, other: Tested) {
    let lease = store.grant_lease(3600).await.unwrap();
    let mut expected = Vec::new();
    for number in 0..2500 {
        commit(&store, put(&format!("k/{number:04}"), &"v".repeat(number))).await;
        expected.push((format!("k/{number:04}"), number));
    }
    commit(&store, delete("k/0007")).await;
    expected.remove(7);
    commit(&store, put_leased("leased", lease)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snapshot");
    let mut out = tokio::fs::File::create(&file).await.unwrap();
    let saved = store::snapshot::save(&*store, jiff::Timestamp::UNIX_EPOCH, &mut out).await;
    let saved = saved.unwrap();
    assert_eq!((saved.keys, saved.leases), (2500, 1));
    assert_eq!(saved.revision, store.revision().await.unwrap());
    assert_eq!(store::snapshot::verify(&file).unwrap(), saved);
    let restored = store::snapshot::restore_into(&*other, &file).await.unwrap();
    assert_eq!(restored, saved);
    let found = read(&other, "k/", 0, 0).await;
    let found: Vec<_> =
        found.items.iter().map(|item| (text(&item.key), item.value.len())).collect();
    assert_eq!(found, expected);
    let leased = read(&other, "leased", 0, 0).await.items.remove(0);
    assert_eq!(other.lease_ttl(leased.lease.unwrap()).await.unwrap(), 3600);
    let again = store::snapshot::restore_into(&*other, &file).await;
    assert!(again.unwrap_err().to_string().contains("not empty"));
}
