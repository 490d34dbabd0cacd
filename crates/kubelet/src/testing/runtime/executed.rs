//! What commands with streams do in the runtime in memory: they read to the end of their input and write what
//! they were called, with a colon and what they read. `slow` takes its time over every piece, `tee` writes each
//! piece as it comes and dies when nobody takes it, `deaf` reads nothing and writes until nobody takes it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// Runs a command, and gives what it has read, where it has an input.
pub(super) async fn run(command: &str, reads: bool, streams: DuplexStream) -> Option<Vec<u8>> {
    match command {
        "slow" => Some(take(streams, Duration::from_millis(50), false).await),
        "tee" => Some(take(streams, Duration::ZERO, true).await),
        "deaf" => {
            complain(streams).await;
            Some(Vec::new())
        }
        _ => answer(command, reads, streams).await,
    }
}

async fn answer(command: &str, reads: bool, mut streams: DuplexStream) -> Option<Vec<u8>> {
    let mut typed = Vec::new();
    if reads {
        let _end = streams.read_to_end(&mut typed).await;
    }
    let text = [command.as_bytes(), b":", &typed].concat();
    let _closed = streams.write_all(&text).await;
    let _closed = streams.shutdown().await;
    reads.then_some(typed)
}

async fn take(mut streams: DuplexStream, pause: Duration, echo: bool) -> Vec<u8> {
    let mut typed = Vec::new();
    let mut piece = [0; 100];
    while let Ok(count @ 1..) = streams.read(&mut piece).await {
        typed.extend_from_slice(&piece[..count]);
        if echo && streams.write_all(&piece[..count]).await.is_err() {
            return typed;
        }
        wait(pause).await;
    }
    typed
}

async fn complain(mut streams: DuplexStream) {
    while streams.write_all(b".").await.is_ok() {
        wait(Duration::from_millis(100)).await;
    }
}

/// The time of these tests goes on when all wait for it.
async fn wait(time: Duration) {
    let _over = tokio::time::timeout(time, std::future::pending::<()>()).await;
}
