//! Defaults of a pod's spec, whether in a Pod or in a template, and those of Pods alone.

use serde_json::{Map, Value, json};

use super::super::tree::{
    at, at_mut, child, each, fill, fill_zero, flag, int, is_zero, make, text,
};
use super::resources;
use crate::quantity::Quantity;

/// Permission bits of files in volumes made from objects: 0644.
const VOLUME_MODE: i32 = 0o644;
/// Seconds that a projected service account token lives.
const TOKEN_SECONDS: i64 = 3600;
/// Seconds between SIGTERM and SIGKILL.
const GRACE_SECONDS: i64 = 30;

/// Defaults of a spec, wherever it is.
pub(in super::super) fn spec(spec: &mut Value) {
    fill_zero(spec, "dnsPolicy", "ClusterFirst");
    fill_zero(spec, "restartPolicy", "Always");
    fill(spec, "securityContext", json!({}));
    fill(spec, "terminationGracePeriodSeconds", GRACE_SECONDS);
    fill_zero(spec, "schedulerName", "default-scheduler");
    mirror_service_account(spec);
    each(spec, "volumes", volume);
    super::each_container(spec, container);
    if let Some(overhead) = child(spec, "overhead") {
        resource_list(overhead);
    }
    if let Some(resources) = child(spec, "resources") {
        requirements(resources);
    }
}

/// The old field `serviceAccount` says the same as `serviceAccountName`.
fn mirror_service_account(spec: &mut Value) {
    let old = text(spec, "/serviceAccount").to_owned();
    fill_zero(spec, "serviceAccountName", old.as_str());
    let name = text(spec, "/serviceAccountName").to_owned();
    if name.is_empty() {
        super::super::tree::remove(spec, "serviceAccountName");
        super::super::tree::remove(spec, "serviceAccount");
    } else {
        super::super::tree::set(spec, "serviceAccount", name);
    }
}

/// Defaults of a template with pods in it: `/template` of a workload's spec.
pub(in super::super) fn template(template: &mut Value) {
    if template.is_object() {
        spec(make(template, "spec"));
    }
}

/// Defaults of a Pod's spec beside those of [`spec`], which come after.
pub(in super::super) fn pod_only(spec: &mut Value) {
    each(spec, "containers", |container| {
        requests_from_limits(container);
        resize_policy(container);
    });
    each(spec, "initContainers", requests_from_limits);
    pod_level_requests(spec);
    // Older servers let such Pods in; nobody can wait for less than no time.
    let grace = "terminationGracePeriodSeconds";
    if int(spec, &format!("/{grace}")).is_some_and(|seconds| seconds < 0) {
        spec[grace] = 1.into();
    }
    fill(spec, "enableServiceLinks", true);
    if flag(spec, "/hostNetwork") {
        for list in ["containers", "initContainers"] {
            each(spec, list, |container| each(container, "ports", host_port));
        }
    }
}

fn host_port(port: &mut Value) {
    let number = port.get("containerPort").cloned().unwrap_or_default();
    if !is_zero(&number) {
        fill_zero(port, "hostPort", number);
    }
}

fn requests_from_limits(container: &mut Value) {
    let limits = at(container, "/resources/limits").and_then(Value::as_object).cloned();
    let (Some(limits), Some(resources)) = (limits, child(container, "resources")) else { return };
    let requests = make(resources, "requests");
    for (name, amount) in limits {
        fill(requests, &name, amount);
    }
}

/// What may change without a restart, for the resources that can.
fn resize_policy(container: &mut Value) {
    for resource in ["cpu", "memory"] {
        if at(container, "/resources/requests").is_none_or(|have| have.get(resource).is_none()) {
            continue;
        }
        let policies = super::super::tree::list(container, "/resizePolicy");
        if policies.iter().any(|policy| text(policy, "/resourceName") == resource) {
            continue;
        }
        fill(container, "resizePolicy", json!([]));
        let policy = json!({"resourceName": resource, "restartPolicy": "NotRequired"});
        if let Some(list) = container.get_mut("resizePolicy").and_then(Value::as_array_mut) {
            list.push(policy);
        }
    }
}

