//! The fuzzer's door to the framings of exec, attach and port forwarding: what a client sends, to its end.
//!
//! Not here: the sessions behind the framings, which need pods.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::{spdy, websocket};
use crate::limits::STREAM_BUFFER_BYTES;

/// Takes everything that a SPDY client sends, reads all its streams, and gives how many there were.
pub async fn spdy(bytes: &[u8]) -> usize {
    let scope = task::Scope::new();
    let (client, server) = tokio::io::duplex(STREAM_BUFFER_BYTES);
    let mut streams = spdy::serve(&scope, server);
    let take = async {
        let mut count = 0;
        while let Some(mut stream) = streams.recv().await {
            count += 1;
            scope.spawn_until_cancelled("stream of a fuzzed connection", async move {
                let mut read = Vec::new();
                let _gone = stream.io.read_to_end(&mut read).await;
                let _gone = stream.io.write_all(&read).await;
            });
        }
        count
    };
    tokio::join!(talk(client, bytes), take).1
}

/// Takes everything that a WebSocket client sends, and gives the bytes that came through.
pub async fn websocket(bytes: &[u8]) -> u64 {
    let (client, server) = tokio::io::duplex(STREAM_BUFFER_BYTES);
    tokio::join!(talk(client, bytes), websocket::take_all(server)).1
}

/// Sends everything and listens to the end.
async fn talk(client: DuplexStream, bytes: &[u8]) {
    let (mut answers, mut requests) = tokio::io::split(client);
    let send = async {
        // The other side hangs up on what it does not understand.
        let _gone = requests.write_all(bytes).await;
        let _gone = requests.shutdown().await;
    };
    let receive = async {
        let mut sink = tokio::io::sink();
        let _gone = tokio::io::copy(&mut answers, &mut sink).await;
    };
    tokio::join!(send, receive);
}
