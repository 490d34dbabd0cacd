//! Questions over real sockets, answers as text.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clock::{Clock, Random};
use dns::{Config, Server, SharedZone};
use expect_test::{Expect, expect};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use netplan::dns::{Zone, ZoneConfig};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long a test waits for an answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

fn zone() -> Zone {
    let services: Vec<Service> = [
        json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {
            "clusterIP": "10.43.0.9", "ports": [{"name": "http", "port": 80}]}}),
        json!({"metadata": {"name": "many", "namespace": "default"}, "spec": {"clusterIP": "None"}}),
        json!({"metadata": {"name": "out", "namespace": "default"}, "spec": {
            "type": "ExternalName", "externalName": "example.com"}}),
    ]
    .map(|service| serde_json::from_value(service).unwrap())
    .to_vec();
    let endpoints: Vec<_> =
        (0..200).map(|n| json!({"addresses": [format!("10.42.1.{n}")]})).collect();
    let many: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"namespace": "default", "labels": {"kubernetes.io/service-name": "many"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": []}))
    .unwrap();
    let config = ZoneConfig {
        domain: "cluster.local".into(),
        servers: vec!["10.43.0.10".parse().unwrap()],
        ttl: 5,
    };
    Zone::build(&config, 7, &services, [&many], [])
}

struct Lab {
    server: Server,
    scope: task::Scope,
    zone: SharedZone,
}

impl Lab {
    fn start(forward_to: &[SocketAddr]) -> Self {
        let mut config = Config::new([]);
        config.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.forward_to = forward_to.to_vec();
        config.resolv_conf = "/nonexistent".into();
        let scope = task::Scope::new();
        let zone = SharedZone::new(&config);
        let (clock, random) = (Clock::system(), Random::seeded(1));
        let server = Server::start(&config, zone.clone(), clock, random, &scope).unwrap();
        zone.store(self::zone());
        Self { server, scope, zone }
    }

    fn address(&self) -> SocketAddr {
        self.server.addresses[0]
    }

    async fn udp(&self, request: &Message) -> Message {
        Message::from_vec(&self.udp_raw(&request.to_vec().unwrap()).await).unwrap()
    }

    async fn udp_raw(&self, bytes: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.address()).await.unwrap();
        socket.send(bytes).await.unwrap();
        let mut buffer = vec![0; 65_535];
        let read = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
        buffer.truncate(read);
        buffer
    }

    async fn tcp(&self, requests: &[Message]) -> Vec<Message> {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        let mut answers = Vec::new();
        for request in requests {
            let bytes = request.to_vec().unwrap();
            stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut answer).await.unwrap();
            answers.push(Message::from_vec(&answer).unwrap());
        }
        answers
    }

    async fn check(&self, name: &str, record_type: RecordType, expected: Expect) {
        let answer = self.udp(&question(name, record_type)).await;
        assert_eq!(answer.metadata.id, 77);
        assert_eq!(answer.queries, question(name, record_type).queries);
        expected.assert_eq(&show(&answer));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.scope.cancel();
    }
}

fn question(name: &str, record_type: RecordType) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message
}

fn show(message: &Message) -> String {
    let metadata = &message.metadata;
    let flags: String = [
        (metadata.authoritative, " aa"),
        (metadata.truncation, " tc"),
        (metadata.recursion_desired, " rd"),
        (metadata.recursion_available, " ra"),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .map(|(_, name)| name)
    .collect();
    let mut text = format!("{}{flags}\n", metadata.response_code);
    for (prefix, records) in
        [("", &message.answers), ("auth ", &message.authorities), ("add ", &message.additionals)]
    {
        for record in records {
            text += &format!("{prefix}{record}\n");
        }
    }
    text
}

/// A name server that counts what it is asked and answers every A question.
async fn elsewhere() -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok((read, from)) = socket.recv_from(&mut buffer).await {
            counter.fetch_add(1, Ordering::SeqCst);
            let request = Message::from_vec(&buffer[..read]).unwrap();
            let mut answer = Message::response(request.metadata.id, OpCode::Query);
            answer.add_queries(request.queries.clone());
            let name = request.queries[0].name().clone();
            if name.to_ascii().starts_with("missing") {
                answer.metadata.response_code = ResponseCode::NXDomain;
            } else {
                let data = RData::A(A::new(192, 0, 2, 1));
                answer.add_answer(Record::from_rdata(name, 20, data));
            }
            // A guess with another number comes first and must not be believed.
            let mut forged = answer.clone();
            forged.metadata.id ^= 1;
            forged.answers.clear();
            for message in [forged, answer] {
                socket.send_to(&message.to_vec().unwrap(), from).await.unwrap();
            }
        }
    });
    (address, asked)
}

