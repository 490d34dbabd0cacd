//! Manifests that several tests need, and what they ask of pods.

use std::time::Duration;

use serde_json::Value;

use crate::busybox::IMAGE;
use crate::{Kubectl, wait_until};

/// How long a pod with a present image may take to run and be ready.
pub const POD_READY_MAX: Duration = Duration::from_secs(30);

/// A pod that runs a line of shell.
pub fn shell_pod(name: &str, line: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  labels: {{app: {name}}}\nspec:\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: {IMAGE}\n    \
         command: [sh, -c, {line:?}]\n"
    )
}

/// A Deployment of web servers that answer with their pod's name, and what its Service is made from.
pub fn web(name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {SELF}
        args: [hello, --port, '8080']
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /healthz, port: http}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  type: NodePort
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: http}}]
"
    )
}

/// The image that holds the program itself.
pub const SELF: &str = "keelson.test/self:1";

/// Waits until a pod is ready.
///
/// # Panics
/// It is not in time.
#[track_caller]
pub fn wait_ready(kubectl: &Kubectl, pod: &str) {
    kubectl.wait_for(
        "pod",
        pod,
        "{.status.conditions[?(@.type=='Ready')].status}",
        "True",
        POD_READY_MAX,
    );
}

/// Waits until a Deployment has all its replicas, of the newest template only.
///
/// # Panics
/// It has not in time.
#[track_caller]
pub fn wait_rolled_out(kubectl: &Kubectl, deployment: &str) {
    let name = format!("deployment/{deployment}");
    if let Err(error) = kubectl.try_run(&["rollout", "status", &name, "--timeout=60s"]) {
        let pods = kubectl.try_run(&["describe", "pods"]).unwrap_or_else(|error| error);
        panic!("{name} does not roll out: {error}\n{pods}");
    }
}

/// The names of the pods with a label, that are not about to go.
///
/// # Errors
/// What kubectl complains of.
pub fn living(kubectl: &Kubectl, selector: &str) -> Result<Vec<Value>, String> {
    let pods = kubectl.list("pods", selector)?;
    Ok(pods.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect())
}

/// Waits for an Event about a pod with this reason, and gives its message.
///
/// # Panics
/// There is none in time.
#[track_caller]
pub fn wait_event(kubectl: &Kubectl, pod: &str, reason: &str, most: Duration) -> String {
    let selector = format!("involvedObject.name={pod},reason={reason}");
    wait_until(&format!("an Event {reason} about {pod}"), most, || {
        let text = kubectl.try_run(&[
            "get",
            "events",
            "--field-selector",
            &selector,
            "-o",
            "jsonpath={.items[0].message}",
        ])?;
        if text.is_empty() { Err("none".to_owned()) } else { Ok(text) }
    })
}
