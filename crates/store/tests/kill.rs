//! SIGKILL at any moment: a child process writes and says what was acknowledged; everything it said must
//! be there after it was killed, and the store must open.
//!
//! `STORE_KILL_ROUNDS` sets how often.
#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use store::embedded::{EmbeddedOptions, EmbeddedStore};
use store::{
    Event, KeyRange, Operation, RangeRequest, Revision, Store, Transaction, TransactionResult,
};

const ROUNDS: u64 = 8;
const WRITERS: u64 = 8;
/// Half of the writers write so much that the engine writes tables all the time, and is killed over that too.
const SMALL_BYTES: usize = 100;
const LARGE_BYTES: usize = 30_000;
const DIRECTORY: &str = "STORE_KILL_DIRECTORY";

/// Not a test of its own: what the child process of the test below does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs only as the child of the test of kills"]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let mut options = EmbeddedOptions::new(directory);
    // Small limits, so that compaction runs all the time.
    options.history_revisions_max = 500;
    let store = EmbeddedStore::open(options).await.unwrap();
    println!("open");
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Counts up in two keys at once, for ever.
async fn write(store: EmbeddedStore, writer: u64) {
    let mut number = counter(&store, writer, "a").await;
    loop {
        number += 1;
        let width = if writer.is_multiple_of(2) { SMALL_BYTES } else { LARGE_BYTES };
        let value = Bytes::from(format!("{number:0width$}"));
        let operations = ["a", "b"].map(|name| Operation::Put {
            key: key(writer, name),
            value: value.clone(),
            lease: None,
        });
        let transaction = Transaction { compares: vec![], operations: operations.into() };
        let TransactionResult::Committed { .. } = store.transact(transaction).await.unwrap() else {
            unreachable!("nothing was compared")
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "ack {writer} {number}").unwrap();
        out.flush().unwrap();
    }
}

fn key(writer: u64, name: &str) -> Bytes {
    format!("{writer}/{name}").into()
}

async fn counter(store: &EmbeddedStore, writer: u64, name: &str) -> u64 {
    let range = KeyRange::key(key(writer, name));
    let found = store.range(RangeRequest { range, revision: Revision(0), limit: 0 }).await.unwrap();
    let parse = |value: &Bytes| std::str::from_utf8(value).unwrap().parse().unwrap();
    found.items.first().map_or(0, |item| parse(&item.value))
}

fn spawn(directory: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_outlives_sigkill() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(4);
    let mut acknowledged = vec![0u64; WRITERS as usize];
    let rounds = std::env::var("STORE_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS);
    for round in 0..rounds {
        let mut child = spawn(directory.path());
        kill_after(&mut child, random.u64(1..400), &mut acknowledged);
        check(directory.path(), &mut acknowledged, round).await;
    }
    println!("{rounds} kills, {} writes acknowledged, none lost", acknowledged.iter().sum::<u64>());
}

/// Kills the child when it has acknowledged so many writes; notes everything that it acknowledged.
fn kill_after(child: &mut Child, acks: u64, acknowledged: &mut [u64]) {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut seen = 0;
    let mut line = String::new();
    while seen < acks && lines.read_line(&mut line).unwrap() > 0 {
        seen += u64::from(note(&line, acknowledged));
        line.clear();
    }
    assert_eq!(seen, acks, "the child ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    // A line that was cut short is no acknowledgement that anybody has seen.
    let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
    for line in whole.lines() {
        note(line, acknowledged);
    }
}

fn note(line: &str, acknowledged: &mut [u64]) -> bool {
    let mut words = line.split_whitespace();
    if words.next() != Some("ack") {
        return false;
    }
    let mut number = || words.next().unwrap().parse::<u64>().unwrap();
    let (writer, number) = (number(), number());
    acknowledged[writer as usize] = number;
    true
}

/// Compares with what was acknowledged, and notes what is there for the next round.
async fn check(directory: &std::path::Path, acknowledged: &mut [u64], round: u64) {
    let store = EmbeddedStore::open(EmbeddedOptions::new(directory)).await.unwrap();
    let mut total = 0;
    for (writer, acknowledged) in (0..).zip(acknowledged) {
        let (a, b) = (counter(&store, writer, "a").await, counter(&store, writer, "b").await);
        assert_eq!(a, b, "round {round}: a transaction is whole or not there");
        // One more than acknowledged may have become durable before its answer got out.
        assert!(
            (*acknowledged..=*acknowledged + 1).contains(&a),
            "round {round}: {a}, {acknowledged}"
        );
        *acknowledged = a;
        total += a;
    }
    assert_eq!(store.revision().await.unwrap().0, total, "round {round}: one revision each");
    check_history(&store, total).await;
    store.close().await;
}

/// The history that was kept has every revision once, in order, and ends in the newest state.
async fn check_history(store: &EmbeddedStore, newest: u64) {
    let after = newest.saturating_sub(100);
    let mut watch = store.watch(KeyRange::all(), Revision(after)).await.unwrap();
    for revision in after + 1..=newest {
        let waited = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
        let batch = waited.unwrap().unwrap().unwrap();
        assert_eq!(batch.revision, Revision(revision));
        assert_eq!(batch.events.len(), 2);
        assert!(batch.events.iter().all(|event| matches!(event, Event::Put { .. })));
    }
}
