//! Pods that find a node.

use std::time::Duration;

use scheduler::Config;
use scheduling::build::{NodeBuilder, node, pod};
use serde_json::json;

use crate::api_double::Api;

pub(crate) fn roomy(name: &str) -> NodeBuilder {
    node(name).capacity(&[("cpu", "4"), ("memory", "8Gi")])
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_at_once_and_an_event_says_so() {
    let api = Api::new();
    api.put("nodes", roomy("a").finish());
    let scope = api.start(Config::default());
    let before = tokio::time::Instant::now();
    api.put("pods", pod("p").requests("1", "1Gi").finish());
    api.until("binding", |api| api.bound().len() == 1).await;
    assert_eq!(before.elapsed(), Duration::ZERO, "nothing on the way waits for time to pass");
    api.until_logged("event p Scheduled Successfully assigned default/p to a").await;
    assert!(scope.finish(Duration::from_secs(5)).await);
}

#[tokio::test(start_paused = true)]
async fn many_pods_fill_the_nodes_and_no_more() {
    let api = Api::new();
    for index in 0..10 {
        api.put("nodes", roomy(&format!("n{index}")).finish());
    }
    let scope = api.start(Config::default());
    for index in 0..500 {
        api.put("pods", pod(&format!("p{index}")).requests("100m", "1Mi").finish());
    }
    api.until("400 bindings", |api| api.bound().len() == 400).await;
    api.until("100 reports", |api| {
        api.log().iter().filter(|line| line.starts_with("condition")).count() >= 100
    })
    .await;
    let bound = api.bound();
    for index in 0..10 {
        let name = format!("n{index}");
        assert_eq!(bound.values().filter(|node| **node == name).count(), 40);
    }
    api.delete("pods", "default", bound.keys().next().unwrap());
    api.until("the freed place is taken", |api| api.bound().len() == 400).await;
    assert!(scope.finish(Duration::from_secs(5)).await);
}

#[tokio::test(start_paused = true)]
async fn pods_of_other_schedulers_are_left_alone() {
    let api = Api::new();
    api.put("nodes", roomy("a").finish());
    let config =
        json!({"profiles": [{"schedulerName": "default-scheduler"}, {"schedulerName": "second"}]});
    let scope = api.start(Config::read(config).unwrap());
    for (name, scheduler) in [("other", "somebody-else"), ("ours", "second")] {
        let mut pod = pod(name).finish();
        pod.spec.as_mut().unwrap().scheduler_name = Some(scheduler.to_owned());
        api.put("pods", pod);
    }
    api.put("pods", pod("default").finish());
    api.until("two bindings", |api| api.bound().len() == 2).await;
    assert_eq!(api.bound().keys().collect::<Vec<_>>(), ["default", "ours"]);
    assert!(scope.finish(Duration::from_secs(5)).await);
}

#[tokio::test(start_paused = true)]
async fn a_refused_binding_is_reported_and_tried_again_after_a_pause() {
    let api = Api::new();
    api.put("nodes", roomy("a").finish());
    api.refuse(500, "the disk is on fire");
    let scope = api.start(Config::default());
    let before = tokio::time::Instant::now();
    api.put("pods", pod("p").requests("4", "1Gi").finish());
    api.until_logged(
        "event p FailedScheduling running Bind plugin \"DefaultBinder\": the disk is on fire",
    )
    .await;
    api.until_logged("condition p PodScheduled=False SchedulerError").await;
    api.until("binding", |api| api.bound().len() == 1).await;
    assert!(before.elapsed() >= Duration::from_secs(1));
    assert!(scope.finish(Duration::from_secs(5)).await);
}

#[tokio::test(start_paused = true)]
async fn gates_hold_a_pod_until_the_last_is_gone() {
    let api = Api::new();
    api.put("nodes", roomy("a").finish());
    api.put("pods", pod("gated").gate("g").finish());
    let scope = api.start(Config::default());
    api.put("pods", pod("free").finish());
    api.until("the free one", |api| api.bound().contains_key("free")).await;
    assert_eq!(api.bound().len(), 1);
    api.put("pods", pod("gated").finish());
    api.until("the gated one", |api| api.bound().contains_key("gated")).await;
    assert!(scope.finish(Duration::from_secs(5)).await);
}

#[tokio::test(start_paused = true)]
async fn a_restart_knows_what_is_bound() {
    let api = Api::new();
    api.put("nodes", roomy("a").finish());
    let first = api.start(Config::default());
    api.put("pods", pod("one").requests("3", "1Gi").finish());
    api.until("binding", |api| api.bound().len() == 1).await;
    assert!(first.finish(Duration::from_secs(5)).await);
    api.put("pods", pod("two").requests("3", "1Gi").finish());
    let second = api.start(Config::default());
    api.until_logged("event two FailedScheduling 0/1 nodes are available: 1 Insufficient cpu.")
        .await;
    api.delete("pods", "default", "one");
    api.until("the second", |api| api.bound().contains_key("two")).await;
    assert!(second.finish(Duration::from_secs(5)).await);
}
