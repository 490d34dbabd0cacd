//! Real containers, from their start to their end.

mod support;

use cri::*;
use support::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_and_its_end_is_known() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let id = world.run(&sandbox, "main", "echo hello; echo oops >&2; exit 3").await;
    let status = world.wait(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert!(status.started_at >= status.created_at && status.finished_at >= status.started_at);
    let log = world.log("main.log");
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_by_key(|line| line.contains("stderr"));
    assert!(lines[0].ends_with(" stdout F hello"), "{log}");
    assert!(lines[1].ends_with(" stderr F oops"), "{log}");
    assert!(lines[0].split(' ').next().unwrap().len() == "2026-01-01T00:00:00.000000000Z".len());
    world.end().await;
}
