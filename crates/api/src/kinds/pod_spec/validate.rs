//! Checks of a pod's spec, in a Pod or in a template.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::check::{At, Faults};
use super::super::{amounts, network};
use super::volumes::Volumes;
use super::{affinity, containers, placement, security, volumes};
use crate::name;

/// Where a spec is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Place {
    /// In a Pod.
    Pod,
    /// In the template of a workload, where some rules are laxer for the sake of old objects.
    Template,
}

/// What the checks of containers need to know of the spec.
pub(super) struct Context<'a> {
    /// Volumes by name.
    pub(super) volumes: Volumes<'a>,
    /// Names of the pod's resource claims.
    pub(super) claims: BTreeSet<&'a str>,
    /// `terminationGracePeriodSeconds`.
    pub(super) grace_seconds: Option<i64>,
    /// `restartPolicy`.
    pub(super) restart_policy: &'a str,
    /// Whether the pod shares the host's user namespace.
    pub(super) has_host_users: bool,
    place: Place,
}

impl Context<'_> {
    /// Whether the spec is in a Pod.
    pub(super) fn is_pod(&self) -> bool {
        self.place == Place::Pod
    }
}

const SECONDS_RANGE: &str = "must be between 1 and 2147483647, inclusive";
/// Longest host name that the kernel takes.
const HOST_NAME_MAX: usize = 64;
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_BYTES_MAX: usize = 2048;

/// Checks a spec with defaults.
pub(in super::super) fn spec(at: &At<'_>, faults: &mut Faults, place: Place) {
    let grace = at.get("terminationGracePeriodSeconds");
    if !grace.is_set() {
        faults.required(&grace, "");
    }
    let context = Context {
        volumes: volumes::validate(&at.get("volumes"), place == Place::Pod, faults),
        claims: at.get("resourceClaims").items().map(|claim| claim.get("name").text()).collect(),
        grace_seconds: grace.int(),
        restart_policy: at.get("restartPolicy").text(),
        has_host_users: at.get("hostUsers").value != &Value::Bool(false),
        place,
    };
    resource_claims(&at.get("resourceClaims"), faults);
    containers::main(&at.get("containers"), &context, faults);
    containers::init(at, &context, faults);
    containers::ephemeral(at, &context, faults);
    containers::pod_level(at, faults);
    host_network(at, place, faults);
    faults.one_of(&at.get("restartPolicy"), &["Always", "Never", "OnFailure"]);
    faults.one_of(
        &at.get("dnsPolicy"),
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
    );
    faults.labels(&at.get("nodeSelector"));
    security::pod(at, faults);
    affinity::validate(&at.get("affinity"), faults);
    dns_config(at, faults);
    for gate in at.get("readinessGates").items() {
        faults.qualified(&gate.get("conditionType"));
    }
    placement::scheduling_gates(&at.get("schedulingGates"), faults);
    placement::spread_constraints(&at.get("topologySpreadConstraints"), faults);
    host_users(at, faults);
    names(at, faults);
    placement::tolerations(&at.get("tolerations"), faults);
    host_aliases(&at.get("hostAliases"), faults);
    rest(at, faults);
    if place == Place::Pod {
        tokens_need_an_account(at, faults);
    }
}

fn names(at: &At<'_>, faults: &mut Faults) {
    for field in ["serviceAccountName", "nodeName"] {
        if !at.get(field).is_zero() {
            faults.rule(&at.get(field), name::subdomain);
        }
    }
    let deadline = at.get("activeDeadlineSeconds");
    if deadline.int().is_some_and(|seconds| !(1..=i64::from(i32::MAX)).contains(&seconds)) {
        faults.invalid(&deadline, SECONDS_RANGE);
    }
    let host = at.get("hostnameOverride");
    if !host.is_zero() {
        faults.rule(&host, name::subdomain);
        if host.text().len() > HOST_NAME_MAX {
            faults.too_long(&host, HOST_NAME_MAX);
        }
    }
    for field in ["hostname", "subdomain"] {
        if !at.get(field).is_zero() {
            faults.rule(&at.get(field), name::label);
        }
    }
}

fn rest(at: &At<'_>, faults: &mut Faults) {
    for field in ["priorityClassName", "runtimeClassName"] {
        if !at.get(field).is_zero() {
            faults.rule(&at.get(field), name::subdomain);
        }
    }
    faults.optional_one_of(&at.get("preemptionPolicy"), &["Never", "PreemptLowerPriority"]);
    for (_, amount) in at.get("overhead").entries() {
        amounts::non_negative(&amount, faults);
    }
    let os = at.get2("os", "name");
    if at.get("os").is_set() {
        if os.is_zero() {
            faults.required(&os, "cannot be empty");
        } else {
            faults.optional_one_of(&at.named_value("os", &os), &["linux", "windows"]);
        }
    }
}

