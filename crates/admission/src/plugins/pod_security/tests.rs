//! What each level refuses, and how it says so.

use serde_json::json;

use super::*;
use crate::testing::{Case, Cluster};

fn cluster(labels: Value) -> Cluster {
    Cluster::default().with("namespaces", json!({"metadata": {"name": "n", "labels": labels}}))
}

fn enforcing(level: &str, version: &str) -> Cluster {
    cluster(json!({"pod-security.kubernetes.io/enforce": level,
        "pod-security.kubernetes.io/enforce-version": version}))
}

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec})
}

fn refusal(level: &str, version: &str, spec: Value) -> String {
    Case::create("pods", pod(spec)).refusal(&PodSecurity, &enforcing(level, version))
}

fn hardened() -> Value {
    json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]}}}]})
}

#[test]
fn baseline_refuses_ways_out() {
    let container = |more: Value| json!({"containers": [{"name": "c", "securityContext": more}]});
    let cases = [
        (json!({"containers": [{"name": "c"}]}), ""),
        (
            container(json!({"privileged": true})),
            r#"privileged (container "c" must not set securityContext.privileged=true)"#,
        ),
        (
            json!({"hostNetwork": true, "hostPID": true}),
            "host namespaces (hostNetwork=true, hostPID=true)",
        ),
        (
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            r#"hostPath volumes (volume "v")"#,
        ),
        (
            json!({"containers": [{"name": "c", "ports": [{"hostPort": 80}, {"hostPort": 443}]}]}),
            r#"hostPort (container "c" uses hostPorts 443, 80)"#,
        ),
        (
            container(json!({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}})),
            r#"non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add)"#,
        ),
        (
            container(json!({"procMount": "Unmasked"})),
            r#"procMount (container "c" must not set securityContext.procMount to "Unmasked")"#,
        ),
        (
            container(json!({"seccompProfile": {"type": "Unconfined"}})),
            r#"seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")"#,
        ),
        (
            container(json!({"seLinuxOptions": {"type": "x", "user": "u"}})),
            r#"seLinuxOptions (container "c" set forbidden securityContext.seLinuxOptions: type "x"; user may not be set)"#,
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
            r#"forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")"#,
        ),
        (
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ];
    for (spec, why) in cases {
        let expected = if why.is_empty() {
            String::new()
        } else {
            format!("pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": {why}")
        };
        assert_eq!(refusal("baseline", "latest", spec.clone()), expected);
        assert_eq!(refusal("privileged", "latest", spec), "");
    }
}

#[test]
fn hosts_of_probes_are_refused_only_where_a_version_is_named() {
    let spec = json!({"containers": [{"name": "c", "livenessProbe": {"tcpSocket": {"host": "10.0.0.1"}}}]});
    assert_eq!(refusal("baseline", "latest", spec.clone()), "");
    assert_eq!(refusal("baseline", "v1.33", spec.clone()), "");
    assert!(refusal("baseline", "v1.34", spec).contains("probe or lifecycle host (container"));
}

#[test]
fn restricted_wants_hardening() {
    let bare = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    assert_eq!(
        refusal("restricted", "latest", bare),
        r#"pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (containers "a", "b" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers "a", "b" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#
    );
    assert_eq!(refusal("restricted", "latest", hardened()), "");
    let mut spec = hardened();
    spec["volumes"] = json!([{"name": "v", "hostPath": {}}, {"name": "w", "nfs": {}}, {"name": "ok", "emptyDir": {}}]);
    assert!(refusal("restricted", "latest", spec).ends_with(
        r#"restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")"#
    ));
    let mut spec = hardened();
    spec["containers"][0]["securityContext"]["runAsUser"] = json!(0);
    assert!(
        refusal("restricted", "latest", spec.clone())
            .ends_with(r#"runAsUser=0 (container "c" must not set runAsUser=0)"#)
    );
    assert_eq!(refusal("restricted", "v1.22", spec), "");
}

#[test]
fn versions_choose_the_rules() {
    let spec =
        json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "1"}]}});
    assert_eq!(refusal("baseline", "v1.32", spec.clone()), "");
    assert!(
        refusal("baseline", "v1.31", spec)
            .contains("baseline:v1.31\": forbidden sysctls (net.ipv4.tcp_rmem)")
    );
}