#[tokio::test]
async fn the_zone_is_answered_with_authority() {
    let lab = Lab::start(&[]);
    lab.check(
        "Web.default.svc.cluster.LOCAL.",
        RecordType::A,
        expect![[r#"
        No Error aa rd ra
        Web.default.svc.cluster.LOCAL. 5 IN A 10.43.0.9
    "#]],
    )
    .await;
    lab.check(
        "_http._tcp.web.default.svc.cluster.local.",
        RecordType::SRV,
        expect![[r#"
        No Error aa rd ra
        _http._tcp.web.default.svc.cluster.local. 5 IN SRV 0 100 80 web.default.svc.cluster.local.
        add web.default.svc.cluster.local. 5 IN A 10.43.0.9
    "#]],
    )
    .await;
    lab.check(
        "9.0.43.10.in-addr.arpa.",
        RecordType::PTR,
        expect![[r#"
        No Error aa rd ra
        9.0.43.10.in-addr.arpa. 5 IN PTR web.default.svc.cluster.local.
    "#]],
    )
    .await;
    lab.check("web.default.svc.cluster.local.", RecordType::AAAA, expect![[r#"
        No Error aa rd ra
        auth cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5
    "#]]).await;
    lab.check("nobody.default.svc.cluster.local.", RecordType::A, expect![[r#"
        Non-Existent Domain aa rd ra
        auth cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5
    "#]]).await;
    lab.check(
        "dns-version.cluster.local.",
        RecordType::TXT,
        expect![[r#"
        No Error aa rd ra
        dns-version.cluster.local. 5 IN TXT 1.1.0
    "#]],
    )
    .await;
    let over_tcp =
        lab.tcp(&vec![question("web.default.svc.cluster.local.", RecordType::A); 2]).await;
    assert_eq!(over_tcp.iter().map(|answer| answer.answers.len()).collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn long_answers_are_cut_over_udp_and_whole_over_tcp() {
    let lab = Lab::start(&[]);
    let mut request = question("many.default.svc.cluster.local.", RecordType::A);
    let bare = lab.udp_raw(&request.to_vec().unwrap()).await;
    assert!(bare.len() <= 512);
    let bare = Message::from_vec(&bare).unwrap();
    assert!(bare.metadata.truncation && !bare.answers.is_empty());
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    request.set_edns(edns);
    let wide = lab.udp_raw(&request.to_vec().unwrap()).await;
    assert!(wide.len() > 512 && wide.len() <= 1232);
    let wide = Message::from_vec(&wide).unwrap();
    assert!(wide.metadata.truncation && wide.edns.is_some());
    let whole = lab.tcp(&[request.clone()]).await;
    assert_eq!((whole[0].answers.len(), whole[0].metadata.truncation), (200, false));
    // Clients that take the first address do not all take the same.
    let again = lab.tcp(&[request]).await;
    assert_ne!(whole[0].answers[0], again[0].answers[0]);
}

#[tokio::test]
async fn everything_else_is_asked_elsewhere_once() {
    let (other, asked) = elsewhere().await;
    let lab = Lab::start(&[other]);
    for _ in 0..3 {
        lab.check(
            "example.org.",
            RecordType::A,
            expect![[r#"
            No Error rd ra
            example.org. 20 IN A 192.0.2.1
        "#]],
        )
        .await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    lab.check(
        "out.default.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
        No Error aa rd ra
        out.default.svc.cluster.local. 5 IN CNAME example.com.
        example.com. 20 IN A 192.0.2.1
    "#]],
    )
    .await;
    lab.check(
        "missing.example.org.",
        RecordType::A,
        expect![[r#"
        Non-Existent Domain rd ra
    "#]],
    )
    .await;
    assert!(lab.server.metrics.render().contains("keelson_dns_cache_hits_total 2\n"));
}

#[tokio::test]
async fn without_anybody_to_ask_the_answer_is_a_failure() {
    let lab = Lab::start(&[]);
    lab.check(
        "example.org.",
        RecordType::A,
        expect![[r#"
        Server Failure rd ra
    "#]],
    )
    .await;
    // A port where nobody listens answers with an ICMP error.
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (other, _) = elsewhere().await;
    let lab = Lab::start(&[closed, other]);
    lab.check(
        "example.org.",
        RecordType::A,
        expect![[r#"
        No Error rd ra
        example.org. 20 IN A 192.0.2.1
    "#]],
    )
    .await;
}

#[tokio::test]
async fn a_question_that_comes_back_is_not_asked_again() {
    // The other server forwards everything to us.
    let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let lab = Lab::start(&[relay.local_addr().unwrap()]);
    let target = lab.address();
    let relaying = tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        let (read, from) = relay.recv_from(&mut buffer).await.unwrap();
        let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        back.send_to(&buffer[..read], target).await.unwrap();
        let read = back.recv(&mut buffer).await.unwrap();
        relay.send_to(&buffer[..read], from).await.unwrap();
    });
    let answer = lab.udp(&question("example.org.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    relaying.await.unwrap();
    assert!(lab.server.metrics.render().contains("keelson_dns_loops_total 1\n"));
}

#[tokio::test]
async fn what_is_no_question_is_refused_or_ignored() {
    let lab = Lab::start(&[]);
    let mut status = question("a.", RecordType::A);
    status.metadata.op_code = OpCode::Status;
    let mut two = question("a.", RecordType::A);
    two.add_query(Query::query(Name::root(), RecordType::A));
    let mut future = question("a.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    future.set_edns(edns);
    for (request, expected) in [
        (status, ResponseCode::NotImp),
        (two, ResponseCode::FormErr),
        (future, ResponseCode::BADVERS),
        (question("cluster.local.", RecordType::AXFR), ResponseCode::Refused),
    ] {
        // BADVERS and BADSIG are one number.
        let code = lab.udp(&request).await.metadata.response_code;
        assert_eq!(u16::from(code), u16::from(expected));
    }
    let nonsense = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 255, 255];
    let answer = Message::from_vec(&lab.udp_raw(&nonsense).await).unwrap();
    assert_eq!((answer.metadata.id, answer.metadata.response_code), (1, ResponseCode::FormErr));
}

#[tokio::test]
async fn names_of_a_zone_that_is_not_known_yet_fail() {
    let (other, _) = elsewhere().await;
    let mut config = Config::new([]);
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.forward_to = vec![other];
    let scope = task::Scope::new();
    let zone = SharedZone::new(&config);
    let server =
        Server::start(&config, zone.clone(), Clock::system(), Random::seeded(1), &scope).unwrap();
    let lab = Lab { server, scope, zone };
    lab.check(
        "web.default.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
        Server Failure rd ra
    "#]],
    )
    .await;
    lab.check(
        "example.org.",
        RecordType::A,
        expect![[r#"
        No Error rd ra
        example.org. 20 IN A 192.0.2.1
    "#]],
    )
    .await;
    lab.zone.store(self::zone());
    let answer = lab.udp(&question("web.default.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(answer.answers.len(), 1);
}

#[tokio::test]
async fn an_address_may_come_later() {
    let mut config = Config::new([]);
    config.listen = vec!["192.0.2.53:0".parse().unwrap(), "[2001:db8::53]:0".parse().unwrap()];
    let scope = task::Scope::new();
    let zone = SharedZone::new(&config);
    Server::start(&config, zone, Clock::system(), Random::seeded(1), &scope).unwrap();
    scope.cancel();
}
