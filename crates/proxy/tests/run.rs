//! The whole loop: objects in, connections through the kernel out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "parts/laboratory.rs"]
mod laboratory;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use api::object::{Object, encode};
use client::{Client, Source, Update, WatchScope};
use futures::StreamExt;
use futures::stream::BoxStream;
use laboratory::{Laboratory, OUTSIDE_NODE};
use linux::nft::{Batch, Family, Nftables, TableId};
use proxy::Config;
use serde_json::{Value, json};
use tokio::sync::mpsc;

type Receivers = HashMap<&'static str, mpsc::Receiver<Update>>;

/// Objects that the test hands out.
struct Script {
    receivers: std::sync::Mutex<Receivers>,
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

fn service(health_port: u16) -> Arc<Object> {
    object(&json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.43.0.9", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": health_port, "ports": [{"name": "http", "port": 80, "nodePort": 30080}]},
    }))
}

fn slice(pods: &[&str]) -> Arc<Object> {
    let endpoints: Vec<Value> =
        pods.iter().map(|ip| json!({"addresses": [ip], "nodeName": "here"})).collect();
    object(&json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": "web-1", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}],
    }))
}

fn node() -> Arc<Object> {
    object(&json!({
        "kind": "Node", "apiVersion": "v1", "metadata": {"name": "here"},
        "status": {"addresses": [{"type": "InternalIP", "address": OUTSIDE_NODE}]},
    }))
}

fn http(lab: &Laboratory, port: u16, path: &str) -> Option<String> {
    let to: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    let mut stream = lab.node.run(|| TcpStream::connect(to)).unwrap().ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn objects_become_connections_and_damage_heals() {
    let lab = Laboratory::start();
    lab.node.run(|| in_node(&lab)).unwrap();
}

fn in_node(lab: &Laboratory) {
    // Threads of this runtime are born in the node's namespace.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let scope = task::Scope::new();
    let (mut senders, mut receivers) = (HashMap::new(), HashMap::new());
    for plural in ["services", "endpointslices", "nodes"] {
        let (sender, receiver) = mpsc::channel(16);
        senders.insert(plural, sender);
        receivers.insert(plural, receiver);
    }
    let send = |plural: &str, update| senders[plural].blocking_send(update).unwrap();
    let mut config = Config::new("here");
    config.cluster_cidrs = vec!["10.42.0.0/16".parse().unwrap()];
    config.service_cidrs = vec!["10.43.0.0/16".parse().unwrap()];
    config.healthz_address = Some("127.0.0.1:10256".parse().unwrap());
    let running = {
        let _context = runtime.enter();
        let url = "http://127.0.0.1:1".parse().unwrap();
        let kube = kube::Client::try_from(kube::Config::new(url)).unwrap();
        let source = Arc::new(Script { receivers: std::sync::Mutex::new(receivers) });
        let client = Client::new(kube, source, scope.clone());
        runtime.spawn(proxy::run(config, client, clock::Clock::system(), scope.clone()))
    };
    lab.until(|| http(lab, 10256, "/healthz").is_some_and(|a| a.starts_with("HTTP/1.1 503")));
    send("services", Update::Reset(vec![service(31000)]));
    send("endpointslices", Update::Reset(vec![slice(&["10.42.0.2"])]));
    send("nodes", Update::Reset(vec![node()]));
    let answered_by =
        |ip: &str| lab.ask(&lab.node, "10.43.0.9:80").is_ok_and(|answer| answer.server == ip);
    lab.until(|| answered_by("10.42.0.2"));
    lab.until(|| http(lab, 10256, "/healthz").is_some_and(|a| a.starts_with("HTTP/1.1 200")));
    lab.until(|| {
        http(lab, 31000, "/").is_some_and(|answer| {
            answer.starts_with("HTTP/1.1 200") && answer.contains("\"localEndpoints\":1")
        })
    });
    send("endpointslices", Update::Applied(slice(&["10.42.0.3"])));
    lab.until(|| answered_by("10.42.0.3"));

    // Somebody removes the rules: they are put back.
    let table = TableId::new(Family::Ipv4, "keelson-proxy");
    let mut remove = Batch::new();
    remove.remove_table(&table);
    let mut other = Nftables::open_in(lab.node.as_fd()).unwrap();
    other.commit(&remove).unwrap();
    lab.until(|| answered_by("10.42.0.3"));

    send("endpointslices", Update::Applied(slice(&[])));
    lab.until(|| http(lab, 31000, "/").is_some_and(|a| a.starts_with("HTTP/1.1 503")));
    send("services", Update::Deleted(service(31000)));
    lab.until(|| http(lab, 31000, "/").is_none());
    // The rules outlive the loop.
    assert!(runtime.block_on(scope.finish(Duration::from_secs(5))));
    runtime.block_on(running).unwrap().unwrap();
    assert!(other.tables().unwrap().contains(&table));
}
