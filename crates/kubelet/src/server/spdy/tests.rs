//! SPDY frames and streams, as clients send them.

use super::*;

/// A client: opens streams and collects what comes.
pub(crate) struct Client<I> {
    io: I,
    deflater: Deflater,
    buffer: BytesMut,
    next: u32,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Client<I> {
    pub(crate) fn new(io: I) -> Self {
        Self { io, deflater: Deflater::new().unwrap(), buffer: BytesMut::new(), next: 1 }
    }

    pub(crate) async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let stream = self.next;
        self.next += 2;
        let block = self.deflater.block(headers);
        let mut frame = BytesMut::new();
        frame::put_control(&mut frame, 1, block.len() + 10);
        frame.put_u32(stream);
        frame.put_bytes(0, 6);
        frame.extend_from_slice(&block);
        self.io.write_all(&frame).await.unwrap();
        stream
    }

    pub(crate) async fn send(&mut self, stream: u32, bytes: &[u8], last: bool) {
        let mut frame = BytesMut::new();
        frame::put_data(&mut frame, stream, bytes.len(), last);
        frame.extend_from_slice(bytes);
        self.io.write_all(&frame).await.unwrap();
    }

    /// Everything received by stream, until `count` streams have ended.
    pub(crate) async fn until_ended(&mut self, count: usize) -> BTreeMap<u32, Vec<u8>> {
        let mut data: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        let mut ended = 0;
        while ended < count {
            if let Some(frame) = frame::take(&mut self.buffer).unwrap() {
                if let Frame::Data { stream, bytes, last } = frame {
                    data.entry(stream).or_default().extend_from_slice(&bytes);
                    ended += usize::from(last);
                }
                continue;
            }
            assert_ne!(self.io.read_buf(&mut self.buffer).await.unwrap(), 0, "{data:?}");
        }
        data
    }
}

#[tokio::test]
async fn streams_carry_data_both_ways() {
    let scope = task::Scope::new();
    let (near, far) = tokio::io::duplex(1 << 16);
    let mut streams = serve(&scope, far);
    let mut client = Client::new(near);
    let (a, b) = (client.open(&[("streamtype", "data")]).await, client.open(&[("x", "y")]).await);
    client.send(a, b"hello", true).await;
    client.send(b, &vec![7; 200_000], false).await;
    let echo = async {
        let mut first = streams.recv().await.unwrap();
        assert_eq!(first.header("streamtype"), "data");
        let mut text = Vec::new();
        first.io.read_to_end(&mut text).await.unwrap();
        first.io.write_all(&text).await.unwrap();
        first.io.shutdown().await.unwrap();
        let mut second = streams.recv().await.unwrap();
        let mut bytes = vec![0; 200_000];
        second.io.read_exact(&mut bytes).await.unwrap();
        second.io.write_all(&bytes).await.unwrap();
        second.io.shutdown().await.unwrap();
    };
    let (data, ()) = tokio::join!(client.until_ended(2), echo);
    assert_eq!(data[&a], b"hello");
    assert_eq!(data[&b], vec![7; 200_000]);
}

#[tokio::test]
async fn nonsense_ends_the_connection() {
    let scope = task::Scope::new();
    let (mut near, far) = tokio::io::duplex(1024);
    let mut streams = serve(&scope, far);
    near.write_all(b"\x80\x02\x00\x01\x00\x00\x00\x00").await.unwrap();
    assert!(streams.recv().await.is_none());
}

#[tokio::test]
async fn owners_see_the_end_of_reset_and_broken_streams() {
    let scope = task::Scope::new();
    let (near, far) = tokio::io::duplex(1024);
    let mut streams = serve(&scope, far);
    let mut client = Client::new(near);
    let reset = client.open(&[("streamtype", "data")]).await;
    let _broken = client.open(&[("streamtype", "error")]).await;
    let (mut first, mut second) = (streams.recv().await.unwrap(), streams.recv().await.unwrap());
    let mut frame = BytesMut::new();
    frame::put_control(&mut frame, frame::RST_STREAM, 8);
    frame.put_u32(reset);
    frame.put_u32(5);
    client.io.write_all(&frame).await.unwrap();
    assert_eq!(first.io.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    client.io.write_all(b"\x80\x02\x00\x01\x00\x00\x00\x00").await.unwrap();
    assert_eq!(second.io.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_said_last_arrives_though_the_client_types_on() {
    let scope = task::Scope::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    let mut streams = serve(&scope, far);
    let mut client = Client::new(near);
    let (input, output) =
        (client.open(&[("streamtype", "stdin")]).await, client.open(&[("x", "stdout")]).await);
    let (typed, mut shown) = (streams.recv().await.unwrap(), streams.recv().await.unwrap());
    drop((streams, typed));
    shown.io.write_all(&vec![1; 100_000]).await.unwrap();
    drop(shown);
    // More than the server has read when it has said all.
    for _ in 0..64 {
        client.send(input, &[2; 1000], false).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.until_ended(2).await[&output].len(), 100_000);
    let mut rest = Vec::new();
    client.io.read_to_end(&mut rest).await.unwrap();
}