#[test]
fn warnings_are_for_pods_and_templates() {
    let cluster = cluster(json!({"pod-security.kubernetes.io/warn": "baseline"}));
    let spec = json!({"hostNetwork": true});
    let expected =
        ["would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"];
    let done = Case::create("pods", pod(spec.clone())).run(&PodSecurity, &cluster).unwrap();
    assert_eq!(done.warnings, expected);
    let deployment =
        json!({"metadata": {"name": "d", "namespace": "n"}, "spec": {"template": {"spec": spec}}});
    let done = Case::create("deployments", deployment.clone()).run(&PodSecurity, &cluster).unwrap();
    assert_eq!(done.warnings, expected);
    let strict = enforcing("baseline", "latest");
    let done = Case::create("deployments", deployment).run(&PodSecurity, &strict).unwrap();
    assert_eq!(done.warnings, expected);
}

#[test]
fn the_audit_log_gets_what_is_enforced_and_what_was_found() {
    let auditing = cluster(json!({"pod-security.kubernetes.io/audit": "baseline"}));
    let template = json!({"metadata": {"name": "d", "namespace": "n"},
        "spec": {"template": {"spec": {"hostPID": true}}}});
    let found = "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    let (enforced, violations) = ("enforce-policy", "audit-violations");
    let cases = [
        (
            "pods",
            pod(json!({"hostPID": true})),
            vec![(enforced, "privileged:latest"), (violations, found)],
        ),
        ("pods", pod(json!({})), vec![(enforced, "privileged:latest")]),
        ("deployments", template, vec![(violations, found)]),
    ];
    for (plural, object, expected) in cases {
        let outcome = Case::create(plural, object).run(&PodSecurity, &auditing).unwrap();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(key, value)| (format!("{PREFIX}{key}"), value.to_owned()))
            .collect();
        assert_eq!(outcome.annotations, expected, "{plural}");
    }
}

#[test]
fn updates_that_run_nothing_new_pass() {
    let strict = enforcing("restricted", "latest");
    let old = pod(json!({"containers": [{"name": "c", "image": "a"}]}));
    let mut same = old.clone();
    same["metadata"]["labels"] = json!({"x": "y"});
    assert_eq!(Case::update("pods", old.clone(), same).refusal(&PodSecurity, &strict), "");
    let mut debugged = old.clone();
    debugged["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "b"}]);
    let debugged = Case::update("pods", old, debugged).at("ephemeralcontainers");
    assert!(debugged.refusal(&PodSecurity, &strict).contains("containers \"c\", \"d\""));
}

#[test]
fn namespaces_are_checked_and_warn_of_present_pods() {
    let namespace = |labels: Value| json!({"metadata": {"name": "n", "labels": labels}});
    let wrong = json!({"pod-security.kubernetes.io/enforce": "tight", "pod-security.kubernetes.io/warn-version": "1"});
    assert_eq!(
        Case::create("namespaces", namespace(wrong)).refusal(&PodSecurity, &Cluster::default()),
        "Namespace \"n\" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"tight\": must be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1\": must be \"latest\" or \"v1.x\"]"
    );
    let mut cluster = Cluster::default();
    for name in ["b", "a", "c"] {
        let mut one = pod(json!({"hostNetwork": true}));
        one["metadata"]["name"] = json!(name);
        cluster = cluster.with("pods", one);
    }
    let strict = namespace(json!({"pod-security.kubernetes.io/enforce": "baseline"}));
    let done = Case::update("namespaces", namespace(json!({})), strict)
        .run(&PodSecurity, &cluster)
        .unwrap();
    assert_eq!(
        done.warnings,
        [
            "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 2 other pods): host namespaces",
        ]
    );
}
