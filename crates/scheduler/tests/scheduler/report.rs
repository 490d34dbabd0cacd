//! Pods that find no node, and those who leave for them.

use std::time::Duration;

use scheduler::Config;
use scheduling::build::pod;

use crate::{api_double::Api, bind::roomy};

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_node_says_why_and_is_placed_when_one_comes() {
    let api = Api::new();
    let scope = api.start(Config::default());
    api.put("pods", pod("p").requests("2", "1Gi").finish());
    let none = "condition p PodScheduled=False Unschedulable: no nodes available to schedule pods";
    api.until_logged(none).await;
    api.put("nodes", roomy("a").taint("k", "v", "NoSchedule").finish());
    api.until_logged(
        "event p FailedScheduling 0/1 nodes are available: 1 node(s) had untolerated taint {k: v}. \
         preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
    )
    .await;
    let reports = || api.log().iter().filter(|line| line.starts_with("condition")).count();
    let before = reports();
    // What no plugin asked for changes nothing.
    api.put("nodes", roomy("a").taint("k", "v", "NoSchedule").label("x", "y").finish());
    api.put("nodes", roomy("a").label("x", "y").finish());
    api.until("binding", |api| api.bound().len() == 1).await;
    assert_eq!(reports(), before);
    assert!(scope.finish(Duration::from_secs(5)).await);
}

#[tokio::test(start_paused = true)]
async fn a_more_important_pod_displaces_a_lesser_one() {
    let api = Api::new();
    api.put("nodes", roomy("a").finish());
    let scope = api.start(Config::default());
    api.put("pods", pod("low").requests("2", "1Gi").finish());
    api.put("pods", pod("mid").requests("2", "1Gi").priority(5).finish());
    api.until("both", |api| api.bound().len() == 2).await;
    api.put("pods", pod("vip").requests("2", "1Gi").priority(10).finish());
    api.until("the important one", |api| api.bound().contains_key("vip")).await;
    assert!(!api.bound().contains_key("low"));
    assert!(api.bound().contains_key("mid"));
    api.until_logged("event low Preempted Preempted by pod vip on node a").await;
    let log = api.log();
    let position = |text: &str| log.iter().position(|line| line.contains(text)).unwrap();
    let target = "condition low DisruptionTarget=True PreemptionByScheduler: default-scheduler: \
                  preempting to accommodate a higher priority pod";
    assert!(position("condition vip PodScheduled=False Unschedulable") < position(target));
    assert!(position(target) < position("delete low"));
    assert!(scope.finish(Duration::from_secs(5)).await);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_deleted_meanwhile_is_forgotten() {
    let api = Api::new();
    let scope = api.start(Config::default());
    api.put("pods", pod("p").finish());
    api.until_logged("condition p PodScheduled=False").await;
    api.delete("pods", "default", "p");
    api.put("nodes", roomy("a").finish());
    api.put("pods", pod("q").finish());
    api.until("the other", |api| api.bound().contains_key("q")).await;
    assert_eq!(api.bound().len(), 1);
    assert!(scope.finish(Duration::from_secs(5)).await);
}