/// Requests of the pod as a whole, where it has limits of its own.
fn pod_level_requests(spec: &mut Value) {
    let limits = at(spec, "/resources/limits").and_then(Value::as_object).cloned();
    let Some(limits) = limits.filter(|limits| !limits.is_empty()) else { return };
    let mut wanted: Map<String, Value> = resources::aggregate(spec, "requests")
        .into_iter()
        .map(|(name, amount)| (name, amount.to_string().into()))
        .collect();
    for (name, amount) in limits {
        wanted.entry(name).or_insert(amount);
    }
    wanted.retain(|name, _| resources::fits_pod_level(name));
    if wanted.is_empty() {
        return;
    }
    let requests = make(make(spec, "resources"), "requests");
    for (name, amount) in wanted {
        fill(requests, &name, amount);
    }
}

/// Amounts in their canonical form, rounded up to thousandths.
pub(in super::super) fn resource_list(list: &mut Value) {
    for amount in list.as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let Ok(quantity) = Quantity::from_json(amount) {
            *amount = quantity.round_up_to_milli().to_string().into();
        }
    }
}

/// `limits` and `requests`.
pub(in super::super) fn requirements(resources: &mut Value) {
    for list in ["limits", "requests"] {
        if let Some(list) = child(resources, list) {
            resource_list(list);
        }
    }
}

/// References to the pod's own fields and resources, in a variable or a downward volume's item.
fn downward_refs(holder: &mut Value) {
    if let Some(field) = child(holder, "fieldRef") {
        fill_zero(field, "apiVersion", "v1");
    }
    if let Some(resource) = child(holder, "resourceFieldRef") {
        fill(resource, "divisor", "0");
    }
}

/// The policy for an image that none is given for: `Always` where the tag is (or would be) `latest`.
fn pull_policy(image: &str) -> &'static str {
    if !is_reference(image) {
        return "IfNotPresent";
    }
    let (name, has_digest) = match image.split_once('@') {
        Some((name, _)) => (name, true),
        None => (image, false),
    };
    let last = name.rsplit('/').next().unwrap_or_default();
    let is_latest = match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !has_digest && !image.is_empty(),
    };
    if is_latest { "Always" } else { "IfNotPresent" }
}

/// Whether a text can name an image: its characters, that is; the kubelet reads it in earnest.
fn is_reference(image: &str) -> bool {
    const NAME_BYTES_MAX: usize = 255;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-/:@+[]".contains(&b);
    let named = image.split('@').next().unwrap_or_default();
    if named.rsplit_once(':').map_or(named, |(before, _)| before).len() > NAME_BYTES_MAX {
        return false;
    }
    let first = image.bytes().next();
    first.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'[') && image.bytes().all(fits)
}

