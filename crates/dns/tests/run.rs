//! The whole name server: objects in, answers out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::object::{Object, encode};
use client::{Client, Source, Update, WatchScope};
use futures::StreamExt;
use futures::stream::BoxStream;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// How long anything that must become true may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Objects that the test hands out.
struct Script {
    receivers: std::sync::Mutex<HashMap<&'static str, mpsc::Receiver<Update>>>,
}

impl Source for Script {
    fn watch(&self, watched: WatchScope) -> BoxStream<'static, Update> {
        let mut updates = self.receivers.lock().unwrap().remove(watched.plural.as_str()).unwrap();
        futures::stream::poll_fn(move |context| updates.poll_recv(context)).boxed()
    }
}

fn object(value: &Value) -> Arc<Object> {
    Arc::new(Object::new(value, encode(value), Vec::new(), 1))
}

fn service(address: &str) -> Arc<Object> {
    object(&json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": address, "ports": [{"name": "http", "port": 80}]},
    }))
}

async fn ask(socket: &UdpSocket) -> (ResponseCode, Vec<String>) {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii("web.default.svc.cluster.local.").unwrap();
    message.add_query(Query::query(name, RecordType::A));
    let mut buffer = [0; 512];
    let began = Instant::now();
    let read = loop {
        // Before it listens, sending and receiving fail with what the last packet met.
        let sent = socket.send(&message.to_vec().unwrap()).await;
        let received = match sent {
            Ok(_) => tokio::time::timeout(LIMIT, socket.recv(&mut buffer)).await.unwrap(),
            Err(error) => Err(error),
        };
        match received {
            Ok(read) => break read,
            Err(error) => assert!(began.elapsed() < LIMIT, "it does not listen: {error}"),
        }
    };
    let answer = Message::from_vec(&buffer[..read]).unwrap();
    let answers = answer.answers.iter().map(|record| record.data.to_string()).collect();
    (answer.metadata.response_code, answers)
}

async fn until(socket: &UdpSocket, code: ResponseCode, addresses: &[&str]) {
    let began = Instant::now();
    loop {
        let (have, answers) = ask(socket).await;
        if have == code && answers == addresses {
            return;
        }
        assert!(began.elapsed() < LIMIT, "{have} {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_follow_the_objects() {
    let scope = task::Scope::new();
    let (mut senders, mut receivers) = (HashMap::new(), HashMap::new());
    for plural in ["services", "endpointslices", "namespaces"] {
        let (sender, receiver) = mpsc::channel(16);
        senders.insert(plural, sender);
        receivers.insert(plural, receiver);
    }
    let source = Arc::new(Script { receivers: std::sync::Mutex::new(receivers) });
    let kube = kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap()));
    let client = Client::new(kube.unwrap(), source, scope.clone());
    // A port that was free a moment ago.
    let free = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut config = dns::Config::new([]);
    config.listen = vec![SocketAddr::new(free.ip(), free.port())];
    let running = tokio::spawn(dns::run(config, client, clock::Clock::system(), scope.clone()));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(free).await.unwrap();
    // Until everything is known, nothing is denied.
    let send = |plural: &'static str, update| senders[plural].send(update);
    send("services", Update::Reset(vec![service("10.43.0.9")])).await.unwrap();
    send("endpointslices", Update::Reset(vec![])).await.unwrap();
    assert_eq!(ask(&socket).await.0, ResponseCode::ServFail);
    send("namespaces", Update::Reset(vec![])).await.unwrap();
    until(&socket, ResponseCode::NoError, &["10.43.0.9"]).await;
    send("services", Update::Applied(service("10.43.0.8"))).await.unwrap();
    until(&socket, ResponseCode::NoError, &["10.43.0.8"]).await;
    send("services", Update::Deleted(service("10.43.0.8"))).await.unwrap();
    until(&socket, ResponseCode::NXDomain, &[]).await;
    assert!(scope.finish(LIMIT).await);
    running.await.unwrap().unwrap();
}
