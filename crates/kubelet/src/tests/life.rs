//! A pod's whole life, from its binding to its removal.

use std::time::Duration;

use serde_json::json;

use crate::testing::{Bench, is_ready, phase, restarts, waiting};

fn one(extra: serde_json::Value) -> serde_json::Value {
    let mut container = json!({"name": "a", "image": "image:1"});
    for (key, value) in extra.as_object().unwrap() {
        container[key] = value.clone();
    }
    json!({"containers": [container], "restartPolicy": "Always"})
}

#[tokio::test(start_paused = true)]
async fn a_pod_becomes_ready_at_once_and_says_so() {
    let bench = Bench::start().await;
    let began = tokio::time::Instant::now();
    bench.pod(one(json!({})));
    let pod = bench.until("ready", is_ready).await;
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    assert_eq!(phase(&pod), "Running");
    let status = pod.status.unwrap();
    assert_eq!(status.pod_ip.as_deref(), Some("10.42.0.1"));
    assert_eq!(status.host_ip.as_deref(), Some("192.168.0.1"));
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!(container.container_id.as_deref(), Some("fake://container-2"));
    assert_eq!(container.image, "image:1");
    let expected = [
        "Pulled: Container image \"image:1\" already present on machine",
        "Created: Created container: a",
        "Started: Started container a",
    ];
    bench
        .until("told", |_| {
            let events = bench.events();
            expected.iter().all(|wanted| events.iter().any(|event| event == wanted))
        })
        .await;
    let writes = bench.api.requests().into_iter().filter(|it| it.ends_with("/pods/p/status"));
    assert_eq!(writes.count(), 1, "the first status is worth one write only");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_keeps_failing_is_restarted_ever_more_slowly() {
    let bench = Bench::start().await;
    bench.pod(one(json!({"command": ["exit", "1", "1"]})));
    bench.until("restarted", |pod| restarts(pod) == 1).await;
    let pod = bench.until("backing off", |pod| waiting(pod) == "CrashLoopBackOff").await;
    let state = pod.status.unwrap().container_statuses.unwrap()[0].clone();
    let message = state.state.unwrap().waiting.unwrap().message.unwrap();
    assert_eq!(message, "back-off 10s restarting failed container=a pod=p_ns(uid-p)");
    assert_eq!(state.last_state.unwrap().terminated.unwrap().exit_code, 1);
    let mut starts = Vec::new();
    for count in 2..=4 {
        bench.until("restarted", |pod| restarts(pod) == count).await;
        starts.push(tokio::time::Instant::now());
    }
    // Run for a second, then pause 20 and 40 seconds.
    let pauses: Vec<u64> = starts.windows(2).map(|it| (it[1] - it[0]).as_secs()).collect();
    assert_eq!(pauses, [21, 41]);
    assert!(bench.runtime.containers() <= 3, "dead containers are collected");
    let text = "BackOff: Back-off restarting failed container a in pod p_ns(uid-p)";
    assert!(bench.events().iter().any(|event| event == text));
}

#[tokio::test(start_paused = true)]
async fn a_job_pod_succeeds_and_gives_everything_back() {
    let bench = Bench::start().await;
    let mut spec = one(json!({"command": ["exit", "0", "5"]}));
    spec["restartPolicy"] = json!("Never");
    spec["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    bench.pod(spec);
    let pod = bench.until("succeeded", |pod| phase(pod) == "Succeeded").await;
    let conditions = pod.status.unwrap().conditions.unwrap();
    let ready = conditions.iter().find(|it| it.type_ == "Ready").unwrap();
    assert_eq!(ready.reason.as_deref(), Some("PodCompleted"));
    bench.until_runtime("stopped", |it| it.log().contains(&"stop sandbox".to_owned())).await;
    bench.api.delete_pod("p", 30);
    bench.until_gone("p").await;
    bench.until_runtime("removed", |it| it.sandboxes().is_empty()).await;
    assert!(!bench.directory.path().join("kubelet/pods/uid-p").exists());
}

#[tokio::test(start_paused = true)]
async fn a_failed_pod_names_the_exit_code() {
    let bench = Bench::start().await;
    let mut spec = one(json!({"command": ["exit", "7", "1"]}));
    spec["restartPolicy"] = json!("Never");
    bench.pod(spec);
    let pod = bench.until("failed", |pod| phase(pod) == "Failed").await;
    let state = pod.status.unwrap().container_statuses.unwrap()[0].state.clone().unwrap();
    assert_eq!(state.terminated.unwrap().exit_code, 7);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_honours_hook_and_grace_and_then_removes_the_object() {
    let bench = Bench::start().await;
    bench.pod(one(json!({"command": ["stubborn"],
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "4"]}}}})));
    bench.until("ready", is_ready).await;
    let began = tokio::time::Instant::now();
    bench.api.delete_pod("p", 10);
    bench.until_gone("p").await;
    assert_eq!(began.elapsed().as_secs(), 10);
    let log = bench.runtime.log();
    assert!(
        log.contains(&"exec sleep 4".to_owned()) && log.contains(&"stop a 6".to_owned()),
        "{log:?}"
    );
    let killing = "Killing: Stopping container a".to_owned();
    assert!(bench.events().contains(&killing));
    bench.until_runtime("removed", |it| it.sandboxes().is_empty()).await;
    assert!(!bench.directory.path().join("log/pods/ns_p_uid-p").exists());
}

