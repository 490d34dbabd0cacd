//! Services and slices as JSON in, a plan as text out.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::*;

fn node() -> NodeInfo {
    NodeInfo {
        name: "here".into(),
        zone: Some("a".into()),
        addresses: vec!["192.168.1.10".parse().unwrap()],
    }
}

fn service(spec: Value) -> Service {
    let mut spec = spec;
    let status = spec.as_object_mut().unwrap().remove("status").unwrap_or_default();
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default"}, "spec": spec, "status": status,
    }))
    .unwrap()
}

fn slice(endpoints: Value) -> EndpointSlice {
    slice_of("IPv4", json!([{"name": "http", "port": 8080, "protocol": "TCP"}]), endpoints)
}

fn slice_of(family: &str, ports: Value, endpoints: Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": family, "ports": ports, "endpoints": endpoints,
    }))
    .unwrap()
}

fn plan(service: &Service, slices: &[EndpointSlice]) -> Plan {
    decide([service], slices, &node())
}

fn check(spec: Value, slices: &[EndpointSlice], expected: Expect) {
    expected.assert_eq(&plan(&service(spec), slices).to_string());
}

fn cluster_ip() -> Value {
    json!({"clusterIP": "10.43.0.9", "ports": [{"name": "http", "port": 80}]})
}

