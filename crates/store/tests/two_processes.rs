//! Two processes on one folder: whoever comes second is refused, with words that name the folder, until the first
//! has ended, however it ends.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use store::embedded::{EmbeddedOptions, EmbeddedStore};
use store::{Operation, Store, StoreError, Transaction};

const DIRECTORY: &str = "STORE_TWO_PROCESSES_DIRECTORY";

/// Not a test of its own: what the first process does.
#[tokio::test]
#[ignore = "runs only as the child of the test of two processes"]
async fn first() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = EmbeddedStore::open(EmbeddedOptions::new(directory)).await.unwrap();
    let put = Operation::Put { key: "a".into(), value: "1".into(), lease: None };
    let transaction = Transaction { compares: vec![], operations: vec![put] };
    store.transact(transaction).await.unwrap();
    println!("open");
    std::future::pending::<()>().await;
}

fn start(directory: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "first", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("open")), "the child ended by itself");
    child
}

#[tokio::test]
async fn the_second_process_is_refused_until_the_first_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut child = start(&path);
    let expected = format!("the store at {} is in use by another process", path.display());
    let refused = EmbeddedStore::open(EmbeddedOptions::new(&path)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused:?}");
    assert_eq!(refused.to_string(), expected);
    let refused = store::embedded::recover(&path).unwrap_err();
    assert_eq!(refused.to_string(), expected, "nor is it repaired");
    child.kill().unwrap();
    child.wait().unwrap();
    let store = EmbeddedStore::open(EmbeddedOptions::new(&path)).await.unwrap();
    assert_eq!(store.revision().await.unwrap().0, 1, "the refused ones have changed nothing");
}
