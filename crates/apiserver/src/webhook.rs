//! Admission webhooks: asking others, in order, before an object is stored.
//!
//! Which webhook applies is decided here from its rules and selectors; how it is reached is in `call_out`.
//! Mutating ones run one after another, each on the result of the one before, and once more where they
//! ask for it and something changed after them; validating ones run side by side.

mod call_out;
mod rules;

use std::sync::Arc;

use admission::Request;
use api::meta;
use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::call::Call;
use crate::handle::text;
use crate::server::Server;
pub(crate) use call_out::{CallError, send as call};
use rules::Hook;

const GROUP: &str = "admissionregistration.k8s.io";
const MUTATING: &str = "mutatingwebhookconfigurations";
const VALIDATING: &str = "validatingwebhookconfigurations";

impl Server {
    /// Lets every mutating webhook that applies change the object.
    pub(crate) async fn ask_mutating(
        &self,
        call: &Call,
        request: &mut Request<'_>,
    ) -> Result<(), Status> {
        let hooks = self.hooks(MUTATING, call, request);
        let mut changed_after: Vec<bool> = Vec::with_capacity(hooks.len());
        for hook in &hooks {
            let changed = self.ask_one(call, request, hook).await?;
            if changed {
                changed_after.fill(true);
            }
            changed_after.push(false);
        }
        for (hook, again) in hooks.iter().zip(changed_after) {
            if again && text(&hook.config, "/reinvocationPolicy") == "IfNeeded" {
                self.ask_one(call, request, hook).await?;
            }
        }
        Ok(())
    }

    /// Lets every validating webhook that applies refuse the object.
    pub(crate) async fn ask_validating(
        &self,
        call: &Call,
        request: &mut Request<'_>,
    ) -> Result<(), Status> {
        let hooks = self.hooks(VALIDATING, call, request);
        let answers = hooks.iter().map(|hook| self.review(call, request, hook));
        let answers = futures::future::join_all(answers).await;
        for (hook, answer) in hooks.iter().zip(answers) {
            if let Some(response) = answer? {
                take_warnings(request, &response);
                refuse(hook, &response)?;
            }
        }
        Ok(())
    }

    fn hooks(&self, plural: &str, call: &Call, request: &Request<'_>) -> Vec<Hook> {
        // Configurations that could lock themselves in are never subject to webhooks.
        if call.resource.group == GROUP && matches!(&*call.resource.plural, MUTATING | VALIDATING) {
            return Vec::new();
        }
        let configurations = self.caches.place(GROUP, plural).list("", |_| true);
        if configurations.is_empty() {
            return Vec::new();
        }
        let namespace = self.namespace_labels(call, request);
        let table = self.registry.table();
        configurations
            .iter()
            .flat_map(|configuration| rules::hooks(&configuration.to_value()))
            .filter_map(|hook| rules::applies(hook, &table, call, request, namespace.as_ref()))
            .collect()
    }

    /// The labels that a namespace selector looks at; `None` for objects outside namespaces.
    fn namespace_labels(&self, call: &Call, request: &Request<'_>) -> Option<Value> {
        if call.resource.group.is_empty() && call.resource.plural == "namespaces" {
            let object = if request.object.is_null() { request.old? } else { &request.object };
            return Some(meta::get(object, "labels").cloned().unwrap_or_else(|| json!({})));
        }
        if !call.resource.is_namespaced() {
            return None;
        }
        let namespace = self.caches.place("", "namespaces").get("", request.namespace)?.to_value();
        Some(meta::get(&namespace, "labels").cloned().unwrap_or_else(|| json!({})))
    }

    /// Asks one mutating webhook; whether it changed the object.
    async fn ask_one(
        &self,
        call: &Call,
        request: &mut Request<'_>,
        hook: &Hook,
    ) -> Result<bool, Status> {
        let Some(response) = self.review(call, request, hook).await? else { return Ok(false) };
        take_warnings(request, &response);
        refuse(hook, &response)?;
        let Some(encoded) = response.get("patch").and_then(Value::as_str) else { return Ok(false) };
        let failed = |why: String| {
            Status::internal(format!("failed calling webhook \"{}\": {why}", hook.name))
        };
        let patch = STANDARD.decode(encoded).map_err(|error| failed(error.to_string()))?;
        let patch: Value =
            serde_json::from_slice(&patch).map_err(|error| failed(error.to_string()))?;
        let before = hook.convert(self, call, &request.object);
        let mut after = before.clone();
        patch::json::apply(&mut after, &patch).map_err(|error| failed(error.to_string()))?;
        if after == before {
            return Ok(false);
        }
        // The object goes through the decoder again, as any body does.
        let after = hook.convert_back(self, call, after);
        let schema = self.registry.table().schema(&call.resource);
        request.object = crate::patching::check_against_schema(call, &after, &schema, "Ignore")?;
        Ok(true)
    }

