//! Services: defaults, changes of type, faults, columns.

use super::*;
use crate::kinds::cells;
use crate::kinds::check::show;

fn sample(extra: Value) -> Value {
    let mut object = json!({"metadata": {"name": "s"}, "spec": {
        "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack", "selector": {"a": "b"}, "ports": [{"port": 80}]}});
    for (key, value) in extra.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    Service.default(&mut object);
    object
}

#[test]
fn defaults_are_upstreams() {
    let mut bare = json!({"spec": {"ports": [{"port": 80}, {"port": 81, "targetPort": "x"}],
        "sessionAffinity": "ClientIP"}});
    Service.default(&mut bare);
    assert_eq!(
        bare,
        json!({"spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80},
                {"port": 81, "targetPort": "x", "protocol": "TCP"}],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
            "type": "ClusterIP", "internalTrafficPolicy": "Cluster"},
            "status": {"loadBalancer": {}}})
    );
    let balanced = sample(json!({"type": "LoadBalancer"}));
    assert_eq!(balanced["spec"]["externalTrafficPolicy"], "Cluster");
    assert_eq!(balanced["spec"]["allocateLoadBalancerNodePorts"], true);
}

#[test]
fn faults_read_as_upstreams() {
    let cases = [
        (json!({}), ""),
        (json!({"ports": []}), "spec.ports: Required value"),
        (
            json!({"ports": [{"port": 0}]}),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive\nspec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            json!({"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "a"}]}),
            "spec.ports[1].name: Duplicate value: \"a\"\nspec.ports[1]: Duplicate value: {\"port\":1,\"protocol\":\"TCP\"}",
        ),
        (
            json!({"ports": [{"port": 1, "protocol": "X"}]}),
            "spec.ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        (
            json!({"ports": [{"port": 1, "nodePort": 30000}]}),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            json!({"type": "Foo"}),
            "spec.type: Unsupported value: \"Foo\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ),
        (
            json!({"externalIPs": ["127.0.0.1"]}),
            "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            json!({"clusterIPs": ["10.0.0.2"]}),
            "spec.clusterIPs: Invalid value: [\"10.0.0.2\"]: first value must match `clusterIP`",
        ),
        (
            json!({"sessionAffinity": "X"}),
            "spec.sessionAffinity: Unsupported value: \"X\": supported values: \"ClientIP\", \"None\"",
        ),
    ];
    for (extra, text) in cases {
        assert_eq!(show(&Service.validate(&sample(extra.clone()))), text, "{extra}");
    }
}

#[test]
fn the_address_stays_and_ports_are_kept() {
    let mut old = sample(json!({"type": "NodePort"}));
    old["spec"]["ports"][0]["nodePort"] = json!(30080);
    let mut new = sample(json!({"type": "NodePort"}));
    for field in ["clusterIP", "clusterIPs"] {
        tree::remove(&mut new["spec"], field);
    }
    Service.prepare_for_update(&mut new, &old);
    assert_eq!(new["spec"]["clusterIPs"], json!(["10.0.0.1"]));
    assert_eq!(new["spec"]["ports"][0]["nodePort"], 30080);
    assert_eq!(show(&Service.validate_update(&new, &old)), "");
    new["spec"]["clusterIP"] = json!("10.0.0.9");
    new["spec"]["clusterIPs"] = json!(["10.0.0.9"]);
    assert_eq!(
        show(&Service.validate_update(&new, &old)),
        "spec.clusterIPs[0]: Invalid value: [\"10.0.0.9\"]: may not change once set"
    );
}

#[test]
fn a_new_type_drops_what_belonged_to_the_old() {
    let mut old = sample(json!({"type": "NodePort"}));
    old["spec"]["ports"][0]["nodePort"] = json!(30080);
    let mut new = old.clone();
    new["spec"]["type"] = json!("ClusterIP");
    Service.prepare_for_update(&mut new, &old);
    assert_eq!(new["spec"]["ports"][0].get("nodePort"), None);
    assert_eq!(new["spec"].get("externalTrafficPolicy"), None);
    let mut named = old.clone();
    named["spec"]["type"] = json!("ExternalName");
    named["spec"]["externalName"] = json!("a.b");
    Service.prepare_for_update(&mut named, &old);
    assert_eq!(named["spec"].get("clusterIPs"), None);
    assert_eq!(show(&Service.validate_update(&named, &old)), "");
}

#[test]
fn what_an_updater_leaves_out_is_kept() {
    let mut old = sample(json!({"type": "LoadBalancer", "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack"}));
    old["spec"]["ports"][0]["nodePort"] = json!(30080);
    let mut new = old.clone();
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        tree::remove(&mut new["spec"], field);
    }
    new["spec"]["allocateLoadBalancerNodePorts"] = json!(false);
    Service.prepare_for_update(&mut new, &old);
    for field in ["ipFamilies", "ipFamilyPolicy", "ports"] {
        assert_eq!(new["spec"][field], old["spec"][field]);
    }
    assert_eq!(show(&Service.validate_update(&new, &old)), "");
}

#[test]
fn columns_show_where_it_is() {
    let mut object = sample(json!({"type": "LoadBalancer"}));
    object["spec"]["ports"][0]["nodePort"] = json!(30080);
    let now = "2026-01-01T00:00:00Z";
    assert_eq!(
        cells::show(&rows()[0], &object, now),
        ["LoadBalancer", "10.0.0.1", "<pending>", "80:30080/TCP", "<unknown>", "a=b"]
    );
    object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.11"}, {"hostname": "z"},
        {"ip": "198.51.100.1"}]}});
    assert_eq!(cells::show(&rows()[0], &object, now)[2], "198.51.100.1,...");
}