#[tokio::test(start_paused = true)]
async fn a_second_deletion_shortens_the_grace() {
    let bench = Bench::start().await;
    bench.pod(one(json!({"command": ["stubborn"]})));
    bench.until("ready", is_ready).await;
    let began = tokio::time::Instant::now();
    bench.api.delete_pod("p", 300);
    bench.until_runtime("stopping", |it| it.log().contains(&"stop a 300".to_owned())).await;
    bench.api.delete_pod("p", 1);
    bench.until_gone("p").await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn images_are_pulled_and_failures_are_paused() {
    let bench = Bench::start().await;
    let error = cri::Error::NotFound("no such image".into());
    bench.runtime.fail_pulls("other:1", Some(error));
    bench.pod(one(json!({"image": "other:1"})));
    let pod = bench.until("failing", |pod| waiting(pod) == "ErrImagePull").await;
    assert_eq!(phase(&pod), "Pending");
    let pod = bench.until("backing off", |pod| waiting(pod) == "ImagePullBackOff").await;
    let state = pod.status.unwrap().container_statuses.unwrap()[0].state.clone().unwrap();
    let message = state.waiting.unwrap().message.unwrap();
    assert!(message.starts_with("Back-off pulling image \"other:1\": ErrImagePull: "), "{message}");
    bench.runtime.fail_pulls("other:1", None);
    bench.until("ready", is_ready).await;
    let events = bench.events();
    let has = |start: &str| events.iter().any(|event| event.starts_with(start));
    assert!(has(
        "Failed: Failed to pull image \"other:1\": rpc error: code = NotFound desc = no such image"
    ));
    assert!(
        has("Failed: Error: ErrImagePull") && has("BackOff: Back-off pulling image \"other:1\"")
    );
    let pulled = "Pulled: Successfully pulled image \"other:1\" in 1s (1s including waiting). Image size: 42 bytes.";
    bench.until("told", |_| bench.events().iter().any(|event| event == pulled)).await;
}

#[tokio::test(start_paused = true)]
async fn pull_secrets_are_used_and_never_means_never() {
    let bench = Bench::start().await;
    let config = json!({"auths": {"r.io": {"username": "u"}}}).to_string();
    let config = {
        let secret: k8s_openapi::api::core::v1::Secret =
            serde_json::from_value(json!({"stringData": {".dockerconfigjson": config}})).unwrap();
        let data = secret.string_data.unwrap()[".dockerconfigjson"].clone();
        json!(k8s_openapi::ByteString(data.into_bytes()))
    };
    bench.api.put(
        "secrets",
        json!({"metadata": {"name": "s", "namespace": "ns"},
        "data": {".dockerconfigjson": config}}),
    );
    let mut spec = one(json!({"image": "r.io/x:1"}));
    spec["imagePullSecrets"] = json!([{"name": "s"}]);
    bench.pod(spec);
    bench.until("ready", is_ready).await;
    assert!(bench.runtime.log().contains(&"pull r.io/x:1 as u".to_owned()));
    bench.named_pod("q", one(json!({"image": "gone:1", "imagePullPolicy": "Never"})));
    bench.until_of("q", "refused", |pod| waiting(pod) == "ErrImageNeverPull").await;
}

#[tokio::test(start_paused = true)]
async fn init_containers_and_sidecars_come_first() {
    let bench = Bench::start().await;
    bench.pod(json!({
        "initContainers": [
            {"name": "i", "image": "image:1", "command": ["exit", "0", "3"]},
            {"name": "s", "image": "image:1", "restartPolicy": "Always"}],
        "containers": [{"name": "a", "image": "image:1"}],
    }));
    bench.until("initialising", |pod| waiting(pod) == "PodInitializing").await;
    bench.until("ready", is_ready).await;
    let starts: Vec<String> =
        bench.runtime.log().into_iter().filter(|it| it.starts_with("start")).collect();
    assert_eq!(starts, ["start i#0", "start s#0", "start a#0"]);
    bench.api.delete_pod("p", 30);
    bench.until_gone("p").await;
    let log = bench.runtime.log();
    let at = |text: &str| log.iter().position(|it| it.starts_with(text)).unwrap();
    assert!(at("stop a") < at("stop s"), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn containers_behind_a_failed_init_container_never_say_that_they_ended() {
    let bench = Bench::start().await;
    bench.pod(json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "i", "image": "image:1", "command": ["exit", "1", "1"]}],
        "containers": [{"name": "a", "image": "image:1"}],
    }));
    bench.until("failed", |pod| phase(pod) == "Failed").await;
    bench.until_runtime("stopped", |it| it.log().contains(&"stop sandbox".to_owned())).await;
    bench.api.delete_pod("p", 1);
    bench.until_gone("p").await;
    let versions = bench.api.pod_versions();
    let told = versions.iter().filter(|pod| !phase(pod).is_empty());
    assert!(told.clone().count() > 1);
    assert!(told.into_iter().all(|pod| waiting(pod) == "PodInitializing"), "{versions:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_failing_liveness_probe_restarts_and_readiness_follows_its_probe() {
    let bench = Bench::start().await;
    bench.runtime.script_exec("alive", &[0, 1, 1, 0]);
    bench.runtime.script_exec("ready", &[1, 0]);
    bench.pod(one(json!({
        "livenessProbe": {"exec": {"command": ["alive"]}, "periodSeconds": 5, "failureThreshold": 2},
        "readinessProbe": {"exec": {"command": ["ready"]}, "periodSeconds": 2},
    })));
    bench.until("running", |pod| phase(pod) == "Running" && !is_ready(pod)).await;
    bench.until("ready", is_ready).await;
    bench.until("restarted", |pod| restarts(pod) == 1).await;
    let events = bench.events();
    let has = |text: &str| events.iter().any(|event| event == text);
    assert!(has("Unhealthy: Liveness probe failed: output"), "{events:?}");
    assert!(has("Killing: Container a failed liveness probe, will be restarted"), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_image_replaces_the_container_and_the_pod_stays_ready() {
    let bench = Bench::start().await;
    bench.pod(one(json!({})));
    bench.until("ready", is_ready).await;
    bench.api.edit("pods", "ns", "p", |pod| pod["spec"]["containers"][0]["image"] = json!("j"));
    bench.until("restarted", |pod| restarts(pod) == 1).await;
    let versions = bench.api.pod_versions();
    let mut since_ready = versions.iter().skip_while(|pod| !is_ready(pod));
    assert!(since_ready.all(is_ready), "{versions:?}");
    assert_eq!(bench.runtime.log().iter().filter(|it| it.starts_with("start a")).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_changed_image_that_cannot_be_pulled_is_reported() {
    let bench = Bench::start().await;
    bench.pod(one(json!({})));
    bench.until("ready", is_ready).await;
    bench.runtime.fail_pulls("j", Some(cri::Error::NotFound("none".into())));
    bench.api.edit("pods", "ns", "p", |pod| pod["spec"]["containers"][0]["image"] = json!("j"));
    bench.until("unready", |pod| !is_ready(pod) && waiting(pod).contains("ImagePull")).await;
}

#[tokio::test(start_paused = true)]
async fn a_startup_probe_gates_readiness() {
    let bench = Bench::start().await;
    bench.runtime.script_exec("started", &[1, 1, 0]);
    bench.pod(one(json!({
        "startupProbe": {"exec": {"command": ["started"]}, "periodSeconds": 10, "failureThreshold": 9},
        "readinessProbe": {"exec": {"command": ["ready"]}},
    })));
    let began = tokio::time::Instant::now();
    bench.until("ready", is_ready).await;
    assert_eq!(began.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_kubelet_adopts_what_runs() {
    let bench = Bench::start().await;
    bench.pod(one(json!({"command": ["exit", "1", "60"]})));
    bench.until("restarted", |pod| restarts(pod) == 1).await;
    let before = bench.runtime.log().len();
    bench.named_pod("gone", one(json!({})));
    bench.until_of("gone", "ready", is_ready).await;
    let (api, runtime) = (bench.api.clone(), std::sync::Arc::clone(&bench.runtime));
    assert!(bench.scope.finish(Duration::from_secs(5)).await);
    api.remove("pods", "ns", "gone");
    let bench = bench.restart().await;
    bench.until_runtime("ended", |it| it.sandboxes().len() == 1).await;
    assert_eq!(restarts(&api.pod("p").unwrap()), 1);
    let starts = runtime.log()[before..].iter().filter(|it| it.starts_with("start a")).count();
    assert_eq!(starts, 1, "only the other pod's container was started");
    bench.until("restarted once more", |pod| restarts(pod) == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_kubelet_keeps_what_is_ready_ready() {
    let bench = Bench::start().await;
    bench.runtime.script_exec("ready", &[0]);
    bench.pod(one(json!({"readinessProbe": {"exec": {"command": ["ready"]}},
        "startupProbe": {"exec": {"command": ["started"]}}})));
    bench.until("ready", is_ready).await;
    let bench = bench.restart().await;
    let before = bench.api.get("pods", "ns", "p").unwrap();
    bench.clock.sleep(Duration::from_secs(30)).await;
    let after = bench.api.get("pods", "ns", "p").unwrap();
    assert_eq!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"]);
    assert!(bench.runtime.log().iter().filter(|it| *it == "exec ready").count() >= 3);
}

#[tokio::test(start_paused = true)]
async fn a_dead_sandbox_is_replaced() {
    let bench = Bench::start().await;
    bench.pod(one(json!({})));
    bench.until("ready", is_ready).await;
    bench.runtime.kill_sandbox();
    let pod = bench.until("ready again", |pod| is_ready(pod) && restarts(pod) == 1).await;
    assert_eq!(pod.status.unwrap().pod_ips.unwrap().len(), 1);
    assert!(bench.runtime.log().contains(&"run sandbox 1".to_owned()));
    assert!(bench.events().iter().any(|it| it.starts_with("SandboxChanged: ")));
}

#[tokio::test(start_paused = true)]
async fn deadlines_admission_and_missing_references_are_reported() {
    let bench = Bench::start().await;
    let mut spec = one(json!({}));
    spec["activeDeadlineSeconds"] = json!(30);
    bench.pod(spec);
    let pod = bench.until("over", |pod| phase(pod) == "Failed").await;
    assert_eq!(pod.status.unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    bench.named_pod("big", one(json!({"resources": {"requests": {"cpu": "100000"}}})));
    let pod = bench.until_of("big", "refused", |pod| phase(pod) == "Failed").await;
    assert_eq!(pod.status.unwrap().reason.as_deref(), Some("OutOfcpu"));
    let env = json!([{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]);
    bench.named_pod("env", one(json!({"env": env})));
    let pod =
        bench.until_of("env", "waiting", |pod| waiting(pod) == "CreateContainerConfigError").await;
    let state = pod.status.unwrap().container_statuses.unwrap()[0].state.clone().unwrap();
    assert_eq!(state.waiting.unwrap().message.as_deref(), Some("configmap \"m\" not found"));
    bench.api.put(
        "configmaps",
        json!({"metadata": {"name": "m", "namespace": "ns"}, "data": {"k": "v"}}),
    );
    bench.until_of("env", "ready", is_ready).await;
}

#[tokio::test(start_paused = true)]
async fn hooks_hold_back_the_status_and_later_containers() {
    let bench = Bench::start().await;
    bench.pod(json!({"containers": [
        {"name": "a", "image": "image:1",
            "lifecycle": {"postStart": {"exec": {"command": ["sleep", "5"]}}}},
        {"name": "b", "image": "image:1"}]}));
    bench.until_runtime("started", |it| it.log().contains(&"exec sleep 5".to_owned())).await;
    assert!(!bench.runtime.log().contains(&"start b#0".to_owned()));
    let began = tokio::time::Instant::now();
    bench.until("ready", is_ready).await;
    assert_eq!(began.elapsed().as_secs(), 5);
    bench.runtime.script_exec("bad", &[1]);
    bench.named_pod("q", one(json!({"lifecycle": {"postStart": {"exec": {"command": ["bad"]}}}})));
    bench.until_of("q", "restarted", |pod| restarts(pod) == 1).await;
    assert!(bench.events().iter().any(|it| it == "FailedPostStartHook: PostStartHook failed"));
}

#[tokio::test(start_paused = true)]
async fn resources_change_in_place_and_ephemeral_containers_join() {
    let bench = Bench::start().await;
    bench.pod(one(json!({"resources": {"requests": {"cpu": "100m"}}})));
    bench.until("ready", is_ready).await;
    bench.api.edit("pods", "ns", "p", |pod| {
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("200m");
        pod["spec"]["ephemeralContainers"] =
            json!([{"name": "e", "image": "image:1", "targetContainerName": "a"}]);
    });
    bench
        .until("joined", |pod| {
            pod.status.as_ref().is_some_and(|it| {
                it.ephemeral_container_statuses
                    .iter()
                    .flatten()
                    .any(|it| it.state.as_ref().is_some_and(|state| state.running.is_some()))
            })
        })
        .await;
    assert!(bench.runtime.log().contains(&"resize a".to_owned()));
    let (_, config) = bench.runtime.container("e").unwrap();
    let target = config.linux.security_context.namespace_options.target_id;
    assert_eq!(target, bench.runtime.container("a").unwrap().0.id);
    assert_eq!(restarts(&bench.api.pod("p").unwrap()), 0);
}

#[tokio::test(start_paused = true)]
async fn what_others_write_into_the_status_is_put_right() {
    let bench = Bench::start().await;
    bench.pod(one(json!({})));
    bench.until("ready", is_ready).await;
    bench.api.edit("pods", "ns", "p", |pod| {
        for condition in pod["status"]["conditions"].as_array_mut().unwrap() {
            if condition["type"] == "Ready" {
                condition["status"] = json!("False");
            }
        }
    });
    bench.until("ready again", is_ready).await;
}

#[tokio::test(start_paused = true)]
async fn images_as_volumes_are_pulled_first() {
    let bench = Bench::start().await;
    let mut spec = one(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}));
    spec["volumes"] =
        json!([{"name": "v", "image": {"reference": "data:1", "pullPolicy": "IfNotPresent"}}]);
    bench.pod(spec);
    bench.until("ready", is_ready).await;
    let log = bench.runtime.log();
    assert_eq!(log[..2], ["pull data:1".to_owned(), "run sandbox 0".to_owned()]);
    let (_, config) = bench.runtime.container("a").unwrap();
    let mount = config.mounts.iter().find(|it| it.container_path == "/v").unwrap();
    assert_eq!(mount.image.as_ref().unwrap().image, "data:1");
}

#[tokio::test(start_paused = true)]
async fn a_resize_beyond_the_node_waits() {
    let bench = Bench::start().await;
    bench.pod(one(json!({"resources": {"requests": {"cpu": "100m"}}})));
    bench.until("ready", is_ready).await;
    bench.api.edit("pods", "ns", "p", |pod| {
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("100000");
    });
    let pending = |pod: &k8s_openapi::api::core::v1::Pod| {
        let conditions = pod.status.clone().and_then(|it| it.conditions).unwrap_or_default();
        let found = conditions.into_iter().find(|it| it.type_ == "PodResizePending");
        found.and_then(|it| it.reason).unwrap_or_default()
    };
    let pod = bench.until("told", |pod| pending(pod) == "Infeasible").await;
    assert!(is_ready(&pod));
    bench.api.edit("pods", "ns", "p", |pod| {
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("200m");
    });
    bench.until("settled", |pod| pending(pod).is_empty()).await;
    assert_eq!(bench.runtime.log().iter().filter(|it| *it == "resize a").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_kubelet_left_behind_is_removed() {
    let bench = Bench::start().await;
    bench.pod(one(json!({})));
    bench.until("ready", is_ready).await;
    let root = bench.directory.path().to_owned();
    let left =
        [root.join("kubelet/pods/uid-old/volumes/x"), root.join("log/pods/ns_old_uid-old/a")];
    for path in &left {
        std::fs::create_dir_all(path).unwrap();
    }
    std::os::unix::fs::symlink("/no/such/log", root.join("log/containers/dead.log")).unwrap();
    let bench = bench.restart().await;
    bench.named_pod("q", one(json!({})));
    bench.until_of("q", "ready", is_ready).await;
    // The removal is blocking work beside the paused clock.
    for _ in 0..1000 {
        if left.iter().all(|path| !path.exists()) {
            break;
        }
        tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
    }
    assert!(left.iter().all(|path| !path.exists()));
    assert!(root.join("kubelet/pods/uid-p").exists() && root.join("log/pods/ns_p_uid-p").exists());
}
