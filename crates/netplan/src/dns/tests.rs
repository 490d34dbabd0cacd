//! Objects as JSON in, answers as text out.

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use super::*;

fn zone() -> Zone {
    let services: Vec<Service> = [
        json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {
            "clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9", "fd43::9"],
            "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]}}),
        json!({"metadata": {"name": "db", "namespace": "data"}, "spec": {
            "clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]}}),
        json!({"metadata": {"name": "empty", "namespace": "data"}, "spec": {"clusterIP": "None"}}),
        json!({"metadata": {"name": "out", "namespace": "default"}, "spec": {
            "type": "ExternalName", "externalName": "Example.COM."}}),
        json!({"metadata": {"name": "alias", "namespace": "default"}, "spec": {
            "type": "ExternalName", "externalName": "web.default.svc.cluster.local"}}),
    ]
    .into_iter()
    .map(|service| serde_json::from_value(service).unwrap())
    .collect();
    let slices: Vec<EndpointSlice> = [
        json!({"metadata": {"namespace": "data", "labels": {"kubernetes.io/service-name": "db"}},
            "addressType": "IPv4", "ports": [{"name": "sql", "port": 5432}], "endpoints": [
                {"addresses": ["10.42.0.5"], "hostname": "db-0"},
                {"addresses": ["10.42.1.6"], "hostname": "db-1"},
                {"addresses": ["10.42.1.7"]},
                {"addresses": ["10.42.1.8"], "hostname": "db-2", "conditions": {"ready": false}}]}),
        json!({"metadata": {"namespace": "data", "labels": {"kubernetes.io/service-name": "db"}},
            "addressType": "IPv6", "ports": [{"name": "sql", "port": 5432}], "endpoints": [
                {"addresses": ["fd42::5"], "hostname": "db-0"}]}),
        json!({"metadata": {"namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": [
                {"addresses": ["10.42.0.9"]}]}),
    ]
    .into_iter()
    .map(|slice| serde_json::from_value(slice).unwrap())
    .collect();
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "quiet"}})).unwrap();
    let config = ZoneConfig {
        domain: "Cluster.local.".into(),
        servers: vec!["10.43.0.10".parse().unwrap()],
        ttl: 5,
    };
    Zone::build(&config, 7, &services, &slices, [&namespace])
}

fn check(name: &str, kind: Kind, expected: Expect) {
    let show = |records: Vec<Record>, prefix: &str| -> String {
        records.into_iter().map(|record| format!("{prefix}{record}\n")).collect()
    };
    let text = match zone().answer(name, kind) {
        Answer::NotOurs => "not ours\n".to_owned(),
        Answer::Records { answers, additional } => show(answers, "") + &show(additional, "+ "),
        Answer::Alias { record, target } => format!("{record}\n> {target}\n"),
        Answer::NoData(soa) => format!("no data, {soa}\n"),
        Answer::NoSuchName(soa) => format!("no such name, {soa}\n"),
    };
    expected.assert_eq(&text);
}

