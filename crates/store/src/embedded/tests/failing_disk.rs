//! A disk that fails on command: what fails did not happen, reads go on, and so do writes afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::committer::Committer;
use super::super::disk::{Disk, DiskBatch, Room, Truth};
use super::super::load::Contents;
use super::super::writer::Writer;
use super::super::{assemble, shared::Shared};
use super::*;
use crate::LeaseId;

/// What the test and the disk share.
#[derive(Debug)]
struct Faults {
    fail_writes: bool,
    fail_restores: bool,
    room: Room,
    rows: BTreeMap<Bytes, Bytes>,
    restored: Vec<u64>,
}

#[derive(Clone, Debug)]
struct FaultyDisk(Arc<Mutex<Faults>>);

impl FaultyDisk {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Faults {
            fail_writes: false,
            fail_restores: false,
            room: Room::Plenty,
            rows: BTreeMap::new(),
            restored: Vec::new(),
        })))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the disk is on fire")]
struct OnFire;

impl Disk for FaultyDisk {
    fn write(&mut self, batch: DiskBatch, _sync: bool) -> Result<(), StoreError> {
        let mut faults = self.0.lock();
        if faults.fail_writes {
            return Err(StoreError::engine("write", OnFire));
        }
        faults.rows.extend(batch.puts);
        batch.removes.iter().for_each(|row| drop(faults.rows.remove(row)));
        Ok(())
    }

    fn restore(&mut self, truth: &Truth) -> Result<(), StoreError> {
        let mut faults = self.0.lock();
        if faults.fail_restores {
            return Err(StoreError::engine("restore", OnFire));
        }
        faults.restored.push(truth.revision);
        Ok(())
    }

    fn has_failed(&self) -> bool {
        false
    }

    fn room(&self) -> Room {
        self.0.lock().room
    }

    fn shrink(&mut self, _record_bytes: u64) {}
}

fn committer(disk: &FaultyDisk) -> (Arc<Shared>, Committer) {
    let options = EmbeddedOptions::new("");
    assemble(Contents::default(), Box::new(disk.clone()), &options, 0)
}

fn store(disk: &FaultyDisk) -> EmbeddedStore {
    let (shared, committer) = committer(disk);
    EmbeddedStore::start(shared, Writer::inline(committer), clock::Clock::system())
}

