//! Damage on disk: named, never served, and repaired as far as it can be.

use super::super::fjall_disk::FjallDisk;
use super::super::journal_check::batch_ends;
use super::super::recover;
use super::super::recover::SKIPPED_REVISIONS;
use super::*;

async fn filled(path: &Path, commits: u8) {
    let store = open(path).await.unwrap();
    for number in 0..commits {
        commit(&store, put(&format!("key/{number:03}"), &[number; 600])).await.unwrap();
    }
    store.close().await;
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

async fn corruption(path: &Path) -> String {
    match open(path).await {
        Err(StoreError::Corrupt { what }) => what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_damaged_journal_is_named_and_recovered_to_the_commit_before() {
    let directory = directory();
    let path = directory.path();
    filled(path, 20).await;
    let journal = journal(path);
    let ends = batch_ends(&std::fs::read(&journal).unwrap());
    // The first group is the format version; then one group for each commit.
    assert_eq!(ends.len(), 21);
    for at in [ends[9], ends[9] + 7, ends[9] + 300, ends[10] - 1] {
        flip(&journal, at);
        let what = corruption(path).await;
        let named = [ends[8], ends[9]].map(|end| what.ends_with(&format!("byte {end}")));
        assert!(named.contains(&true), "{what}");
        flip(&journal, at);
    }
    flip(&journal, ends[9] + 300);
    let report = recover(path).unwrap();
    assert_eq!(report.revision.0, 9 + SKIPPED_REVISIONS);
    assert_eq!((report.lost.len(), report.kept_aside.len()), (1, 1));
    let store = open(path).await.unwrap();
    assert_eq!(everything(&store, 0).await.len(), 9);
    assert_eq!(commit(&store, put("a", b"")).await.unwrap(), 10 + SKIPPED_REVISIONS);
}

#[tokio::test]
async fn every_flipped_byte_of_a_journal_is_found() {
    let directory = directory();
    let path = directory.path();
    filled(path, 4).await;
    let journal = journal(path);
    let good = std::fs::read(&journal).unwrap();
    let ends = batch_ends(&good);
    for at in (0..ends[ends.len() - 2]).step_by(5) {
        flip(&journal, at);
        match open(path).await {
            Err(StoreError::Corrupt { what }) => {
                assert!(what.contains("damaged at byte"), "{what}")
            }
            other => panic!("byte {at}: {other:?}"),
        }
        std::fs::write(&journal, &good).unwrap();
    }
}

/// A store whose records are all in tables, and the largest file of them.
async fn in_tables(path: &Path) -> PathBuf {
    filled(path, 200).await;
    let disk = FjallDisk::open(path, 0).unwrap();
    disk.flush_tables();
    drop(disk);
    let tables = std::fs::read_dir(path.join("data/keyspaces/1/tables")).unwrap();
    let tables = tables.map(|entry| entry.unwrap().path());
    tables.max_by_key(|table| table.metadata().unwrap().len()).unwrap()
}

#[tokio::test]
async fn a_damaged_table_is_named_and_its_other_records_recovered() {
    let directory = directory();
    let path = directory.path();
    let table = in_tables(path).await;
    // The journal is not needed any more, but would hide the damage if it were read first.
    flip(&table, 40_000);
    let what = corruption(path).await;
    assert!(what.contains("cannot be read after row"), "{what}");
    let report = recover(path).unwrap();
    assert!(report.lost.iter().any(|lost| lost.contains("between revisions")), "{report:?}");
    let store = open(path).await.unwrap();
    let left = everything(&store, 0).await;
    assert!((100..200).contains(&left.len()), "{} records left", left.len());
    let good = |(key, value): &(Bytes, Bytes)| {
        let number: u8 = std::str::from_utf8(&key[4..]).unwrap().parse().unwrap();
        *value == vec![number; 600]
    };
    assert!(left.iter().all(good), "nothing damaged is served");
    assert_eq!(store.revision().await.unwrap(), report.revision);
    assert_eq!(report.revision.0, 200 + SKIPPED_REVISIONS);
}

#[tokio::test]
async fn flipped_bytes_of_tables_are_never_served() {
    let directory = directory();
    let path = directory.path();
    let table = in_tables(path).await;
    let good = std::fs::read(&table).unwrap();
    let copy = path.join("copy");
    let mut random = fastrand::Rng::with_seed(1);
    let mut named = 0;
    for _ in 0..60 {
        let at = random.usize(..good.len());
        copy_directory(&path.join("data"), &copy.join("data"));
        let damaged = copy.join("data").join(table.strip_prefix(path.join("data")).unwrap());
        flip(&damaged, at);
        match open(&copy).await {
            Err(StoreError::Corrupt { .. } | StoreError::Engine { .. }) => named += 1,
            Err(other) => panic!("byte {at}: {other:?}"),
            // Some bytes carry nothing that is read.
            Ok(store) => {
                let found = everything(&store, 0).await;
                assert_eq!(found.len(), 200, "byte {at}");
                assert!(found.iter().all(|(_, value)| value.iter().all(|byte| *byte == value[0])));
                store.close().await;
            }
        }
        std::fs::remove_dir_all(&copy).unwrap();
    }
    assert!(named > 40, "{named} of 60 named");
}

#[tokio::test]
async fn missing_parts_are_named() {
    for part in ["version", "keyspaces/1/current", "keyspaces/0/current"] {
        let directory = directory();
        let path = directory.path();
        filled(path, 3).await;
        std::fs::remove_file(path.join("data").join(part)).unwrap();
        assert!(corruption(path).await.contains(part));
    }
}

#[tokio::test]
async fn a_healthy_store_is_left_as_it_is() {
    let directory = directory();
    let path = directory.path();
    filled(path, 3).await;
    let report = recover(path).unwrap();
    assert_eq!(report.revision, Revision(3));
    assert!(report.lost.is_empty() && report.kept_aside.is_empty());
    let store = open(path).await.unwrap();
    assert!(matches!(recover(path), Err(StoreError::Locked { .. })));
    assert_eq!(everything(&store, 0).await.len(), 3);
}
