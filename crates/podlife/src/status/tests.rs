//! What users read of a pod, case by case.

use super::*;
use crate::testing::{container, pod, sandbox};
use cri::ContainerState::{Created, Exited, Running};
use serde_json::{Value, json};

struct Case {
    pod: Pod,
    last: PodStatus,
    observed: Observed,
    probes: ProbeResults,
    errors: BTreeMap<String, StartError>,
    is_over: bool,
    verdict: Option<Verdict>,
}

impl Case {
    fn new(spec: Value, containers: Vec<cri::ContainerStatus>) -> Self {
        Self {
            pod: pod(spec),
            last: PodStatus::default(),
            observed: Observed::new(vec![sandbox(0)], containers),
            probes: ProbeResults::default(),
            errors: BTreeMap::new(),
            is_over: false,
            verdict: None,
        }
    }

    fn generate(&self) -> PodStatus {
        generate(&Inputs {
            pod: &self.pod,
            last: &self.last,
            observed: &self.observed,
            probes: &self.probes,
            start_errors: &self.errors,
            messages: &BTreeMap::new(),
            hook_pending: &[],
            verdict: self.verdict.as_ref(),
            resize: None,
            is_over: self.is_over,
            host_ips: &["192.168.0.1".to_owned()],
            runtime_name: "test",
            now: Timestamp::from_second(1000).unwrap(),
        })
    }
}

fn condition<'a>(status: &'a PodStatus, name: &str) -> (&'a str, &'a str, &'a str) {
    let found = status.conditions.iter().flatten().find(|have| have.type_ == name).unwrap();
    (
        &found.status,
        found.reason.as_deref().unwrap_or_default(),
        found.message.as_deref().unwrap_or_default(),
    )
}

/// `w:reason`, `r`, or `t:code:reason` with `+` when ready and the restart count.
fn states(status: &PodStatus) -> Vec<String> {
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten())
        .map(|container| {
            let state = container.state.clone().unwrap();
            let text = if let Some(waiting) = state.waiting {
                format!("w:{}", waiting.reason.unwrap())
            } else if let Some(ended) = state.terminated {
                format!("t:{}:{}", ended.exit_code, ended.reason.unwrap())
            } else {
                "r".to_owned()
            };
            let ready = if container.ready { "+" } else { "" };
            format!("{text}{ready}#{}", container.restart_count)
        })
        .collect()
}

#[test]
fn phases_and_states() {
    let one = |policy: &str| json!({"restartPolicy": policy, "containers": [{"name": "a"}]});
    let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let with_init = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    let cases: Vec<(Value, Vec<cri::ContainerStatus>, &str, Vec<&str>)> = vec![
        (one("Always"), vec![], "Pending", vec!["w:ContainerCreating#0"]),
        (
            one("Always"),
            vec![container("a", 0, Created, 0)],
            "Pending",
            vec!["w:ContainerCreating#0"],
        ),
        (one("Always"), vec![container("a", 0, Running, 0)], "Running", vec!["r+#0"]),
        (one("Always"), vec![container("a", 3, Exited, 0)], "Running", vec!["t:0:Completed#3"]),
        (one("Never"), vec![container("a", 0, Exited, 0)], "Succeeded", vec!["t:0:Completed#0"]),
        (one("Never"), vec![container("a", 0, Exited, 2)], "Failed", vec!["t:2:Error#0"]),
        (one("OnFailure"), vec![container("a", 0, Exited, 2)], "Running", vec!["t:2:Error#0"]),
        (
            one("OnFailure"),
            vec![container("a", 1, Exited, 0)],
            "Succeeded",
            vec!["t:0:Completed#1"],
        ),
        (
            two.clone(),
            vec![container("a", 0, Running, 0)],
            "Pending",
            vec!["r+#0", "w:ContainerCreating#0"],
        ),
        (
            two,
            vec![container("a", 0, Running, 0), container("b", 0, Exited, 1)],
            "Running",
            vec!["r+#0", "t:1:Error#0"],
        ),
        (with_init.clone(), vec![], "Pending", vec!["w:PodInitializing#0", "w:PodInitializing#0"]),
        (
            with_init.clone(),
            vec![container("i", 0, Running, 0)],
            "Pending",
            vec!["r#0", "w:PodInitializing#0"],
        ),
        (
            with_init,
            vec![container("i", 0, Exited, 0), container("a", 0, Running, 0)],
            "Running",
            vec!["t:0:Completed+#0", "r+#0"],
        ),
    ];
    for (spec, containers, phase, expected) in cases {
        let status = Case::new(spec.clone(), containers).generate();
        assert_eq!(status.phase.as_deref(), Some(phase), "{spec}");
        assert_eq!(states(&status), expected, "{spec}");
        assert_eq!(status.pod_ip.as_deref(), Some("10.0.0.9"));
        assert_eq!(status.host_ip.as_deref(), Some("192.168.0.1"));
    }
}

