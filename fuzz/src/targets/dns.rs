//! Questions to the name server of a node, and the answers of others that it passes on.

use std::sync::LazyLock;

use netplan::dns::{Zone, ZoneConfig};
use serde_json::json;

use super::{USUAL, choice, with_choices};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "dns",
    seeds: || {
        let questions = [
            question(b"\x03web\x07default\x03svc\x07cluster\x05local\0", 1, true),
            question(
                b"\x05_http\x04_tcp\x03web\x07default\x03svc\x07cluster\x05local\0",
                33,
                false,
            ),
            question(b"\x019\x010\x0243\x0210\x07in-addr\x04arpa\0", 12, false),
            question(b"\x05alias\x07default\x03svc\x07cluster\x05local\0", 255, true),
        ];
        let mut answer = question(b"\x07example\x03com\0", 1, false);
        answer[2] = 0x81;
        answer[7] = 1;
        answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01");
        with_choices(2, &[&questions[..], &[answer]].concat())
    },
    words: &["\u{3}svc", "\u{7}cluster", "\u{5}local\0", "\u{c}", "\0\u{1}\0\u{1}"],
    input_bytes_max: 4096,
    run,
    ..USUAL
};

fn question(name: &[u8], kind: u8, extended: bool) -> Vec<u8> {
    let head = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(extended)];
    let more: &[u8] = if extended { b"\0\0\x29\x04\xd0\0\0\0\0\0\0" } else { b"" };
    [&head[..], name, &[0, kind, 0, 1], more].concat()
}

static ZONE: LazyLock<Zone> = LazyLock::new(|| {
    let services = [
        json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIP": "10.43.0.9",
            "clusterIPs": ["10.43.0.9", "fd43::9"], "ports": [{"name": "http", "port": 80}]}}),
        json!({"metadata": {"name": "alias", "namespace": "default"}, "spec": {"type": "ExternalName",
            "externalName": "web.default.svc.cluster.local"}}),
    ];
    let services =
        services.map(|it| serde_json::from_value(it).expect("a service as upstream has it"));
    let servers = vec![std::net::Ipv4Addr::new(10, 43, 0, 10).into()];
    let config = ZoneConfig { domain: "cluster.local".to_owned(), servers, ttl: 5 };
    Zone::build(&config, 7, &services, &[], &[])
});

fn run(input: &[u8]) {
    let (choice, body) = choice(input);
    let answer = match choice % 2 {
        0 => dns::fuzzing::answer(&ZONE, body),
        _ => dns::fuzzing::pass_on(body),
    };
    if let Some(answer) = answer {
        assert!(answer.len() <= dns::limits::UDP_ANSWER_BYTES_MAX, "{} bytes", answer.len());
    }
}