fn host_users(at: &At<'_>, faults: &mut Faults) {
    if at.get("hostUsers").value != &Value::Bool(false) {
        return;
    }
    let text = "when `pod.Spec.HostUsers` is false";
    for (field, shown) in
        [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
    {
        if at.get(field).flag() {
            faults.forbidden(&at.named(shown), text);
        }
    }
}

fn host_network(at: &At<'_>, place: Place, faults: &mut Faults) {
    if !at.get("hostNetwork").flag() {
        return;
    }
    for container in at.get("containers").items() {
        for port in container.get("ports").items() {
            let host = port.get("hostPort").int().unwrap_or_default();
            let own = port.get("containerPort").int().unwrap_or_default();
            if (place == Place::Pod || host != 0) && host != own {
                faults.invalid_as(
                    &port.get("hostPort"),
                    host,
                    "must match `containerPort` when `hostNetwork` is true",
                );
            }
        }
    }
}

fn host_aliases(at: &At<'_>, faults: &mut Faults) {
    for alias in at.items() {
        network::ip(&alias.get("ip"), faults);
        for host in alias.get("hostnames").items() {
            faults.rule(&host, name::subdomain);
        }
    }
}

fn dns_config(spec: &At<'_>, faults: &mut Faults) {
    let at = spec.get("dnsConfig");
    let (servers, searches) = (at.get("nameservers"), at.get("searches"));
    if spec.get("dnsPolicy").text() == "None" {
        if !at.is_set() {
            faults.required(&at, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.len() == 0 {
            faults.required(
                &servers,
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            );
            return;
        }
    }
    if servers.len() > NAMESERVERS_MAX {
        faults.invalid(&servers, format!("must not have more than {NAMESERVERS_MAX} nameservers"));
    }
    for server in servers.items() {
        network::ip(&server, faults);
    }
    if searches.len() > SEARCHES_MAX {
        faults.invalid(&searches, format!("must not have more than {SEARCHES_MAX} search paths"));
    }
    let bytes: usize = searches.items().map(|search| search.text().len() + 1).sum();
    if bytes > SEARCH_BYTES_MAX + 1 {
        faults.invalid(
            &searches,
            format!("must not have more than {SEARCH_BYTES_MAX} characters (including spaces) in the search list"),
        );
    }
    for search in searches.items().filter(|search| search.text() != ".") {
        let host = search.text().strip_suffix('.').unwrap_or_else(|| search.text());
        if let Err(fault) = name::subdomain_with_underscores(host) {
            faults.invalid_as(&search, host, fault);
        }
    }
    for option in at.get("options").items() {
        if option.get("name").is_zero() {
            faults.required(&option, "must not be empty");
        }
    }
}

fn resource_claims(at: &At<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for claim in at.items() {
        let own_name = claim.get("name");
        if own_name.is_zero() {
            faults.required(&own_name, "");
        } else if !seen.insert(own_name.text()) {
            faults.duplicate(&own_name);
        } else {
            faults.rule(&own_name, name::label);
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"].map(|n| claim.get(n));
        match sources.iter().filter(|source| source.is_set()).count() {
            0 => faults.invalid(
                &claim,
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            1 => {}
            _ => faults.invalid(
                &claim,
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
        }
        for source in sources.iter().filter(|source| source.is_set()) {
            faults.rule(source, name::subdomain);
        }
    }
}

fn tokens_need_an_account(spec: &At<'_>, faults: &mut Faults) {
    if !spec.get("serviceAccountName").is_zero() {
        return;
    }
    for volume in spec.get("volumes").items() {
        for source in volume.get2("projected", "sources").items() {
            let token = source.get("serviceAccountToken");
            if token.is_set() {
                faults
                    .forbidden(&token, "must not be specified when serviceAccountName is not set");
            }
        }
    }
}

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Annotations that mean something on a pod or in its template.
pub(in super::super) fn annotations_of_pod(at: &At<'_>, faults: &mut Faults) {
    if let Some(cost) = at.value.get(DELETION_COST).and_then(Value::as_str) {
        let is_plain = !cost.starts_with('+')
            && (cost == "0" || !cost.trim_start_matches('-').starts_with('0'));
        if !is_plain || cost.parse::<i32>().is_err() {
            let place = At { value: at.value, path: at.path.key(DELETION_COST) };
            faults.invalid_as(&place, cost, "must be a 32bit integer");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;
    use crate::kinds::pod_spec::defaults;

    /// The faults of a good spec with one value changed.
    fn faults_with(pointer: &str, value: Value) -> String {
        let mut spec_value = json!({
            "containers": [{"name": "a", "image": "i", "ports": [{"name": "web", "containerPort": 80}],
                "env": [{"name": "X", "value": "1"}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}]});
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match spec_value.pointer_mut(parent).unwrap() {
            Value::Object(map) => drop(map.insert(key.to_owned(), value)),
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            other => panic!("{other}"),
        }
        defaults::pod_only(&mut spec_value);
        defaults::spec(&mut spec_value);
        let mut faults = Faults::default();
        spec(&At::root(&spec_value), &mut faults, Place::Pod);
        show(&faults.0)
    }

    /// A place in a good spec, what is put there (as JSON), and the faults of it.
    const CASES: &[(&str, &str, &str)] = &[
        ("/hostname", r#""a""#, ""),
        ("/containers", r#"[]"#, "containers: Required value"),
        (
            "/containers/0/name",
            r#""A""#,
            "containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ),
        ("/containers/0/image", r#""""#, "containers[0].image: Required value"),
        (
            "/containers/0/image",
            r#"" i""#,
            "containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace",
        ),
        (
            "/containers/0/imagePullPolicy",
            r#""Maybe""#,
            "containers[0].imagePullPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            "/containers/0/ports/0/containerPort",
            r#"0"#,
            "containers[0].ports[0].containerPort: Required value",
        ),
        (
            "/containers/0/ports/0/containerPort",
            r#"70000"#,
            "containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            "/containers/0/ports/0/name",
            r#""80""#,
            "containers[0].ports[0].name: Invalid value: \"80\": must contain at least one letter (a-z)",
        ),
        (
            "/containers/0/env/0/name",
            r#""A=B""#,
            "containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='",
        ),
        (
            "/containers/0/env/0",
            r#"{"name": "A", "valueFrom": {}}"#,
            "containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        ),
        (
            "/containers/0/env/0",
            r#"{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}"#,
            "containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.x\": error converting fieldPath: field label not supported: spec.x",
        ),
        (
            "/containers/0/volumeMounts/0/name",
            r#""w""#,
            "containers[0].volumeMounts[0].name: Not found: \"w\"",
        ),
        (
            "/containers/0/volumeMounts/0/mountPath",
            r#""""#,
            "containers[0].volumeMounts[0].mountPath: Required value",
        ),
        (
            "/containers/0/resources",
            r#"{"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}"#,
            "containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            "/containers/0/resources",
            r#"{"limits": {"cpu": "-1"}}"#,
            "containers[0].resources.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0\ncontainers[0].resources.requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
        ),
        (
            "/containers/0/resources",
            r#"{"requests": {"foo": "1"}}"#,
            "containers[0].resources.requests[foo]: Invalid value: \"foo\": must be a standard resource type or fully qualified\ncontainers[0].resources.requests[foo]: Invalid value: \"foo\": must be a standard resource for containers",
        ),
        (
            "/containers/0/livenessProbe",
            r#"{}"#,
            "containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            "/containers/0/livenessProbe",
            r#"{"tcpSocket": {"port": 1}, "successThreshold": 2}"#,
            "containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            "/containers/0/livenessProbe",
            r#"{"exec": {"command": ["a"]}, "httpGet": {"port": 1}}"#,
            "containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type",
        ),
        (
            "/containers/0/securityContext",
            r#"{"runAsUser": -1}"#,
            "containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ),
        (
            "/restartPolicy",
            r#""Sometimes""#,
            "restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ),
        (
            "/dnsPolicy",
            r#""None""#,
            "dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (
            "/activeDeadlineSeconds",
            r#"0"#,
            "activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        (
            "/volumes/0",
            r#"{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}"#,
            "volumes[0].hostPath: Forbidden: may not specify more than 1 volume type\ncontainers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            "/volumes/0",
            r#"{"name": "v", "hostPath": {"path": "/a/../b"}}"#,
            "volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'\ncontainers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            "/tolerations",
            r#"[{"operator": "Equal"}]"#,
            "tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ),
        (
            "/initContainers",
            r#"[{"name": "a", "image": "i"}]"#,
            "initContainers[0].name: Duplicate value: \"a\"",
        ),
        (
            "/topologySpreadConstraints",
            r#"[{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "X"}]"#,
            "topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero\ntopologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"X\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
        ),
        ("/hostUsers", r#"false"#, ""),
    ];

    #[test]
    fn faults_read_as_upstreams() {
        for (pointer, value, text) in CASES {
            let value = serde_json::from_str(value).unwrap();
            assert_eq!(faults_with(pointer, value), *text, "{pointer}");
        }
    }
}
