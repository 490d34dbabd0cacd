//! Plans in, the operations that they cost out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use expect_test::{Expect, expect};
use netplan::service::{Action, FrontEnd, Handling, Protocol, StickyGroup};

use super::*;
use crate::config::Config;

fn layout() -> Layout {
    let mut config = Config::new("here");
    config.cluster_cidrs = vec!["10.42.0.0/16".parse().unwrap()];
    Layout::ipv4(&config)
}

fn front_end(text: &str) -> FrontEnd {
    let at: SocketAddr = text.parse().unwrap();
    let address = Some(at.ip()).filter(|ip| !ip.is_unspecified());
    FrontEnd { address, protocol: Protocol::Tcp, port: at.port() }
}

fn endpoints(texts: &[&str]) -> Arc<[SocketAddr]> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn handling(outside: Action) -> Handling {
    Handling {
        service: "default/web:".into(),
        outside,
        inside: None,
        masquerade: false,
        sources: None,
        udp_serving: Arc::default(),
    }
}

fn plan(front_ends: &[(&str, Handling)]) -> FamilyPlan {
    let front_ends = front_ends.iter().map(|(at, handling)| (front_end(at), handling.clone()));
    FamilyPlan { front_ends: front_ends.collect(), ..FamilyPlan::default() }
}

fn balance(texts: &[&str]) -> Handling {
    handling(Action::Balance(endpoints(texts)))
}

fn check(old: &FamilyPlan, new: &FamilyPlan, expected: Expect) {
    let mut batch = Batch::new();
    change(&mut batch, &layout(), old, new);
    let operations: String =
        batch.operations().map(|(_, operation)| format!("{operation}\n")).collect();
    expected.assert_eq(&operations);
}

#[test]
fn a_service_is_elements_of_shared_maps() {
    let one = plan(&[("10.43.0.1:80", balance(&["10.42.0.2:80", "10.42.0.3:80"]))]);
    check(
        &FamilyPlan::default(),
        &one,
        expect![[r#"
        add chain pick-2
        add rule to chain pick-2 (without a comment)
        add rule to chain pick-2 (without a comment)
        add 2 elements to set endpoints
        add 1 elements to set services
    "#]],
    );
    let two = plan(&[
        ("10.43.0.1:80", balance(&["10.42.0.2:80", "10.42.0.3:80"])),
        ("10.43.0.2:80", balance(&["10.42.0.4:80", "10.42.0.5:80"])),
    ]);
    check(
        &one,
        &two,
        expect![[r#"
        add 2 elements to set endpoints
        add 1 elements to set services
    "#]],
    );
    check(
        &two,
        &one,
        expect![[r#"
        delete 2 elements from set endpoints
        delete 1 elements from set services
    "#]],
    );
    check(&one, &one, expect![[""]]);
}

#[test]
fn an_endpoint_more_is_an_element_more() {
    let two = plan(&[("10.43.0.1:80", balance(&["10.42.0.2:80", "10.42.0.3:80"]))]);
    let three =
        plan(&[("10.43.0.1:80", balance(&["10.42.0.2:80", "10.42.0.3:80", "10.42.0.4:80"]))]);
    check(
        &two,
        &three,
        expect![[r#"
        add chain pick-3
        add rule to chain pick-3 (without a comment)
        add rule to chain pick-3 (without a comment)
        delete 1 elements from set services
        add 1 elements to set endpoints
        add 1 elements to set services
        flush chain pick-2
        delete chain pick-2
    "#]],
    );
    let other = plan(&[("10.43.0.1:80", balance(&["10.42.0.2:80", "10.42.0.9:80"]))]);
    check(
        &two,
        &other,
        expect![[r#"
        delete 1 elements from set endpoints
        add 1 elements to set endpoints
    "#]],
    );
}

#[test]
fn what_is_refused_and_what_is_guarded() {
    let mut guarded = balance(&["10.42.0.2:80"]);
    guarded.sources = Some(["192.0.2.0/24".parse().unwrap()].into());
    guarded.masquerade = true;
    guarded.inside = Some(Action::Balance(endpoints(&["10.42.0.2:80", "10.42.1.2:80"])));
    let new = plan(&[
        ("10.43.0.1:80", handling(Action::Reject)),
        ("0.0.0.0:30080", handling(Action::Drop)),
        ("203.0.113.9:80", guarded),
    ]);
    check(
        &FamilyPlan::default(),
        &new,
        expect![[r#"
        add chain pick-1
        add rule to chain pick-1 (without a comment)
        add rule to chain pick-1 (without a comment)
        add chain inside-pick-2
        add rule to chain inside-pick-2 (without a comment)
        add rule to chain inside-pick-2 (without a comment)
        add chain firewall-203.0.113.9/tcp/80
        flush chain firewall-203.0.113.9/tcp/80
        add rule to chain firewall-203.0.113.9/tcp/80 (without a comment)
        add 1 elements to set endpoints
        add 2 elements to set endpoints-inside
        add 1 elements to set firewalls
        add 1 elements to set masquerade
        add 2 elements to set refused
        add 1 elements to set services
        add 1 elements to set services-inside
        add 1 elements to set short-circuit
    "#]],
    );
    check(
        &new,
        &FamilyPlan::default(),
        expect![[r#"
        delete 1 elements from set endpoints
        delete 2 elements from set endpoints-inside
        delete 1 elements from set firewalls
        delete 1 elements from set masquerade
        delete 2 elements from set refused
        delete 1 elements from set services
        delete 1 elements from set services-inside
        delete 1 elements from set short-circuit
        flush chain firewall-203.0.113.9/tcp/80
        delete chain firewall-203.0.113.9/tcp/80
        flush chain pick-1
        delete chain pick-1
        flush chain inside-pick-2
        delete chain inside-pick-2
    "#]],
    );
}

#[test]
fn a_sticky_endpoint_that_goes_takes_its_clients_with_it() {
    let sticky = |texts: &[&str]| {
        let group: Arc<str> = "default/web:/tcp/cluster".into();
        let service = "default/web:/tcp".into();
        let group_plan = StickyGroup { service, endpoints: endpoints(texts), timeout_seconds: 60 };
        FamilyPlan {
            sticky_groups: BTreeMap::from([(group.clone(), group_plan)]),
            ..plan(&[("10.43.0.1:80", handling(Action::Sticky(group)))])
        }
    };
    let (two, one) = (sticky(&["10.42.0.2:80", "10.42.0.3:80"]), sticky(&["10.42.0.3:80"]));
    check(
        &two,
        &one,
        expect![[r#"
        add chain sticky-default/web//tcp/cluster
        flush chain sticky-default/web//tcp/cluster
        add rule to chain sticky-default/web//tcp/cluster (without a comment)
        add rule to chain sticky-default/web//tcp/cluster (without a comment)
        flush chain endpoint-default/web//tcp-10.42.0.2/80-60s
        delete chain endpoint-default/web//tcp-10.42.0.2/80-60s
        delete set affinity-default/web//tcp-10.42.0.2/80-60s
    "#]],
    );
}
