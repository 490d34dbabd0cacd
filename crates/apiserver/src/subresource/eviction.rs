//! `pods/eviction`: deletion that respects disruption budgets.

use std::sync::Arc;

use admission::Operation;
use api::meta;
use api::status::{Cause, Status};
use http::Request;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};

use crate::body;
use crate::call::{Call, WriteOptions};
use crate::delete::DeleteOptions;
use crate::handle::{read_body, text};
use crate::metadata::seconds;
use crate::respond::{Answer, Body as HttpBody, json_answer};
use crate::server::Server;
use crate::write::Part;

const POLICY: &str = "policy";
/// Evicted pods that a budget may hold unprocessed before it refuses more.
const DISRUPTED_PODS_MAX: usize = 2000;

/// POST of an Eviction.
pub(super) async fn answer(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
) -> Result<Answer, Status> {
    let body = read_body(call, request).await?;
    let eviction = body::decode_options(&body, "policy/v1", "Eviction")?;
    check_kind(server, &eviction)?;
    if meta::name(&eviction) != call.info.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let options = DeleteOptions::read(call, eviction.get("deleteOptions").unwrap_or(&Value::Null))?;
    admit(server, call, eviction, &options).await?;
    let pod = server.present(call).await?.to_value();
    let exempt = matches!(text(&pod, "/status/phase"), "Pending" | "Succeeded" | "Failed")
        || meta::is_deleting(&pod);
    if !exempt {
        spend_budget(server, call, &pod, &options).await?;
    }
    if !options.dry_run && !meta::is_deleting(&pod) {
        mark_disrupted(server, call).await?;
    }
    server.delete(call, &options).await?;
    Ok(json_answer(
        201,
        &json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
        }),
    ))
}

/// What says that it is something else than an Eviction is none.
fn check_kind(server: &Server, eviction: &Value) -> Result<(), Status> {
    let (kind, api_version) = (text(eviction, "/kind"), text(eviction, "/apiVersion"));
    if matches!(kind, "" | "Eviction") {
        return Ok(());
    }
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let why = crate::metadata::unknown_kind(&server.registry.table(), kind, api_version)
        .unwrap_or_else(|| {
            format!("converting ({version}.{kind}) to (policy.Eviction): unknown conversion")
        });
    Err(Status::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a Eviction: {why}"
    )))
}

/// Admission sees the creation of an Eviction, as upstream's does; the deletion that follows is its own.
async fn admit(
    server: &Server,
    call: &Call,
    eviction: Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let write = WriteOptions { dry_run: options.dry_run, ..WriteOptions::default() };
    let (null, now) = (Value::Null, server.clock.now());
    let mut request = call.admission(Operation::Create, eviction, None, &null, &write, now);
    server.admit_mutating(call, &mut request).await?;
    server.admit_validating(call, &mut request).await
}

fn budgets_of(server: &Server, pod: &Value) -> Vec<Arc<PodDisruptionBudget>> {
    let namespace = meta::namespace(pod);
    let budgets = server.caches.place(POLICY, "poddisruptionbudgets").list(namespace, |_| true);
    budgets
        .iter()
        .filter_map(|budget| budget.typed::<PodDisruptionBudget>().ok())
        .filter(|budget| selects(budget, pod))
        .collect()
}

fn selects(budget: &PodDisruptionBudget, pod: &Value) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let Some(selector) = selector else { return false };
    let label = |key: &str| meta::label(pod, key);
    let exact =
        selector.match_labels.iter().flatten().all(|(key, value)| label(key) == Some(value));
    let sets = selector.match_expressions.iter().flatten().all(|expression| {
        let values = expression.values.as_deref().unwrap_or_default();
        let among = label(&expression.key).is_some_and(|have| values.iter().any(|v| v == have));
        match expression.operator.as_str() {
            "In" => among,
            "NotIn" => !among,
            "Exists" => label(&expression.key).is_some(),
            "DoesNotExist" => label(&expression.key).is_none(),
            _ => false,
        }
    });
    exact && sets
}

async fn spend_budget(
    server: &Arc<Server>,
    call: &Call,
    pod: &Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let budgets = budgets_of(server, pod);
    let [budget] = budgets.as_slice() else {
        return if budgets.is_empty() {
            Ok(())
        } else {
            Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ))
        };
    };
    if let_go_unready(budget, pod) {
        return Ok(());
    }
    let name = budget.metadata.name.clone().unwrap_or_default();
    let budget_call =
        server.own_call(POLICY, "v1", "poddisruptionbudgets", &call.info.namespace, &name)?;
    let write = WriteOptions { dry_run: options.dry_run, ..WriteOptions::default() };
    let now = seconds(server.clock.now());
    let pod_name = call.info.name.clone();
    let change = |old: &Value| spend(old, &pod_name, &now);
    server.update(&budget_call, Part::Internal, &write, change).await.map(|_| ())
}

/// A pod that is not ready may go when the budget says so, or when it is not needed for it.
fn let_go_unready(budget: &PodDisruptionBudget, pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().any(|condition| {
        text(condition, "/type") == "Ready" && text(condition, "/status") == "True"
    });
    let policy =
        budget.spec.as_ref().and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref());
    let healthy_enough = budget.status.as_ref().is_some_and(|status| {
        status.current_healthy >= status.desired_healthy && status.desired_healthy > Some(0)
    });
    !ready && (policy == Some("AlwaysAllow") || healthy_enough)
}

fn spend(old: &Value, pod: &str, now: &str) -> Result<Value, Status> {
    let name = meta::name(old);
    let number = |pointer: &str| old.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let refused = |message: String| {
        let mut status = Status::too_many_requests(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            0,
        );
        status.details.causes.push(Cause {
            reason: "DisruptionBudget",
            message,
            field: String::new(),
        });
        status
    };
    if number("/status/observedGeneration") < meta::generation(old) {
        let message =
            format!("The disruption budget {name} is still being processed by the server.");
        let mut status = refused(message);
        status.details.retry_after_seconds = 10;
        return Err(status);
    }
    let disrupted = old.pointer("/status/disruptedPods").and_then(Value::as_object);
    if disrupted.is_some_and(|pods| pods.len() > DISRUPTED_PODS_MAX) {
        return Err(refused(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
                .to_owned(),
        ));
    }
    let allowed = number("/status/disruptionsAllowed");
    if allowed <= 0 {
        return Err(refused(format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("/status/desiredHealthy"),
            number("/status/currentHealthy"),
        )));
    }
    let mut new = old.clone();
    new["status"]["disruptionsAllowed"] = json!(allowed - 1);
    new["status"]["disruptedPods"][pod] = json!(now);
    Ok(new)
}

/// The condition that tells controllers and people why the pod goes (KEP-3329).
async fn mark_disrupted(server: &Arc<Server>, call: &Call) -> Result<(), Status> {
    let now = seconds(server.clock.now());
    let change = |old: &Value| {
        let mut new = old.clone();
        let status = meta::child_mut(&mut new, "status");
        let conditions = meta::child_mut(status, "conditions");
        if !conditions.is_array() {
            *conditions = json!([]);
        }
        if let Some(list) = conditions.as_array_mut() {
            list.retain(|condition| text(condition, "/type") != "DisruptionTarget");
            list.push(json!({"type": "DisruptionTarget", "status": "True",
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting", "lastTransitionTime": now}));
        }
        Ok(new)
    };
    server.update(call, Part::Internal, &WriteOptions::default(), change).await.map(|_| ())
}
