//! The audit log: levels, stages, annotations.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use apiserver::audit::{AuditOptions, LogOptions, Policy};
use serde_json::{Value, json};

use crate::bench::{Bench, admin, config, read, who};

/// A server with a log, and the log.
struct Audited {
    bench: Bench,
    path: PathBuf,
}

impl Audited {
    async fn start(rules: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("keelson-audit-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name).join("audit.log");
        let policy = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}\n");
        let policy = Policy::from_yaml(&policy).unwrap();
        let log = LogOptions { path: path.clone(), ..LogOptions::default() };
        let mut config = config();
        config.audit = Some(AuditOptions { policy, log });
        Self { bench: Bench::with(config).await, path }
    }

    /// The events of a user, once there are as many.
    async fn events(&self, user: &str, count: usize) -> Vec<Value> {
        let metrics = "GET /metrics";
        let mut found = Vec::new();
        let all = |_: &crate::bench::Reply| {
            let text = std::fs::read_to_string(&self.path).unwrap_or_default();
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.filter(|event| event["user"]["username"] == user).count() >= count
        };
        self.bench.until(&who("observer", &["system:masters"]), metrics, all).await;
        let text = std::fs::read_to_string(&self.path).unwrap();
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            if event["user"]["username"] == user {
                found.push(event);
            }
        }
        found
    }

    async fn finish(self) {
        self.bench.finish().await;
        std::fs::remove_dir_all(self.path.parent().unwrap()).unwrap();
    }
}

fn stages(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["stage"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn events_say_who_did_what_and_how_it_ended() {
    let audited = Audited::start(
        "- {level: RequestResponse, resources: [{resources: [configmaps]}], omitManagedFields: true}\n\
         - {level: None, users: [observer]}\n- {level: Metadata}",
    )
    .await;
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}});
    let headers =
        [("audit-id", "my-id"), ("user-agent", "tester/1.0"), ("x-forwarded-for", "10.1.1.1")];
    let line = "POST /api/v1/namespaces/default/configmaps?dryRun=All";
    let made = audited.bench.ask_with(&admin(), line, &headers, body.clone()).await;
    assert_eq!((made.code, made.header("audit-id")), (201, "my-id"));
    let ann = who("ann", &[]);
    let refused =
        audited.bench.ask(&ann, "GET /api/v1/namespaces/default/secrets/s", Value::Null).await;
    assert_eq!(refused.code, 403);

    let events = audited.events("admin", 2).await;
    assert_eq!(stages(&events), ["RequestReceived", "ResponseComplete"]);
    let whole = &events[1];
    assert_eq!(whole["apiVersion"], "audit.k8s.io/v1");
    assert_eq!(whole["auditID"], "my-id");
    assert_eq!(whole["level"], "RequestResponse");
    assert_eq!(whole["verb"], "create");
    assert_eq!(whole["sourceIPs"], json!(["10.1.1.1"]));
    assert_eq!(whole["userAgent"], "tester/1.0");
    assert_eq!(whole["requestURI"], "/api/v1/namespaces/default/configmaps?dryRun=All");
    let reference =
        json!({"resource": "configmaps", "namespace": "default", "name": "c", "apiVersion": "v1"});
    assert_eq!(whole["objectRef"], reference);
    assert_eq!(whole["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(whole["requestObject"], body);
    assert_eq!(whole["responseObject"]["data"], json!({"a": "b"}));
    assert_eq!(whole["responseObject"]["metadata"].get("managedFields"), None);
    assert_eq!(whole["annotations"]["authorization.k8s.io/decision"], "allow");

    let events = audited.events("ann", 2).await;
    let status = &events[1]["responseStatus"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(403), &json!("Forbidden")));
    assert_eq!(events[1]["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(events[1].get("responseObject"), None);
    audited.finish().await;
}

#[tokio::test]
async fn watches_have_a_stage_of_their_own_and_impersonation_is_told() {
    let audited = Audited::start(
        "- {level: Metadata, users: [admin], verbs: [watch, get], omitStages: [RequestReceived]}",
    )
    .await;
    let watch = "GET /api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1";
    let open = audited.bench.send(&admin(), watch, &[], &Value::Null).await;
    assert_eq!(stages(&audited.events("admin", 1).await), ["ResponseStarted"]);
    drop(open);
    assert_eq!(stages(&audited.events("admin", 2).await), ["ResponseStarted", "ResponseComplete"]);

    let headers = [("impersonate-user", "bob")];
    let line = "GET /api/v1/namespaces/default/configmaps/x";
    let reply = audited.bench.ask_with(&admin(), line, &headers, Value::Null).await;
    assert_eq!(reply.code, 403);
    let events = audited.events("admin", 3).await;
    assert_eq!(events[2]["impersonatedUser"]["username"], "bob");
    audited.finish().await;
}

#[tokio::test]
async fn admission_leaves_its_notes() {
    let audited = Audited::start("- {level: Metadata, users: [admin], verbs: [create]}").await;
    let group = "/apis/admissionregistration.k8s.io/v1";
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "noting"}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["pods"]}]},
            "validations": [{"expression": "false", "message": "noted"}],
            "auditAnnotations": [{"key": "who", "valueExpression": "request.userInfo.username"}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "noting"}, "spec": {"policyName": "noting", "validationActions": ["Audit"]}});
    let other = who("other", &["system:masters"]);
    for (plural, object) in
        [("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)]
    {
        let made = audited.bench.ask(&other, &format!("POST {group}/{plural}"), object).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict", "labels": {
        "pod-security.kubernetes.io/audit": "restricted", "pod-security.kubernetes.io/enforce": "baseline"}}});
    audited.bench.ask(&other, "POST /api/v1/namespaces", space).await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    audited.bench.ask(&other, "POST /api/v1/namespaces/strict/serviceaccounts", account).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = audited.bench.ask(&admin(), "POST /api/v1/namespaces/strict/pods", pod).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let events = audited.events("admin", 2).await;
    let notes = &events[1]["annotations"];
    assert_eq!(notes["noting/who"], "admin");
    assert_eq!(notes["pod-security.kubernetes.io/enforce-policy"], "baseline:latest");
    let violations = notes["pod-security.kubernetes.io/audit-violations"].as_str().unwrap();
    assert!(
        violations.starts_with("would violate PodSecurity \"restricted:latest\": "),
        "{violations}"
    );
    let failures = notes["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap();
    let failures: Value = serde_json::from_str(failures).unwrap();
    assert_eq!(failures[0]["message"], "noted");
    audited.finish().await;
}

#[tokio::test]
async fn lists_are_recorded_whole_when_they_have_been_sent() {
    let audited =
        Audited::start("- {level: RequestResponse, users: [admin], omitStages: [RequestReceived]}")
            .await;
    let open = audited
        .bench
        .send(&admin(), "GET /apis/rbac.authorization.k8s.io/v1/clusterroles", &[], &Value::Null)
        .await;
    read(open).await;
    let events = audited.events("admin", 1).await;
    let items = events[0]["responseObject"]["items"].as_array().unwrap();
    assert!(items.len() > 10);
    audited.finish().await;
}