#[test]
fn a_start_error_shows_as_waiting_and_keeps_the_end_before() {
    let spec = json!({"containers": [{"name": "a"}]});
    let mut case = Case::new(spec, vec![container("a", 1, Exited, 1)]);
    let message = "back-off 10s restarting failed container=a pod=p_ns(u)";
    case.errors.insert("a".into(), StartError::new("CrashLoopBackOff", message));
    let status = case.generate();
    assert_eq!(states(&status), ["w:CrashLoopBackOff#1"]);
    let container = &status.container_statuses.as_ref().unwrap()[0];
    let last = container.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!(last.exit_code, 1);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let unready = "containers with unready status: [a]";
    assert_eq!(condition(&status, "Ready"), ("False", "ContainersNotReady", unready));
    assert_eq!(container.container_id.as_deref(), Some("test://a-1"));
}

#[test]
fn conditions_follow_init_containers_probes_and_gates() {
    let spec = json!({
        "initContainers": [{"name": "i"}, {"name": "j"}],
        "containers": [{"name": "a", "readinessProbe": {"tcpSocket": {"port": 1}}}],
        "readinessGates": [{"conditionType": "x/y"}],
    });
    let mut case = Case::new(spec, vec![container("i", 0, Exited, 0)]);
    let status = case.generate();
    let incomplete = "containers with incomplete status: [j]";
    assert_eq!(
        condition(&status, "Initialized"),
        ("False", "ContainersNotInitialized", incomplete)
    );
    assert_eq!(condition(&status, "PodReadyToStartContainers"), ("True", "", ""));
    case.observed.containers = vec![
        container("a", 0, Running, 0),
        container("i", 0, Exited, 0),
        container("j", 0, Exited, 0),
    ];
    let status = case.generate();
    assert_eq!(condition(&status, "Initialized").0, "True");
    assert_eq!(condition(&status, "ContainersReady").1, "ContainersNotReady");
    case.probes.set("a-0", crate::probe::ProbeKind::Readiness, true);
    let status = case.generate();
    assert_eq!(condition(&status, "ContainersReady"), ("True", "", ""));
    let gate = "corresponding condition of pod readiness gate \"x/y\" does not exist.";
    assert_eq!(condition(&status, "Ready"), ("False", "ReadinessGatesNotReady", gate));
    let met = json!([{"type": "x/y", "status": "True"}]);
    case.pod.status = serde_json::from_value(json!({ "conditions": met })).unwrap();
    let status = case.generate();
    assert_eq!(condition(&status, "Ready").0, "True");
    assert_eq!(condition(&status, "x/y").0, "True");
}

