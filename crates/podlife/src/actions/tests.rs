//! What a pod needs next, case by case.

use super::*;
use crate::testing::{container, hashed, pod, sandbox};
use cri::ContainerState::{Created, Exited, Running, Unknown};
use serde_json::{Value, json};

/// The plan in short: `K` kills the pod, `S<n>` makes sandbox n, `-name` stops, `+I0`/`+M0`/`+E0` starts.
fn plan(
    spec: &Value,
    sandboxes: Vec<cri::PodSandboxStatus>,
    containers: Vec<ContainerStatus>,
) -> String {
    let mut pod = pod(spec.clone());
    plan_of(&mut pod, sandboxes, containers, &ProbeResults::default())
}

fn plan_of(
    pod: &mut Pod,
    sandboxes: Vec<cri::PodSandboxStatus>,
    containers: Vec<ContainerStatus>,
    probes: &ProbeResults,
) -> String {
    let containers = containers.into_iter().map(|status| hashed(status, pod)).collect();
    let observed = Observed::new(sandboxes, containers);
    let actions = compute_pod_actions(pod, &observed, probes, &resources::NodeFacts::default());
    let mut words = Vec::new();
    if actions.kill_pod {
        words.push("K".to_owned());
    }
    if actions.create_sandbox {
        words.push(format!("S{}", actions.attempt));
    }
    words.extend(actions.kill.iter().map(|kill| format!("-{}", kill.name)));
    words.extend(actions.start.iter().map(|start| match start {
        ContainerRef::Init(at) => format!("+I{at}"),
        ContainerRef::Main(at) => format!("+M{at}"),
        ContainerRef::Ephemeral(at) => format!("+E{at}"),
    }));
    words.join(" ")
}

fn dead(attempt: u32) -> cri::PodSandboxStatus {
    cri::PodSandboxStatus { state: PodSandboxState::NotReady, ..sandbox(attempt) }
}

#[test]
fn sandboxes() {
    let always = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let never = json!({"restartPolicy": "Never", "containers": [{"name": "a"}]});
    let on_failure =
        json!({"restartPolicy": "OnFailure", "containers": [{"name": "a"}, {"name": "b"}]});
    let init = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    let exited = |name: &str, code| container(name, 0, Exited, code);
    let mut without_ip = sandbox(0);
    without_ip.network = None;
    for (spec, sandboxes, containers, expected) in [
        (&always, vec![], vec![], "K S0 +M0 +M1"),
        (&always, vec![sandbox(0)], vec![], "+M0 +M1"),
        (&always, vec![dead(0)], vec![exited("a", 0)], "K S1 +M0 +M1"),
        (&always, vec![dead(3), dead(2)], vec![], "K S4 +M0 +M1"),
        (&always, vec![without_ip], vec![], "K S1 +M0 +M1"),
        (&always, vec![sandbox(1), sandbox(0)], vec![], "K S2 +M0 +M1"),
        (&never, vec![dead(0)], vec![exited("a", 0)], "K"),
        (&never, vec![dead(0)], vec![], "K S1 +M0"),
        (&on_failure, vec![dead(0)], vec![exited("a", 0), exited("b", 1)], "K S1 +M1"),
        (&on_failure, vec![dead(0)], vec![exited("a", 0), exited("b", 0)], "K"),
        (&init, vec![], vec![], "K S0 +I0"),
        (&init, vec![dead(0)], vec![exited("i", 0), exited("a", 0)], "K S1 +I0"),
    ] {
        assert_eq!(plan(spec, sandboxes, containers), expected, "{spec}");
    }
}

#[test]
fn init_containers_run_one_after_the_other() {
    let spec =
        json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
    let mut never = spec.clone();
    never["restartPolicy"] = json!("Never");
    for (spec, containers, expected) in [
        (&spec, vec![], "+I0"),
        (&spec, vec![container("i", 0, Running, 0)], ""),
        (&spec, vec![container("i", 0, Exited, 1)], "+I0"),
        (&never, vec![container("i", 0, Exited, 1)], "K"),
        (&spec, vec![container("i", 0, Created, 0)], "+I0"),
        (&spec, vec![container("i", 0, Unknown, 0)], "-i +I0"),
        (&spec, vec![container("i", 0, Exited, 0)], "+I1"),
        (&spec, vec![container("i", 0, Exited, 0), container("j", 0, Exited, 0)], "+M0"),
        (&spec, vec![container("a", 0, Running, 0)], ""),
        (&spec, vec![container("a", 0, Exited, 1)], "+M0"),
    ] {
        assert_eq!(plan(spec, vec![sandbox(0)], containers), expected, "{spec}");
    }
}

