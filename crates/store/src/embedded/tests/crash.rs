//! Crashes at every moment of a write: the journal is cut or torn at seeded places, and what is there
//! afterwards must be the commits before it, whole, in order, none missing.
//!
//! `STORE_CRASH_TRIALS` sets how many; a failing seed is printed and can be run alone by `STORE_CRASH_SEED`.

use super::super::fjall_disk::FjallDisk;
use super::super::journal_check::batch_ends;
use super::*;

const TRIALS: u64 = 300;
const SECTOR_BYTES: usize = 512;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "the count is for whoever sets it")]
async fn torn_writes_never_cost_an_acknowledged_commit() {
    if let Some(seed) = setting("STORE_CRASH_SEED") {
        return trial(seed).await;
    }
    let trials = setting("STORE_CRASH_TRIALS").unwrap_or(TRIALS);
    for seed in 0..trials {
        let ended = tokio::spawn(trial(seed)).await;
        assert!(ended.is_ok(), "trial failed: STORE_CRASH_SEED={seed}");
    }
    eprintln!("{trials} crashes, seeds 0 to {}, none cost a commit", trials - 1);
}

async fn trial(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = directory();
    let path = directory.path();
    let mut store = open(path).await.unwrap();
    // Every state the store went through; state 0 is the empty store.
    let mut states = vec![Vec::new()];
    let mut first_torn = 1;
    for _ in 0..random.u64(1..12) {
        commit(&store, random_transaction(&mut random)).await.unwrap();
        states.push(everything(&store, 0).await);
        if random.u8(..16) == 0 {
            // What is in tables, as after much writing, is no longer lost with the journal.
            store.close().await;
            FjallDisk::open(path, 0).unwrap().flush_tables();
            store = open(path).await.unwrap();
            first_torn = states.len();
        }
    }
    commit(&store, random_transaction(&mut random)).await.unwrap();
    states.push(everything(&store, 0).await);
    store.close().await;
    let survivors = tear(&journal(path), first_torn, &mut random);
    let store = open(path).await.unwrap();
    assert_eq!(store.revision().await.unwrap().0, survivors as u64, "commits before the tear");
    for (revision, state) in states.iter().enumerate().take(survivors + 1).skip(1) {
        assert_eq!(&everything(&store, revision as u64).await, state, "at {revision}");
    }
    assert_eq!(everything(&store, 0).await, states[survivors]);
    // The store goes on where it was, and the tear leaves no trace.
    let next = commit(&store, put("after", b"crash")).await.unwrap();
    assert_eq!(next, survivors as u64 + 1);
    store.close().await;
    let store = open(path).await.unwrap();
    assert_eq!(store.revision().await.unwrap().0, next);
}

/// Writes one to three keys, values up to some sectors.
fn random_transaction(random: &mut fastrand::Rng) -> Transaction {
    let mut transaction = Transaction::default();
    for number in 0..random.u8(1..4) {
        let length = random.usize(0..3000);
        let value: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        let key = format!("{number}/{}", random.u8(..4));
        transaction.operations.extend(put(&key, &value).operations);
    }
    transaction
}

/// Makes the journal look as if the machine had stopped while a group was being written: the group is
/// cut short, or some of its sectors never arrived, or arrived as noise. Answers how many commits were
/// whole before that group (the first group wrote the format version), which is not before `first`.
fn tear(journal: &Path, first: usize, random: &mut fastrand::Rng) -> usize {
    let mut bytes = std::fs::read(journal).unwrap();
    let ends = batch_ends(&bytes);
    let group = random.usize(first..ends.len());
    let (begin, end) = (ends[group - 1], ends[group]);
    bytes.truncate(end);
    match random.u8(..3) {
        0 => bytes.truncate(random.usize(begin..end)),
        1 => lose_sectors(&mut bytes, begin, random, |_| 0),
        _ => lose_sectors(&mut bytes, begin, random, |random| random.u8(..)),
    }
    std::fs::write(journal, bytes).unwrap();
    group - 1
}

fn lose_sectors(
    bytes: &mut [u8],
    begin: usize,
    random: &mut fastrand::Rng,
    mut filler: impl FnMut(&mut fastrand::Rng) -> u8,
) {
    let sectors: Vec<_> = (begin / SECTOR_BYTES..=(bytes.len() - 1) / SECTOR_BYTES).collect();
    let certain = sectors[random.usize(..sectors.len())];
    for sector in sectors {
        if sector != certain && random.bool() {
            continue;
        }
        let from = (sector * SECTOR_BYTES).max(begin);
        let to = ((sector + 1) * SECTOR_BYTES).min(bytes.len());
        let before = bytes[from..to].to_vec();
        bytes[from..to].iter_mut().for_each(|byte| *byte = filler(random));
        if sector == certain && before == bytes[from..to] {
            bytes[from] ^= 0xff;
        }
    }
}

#[tokio::test]
async fn an_unfinished_first_start_is_begun_anew() {
    let directory = directory();
    let path = directory.path();
    std::fs::create_dir_all(path.join("data.new/keyspaces")).unwrap();
    std::fs::write(path.join("data.new/0.jnl"), b"half").unwrap();
    let store = open(path).await.unwrap();
    assert_eq!(commit(&store, put("a", b"1")).await.unwrap(), 1);
}

#[tokio::test]
async fn an_interrupted_compaction_is_finished_at_the_next_start() {
    let directory = directory();
    let path = directory.path();
    let store = open(path).await.unwrap();
    for number in 0..20 {
        commit(&store, put("a", &[number])).await.unwrap();
    }
    let journal = journal(path);
    let batches = |journal: &Path| batch_ends(&std::fs::read(journal).unwrap()).len();
    let before = batches(&journal);
    store.compact(Revision(15)).await.unwrap();
    // The mark, and the removal of the rows, which nobody waits for.
    let removed = async {
        while batches(&journal) < before + 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), removed).await.unwrap();
    store.close().await;
    // Keep the compacted mark, lose the removal.
    let bytes = std::fs::read(&journal).unwrap();
    let ends = batch_ends(&bytes);
    std::fs::write(&journal, &bytes[..ends[ends.len() - 2]]).unwrap();
    for _ in 0..2 {
        let store = open(path).await.unwrap();
        assert_eq!(everything(&store, 15).await, [("a".into(), Bytes::from_static(&[14]))]);
        let old = RangeRequest { range: KeyRange::all(), revision: Revision(14), limit: 0 };
        assert!(matches!(store.range(old).await, Err(StoreError::Compacted { .. })));
        store.close().await;
    }
}