fn with(mut base: Value, more: Value) -> Value {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

fn both_nodes() -> EndpointSlice {
    slice(json!([
        {"addresses": ["10.42.0.5"], "nodeName": "here", "conditions": {"ready": true}},
        {"addresses": ["10.42.1.5"], "nodeName": "there", "conditions": {"ready": true}},
    ]))
}

fn elsewhere() -> EndpointSlice {
    slice(json!([{"addresses": ["10.42.1.5"], "nodeName": "there"}]))
}

#[test]
fn only_ready_endpoints() {
    let slices = [slice(json!([
        {"addresses": ["10.42.0.6"], "conditions": {"ready": true}},
        {"addresses": ["10.42.0.5"]},
        {"addresses": ["10.42.0.7"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["10.42.0.8"], "conditions": {"ready": false}},
        {"addresses": ["not an address"]},
        {"addresses": []},
    ]))];
    check(
        cluster_ip(),
        &slices,
        expect![[r#"
        10.43.0.9:80/tcp default/web:http -> 10.42.0.5:8080 10.42.0.6:8080
    "#]],
    );
}

#[test]
fn terminating_endpoints_are_the_last_resort() {
    let slices = [slice(json!([
        {"addresses": ["10.42.0.7"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["10.42.0.8"], "conditions": {"ready": false, "serving": false, "terminating": true}},
    ]))];
    check(
        cluster_ip(),
        &slices,
        expect![[r#"
        10.43.0.9:80/tcp default/web:http -> 10.42.0.7:8080
    "#]],
    );
}

#[test]
fn nobody_there_is_a_refusal() {
    check(
        with(cluster_ip(), json!({"ports": [{"name": "http", "port": 80, "nodePort": 30080}]})),
        &[],
        expect![[r#"
        node:30080/tcp default/web:http -> reject; masquerade
        10.43.0.9:80/tcp default/web:http -> reject
    "#]],
    );
}

#[test]
fn every_way_in() {
    let spec = json!({
        "type": "LoadBalancer",
        "clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9", "fd43::9"],
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53, "protocol": "UDP"}],
        "externalIPs": ["203.0.113.5", "2001:db8::5", "nonsense"],
        "loadBalancerSourceRanges": ["192.168.0.0/16", "2001:db8:1::/48", " 10.0.0.0/8"],
        "status": {"loadBalancer": {"ingress": [
            {"ip": "203.0.113.9"}, {"ip": "203.0.113.10", "ipMode": "Proxy"}, {"hostname": "lb.example"},
        ]}},
    });
    let slices = [
        both_nodes(),
        slice_of(
            "IPv4",
            json!([{"name": "dns", "port": 5353, "protocol": "UDP"}]),
            json!([{"addresses": ["10.42.0.5"]}]),
        ),
        slice_of(
            "IPv6",
            json!([{"name": "http", "port": 8080}]),
            json!([{"addresses": ["fd42::5"]}]),
        ),
        slice_of(
            "FQDN",
            json!([{"name": "http", "port": 8080}]),
            json!([{"addresses": ["example.com"]}]),
        ),
    ];
    check(
        spec,
        &slices,
        expect![[r#"
        node:30080/tcp default/web:http -> 10.42.0.5:8080 10.42.1.5:8080; masquerade
        10.43.0.9:80/tcp default/web:http -> 10.42.0.5:8080 10.42.1.5:8080
        10.43.0.9:53/udp default/web:dns -> 10.42.0.5:5353
        203.0.113.5:80/tcp default/web:http -> 10.42.0.5:8080 10.42.1.5:8080; masquerade
        203.0.113.5:53/udp default/web:dns -> 10.42.0.5:5353; masquerade
        203.0.113.9:80/tcp default/web:http -> 10.42.0.5:8080 10.42.1.5:8080; masquerade; only from 192.168.0.0/16 10.0.0.0/8 203.0.113.9/32
        203.0.113.9:53/udp default/web:dns -> 10.42.0.5:5353; masquerade; only from 192.168.0.0/16 10.0.0.0/8 203.0.113.9/32
        local endpoints 10.42.0.5
        node:30080/tcp default/web:http -> [fd42::5]:8080; masquerade
        [2001:db8::5]:80/tcp default/web:http -> [fd42::5]:8080; masquerade
        [2001:db8::5]:53/udp default/web:dns -> reject; masquerade
        [fd43::9]:80/tcp default/web:http -> [fd42::5]:8080
        [fd43::9]:53/udp default/web:dns -> reject
    "#]],
    );
}

#[test]
fn external_traffic_stays_on_the_node_and_inside_traffic_does_not() {
    let spec = json!({
        "type": "LoadBalancer", "clusterIP": "10.43.0.9", "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 31000,
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
    });
    check(
        spec.clone(),
        &[both_nodes()],
        expect![[r#"
        node:30080/tcp default/web:http -> 10.42.0.5:8080; from inside 10.42.0.5:8080 10.42.1.5:8080
        10.43.0.9:80/tcp default/web:http -> 10.42.0.5:8080 10.42.1.5:8080
        local endpoints 10.42.0.5
        health :31000 default/web 1
    "#]],
    );
    check(
        spec,
        &[elsewhere()],
        expect![[r#"
        node:30080/tcp default/web:http -> drop; from inside 10.42.1.5:8080
        10.43.0.9:80/tcp default/web:http -> 10.42.1.5:8080
        health :31000 default/web 0
    "#]],
    );
}

#[test]
fn internal_traffic_stays_on_the_node() {
    let spec = with(cluster_ip(), json!({"internalTrafficPolicy": "Local"}));
    check(
        spec.clone(),
        &[both_nodes()],
        expect![[r#"
        10.43.0.9:80/tcp default/web:http -> 10.42.0.5:8080
        local endpoints 10.42.0.5
    "#]],
    );
    check(
        spec,
        &[elsewhere()],
        expect![[r#"
        10.43.0.9:80/tcp default/web:http -> drop
    "#]],
    );
}

#[test]
fn clients_stay_with_their_endpoint() {
    let spec = with(
        cluster_ip(),
        json!({
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        }),
    );
    check(
        spec,
        &[both_nodes()],
        expect![[r#"
        10.43.0.9:80/tcp default/web:http -> sticky default/web:http/tcp/cluster
        sticky default/web:http/tcp/cluster 60s -> 10.42.0.5:8080 10.42.1.5:8080
        local endpoints 10.42.0.5
    "#]],
    );
}

#[test]
fn hints_are_followed_when_all_have_one() {
    let hinted = |zones: [Option<&str>; 3]| {
        let endpoints: Vec<Value> = (1..)
            .zip(zones)
            .map(|(number, zone)| {
                let hints = zone.map(|zone| json!({"forZones": [{"name": zone}]}));
                json!({"addresses": [format!("10.42.0.{number}")], "hints": hints})
            })
            .collect();
        plan(&service(cluster_ip()), &[slice(json!(endpoints))]).ipv4.to_string()
    };
    let all = "-> 10.42.0.1:8080 10.42.0.2:8080 10.42.0.3:8080";
    assert!(
        hinted([Some("a"), Some("b"), Some("a")]).contains("-> 10.42.0.1:8080 10.42.0.3:8080\n")
    );
    assert!(hinted([Some("a"), None, Some("a")]).contains(all));
    assert!(hinted([Some("b"), Some("b"), Some("b")]).contains(all));
    let near = json!([
        {"addresses": ["10.42.0.1"], "hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "there"}]}},
        {"addresses": ["10.42.0.2"], "hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "here"}]}},
    ]);
    let plan = plan(&service(cluster_ip()), &[slice(near)]);
    assert!(plan.to_string().contains("-> 10.42.0.2:8080\n"), "{plan}");
}

#[test]
fn headless_external_and_foreign_services_have_no_front_end() {
    for spec in [
        json!({"clusterIP": "None", "ports": [{"port": 80}]}),
        json!({"clusterIP": "", "ports": [{"port": 80}]}),
        json!({"type": "ExternalName", "externalName": "example.com"}),
    ] {
        check(spec, &[both_nodes()], expect![[""]]);
    }
    for label in ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"] {
        let mut foreign = service(cluster_ip());
        foreign.metadata.labels = Some(BTreeMap::from([(label.to_owned(), String::new())]));
        assert_eq!(plan(&foreign, &[both_nodes()]), Plan::default(), "{label}");
    }
}

#[test]
fn an_address_that_two_services_claim_is_the_firsts() {
    let spec = with(cluster_ip(), json!({"externalIPs": ["203.0.113.5"]}));
    let (mut first, mut second) =
        (service(spec.clone()), service(with(spec, json!({"clusterIP": "10.43.0.8"}))));
    first.metadata.name = Some("a".into());
    second.metadata.name = Some("b".into());
    let forwards = decide([&first, &second], [], &node());
    assert_eq!(forwards, decide([&second, &first], [], &node()));
    assert!(forwards.to_string().contains("203.0.113.5:80/tcp default/a:http"));
}

#[test]
fn a_change_of_one_service_is_a_change_of_one_front_end() {
    let mut other = service(with(cluster_ip(), json!({"clusterIP": "10.43.0.8"})));
    other.metadata.name = Some("other".into());
    let web = service(cluster_ip());
    let old = decide([&web, &other], &[both_nodes()], &node());
    let new = decide([&web, &other], &[elsewhere()], &node());
    let change = diff(&old.ipv4, &new.ipv4);
    let shown: Vec<String> = change
        .front_ends_removed
        .iter()
        .chain(&change.front_ends_added)
        .map(|(front_end, handling)| format!("{front_end} {handling}"))
        .collect();
    assert_eq!(
        shown,
        [
            "10.43.0.9:80/tcp default/web:http -> 10.42.0.5:8080 10.42.1.5:8080",
            "10.43.0.9:80/tcp default/web:http -> 10.42.1.5:8080",
        ]
    );
    assert!(change.cluster_ips_added.is_empty() && change.cluster_ips_removed.is_empty());
    assert_eq!(change.local_endpoints_removed.len(), 1);
    assert!(diff(&new.ipv4, &new.ipv4).is_empty());
}
