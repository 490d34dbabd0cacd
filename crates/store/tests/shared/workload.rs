//! Clients that write, delete and read a few keys through several servers, and note everything they see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use store::{
    Compare, EventBatch, KeyRange, Operation, RangeRequest, Revision, Store, StoreError,
    Transaction, TransactionResult,
};
use tokio::sync::watch;

use crate::history::{Asked, Moment, Record, Told, check};

/// A server's store.
type Server = Arc<dyn Store>;

const KEYS: u8 = 5;
const CLIENTS_PER_SERVER: u64 = 4;
const UNDISTURBED_WRITES: u64 = 400;
/// How long the watch may take to show the last change after everything is well again.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// What all clients share.
#[derive(Debug, Default)]
struct Shared {
    clock: AtomicU64,
    done: AtomicBool,
    acknowledged: AtomicU64,
    slowest_ms: AtomicU64,
}

impl Shared {
    fn now(&self) -> Moment {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
}

/// Clients and watchers that run until they are told to end.
pub(crate) struct Workload {
    base: u64,
    shared: Arc<Shared>,
    clients: Vec<tokio::task::JoinHandle<Vec<Record>>>,
    watchers: Vec<tokio::task::JoinHandle<Vec<EventBatch>>>,
    end: watch::Sender<u64>,
}

/// What came of a workload that was found good.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) acknowledged: usize,
    pub(crate) unknown: usize,
    pub(crate) failed: usize,
    /// The longest that somebody waited for an answer of any kind.
    pub(crate) slowest_answer: Duration,
}

impl Workload {
    /// Starts clients and a watcher on each server.
    pub(crate) async fn start(servers: &[Server], seed: u64) -> Self {
        let base = servers[0].revision().await.unwrap().0;
        let shared = Arc::new(Shared::default());
        let (end, _) = watch::channel(u64::MAX);
        let mut watchers = Vec::new();
        for server in servers {
            let watch = server.watch(KeyRange::all(), Revision(base)).await.unwrap();
            watchers.push(tokio::spawn(follow(watch, end.subscribe())));
        }
        let servers = servers.iter().enumerate().flat_map(|(at, server)| {
            (0..CLIENTS_PER_SERVER)
                .map(move |client| (at as u64 * CLIENTS_PER_SERVER + client, server))
        });
        let clients = servers
            .map(|(number, server)| {
                let random = fastrand::Rng::with_seed(seed ^ (number << 32));
                let client = Client {
                    number,
                    random,
                    server: Arc::clone(server),
                    shared: Arc::clone(&shared),
                };
                tokio::spawn(client.run())
            })
            .collect();
        Self { base, shared, clients, watchers, end }
    }