#[test]
fn cluster_services() {
    check(
        "web.default.svc.cluster.local",
        Kind::A,
        expect![[r#"
        web.default.svc.cluster.local. 5 IN A 10.43.0.9
    "#]],
    );
    check(
        "WEB.default.svc.Cluster.local.",
        Kind::Aaaa,
        expect![[r#"
        web.default.svc.cluster.local. 5 IN AAAA fd43::9
    "#]],
    );
    check(
        "_http._tcp.web.default.svc.cluster.local",
        Kind::Srv,
        expect![[r#"
        _http._tcp.web.default.svc.cluster.local. 5 IN SRV 0 100 80 web.default.svc.cluster.local.
        + web.default.svc.cluster.local. 5 IN A 10.43.0.9
        + web.default.svc.cluster.local. 5 IN AAAA fd43::9
    "#]],
    );
    check(
        "web.default.svc.cluster.local",
        Kind::Srv,
        expect![[r#"
        web.default.svc.cluster.local. 5 IN SRV 0 50 53 web.default.svc.cluster.local.
        web.default.svc.cluster.local. 5 IN SRV 0 50 80 web.default.svc.cluster.local.
        + web.default.svc.cluster.local. 5 IN A 10.43.0.9
        + web.default.svc.cluster.local. 5 IN AAAA fd43::9
    "#]],
    );
    check(
        "10-42-0-9.web.default.svc.cluster.local",
        Kind::A,
        expect![[r#"
        10-42-0-9.web.default.svc.cluster.local. 5 IN A 10.42.0.9
    "#]],
    );
}

#[test]
fn headless_services() {
    check(
        "db.data.svc.cluster.local",
        Kind::A,
        expect![[r#"
        db.data.svc.cluster.local. 5 IN A 10.42.0.5
        db.data.svc.cluster.local. 5 IN A 10.42.1.6
        db.data.svc.cluster.local. 5 IN A 10.42.1.7
    "#]],
    );
    check(
        "db-0.db.data.svc.cluster.local",
        Kind::Aaaa,
        expect![[r#"
        db-0.db.data.svc.cluster.local. 5 IN AAAA fd42::5
    "#]],
    );
    check(
        "_sql._tcp.db.data.svc.cluster.local",
        Kind::Srv,
        expect![[r#"
        _sql._tcp.db.data.svc.cluster.local. 5 IN SRV 0 33 5432 10-42-1-7.db.data.svc.cluster.local.
        _sql._tcp.db.data.svc.cluster.local. 5 IN SRV 0 33 5432 db-0.db.data.svc.cluster.local.
        _sql._tcp.db.data.svc.cluster.local. 5 IN SRV 0 33 5432 db-1.db.data.svc.cluster.local.
        + 10-42-1-7.db.data.svc.cluster.local. 5 IN A 10.42.1.7
        + db-0.db.data.svc.cluster.local. 5 IN A 10.42.0.5
        + db-0.db.data.svc.cluster.local. 5 IN AAAA fd42::5
        + db-1.db.data.svc.cluster.local. 5 IN A 10.42.1.6
    "#]],
    );
    check(
        "db-2.db.data.svc.cluster.local",
        Kind::A,
        expect![[r#"
        no such name, cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 5
    "#]],
    );
    check(
        "empty.data.svc.cluster.local",
        Kind::A,
        expect![[r#"
        no data, cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 5
    "#]],
    );
}

#[test]
fn aliases() {
    check(
        "out.default.svc.cluster.local",
        Kind::A,
        expect![[r#"
        out.default.svc.cluster.local. 5 IN CNAME example.com.
        > example.com
    "#]],
    );
    check(
        "out.default.svc.cluster.local",
        Kind::Cname,
        expect![[r#"
        out.default.svc.cluster.local. 5 IN CNAME example.com.
    "#]],
    );
    check(
        "alias.default.svc.cluster.local",
        Kind::A,
        expect![[r#"
        alias.default.svc.cluster.local. 5 IN CNAME web.default.svc.cluster.local.
        web.default.svc.cluster.local. 5 IN A 10.43.0.9
    "#]],
    );
}

#[test]
fn pods() {
    check(
        "10-42-7-7.default.pod.cluster.local",
        Kind::A,
        expect![[r#"
        10-42-7-7.default.pod.cluster.local. 5 IN A 10.42.7.7
    "#]],
    );
    check(
        "fd42--7.quiet.pod.cluster.local",
        Kind::Aaaa,
        expect![[r#"
        fd42--7.quiet.pod.cluster.local. 5 IN AAAA fd42::7
    "#]],
    );
    check(
        "10-42-7-7.nowhere.pod.cluster.local",
        Kind::A,
        expect![[r#"
        no such name, cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 5
    "#]],
    );
    check(
        "10-42-7-7.default.pod.cluster.local",
        Kind::Aaaa,
        expect![[r#"
        no data, cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 5
    "#]],
    );
}

#[test]
fn addresses_have_names() {
    check(
        "9.0.43.10.in-addr.arpa",
        Kind::Ptr,
        expect![[r#"
        9.0.43.10.in-addr.arpa. 5 IN PTR web.default.svc.cluster.local.
    "#]],
    );
    check(
        "5.0.42.10.in-addr.arpa",
        Kind::Ptr,
        expect![[r#"
        5.0.42.10.in-addr.arpa. 5 IN PTR db-0.db.data.svc.cluster.local.
    "#]],
    );
    let six = format!("9.{}3.4.d.f.ip6.arpa", "0.".repeat(27));
    check(
        &six,
        Kind::Ptr,
        expect![[r#"
        9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.4.d.f.ip6.arpa. 5 IN PTR web.default.svc.cluster.local.
    "#]],
    );
    for foreign in
        ["1.1.1.1.in-addr.arpa", "43.10.in-addr.arpa", "x.0.43.10.in-addr.arpa", "ip6.arpa"]
    {
        check(foreign, Kind::Ptr, expect!["not ours\n"]);
    }
}

#[test]
fn the_zone_itself() {
    check(
        "cluster.local",
        Kind::Soa,
        expect![[r#"
        cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 5
    "#]],
    );
    check(
        "cluster.local",
        Kind::Ns,
        expect![[r#"
        cluster.local. 5 IN NS ns.dns.cluster.local.
        + ns.dns.cluster.local. 5 IN A 10.43.0.10
    "#]],
    );
    check(
        "dns-version.cluster.local",
        Kind::Txt,
        expect![[r#"
        dns-version.cluster.local. 5 IN TXT "1.1.0"
    "#]],
    );
}

#[test]
fn names_between_exist_and_others_do_not() {
    for between in [
        "cluster.local",
        "svc.cluster.local",
        "default.svc.cluster.local",
        "quiet.pod.cluster.local",
        "_tcp.web.default.svc.cluster.local",
        "_http._tcp.web.default.svc.cluster.local",
    ] {
        assert!(matches!(zone().answer(between, Kind::A), Answer::NoData(_)), "{between}");
    }
    for missing in [
        "nowhere.svc.cluster.local",
        "x.default.svc.cluster.local",
        "x.cluster.local",
        "_udp._http.web.default.svc.cluster.local",
        "_none._tcp.web.default.svc.cluster.local",
        "a.b.c.web.default.svc.cluster.local",
        "x.out.default.svc.cluster.local",
        ".cluster.local",
        "..svc.cluster.local",
    ] {
        assert!(matches!(zone().answer(missing, Kind::A), Answer::NoSuchName(_)), "{missing}");
    }
    for foreign in ["example.com", "local", "xcluster.local", "", "."] {
        assert_eq!(zone().answer(foreign, Kind::A), Answer::NotOurs, "{foreign}");
    }
}