#[tokio::test]
async fn a_failed_group_leaves_nothing_behind() {
    let disk = FaultyDisk::new();
    let (shared, mut committer) = committer(&disk);
    let ok = |outcomes: Vec<Result<TransactionResult, StoreError>>| {
        outcomes.into_iter().map(|outcome| outcome.is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(ok(committer.run(vec![put("a", b"1"), put("b", b"1")], 0)), [true, true]);
    let before = shared.state.read().sizes();
    disk.0.lock().fail_writes = true;
    let mut delete = put("b", b"");
    delete.operations = vec![Operation::Delete { key: "b".into() }];
    let group = vec![put("a", b"2"), delete, put("c", b"1"), put("a", b"3")];
    assert_eq!(ok(committer.run(group, 1_000)), [false; 4]);
    assert_eq!(shared.state.read().sizes(), before);
    disk.0.lock().fail_writes = false;
    assert_eq!(ok(committer.run(vec![put("c", b"1")], 1_001)), [false], "not tried again at once");
    assert_eq!(ok(committer.run(vec![put("c", b"1")], 2_000)), [true]);
    assert_eq!(disk.0.lock().restored, [2], "the disk goes back to the last acknowledged revision");
    assert_eq!(shared.state.read().visible(), 3, "no revision was used up");
}

#[tokio::test]
async fn reads_and_watches_go_on_while_the_disk_is_broken() {
    let disk = FaultyDisk::new();
    let store = store(&disk);
    commit(&store, put("a", b"1")).await.unwrap();
    let mut watch = store.watch(KeyRange::all(), Revision(0)).await.unwrap();
    {
        let mut faults = disk.0.lock();
        (faults.fail_writes, faults.fail_restores) = (true, true);
    }
    let failed = commit(&store, put("a", b"2")).await;
    assert!(matches!(failed, Err(StoreError::Engine { .. })), "{failed:?}");
    assert_eq!(everything(&store, 0).await, [("a".into(), "1".into())]);
    assert_eq!(watch.next().await.unwrap().unwrap().revision, Revision(1));
    watch.progress_requester().request();
    let mark = watch.next().await.unwrap().unwrap();
    assert_eq!((mark.revision, mark.events.len()), (Revision(1), 0), "nothing unflushed is shown");
}

#[tokio::test]
async fn a_full_disk_takes_only_deletions_and_then_nothing() {
    let disk = FaultyDisk::new();
    let store = store(&disk);
    commit(&store, put("a", b"1")).await.unwrap();
    commit(&store, put("b", b"1")).await.unwrap();
    let delete = |key: &'static str| Transaction {
        compares: vec![],
        operations: vec![Operation::Delete { key: key.into() }],
    };
    disk.0.lock().room = Room::DeletionsOnly;
    assert!(matches!(commit(&store, put("c", b"")).await, Err(StoreError::NoSpace)));
    assert!(matches!(store.grant_lease(60).await, Err(StoreError::NoSpace)));
    commit(&store, delete("a")).await.unwrap();
    disk.0.lock().room = Room::Full;
    assert!(matches!(commit(&store, delete("b")).await, Err(StoreError::NoSpace)));
    assert_eq!(everything(&store, 0).await.len(), 1);
    disk.0.lock().room = Room::Plenty;
    commit(&store, put("c", b"")).await.unwrap();
}

#[tokio::test]
async fn a_write_that_runs_out_of_space_says_so() {
    let disk = FaultyDisk::new();
    let (_, mut committer) = committer(&disk);
    disk.0.lock().fail_writes = true;
    let outcome = committer.run(vec![put("a", b"")], 0).remove(0);
    assert!(matches!(outcome, Err(StoreError::Engine { .. })));
    disk.0.lock().room = Room::Full;
    let outcome = committer.run(vec![put("a", b"")], 10_000).remove(0);
    assert!(matches!(outcome, Err(StoreError::NoSpace)), "{outcome:?}");
}

#[tokio::test]
async fn a_lease_that_could_not_be_ended_ends_later() {
    let disk = FaultyDisk::new();
    let (shared, mut committer) = committer(&disk);
    let lease = committer.grant(1, 0).unwrap();
    assert_ne!(lease, LeaseId(0));
    let mut leased = put("a", b"");
    let key = Bytes::from_static(b"a");
    leased.operations = vec![Operation::Put { key, value: Bytes::new(), lease: Some(lease) }];
    committer.run(vec![leased], 0).remove(0).unwrap();
    disk.0.lock().fail_writes = true;
    committer.expire_leases(5_000);
    assert!(shared.state.read().keys.get(b"a").unwrap().1.at(1).is_some());
    disk.0.lock().fail_writes = false;
    committer.expire_leases(10_000);
    assert_eq!(shared.state.read().visible(), 2);
    assert!(matches!(committer.keep_alive(lease, 10_000), Err(StoreError::LeaseNotFound(_))));
}

#[tokio::test]
async fn the_history_on_disk_follows_the_one_in_memory() {
    let disk = FaultyDisk::new();
    let store = store(&disk);
    for number in 0..100 {
        commit(&store, put("a", &[number])).await.unwrap();
    }
    assert_eq!(disk.0.lock().rows.len(), 100);
    store.compact(Revision(100)).await.unwrap();
    let rows: Vec<_> = disk.0.lock().rows.keys().map(|row| row[0]).collect();
    assert_eq!(rows, *b"mr", "the compacted revision and the one live change");
}
