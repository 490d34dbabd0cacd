//! Services against the kernel: real connections between namespaces of the tests' own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "parts/laboratory.rs"]
mod laboratory;

use std::collections::BTreeMap;
use std::io::ErrorKind;

use laboratory::{Laboratory, OUTSIDE, OUTSIDE_NODE, gateway, service, slice};
use linux::nft::{Batch, Nftables, Operation};
use netplan::service::{NodeInfo, Plan, decide};
use proxy::Proxy;
use serde_json::{Value, json};

fn plan(spec: Value, slices: &[Value]) -> Plan {
    let node = NodeInfo {
        name: "here".into(),
        zone: None,
        addresses: vec![OUTSIDE_NODE.parse().unwrap()],
    };
    let slices: Vec<_> = slices.iter().map(|endpoints| slice(endpoints.clone())).collect();
    decide([&service(spec)], &slices, &node)
}

fn here(pods: &[&str]) -> Value {
    pods.iter().map(|ip| json!({"addresses": [ip], "nodeName": "here"})).collect()
}

fn web() -> Value {
    json!({"clusterIP": "10.43.0.9", "ports": [
        {"name": "http", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53, "protocol": "UDP"},
    ]})
}

fn with(mut base: Value, more: Value) -> Value {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

const POD_A: &str = "10.42.0.2";
const POD_B: &str = "10.42.0.3";

#[test]
fn a_cluster_address_spreads_over_all_endpoints() {
    let lab = Laboratory::start();
    let mut proxy = lab.proxy();
    proxy.apply(plan(web(), &[here(&[POD_A, POD_B])])).unwrap();
    for from in [lab.pod(POD_A), &lab.node] {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..40 {
            *seen.entry(lab.ask(from, "10.43.0.9:80").unwrap().server).or_default() += 1;
        }
        assert_eq!(seen.keys().collect::<Vec<_>>(), [POD_A, POD_B], "{seen:?}");
    }
    // Pods are seen as they are.
    lab.until(|| {
        let answer = lab.ask(lab.pod(POD_A), "10.43.0.9:80").unwrap();
        answer.server == POD_B && answer.client == POD_A
    });
    // A pod that reaches itself is seen as the node, or its answer would never find back.
    lab.until(|| {
        let answer = lab.ask(lab.pod(POD_A), "10.43.0.9:80").unwrap();
        answer.server == POD_A && answer.client == gateway()
    });
    // From outside the pod networks the way back leads through the node.
    assert_eq!(lab.ask(&lab.outside, "10.43.0.9:80").unwrap().client, gateway());
    // Another port of the address is refused at once.
    for from in [lab.pod(POD_A), &lab.node, &lab.outside] {
        assert_eq!(lab.ask(from, "10.43.0.9:81").unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn node_ports_answer_on_every_address_of_the_node() {
    let lab = Laboratory::start();
    let mut proxy = lab.proxy();
    proxy.apply(plan(web(), &[here(&[POD_A, POD_B])])).unwrap();
    for (from, to) in [
        (&lab.outside, OUTSIDE_NODE),
        (&lab.node, OUTSIDE_NODE),
        (&lab.node, "127.0.0.1"),
        (lab.pod(POD_A), OUTSIDE_NODE),
        (lab.pod(POD_A), "10.42.0.1"),
    ] {
        let answer = lab.ask(from, &format!("{to}:30080")).unwrap();
        assert_eq!(answer.client, gateway(), "{to}");
    }
    lab.node.run(|| Proxy::remove().unwrap()).unwrap();
    assert!(lab.ask(&lab.outside, "192.168.1.10:30080").is_err());
    assert_eq!(
        Nftables::open_in(std::os::fd::AsFd::as_fd(&lab.node)).unwrap().tables().unwrap(),
        []
    );
}

#[test]
fn local_traffic_keeps_its_source() {
    let lab = Laboratory::start();
    let mut proxy = lab.proxy();
    let spec = with(web(), json!({"externalTrafficPolicy": "Local"}));
    let elsewhere = json!([{"addresses": [POD_B], "nodeName": "there"}]);
    proxy.apply(plan(spec.clone(), &[here(&[POD_A]), elsewhere.clone()])).unwrap();
    let node_port = "192.168.1.10:30080";
    for _ in 0..10 {
        let answer = lab.ask(&lab.outside, node_port).unwrap();
        assert_eq!((answer.server.as_str(), answer.client.as_str()), (POD_A, OUTSIDE));
    }
    // From inside every endpoint is reached.
    for from in [lab.pod(POD_A), &lab.node] {
        lab.until(|| lab.ask(from, node_port).unwrap().server == POD_B);
        lab.until(|| lab.ask(from, node_port).unwrap().server == POD_A);
    }
    // Without an endpoint here nobody answers outside, while inside still works.
    proxy.apply(plan(spec, &[elsewhere])).unwrap();
    assert_eq!(lab.ask(&lab.outside, node_port).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(lab.ask(lab.pod(POD_A), node_port).unwrap().server, POD_B);
    assert_eq!(lab.ask(&lab.node, node_port).unwrap().server, POD_B);
}

#[test]
fn a_service_without_endpoints_refuses() {
    let lab = Laboratory::start();
    let mut proxy = lab.proxy();
    proxy.apply(plan(web(), &[])).unwrap();
    for from in [lab.pod(POD_A), &lab.node, &lab.outside] {
        for to in ["10.43.0.9:80", "192.168.1.10:30080"] {
            let error = lab.ask(from, to).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}");
        }
    }
    // An address of no Service is not answered.
    let error = lab.ask(lab.pod(POD_A), "10.43.7.7:80").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    proxy.apply(plan(web(), &[here(&[POD_B])])).unwrap();
    assert_eq!(lab.ask(lab.pod(POD_A), "10.43.0.9:80").unwrap().server, POD_B);
}

#[test]
fn clients_stay_with_their_endpoint_until_it_goes() {
    let lab = Laboratory::start();
    let mut proxy = lab.proxy();
    let spec = with(
        web(),
        json!({
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 300}},
        }),
    );
    proxy.apply(plan(spec.clone(), &[here(&[POD_A, POD_B])])).unwrap();
    let servers = |to: &str| -> Vec<String> {
        let mut servers: Vec<String> =
            (0..20).map(|_| lab.ask(&lab.outside, to).unwrap().server).collect();
        servers.dedup();
        servers
    };
    let first = servers("10.43.0.9:80");
    assert_eq!(first.len(), 1);
    // The node port remembers the same, and so does the Service after an unrelated change.
    assert_eq!(servers("192.168.1.10:30080"), first);
    proxy
        .apply(plan(
            with(spec.clone(), json!({"externalIPs": ["203.0.113.5"]})),
            &[here(&[POD_A, POD_B])],
        ))
        .unwrap();
    assert_eq!(servers("10.43.0.9:80"), first);
    let other = if first[0] == POD_A { POD_B } else { POD_A };
    proxy.apply(plan(spec, &[here(&[other])])).unwrap();
    assert_eq!(servers("10.43.0.9:80"), [other]);
    assert!(proxy.is_intact().unwrap());
}

#[test]
fn balancers_let_only_some_in() {
    let lab = Laboratory::start();
    let mut proxy = lab.proxy();
    let spec = |range: &str| {
        with(
            web(),
            json!({
                "type": "LoadBalancer", "loadBalancerSourceRanges": [range],
                "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}},
            }),
        )
    };
    proxy.apply(plan(spec("192.168.1.0/24"), &[here(&[POD_A])])).unwrap();
    assert_eq!(lab.ask(&lab.outside, "203.0.113.9:80").unwrap().server, POD_A);
    proxy.apply(plan(spec("192.168.2.0/24"), &[here(&[POD_A])])).unwrap();
    assert_eq!(lab.ask(&lab.outside, "203.0.113.9:80").unwrap_err().kind(), ErrorKind::TimedOut);
    // Node ports are not behind the balancer.
    assert!(lab.ask(&lab.outside, "192.168.1.10:30080").is_ok());
    proxy.apply(plan(web(), &[here(&[POD_A])])).unwrap();
    assert!(proxy.is_intact().unwrap());
}

#[test]
fn udp_flows_follow_the_endpoints() {
    let lab = Laboratory::start();
    let mut proxy = lab.proxy();
    proxy.apply(plan(web(), &[here(&[POD_A])])).unwrap();
    // One socket, one flow: only forgetting it moves it.
    let mut talk = lab.udp(lab.pod(POD_B), "10.43.0.9:53");
    assert_eq!(talk(), POD_A);
    assert_eq!(talk(), POD_A);
    proxy.apply(plan(web(), &[here(&[POD_B])])).unwrap();
    assert_eq!(talk(), POD_B);
}

#[test]
fn changes_touch_only_what_changed_and_damage_is_repaired() {
    let lab = Laboratory::start();
    let mut proxy = lab.proxy();
    let both = || plan(web(), &[here(&[POD_A, POD_B])]);
    assert!(proxy.apply(both()).unwrap());
    assert!(!proxy.apply(both()).unwrap());
    assert!(proxy.apply(plan(web(), &[here(&[POD_B])])).unwrap());
    assert!(proxy.is_intact().unwrap());
    let mut other = Nftables::open_in(std::os::fd::AsFd::as_fd(&lab.node)).unwrap();
    let table = proxy.tables()[0].clone();
    let mut flush = Batch::new();
    flush.push(&table, Operation::FlushChain("services".into()));
    other.commit(&flush).unwrap();
    assert!(!proxy.is_intact().unwrap());
    proxy.repair().unwrap();
    assert!(proxy.is_intact().unwrap());
    let mut remove = Batch::new();
    remove.remove_table(&table);
    other.commit(&remove).unwrap();
    // A difference to what is gone is refused by the kernel and becomes the whole.
    assert!(proxy.apply(both()).unwrap());
    assert!(proxy.is_intact().unwrap());
    assert!(lab.ask(&lab.node, "10.43.0.9:80").is_ok());
}

#[test]
fn ipv6_services_work() {
    let lab = Laboratory::start();
    let mut proxy = lab.proxy();
    let spec =
        json!({"clusterIP": "fd43::9", "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
    let mut six = slice(
        json!([{"addresses": ["fd42::2"], "nodeName": "here"}, {"addresses": ["fd42::3"], "nodeName": "here"}]),
    );
    six.address_type = "IPv6".into();
    let node = NodeInfo { name: "here".into(), ..NodeInfo::default() };
    proxy.apply(decide([&service(spec)], [&six], &node)).unwrap();
    for from in [lab.pod(POD_A), &lab.node] {
        for server in ["fd42::2", "fd42::3"] {
            // The first packets of a link that just came up may get lost while neighbours are found.
            lab.until(|| lab.ask(from, "[fd43::9]:80").is_ok_and(|answer| answer.server == server));
        }
    }
    assert!(lab.ask(lab.pod(POD_A), "[fd42::1]:30080").is_ok());
    let refused = lab.ask(lab.pod(POD_A), "[fd43::9]:81").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(proxy.is_intact().unwrap());
}

#[test]
fn thousands_of_services_change_quickly() {
    let lab = Laboratory::start();
    let mut proxy = lab.proxy();
    let node = NodeInfo { name: "here".into(), ..NodeInfo::default() };
    let mut services = Vec::new();
    let mut slices = Vec::new();
    for number in 0..3000 {
        let name = format!("web-{number}");
        let ip = format!("10.43.{}.{}", number / 250, number % 250 + 1);
        let mut one = service(json!({"clusterIP": ip, "ports": [{"name": "http", "port": 80}]}));
        one.metadata.name = Some(name.clone());
        services.push(one);
        let mut endpoints = slice(here(&[POD_A, POD_B]));
        endpoints.metadata.labels =
            Some(BTreeMap::from([("kubernetes.io/service-name".to_owned(), name)]));
        slices.push(endpoints);
    }
    proxy.apply(decide(&services, &slices, &node)).unwrap();
    assert!(lab.ask(&lab.node, "10.43.11.250:80").is_ok());
    slices.truncate(2999);
    let began = std::time::Instant::now();
    proxy.apply(decide(&services, &slices, &node)).unwrap();
    // Some ten milliseconds; the bound only tells a difference from everything anew.
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(lab.ask(&lab.node, "10.43.11.249:80").is_ok());
    let refused = lab.ask(&lab.node, "10.43.11.250:80").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(proxy.is_intact().unwrap());
}
