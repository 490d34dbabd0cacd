//! Which policies take part in a request: each with its binding, and once for each parameter.

use std::collections::BTreeMap;
use std::sync::Arc;

use admission::Request;
use api::object::Object;
use api::status::Status;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::compiled::{Binding, Mutating, Policy, Validating};
use super::inputs::shown_namespace;
use super::{GROUP, parameters};
use crate::call::Call;
use crate::server::Server;
use crate::webhook::is_exempt;
use crate::webhook::rules::Subject;

/// One of the two kinds of policies.
pub(super) trait Kind: DeserializeOwned + Send + Sync + 'static {
    /// Plural of the policies.
    const POLICIES: &'static str;
    /// Plural of their bindings.
    const BINDINGS: &'static str;

    /// What both kinds have.
    fn policy(&self) -> &Policy;
}

impl Kind for Validating {
    const POLICIES: &'static str = "validatingadmissionpolicies";
    const BINDINGS: &'static str = "validatingadmissionpolicybindings";

    fn policy(&self) -> &Policy {
        &self.policy
    }
}

impl Kind for Mutating {
    const POLICIES: &'static str = "mutatingadmissionpolicies";
    const BINDINGS: &'static str = "mutatingadmissionpolicybindings";

    fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// A policy that is to be run.
#[derive(Debug)]
pub(super) struct Invocation<P> {
    pub(super) policy: Arc<P>,
    pub(super) binding: Arc<Binding>,
    /// The row in whose version it sees the request.
    pub(super) row: crate::webhook::Row,
    pub(super) params: Option<Value>,
}

/// A policy that cannot be run.
#[derive(Debug)]
pub(super) struct Misfit<P> {
    pub(super) policy: Arc<P>,
    /// The binding, where it is that one's fault.
    pub(super) binding: Option<Arc<Binding>>,
    /// Why, in upstream's words.
    pub(super) message: String,
}

/// A step of admission by policies, in order.
#[derive(Debug)]
pub(super) enum Step<P> {
    Run(Invocation<P>),
    Refuse(Misfit<P>),
}

/// The policies that concern a request, by name, and the namespace as they see it.
pub(super) async fn invocations<P: Kind>(
    server: &Server,
    call: &Call,
    request: &Request<'_>,
) -> Result<Vec<Step<P>>, Status> {
    let bindings = server.caches.place(GROUP, P::BINDINGS).list("", |_| true);
    if bindings.is_empty() || is_exempt(call) {
        return Ok(Vec::new());
    }
    let mut by_policy: BTreeMap<String, Vec<Arc<Binding>>> = BTreeMap::new();
    for binding in bindings.iter().filter_map(read::<Binding>) {
        by_policy.entry(binding.policy_name.clone()).or_default().push(binding);
    }
    let policies = server.caches.place(GROUP, P::POLICIES);
    let namespace = server.namespace_labels(call, request).await?;
    let table = server.registry.table();
    let subject = Subject { call, request, table: &table, namespace: &namespace };
    let mut steps = Vec::new();
    for (name, bindings) in by_policy {
        let Some(policy) = policies.get("", &name) else { continue };
        let Some(policy) = read::<P>(&policy) else { continue };
        add_steps(server, &subject, &policy, &bindings, &mut steps).await;
    }
    Ok(steps)
}

fn read<K: DeserializeOwned + Send + Sync + 'static>(object: &Arc<Object>) -> Option<Arc<K>> {
    let typed = object.typed::<K>();
    typed
        .inspect_err(|error| tracing::error!(?object, %error, "a stored policy is not readable"))
        .ok()
}

async fn add_steps<P: Kind>(
    server: &Server,
    subject: &Subject<'_>,
    whole: &Arc<P>,
    bindings: &[Arc<Binding>],
    steps: &mut Vec<Step<P>>,
) {
    let policy = whole.policy();
    let refuse = |binding: Option<&Arc<Binding>>, why: String| {
        let what = if binding.is_some() { "binding" } else { "policy" };
        let message = format!("failed to configure {what}: {why}");
        Step::Refuse(Misfit { policy: Arc::clone(whole), binding: binding.cloned(), message })
    };
    let Some(criteria) = policy.criteria() else {
        steps.push(refuse(None, "policy contained no match constraints, a required field".into()));
        return;
    };
    let row = match criteria.matched(subject) {
        Ok(Some(row)) => row,
        Ok(None) => return,
        Err(status) => {
            steps.push(refuse(None, status.message));
            return;
        }
    };
    let param_row =
        match policy.param_kind().map(|kind| parameters::row_of(server, kind)).transpose() {
            Ok(param_row) => param_row,
            Err(why) => {
                steps.push(refuse(None, why));
                return;
            }
        };
    for binding in bindings {
        match binding.criteria().map(|criteria| criteria.matched(subject)) {
            None | Some(Ok(Some(_))) => {}
            Some(Ok(None)) => continue,
            Some(Err(status)) => {
                steps.push(refuse(Some(binding), status.message));
                continue;
            }
        }
        let namespace = subject.request.namespace;
        let params =
            parameters::collect(server, param_row.as_ref(), binding.param_ref(), namespace).await;
        match params {
            Ok(params) => steps.extend(params.into_iter().map(|params| {
                let (policy, binding) = (Arc::clone(whole), Arc::clone(binding));
                Step::Run(Invocation { policy, binding, row: Arc::clone(&row), params })
            })),
            Err(why) => steps.push(refuse(Some(binding), why)),
        }
    }
}

/// `namespaceObject`; null outside namespaces, and for a namespace itself.
pub(super) fn namespace_object(
    server: &Server,
    call: &Call,
    request: &Request<'_>,
) -> Result<Value, Status> {
    if !call.resource.is_namespaced() || request.namespace.is_empty() {
        return Ok(Value::Null);
    }
    let found = server.caches.place("", "namespaces").get("", request.namespace);
    let found = found.ok_or_else(|| Status::not_found("", "namespaces", request.namespace))?;
    Ok(shown_namespace(&found.to_value()))
}