    /// The response of one webhook; `None` when it failed and may be ignored.
    async fn review(
        &self,
        call: &Call,
        request: &Request<'_>,
        hook: &Hook,
    ) -> Result<Option<Value>, Status> {
        let side_effects = text(&hook.config, "/sideEffects");
        if request.dry_run && !matches!(side_effects, "None" | "NoneOnDryRun") {
            return Err(Status::bad_request(format!(
                "admission webhook \"{}\" does not support dry run",
                hook.name
            )));
        }
        let uid = uuid::Uuid::new_v4().to_string();
        let review = review(self, call, request, hook, &uid);
        match call_out::send(self, &hook.config, "/clientConfig", &review, hook.timeout()).await {
            Ok(answer) => match answer.get("response") {
                Some(response) if text(response, "/uid") == uid => Ok(Some(response.clone())),
                _ => hook.failed("expected response.uid to be that of the request"),
            },
            Err(error) => hook.failed(&error.to_string()),
        }
    }
}

fn review(server: &Server, call: &Call, request: &Request<'_>, hook: &Hook, uid: &str) -> Value {
    let resource = &call.resource;
    let own = |group: &str, version: &str, plural: &str| json!({"group": group, "version": version, "resource": plural});
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let sub = resource.subresource(call.subresource()).filter(|sub| !sub.kind.is_empty());
    let request_kind = match sub {
        Some(sub) => kind(
            sub.group,
            if sub.version.is_empty() { &resource.version } else { sub.version },
            sub.kind,
        ),
        None => kind(&resource.group, &resource.version, &resource.kind),
    };
    let shown = &hook.row;
    let user = &call.user;
    let object = |value: &Value| {
        if value.is_null() { Value::Null } else { hook.convert(server, call, value) }
    };
    let name = match request.name {
        "" => meta::name(&request.object),
        name => name,
    };
    let mut body = json!({
        "uid": uid,
        "kind": if sub.is_some() { request_kind.clone() } else { kind(&shown.group, &shown.version, &shown.kind) },
        "resource": own(&shown.group, &shown.version, &shown.plural),
        "requestKind": request_kind,
        "requestResource": own(&resource.group, &resource.version, &resource.plural),
        "name": name,
        "operation": request.operation.text(),
        "userInfo": {"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra},
        "object": object(&request.object),
        "oldObject": request.old.map(object),
        "dryRun": request.dry_run,
        "options": if request.options.is_null() { options(request) } else { request.options.clone() },
    });
    if !request.namespace.is_empty() {
        body["namespace"] = json!(request.namespace);
    }
    if !call.subresource().is_empty() {
        body["subResource"] = json!(call.subresource());
        body["requestSubResource"] = json!(call.subresource());
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": body})
}

fn options(request: &Request<'_>) -> Value {
    let kind = match request.operation {
        admission::Operation::Create => "CreateOptions",
        admission::Operation::Update => "UpdateOptions",
        admission::Operation::Delete => "DeleteOptions",
        admission::Operation::Connect => return Value::Null,
    };
    json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"})
}

fn take_warnings(request: &mut Request<'_>, response: &Value) {
    let warnings = response.get("warnings").and_then(Value::as_array);
    let warnings = warnings.into_iter().flatten().filter_map(Value::as_str);
    request.warnings.extend(warnings.map(str::to_owned));
}

fn refuse(hook: &Hook, response: &Value) -> Result<(), Status> {
    if response.get("allowed") == Some(&Value::Bool(true)) {
        return Ok(());
    }
    let status = response.get("status");
    let message = status.map(|status| text(status, "/message")).unwrap_or_default();
    let code = status.and_then(|status| status.get("code")).and_then(Value::as_u64);
    let code =
        code.and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400).unwrap_or(400);
    let reason = status.map(|status| text(status, "/reason")).unwrap_or_default();
    let text = match (message, reason) {
        ("", "") => {
            format!("admission webhook \"{}\" denied the request without explanation", hook.name)
        }
        ("", reason) => format!("admission webhook \"{}\" denied the request: {reason}", hook.name),
        (message, _) => {
            format!("admission webhook \"{}\" denied the request: {message}", hook.name)
        }
    };
    Err(Status::failure(code, known_reason(reason), text))
}

/// Reasons of a webhook's own making are not passed on: a status carries only known ones.
fn known_reason(reason: &str) -> &'static str {
    const KNOWN: &[&str] = &[
        "BadRequest",
        "Forbidden",
        "Invalid",
        "Conflict",
        "NotFound",
        "AlreadyExists",
        "Unauthorized",
        "TooManyRequests",
        "InternalError",
        "MethodNotAllowed",
        "NotAcceptable",
    ];
    KNOWN.iter().find(|known| **known == reason).copied().unwrap_or("")
}

/// Keeps a reference to the row whose version a webhook wants.
pub(crate) type Row = Arc<api::resource::Resource>;
