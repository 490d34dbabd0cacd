//! Pods: creation, changes, status, columns.

use super::*;
use crate::kinds::cells;
use crate::kinds::check::show;

fn sample() -> Value {
    let mut object = json!({
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"serviceAccountName": "default", "containers": [
            {"name": "a", "image": "i:1"}, {"name": "b", "image": "i:1"}]}});
    Pod.default(&mut object);
    Pod.prepare_for_create(&mut object);
    object
}

fn shown(status: Value, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut pod = sample();
    pod["status"] = status;
    change(&mut pod);
    cells::show(&rows()[0], &pod, "2026-01-01T00:10:00Z")
}

#[test]
fn a_new_pod_is_pending() {
    let pod = sample();
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    assert_eq!(show(&Pod.validate(&pod)), "");
    let mut gated = sample();
    gated["spec"]["schedulingGates"] = json!([{"name": "a.b/c"}]);
    Pod.prepare_for_create(&mut gated);
    assert_eq!(gated["status"]["conditions"][0]["reason"], "SchedulingGated");
    let fields = Pod.selectable_fields(&pod);
    assert_eq!(fields[4], ("spec.hostNetwork", "false".into()));
    assert_eq!(fields[5], ("status.phase", "Pending".into()));
}

#[test]
fn the_status_column_is_one_word() {
    let running = |ready: bool| json!({"ready": ready, "restartCount": 0, "state": {"running": {}}, "started": true});
    let waiting = |reason: &str| {
        json!({"restartCount": 3, "state": {"waiting": {"reason": reason}},
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:05:00Z"}}})
    };
    let ended = |code: i64| json!({"restartCount": 0, "state": {"terminated": {"exitCode": code}}});
    let same = |_: &mut Value| {};
    let with_init = |pod: &mut Value| {
        pod["spec"]["initContainers"] = json!([{"name": "i1"}, {"name": "i2"}]);
    };
    let deleting = |pod: &mut Value| {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    };
    let main = |statuses: Vec<Value>| json!({"phase": "Running", "containerStatuses": statuses});
    let cases: Vec<(Vec<String>, [&str; 3])> = vec![
        (shown(json!({"phase": "Pending"}), same), ["0/2", "Pending", "0"]),
        (shown(main(vec![running(true), running(true)]), same), ["2/2", "Running", "0"]),
        (
            shown(main(vec![running(true), waiting("CrashLoopBackOff")]), same),
            ["1/2", "CrashLoopBackOff", "3 (5m ago)"],
        ),
        (
            shown(main(vec![running(true), waiting("ImagePullBackOff")]), deleting),
            ["1/2", "Terminating", "3 (5m ago)"],
        ),
        (shown(main(vec![ended(2), ended(0)]), same), ["0/2", "ExitCode:2", "0"]),
        (shown(json!({"phase": "Failed", "reason": "Evicted"}), same), ["0/2", "Evicted", "0"]),
        (
            shown(
                json!({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
                same,
            ),
            ["0/2", "Completed", "0"],
        ),
        (
            shown(
                json!({"phase": "Pending", "initContainerStatuses": [ended(0), waiting("PodInitializing")]}),
                with_init,
            ),
            ["0/2", "Init:1/2", "3 (5m ago)"],
        ),
        (
            shown(
                json!({"phase": "Pending", "initContainerStatuses": [waiting("CrashLoopBackOff")]}),
                with_init,
            ),
            ["0/2", "Init:CrashLoopBackOff", "3 (5m ago)"],
        ),
        (
            shown(json!({"phase": "Pending", "initContainerStatuses": [ended(7)]}), with_init),
            ["0/2", "Init:ExitCode:7", "0"],
        ),
        (
            shown(
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
                same,
            ),
            ["0/2", "SchedulingGated", "0"],
        ),
    ];
    for (row, expected) in cases {
        assert_eq!(row[..3], expected);
        assert_eq!(row[3], "10m");
    }
}

#[test]
fn sidecars_count_as_containers() {
    let status = json!({"phase": "Running",
        "initContainerStatuses": [{"name": "s", "ready": true, "started": true, "restartCount": 1, "state": {"running": {}}}],
        "containerStatuses": [{"ready": true, "restartCount": 0, "state": {"running": {}}},
            {"ready": false, "restartCount": 0, "state": {"running": {}}}],
        "podIPs": [{"ip": "10.1.0.2"}]});
    let row = shown(status, |pod| {
        pod["spec"]["initContainers"] = json!([{"name": "s", "restartPolicy": "Always"}]);
        pod["spec"]["nodeName"] = json!("n");
    });
    assert_eq!(row, ["2/3", "Running", "1", "10m", "10.1.0.2", "n", "<none>", "<none>"]);
}

#[test]
fn a_negative_grace_period_is_a_second() {
    for (given, kept) in [(-1, 1), (0, 0), (7, 7)] {
        let mut object = json!({"spec": {"terminationGracePeriodSeconds": given}});
        Pod.default(&mut object);
        assert_eq!(object["spec"]["terminationGracePeriodSeconds"], kept);
    }
}

#[test]
fn little_of_a_pod_may_change() {
    let old = sample();
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = json!("j:2");
    new["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    new["spec"]["activeDeadlineSeconds"] = json!(10);
    assert_eq!(show(&Pod.validate_update(&new, &old)), "");
    let mut other = old.clone();
    other["spec"]["containers"][0]["command"] = json!(["x"]);
    assert_eq!(
        show(&Pod.validate_update(&other, &old)),
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
    );
    let mut fewer = old.clone();
    fewer["spec"]["containers"].as_array_mut().unwrap().pop();
    assert_eq!(
        show(&Pod.validate_update(&fewer, &old)),
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    );
    let mut longer = new.clone();
    longer["spec"]["activeDeadlineSeconds"] = json!(11);
    assert_eq!(
        show(&Pod.validate_update(&longer, &new)),
        "spec.activeDeadlineSeconds: Invalid value: 11: must be less than or equal to previous value"
    );
    assert_eq!(
        show(&Pod.validate_update(&old, &{
            let mut tolerant = old.clone();
            tolerant["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
            tolerant
        })),
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    );
}

/// As many as fit into a request: a look at all others for each would take a minute.
#[test]
fn long_lists_are_held_against_the_old_in_time() {
    let mut old = sample();
    old["spec"]["tolerations"] =
        (0..10_000).map(|n| json!({"key": format!("k{n}"), "operator": "Exists"})).collect();
    old["spec"]["topologySpreadConstraints"] = (0..5000)
        .map(|n| {
            json!({"maxSkew": 1, "topologyKey": format!("k{n}"), "whenUnsatisfiable": "DoNotSchedule"})
        })
        .collect();
    let mut new = old.clone();
    new["spec"]["tolerations"][0]["tolerationSeconds"] = json!(1);
    new["spec"]["tolerations"][0]["effect"] = json!("NoExecute");
    assert_eq!(
        show(&Pod.validate_update(&new, &old)),
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    );
    assert_eq!(show(&Pod.validate_update(&old, &old)), "");
    old["spec"]["topologySpreadConstraints"][0]["topologyKey"] = json!("k4999");
    assert_eq!(
        show(&Pod.validate(&old)),
        "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{k4999, DoNotSchedule}\""
    );
}

#[test]
fn a_status_does_not_go_back() {
    let mut old = sample();
    old["spec"]["restartPolicy"] = json!("Never");
    old["status"]["containerStatuses"] =
        json!([{"name": "a", "state": {"terminated": {"exitCode": 0}}}]);
    let mut new = old.clone();
    new["status"] = json!({"containerStatuses": [{"name": "a", "state": {"running": {}}}]});
    Pod.prepare_for_status_update(&mut new, &old);
    assert_eq!(new["status"]["qosClass"], "BestEffort");
    assert_eq!(
        show(&Pod.validate_status_update(&new, &old)),
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    );
}

#[test]
fn subresources_change_their_own_part() {
    let old = sample();
    let mut debug = old.clone();
    debug["spec"]["containers"][0]["image"] = json!("other");
    debug["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "i"}]);
    Pod.default(&mut debug);
    subresources::prepare_ephemeral_containers(&mut debug, &old);
    assert_eq!(debug["spec"]["containers"], old["spec"]["containers"]);
    assert_eq!(show(&subresources::validate_ephemeral_containers(&debug, &old)), "");
    assert_eq!(
        show(&subresources::validate_ephemeral_containers(&old, &debug)),
        "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n"
    );
    let mut bigger = old.clone();
    bigger["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
    subresources::prepare_resize(&mut bigger, &old);
    assert!(
        show(&subresources::validate_resize(&bigger, &old)).contains("QOS Class may not change")
    );
    assert_eq!(subresources::grace_period(&old, None), 0);
    let mut bound = old;
    bound["spec"]["nodeName"] = json!("n");
    assert_eq!(subresources::grace_period(&bound, None), 30);
    assert_eq!(subresources::grace_period(&bound, Some(-1)), 1);
}

#[test]
fn the_address_of_the_old_field_counts() {
    for (status, addresses) in [
        (json!({"podIP": "10.0.0.1"}), json!([{"ip": "10.0.0.1"}])),
        (
            json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}),
            json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]),
        ),
        (json!({"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.1"}]}), json!([{"ip": "10.0.0.2"}])),
    ] {
        let mut pod = json!({"status": status});
        Pod.prepare_for_status_update(&mut pod, &json!({}));
        assert_eq!(pod["status"]["podIPs"], addresses);
        assert_eq!(pod["status"]["podIP"], addresses[0]["ip"]);
    }
    let mut wrong = json!({"status": {"podIP": "x"}});
    Pod.prepare_for_status_update(&mut wrong, &json!({}));
    assert!(
        show(&Pod.validate_status_update(&wrong, &json!({})))
            .starts_with("status.podIPs[0]: Invalid value: \"x\"")
    );
}