#[test]
fn what_a_probe_has_ended_has_failed_whatever_its_code() {
    for (policy, kind, expected) in [
        ("OnFailure", Some(ProbeKind::Liveness), "+M0"),
        ("OnFailure", Some(ProbeKind::Startup), "+M0"),
        ("OnFailure", Some(ProbeKind::Readiness), "K"),
        ("OnFailure", None, "K"),
        ("Never", Some(ProbeKind::Liveness), "K"),
    ] {
        let mut probes = ProbeResults::default();
        if let Some(kind) = kind {
            probes.set("a-0", kind, false);
        }
        let mut pod = pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}]}));
        let exited = vec![container("a", 0, Exited, 0)];
        let planned = plan_of(&mut pod, vec![sandbox(0)], exited, &probes);
        assert_eq!(planned, expected, "{policy} {kind:?}");
    }
}

#[test]
fn sidecars_start_in_order_and_stay() {
    let mut pod = pod(json!({
        "initContainers": [
            {"name": "s", "restartPolicy": "Always", "startupProbe": {"tcpSocket": {"port": 1}}},
            {"name": "i"}],
        "containers": [{"name": "a"}],
    }));
    let mut probes = ProbeResults::default();
    let running = container("s", 0, Running, 0);
    let mut plan =
        |containers, probes: &ProbeResults| plan_of(&mut pod, vec![sandbox(0)], containers, probes);
    assert_eq!(plan(vec![running.clone()], &probes), "");
    probes.set("s-0", ProbeKind::Startup, true);
    assert_eq!(plan(vec![running.clone()], &probes), "+I1");
    let ended = container("i", 0, Exited, 0);
    assert_eq!(plan(vec![running, ended.clone()], &probes), "+M0");
    let stopped = container("s", 0, Exited, 1);
    let main = container("a", 0, Running, 0);
    assert_eq!(plan(vec![stopped.clone(), ended.clone(), main], &probes), "+I0");
    assert_eq!(plan(vec![stopped, ended], &probes), "+I0");
}

#[test]
fn main_containers_follow_their_policy() {
    for (policy, code, expected) in [
        ("Always", 0, "+M0"),
        ("Always", 1, "+M0"),
        ("OnFailure", 1, "+M0"),
        ("OnFailure", 0, "K"),
        ("Never", 1, "K"),
    ] {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "a"}]});
        let containers = vec![container("a", 0, Exited, code)];
        assert_eq!(plan(&spec, vec![sandbox(0)], containers), expected, "{policy} {code}");
    }
    let spec = json!({"containers": [{"name": "a"}]});
    assert_eq!(plan(&spec, vec![sandbox(0)], vec![container("a", 0, Unknown, 0)]), "-a +M0");
    let own = json!({"restartPolicy": "Never", "containers": [{"name": "a",
        "restartPolicy": "Never",
        "restartPolicyRules": [{"action": "Restart",
            "exitCodes": {"operator": "In", "values": [42]}}]}]});
    assert_eq!(plan(&own, vec![sandbox(0)], vec![container("a", 0, Exited, 42)]), "+M0");
    assert_eq!(plan(&own, vec![sandbox(0)], vec![container("a", 0, Exited, 1)]), "K");
}

#[test]
fn failed_probes_and_changed_images_stop_a_container() {
    for (policy, expected) in [("Always", "-a +M0"), ("Never", "-a")] {
        let mut pod = pod(json!({"restartPolicy": policy, "containers": [
            {"name": "a", "livenessProbe": {"tcpSocket": {"port": 1}}}]}));
        let mut probes = ProbeResults::default();
        probes.set("a-0", ProbeKind::Liveness, false);
        let containers = vec![container("a", 0, Running, 0)];
        assert_eq!(plan_of(&mut pod, vec![sandbox(0)], containers, &probes), expected);
    }
    let pod = pod(json!({"containers": [{"name": "a", "image": "new"}]}));
    let mut status = container("a", 0, Running, 0);
    status.annotations.insert(ANNOTATION_HASH.into(), "other".into());
    let observed = Observed::new(vec![sandbox(0)], vec![status]);
    let facts = resources::NodeFacts::default();
    let actions = compute_pod_actions(&pod, &observed, &ProbeResults::default(), &facts);
    assert_eq!(actions.kill[0].message, "Container a definition changed, will be restarted");
    assert_eq!(actions.start, [ContainerRef::Main(0)]);
}

#[test]
fn ephemeral_containers_start_once() {
    let spec = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}],
        "ephemeralContainers": [{"name": "e"}]});
    let i = container("i", 0, Running, 0);
    assert_eq!(plan(&spec, vec![sandbox(0)], vec![i.clone()]), "+E0");
    assert_eq!(plan(&spec, vec![sandbox(0)], vec![i, container("e", 0, Exited, 1)]), "");
}

#[test]
fn a_pod_under_deletion_restarts_nothing() {
    let mut pod = pod(json!({"containers": [{"name": "a"}]}));
    pod.metadata.deletion_timestamp = Some(crate::status::seconds(jiff::Timestamp::UNIX_EPOCH));
    let containers = vec![container("a", 0, Exited, 1)];
    assert_eq!(plan_of(&mut pod, vec![sandbox(0)], containers, &ProbeResults::default()), "K");
}