fn container(container: &mut Value) {
    let policy = pull_policy(text(container, "/image"));
    fill_zero(container, "imagePullPolicy", policy);
    fill_zero(container, "terminationMessagePath", "/dev/termination-log");
    fill_zero(container, "terminationMessagePolicy", "File");
    fill(container, "resources", json!({}));
    each(container, "ports", |port| fill_zero(port, "protocol", "TCP"));
    each(container, "env", |variable| {
        if let Some(source) = child(variable, "valueFrom") {
            downward_refs(source);
            if let Some(file) = child(source, "fileKeyRef") {
                fill(file, "optional", false);
            }
        }
    });
    if let Some(resources) = child(container, "resources") {
        requirements(resources);
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = child(container, kind) {
            probe(found);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(get) = at_mut(container, &format!("/lifecycle/{hook}/httpGet")) {
            http_get(get);
        }
    }
}

fn probe(probe: &mut Value) {
    for (key, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        fill_zero(probe, key, value);
    }
    if let Some(get) = child(probe, "httpGet") {
        http_get(get);
    }
    if let Some(grpc) = child(probe, "grpc") {
        fill(grpc, "service", "");
    }
}

fn http_get(get: &mut Value) {
    fill_zero(get, "path", "/");
    fill_zero(get, "scheme", "HTTP");
}

/// Fields of volume sources that have a constant default: source, field, value; `true` where an empty text or
/// 0 counts as missing.
fn source_defaults() -> [(&'static str, &'static str, Value, bool); 15] {
    [
        ("hostPath", "type", json!(""), false),
        ("secret", "defaultMode", json!(VOLUME_MODE), false),
        ("configMap", "defaultMode", json!(VOLUME_MODE), false),
        ("downwardAPI", "defaultMode", json!(VOLUME_MODE), false),
        ("projected", "defaultMode", json!(VOLUME_MODE), false),
        ("iscsi", "iscsiInterface", json!("default"), true),
        ("rbd", "pool", json!("rbd"), true),
        ("rbd", "user", json!("admin"), true),
        ("rbd", "keyring", json!("/etc/ceph/keyring"), true),
        ("azureDisk", "cachingMode", json!("ReadWrite"), false),
        ("azureDisk", "fsType", json!("ext4"), false),
        ("azureDisk", "readOnly", json!(false), false),
        ("azureDisk", "kind", json!("Shared"), false),
        ("scaleIO", "storageMode", json!("ThinProvisioned"), true),
        ("scaleIO", "fsType", json!("xfs"), true),
    ]
}

/// Constant defaults of the sources of a volume or persistent volume.
pub(in super::super) fn volume_source(volume: &mut Value) {
    for (source, key, value, is_zero_missing) in source_defaults() {
        let Some(found) = child(volume, source) else { continue };
        if is_zero_missing {
            fill_zero(found, key, value);
        } else {
            fill(found, key, value);
        }
    }
}

fn volume(volume: &mut Value) {
    let has_source = volume
        .as_object()
        .is_some_and(|map| map.iter().any(|(key, value)| key != "name" && !value.is_null()));
    if !has_source {
        fill(volume, "emptyDir", json!({}));
    }
    volume_source(volume);
    if let Some(image) = child(volume, "image") {
        let policy = pull_policy(text(image, "/reference"));
        fill_zero(image, "pullPolicy", policy);
    }
    if let Some(downward) = child(volume, "downwardAPI") {
        each(downward, "items", downward_refs);
    }
    if let Some(projected) = child(volume, "projected") {
        each(projected, "sources", projection);
    }
    if let Some(claim) = at_mut(volume, "/ephemeral/volumeClaimTemplate/spec") {
        claim_spec(claim);
    }
}

fn projection(source: &mut Value) {
    if let Some(downward) = child(source, "downwardAPI") {
        each(downward, "items", downward_refs);
    }
    if let Some(token) = child(source, "serviceAccountToken") {
        fill(token, "expirationSeconds", TOKEN_SECONDS);
    }
}

/// Defaults of a claim's spec, in a PersistentVolumeClaim or in a template of one.
pub(in super::super) fn claim_spec(spec: &mut Value) {
    fill(spec, "volumeMode", "Filesystem");
    if let Some(resources) = child(spec, "resources") {
        requirements(resources);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pull_policy_follows_the_tag() {
        let cases = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.2", "IfNotPresent"),
            ("r:5000/nginx", "Always"),
            ("r:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:00", "IfNotPresent"),
            ("nginx:latest@sha256:00", "Always"),
            ("", "IfNotPresent"),
            ("Not Valid!", "IfNotPresent"),
            ("-x", "IfNotPresent"),
        ];
        for (image, policy) in cases {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn a_bare_spec_becomes_complete() {
        let mut bare = json!({
            "serviceAccount": "sa",
            "containers": [{"name": "a", "image": "a:1", "ports": [{"containerPort": 80}],
                "livenessProbe": {"httpGet": {"port": 80}},
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "resources": {"limits": {"cpu": "0.5", "memory": "1024Ki"}}}],
            "volumes": [{"name": "e"}, {"name": "s", "secret": {"secretName": "x"}},
                {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
        });
        pod_only(&mut bare);
        spec(&mut bare);
        let expected = json!({
            "serviceAccount": "sa", "serviceAccountName": "sa",
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
            "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler",
            "enableServiceLinks": true,
            "containers": [{"name": "a", "image": "a:1", "imagePullPolicy": "IfNotPresent",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1,
                    "failureThreshold": 3},
                "env": [{"name": "IP", "valueFrom": {"fieldRef":
                    {"fieldPath": "status.podIP", "apiVersion": "v1"}}}],
                "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"},
                    {"resourceName": "memory", "restartPolicy": "NotRequired"}],
                "resources": {"limits": {"cpu": "500m", "memory": "1Mi"},
                    "requests": {"cpu": "500m", "memory": "1Mi"}}}],
            "volumes": [{"name": "e", "emptyDir": {}},
                {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}},
                {"name": "p", "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}]}}],
        });
        assert_eq!(bare, expected);
        let once = bare.clone();
        pod_only(&mut bare);
        spec(&mut bare);
        assert_eq!(bare, once);
    }

    #[test]
    fn host_network_takes_host_ports_and_pods_may_have_limits_of_their_own() {
        let mut bare = json!({
            "hostNetwork": true, "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
            "containers": [{"name": "a", "image": "a", "ports": [{"containerPort": 80}],
                "resources": {"requests": {"cpu": "1"}}}],
        });
        pod_only(&mut bare);
        assert_eq!(bare["containers"][0]["ports"][0]["hostPort"], 80);
        assert_eq!(bare["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
    }
}
