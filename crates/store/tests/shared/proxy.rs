//! A TCP proxy in front of one member, through which its network can be cut.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to the connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weather {
    /// Nothing gets through, and nobody is told.
    silent: bool,
    /// Connections of older generations are broken.
    generation: u64,
}

/// See the module's documentation.
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
}

impl Proxy {
    /// A proxy for a server, given as `http://HOST:PORT`.
    pub(crate) fn start(server: &str) -> Self {
        let behind: SocketAddr = server.trim_start_matches("http://").parse().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let weather = watch::Sender::new(Weather::default());
        let seen = weather.subscribe();
        let listener = TcpListener::from_std(listener).unwrap();
        tokio::spawn(async move {
            while let Ok((front, _)) = listener.accept().await {
                tokio::spawn(serve(front, behind, seen.clone()));
            }
        });
        Self { address, weather }
    }

    /// The server's address through the proxy.
    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets nothing through, or everything again.
    pub(crate) fn silence(&self, silent: bool) {
        self.weather.send_modify(|weather| weather.silent = silent);
    }

    /// Breaks all connections there are.
    pub(crate) fn break_all(&self) {
        self.weather.send_modify(|weather| weather.generation += 1);
    }
}

async fn serve(front: TcpStream, behind: SocketAddr, mut weather: watch::Receiver<Weather>) {
    let generation = weather.borrow().generation;
    if weather.wait_for(|weather| !weather.silent).await.is_err() {
        return;
    }
    let Ok(back) = TcpStream::connect(behind).await else { return };
    let (front_in, front_out) = front.into_split();
    let (back_in, back_out) = back.into_split();
    let broken = weather.clone();
    tokio::select! {
        () = carry(front_in, back_out, weather.clone()) => {}
        () = carry(back_in, front_out, weather) => {}
        () = outlived(broken, generation) => {}
    }
}

async fn outlived(mut weather: watch::Receiver<Weather>, generation: u64) {
    let _gone = weather.wait_for(|weather| weather.generation > generation).await;
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if weather.wait_for(|weather| !weather.silent).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