#[test]
fn transition_times_stay_until_the_status_turns() {
    let spec = json!({"containers": [{"name": "a"}]});
    let mut case = Case::new(spec, vec![]);
    case.last = case.generate();
    for condition in case.last.conditions.iter_mut().flatten() {
        condition.last_transition_time = Some(Time(Timestamp::from_second(5).unwrap()));
    }
    case.observed.containers = vec![container("a", 0, Running, 0)];
    let status = case.generate();
    let when = |name: &str| {
        let found = status.conditions.iter().flatten().find(|have| have.type_ == name).unwrap();
        found.last_transition_time.as_ref().unwrap().0.as_second()
    };
    assert_eq!([when("Initialized"), when("Ready")], [5, 1000]);
}

#[test]
fn what_was_running_and_is_gone_counts_as_a_restart() {
    let spec = json!({"containers": [{"name": "a"}]});
    let mut case = Case::new(spec, vec![container("a", 2, Running, 0)]);
    case.last = case.generate();
    case.observed = Observed::default();
    let status = case.generate();
    assert_eq!(states(&status), ["w:ContainerCreating#3"]);
    let last = status.container_statuses.unwrap()[0].last_state.clone().unwrap();
    assert_eq!(last.terminated.unwrap().reason.as_deref(), Some("ContainerStatusUnknown"));
}

#[test]
fn a_pod_that_is_over_has_ended_containers_and_a_final_phase() {
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let mut case = Case::new(spec, vec![container("a", 0, Exited, 0)]);
    case.is_over = true;
    let status = case.generate();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(states(&status), ["t:0:Completed#0", "t:137:ContainerStatusUnknown#0"]);
    assert_eq!(condition(&status, "Ready").1, "PodFailed");
    case.last = status;
    case.is_over = false;
    assert_eq!(case.generate().phase.as_deref(), Some("Failed"));
}

/// What each container of a pod that is over shows, given how far it had come.
#[test]
fn what_never_had_its_turn_goes_on_waiting() {
    const LOST: &str = "t:137:ContainerStatusUnknown#0";
    const NEXT: &str = "w:PodInitializing#0";
    let plain = json!([{"name": "i"}, {"name": "j"}]);
    let sidecar = json!([{"name": "i"}, {"name": "j", "restartPolicy": "Always"}]);
    let ran = |name: &str, exit| container(name, 0, Exited, exit);
    let cases: Vec<(&Value, Vec<cri::ContainerStatus>, [&str; 3])> = vec![
        (&plain, vec![], [LOST, NEXT, NEXT]),
        (&plain, vec![ran("i", 1)], ["t:1:Error#0", NEXT, NEXT]),
        (&plain, vec![ran("i", 0)], ["t:0:Completed+#0", NEXT, NEXT]),
        (&plain, vec![container("i", 0, Created, 0)], [LOST, NEXT, NEXT]),
        (&plain, vec![ran("j", 1)], [LOST, "t:1:Error#0", NEXT]),
        (&plain, vec![ran("i", 0), ran("j", 0)], ["t:0:Completed+#0", "t:0:Completed+#0", LOST]),
        (&plain, vec![ran("a", 2)], [LOST, NEXT, "t:2:Error#0"]),
        (&sidecar, vec![ran("i", 0)], ["t:0:Completed+#0", NEXT, NEXT]),
        (&sidecar, vec![ran("i", 0), ran("j", 0)], ["t:0:Completed+#0", "t:0:Completed#0", NEXT]),
    ];
    for (init, containers, expected) in cases {
        let spec = json!({"restartPolicy": "Never", "initContainers": init,
            "containers": [{"name": "a"}]});
        let mut case = Case::new(spec, containers);
        case.is_over = true;
        let status = case.generate();
        assert_eq!(states(&status), expected, "{init}");
        assert_eq!(status.phase.as_deref(), Some("Failed"));
    }
}

#[test]
fn what_waited_for_its_next_start_ends_as_it_ended_before() {
    let spec = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    let mut case = Case::new(spec, vec![container("i", 1, Exited, 3)]);
    case.errors.insert("i".into(), StartError::new("CrashLoopBackOff", ""));
    assert_eq!(states(&case.generate())[0], "w:CrashLoopBackOff#1");
    case.is_over = true;
    assert_eq!(states(&case.generate()), ["t:3:Error#1", "w:PodInitializing#0"]);
}