    /// Writes acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Resolves when `more` writes have been acknowledged from now on.
    pub(crate) async fn acknowledge(&self, more: u64) {
        let goal = self.acknowledged() + more;
        let done = async {
            while self.acknowledged() < goal {
                clock::Clock::system().sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SETTLE_MAX, done).await.expect("writes go on");
    }

    /// Ends the clients, waits until every watcher has everything, and checks the history.
    pub(crate) async fn finish(self, server: &Server) -> Outcome {
        self.shared.done.store(true, Ordering::Relaxed);
        let mut records = Vec::new();
        for client in self.clients {
            records.extend(client.await.unwrap());
        }
        let settled = async {
            // Writes whose outcome was unknown may take place until a later one has.
            loop {
                let operations = vec![Operation::Put {
                    key: "zz-last".into(),
                    value: Bytes::from_static(b"last"),
                    lease: None,
                }];
                let last = Transaction { compares: vec![], operations };
                match server.transact(last).await {
                    Ok(TransactionResult::Committed { revision }) => break revision.0,
                    Ok(TransactionResult::Conflict { .. }) => unreachable!("nothing is compared"),
                    Err(_) => clock::Clock::system().sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let last =
            tokio::time::timeout(SETTLE_MAX, settled).await.expect("the store is well again");
        self.end.send_replace(last);
        for watcher in self.watchers {
            let seen =
                tokio::time::timeout(SETTLE_MAX, watcher).await.expect("the watch ends").unwrap();
            let is_last = |event: &store::Event| event.key() == "zz-last";
            let batches: Vec<_> =
                seen.into_iter().filter(|batch| !batch.events.iter().any(is_last)).collect();
            check(self.base, &batches, &records);
        }
        let count =
            |fits: fn(&Told) -> bool| records.iter().filter(|record| fits(&record.told)).count();
        Outcome {
            acknowledged: count(|told| matches!(told, Told::Committed(_))),
            unknown: count(|told| matches!(told, Told::Unknown)),
            failed: count(|told| matches!(told, Told::Failed)),
            slowest_answer: Duration::from_millis(self.shared.slowest_ms.load(Ordering::Relaxed)),
        }
    }
}

/// Takes everything that comes until the last revision has; asks for marks all the time.
async fn follow(mut watch: store::Watch, mut end: watch::Receiver<u64>) -> Vec<EventBatch> {
    let progress = watch.progress_requester();
    let mut seen: Vec<EventBatch> = Vec::new();
    loop {
        let batch = tokio::select! {
            batch = watch.next() => batch.expect("the watch goes on").expect("the watch is whole"),
            changed = end.changed() => {
                changed.expect("the workload tells the end");
                progress.request();
                continue;
            }
        };
        if seen.len().is_multiple_of(50) {
            progress.request();
        }
        let through = batch.revision.0;
        seen.push(batch);
        if through >= *end.borrow() {
            return seen;
        }
    }
}

struct Client {
    number: u64,
    random: fastrand::Rng,
    server: Server,
    shared: Arc<Shared>,
}

impl Client {
    async fn run(mut self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut known = vec![0u64; usize::from(KEYS)];
        while !self.shared.done.load(Ordering::Relaxed) {
            let at = self.random.u8(0..KEYS);
            let key = Bytes::from(format!("key/{at}"));
            let after = known[usize::from(at)];
            let asked = match self.random.u8(0..10) {
                0..4 => Asked::Read { key },
                4 => Asked::Delete { key, after },
                _ => {
                    let value = format!("{}-{}", self.number, records.len()).into();
                    Asked::Write { key, value, after }
                }
            };
            let begun = self.shared.now();
            let asking = std::time::Instant::now();
            let (told, learned) = self.ask(&asked).await;
            let waited_ms = u64::try_from(asking.elapsed().as_millis()).unwrap();
            self.shared.slowest_ms.fetch_max(waited_ms, Ordering::Relaxed);
            let ended = self.shared.now();
            known[usize::from(at)] = learned.unwrap_or(after);
            // A deletion of what is not there changes nothing; there is nothing to check.
            let empty = matches!(asked, Asked::Delete { after: 0, .. });
            let is_committed = matches!(told, Told::Committed(_));
            if is_committed && !empty {
                self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            if !(empty && is_committed) {
                records.push(Record { begun, ended, asked, told });
            }
        }
        records
    }

    /// Asks, and answers also the key's modification revision where that was learned.
    async fn ask(&self, asked: &Asked) -> (Told, Option<u64>) {
        let (key, after, operation) = match asked {
            Asked::Read { key } => return self.read(key).await,
            Asked::Write { key, value, after } => {
                let put = Operation::Put { key: key.clone(), value: value.clone(), lease: None };
                (key, *after, put)
            }
            Asked::Delete { key, after } => (key, *after, Operation::Delete { key: key.clone() }),
        };
        let compare = Compare { key: key.clone(), mod_revision: Revision(after) };
        let deletes = matches!(operation, Operation::Delete { .. });
        let transaction = Transaction { compares: vec![compare], operations: vec![operation] };
        match self.server.transact(transaction).await {
            Ok(TransactionResult::Committed { revision }) => {
                (Told::Committed(revision.0), Some(if deletes { 0 } else { revision.0 }))
            }
            Ok(TransactionResult::Conflict { revision, present }) => {
                let now = present[0].as_ref().map_or(0, |item| item.mod_revision.0);
                (Told::Conflict(revision.0), Some(now))
            }
            Err(StoreError::Uncertain { .. }) => (Told::Unknown, None),
            Err(_) => (Told::Failed, None),
        }
    }

    async fn read(&self, key: &Bytes) -> (Told, Option<u64>) {
        let range = KeyRange::key(key.clone());
        let request = RangeRequest { range, revision: Revision(0), limit: 0 };
        match self.server.range(request).await {
            Ok(mut found) => {
                let value = found.items.pop().map(|item| (item.value, item.mod_revision.0));
                let learned = value.as_ref().map_or(0, |(_, revision)| *revision);
                (Told::Found { at: found.revision.0, value }, Some(learned))
            }
            Err(_) => (Told::Failed, None),
        }
    }
}

/// Runs until there are enough writes, with nothing in the way.
pub(crate) async fn run_undisturbed(servers: &[Server]) {
    let workload = Workload::start(servers, 11).await;
    workload.acknowledge(UNDISTURBED_WRITES).await;
    let outcome = workload.finish(&servers[0]).await;
    assert_eq!((outcome.unknown, outcome.failed), (0, 0));
    assert!(outcome.acknowledged as u64 >= UNDISTURBED_WRITES);
    assert!(outcome.slowest_answer < SETTLE_MAX);
}