fn sentenced(cause: Cause) -> Case {
    let mut case = Case::new(json!({"containers": [{"name": "a"}]}), vec![]);
    case.verdict = Some(Verdict { cause, reason: "R".into(), message: "m".into() });
    case
}

#[test]
fn a_verdict_fails_the_pod_and_tells_of_a_disruption_when_the_node_is_the_cause() {
    let disruption = Some(("True", "TerminationByKubelet", "m"));
    for (cause, expected) in
        [(Cause::Admission, None), (Cause::Node, disruption), (Cause::Pod, None)]
    {
        let mut case = sentenced(cause);
        let early = case.generate();
        let is_told = early.reason.is_some() && early.phase.as_deref() == Some("Failed");
        assert_eq!(is_told, cause == Cause::Admission, "while its containers may run");
        case.is_over = true;
        let status = case.generate();
        assert_eq!(status.phase.as_deref(), Some("Failed"), "{cause:?}");
        assert_eq!((status.reason.as_deref(), status.message.as_deref()), (Some("R"), Some("m")));
        let mut all = status.conditions.iter().flatten();
        let is_told = all.any(|condition| condition.type_ == "DisruptionTarget");
        let told = is_told.then(|| condition(&status, "DisruptionTarget"));
        assert_eq!(told, expected, "{cause:?}");
    }
}

#[test]
fn the_status_of_a_refused_pod_is_as_small_as_upstreams() {
    let mut case = sentenced(Cause::Admission);
    case.pod.metadata.generation = Some(2);
    case.pod.status = serde_json::from_value(json!({"phase": "Pending", "qosClass": "BestEffort",
        "conditions": [{"type": "PodScheduled", "status": "True"},
            {"type": "x/y", "status": "True"}]}))
    .unwrap();
    let expected = json!({"phase": "Failed", "reason": "R", "message": "m",
        "qosClass": "BestEffort", "startTime": "1970-01-01T00:16:40Z", "observedGeneration": 2,
        "conditions": [{"type": "x/y", "status": "True"}]});
    for is_over in [false, true] {
        case.is_over = is_over;
        assert_eq!(json!(case.generate()), expected);
    }
}

#[test]
fn nothing_is_added_to_an_end_before_the_beginning() {
    let ended = |extra: Value| {
        let mut status = json!({"phase": "Failed", "reason": "OutOfcpu", "qosClass": "BestEffort"});
        status.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let mut case = Case::new(json!({"containers": [{"name": "a"}]}), vec![]);
        case.pod.status = serde_json::from_value(status.clone()).unwrap();
        case.last = case.pod.status.clone().unwrap();
        case.observed = Observed::default();
        case.is_over = true;
        (status, case)
    };
    let (status, mut case) = ended(json!({}));
    assert_eq!(json!(case.generate()), status);
    // What is still there has to be told.
    case.observed = Observed::new(vec![sandbox(0)], vec![container("a", 0, Exited, 1)]);
    assert_eq!(states(&case.generate()), ["t:1:Error#0"]);
    let waiting = json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "",
        "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "x"}}}]});
    let (_, case) = ended(waiting);
    assert_eq!(states(&case.generate()), ["t:137:ContainerStatusUnknown#0"]);
}

#[test]
fn sidecars_hold_the_pod_pending_until_started() {
    let spec = json!({
        "initContainers": [{"name": "s", "restartPolicy": "Always",
            "startupProbe": {"tcpSocket": {"port": 1}}}],
        "containers": [{"name": "a"}],
    });
    let mut case = Case::new(spec, vec![container("s", 0, Running, 0)]);
    assert_eq!(case.generate().phase.as_deref(), Some("Pending"));
    case.probes.set("s-0", crate::probe::ProbeKind::Startup, true);
    case.observed.containers.push(container("a", 0, Running, 0));
    let status = case.generate();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(states(&status), ["r+#0", "r+#0"]);
}
