//! Admission webhooks: asking others, in order, before an object is stored.
//!
//! Which webhook applies is decided in `rules` and by its match conditions; how it is reached is in
//! `call_out`. Mutating ones run one after another, each on the result of the one before, and once more
//! where they ask for it and something changed after them (see `admit::reinvocation`); validating ones
//! run side by side.

mod call_out;
mod hooks;
mod review;
pub(crate) mod rules;

use std::sync::Arc;

use admission::{Operation, Request};
use api::meta;
use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::admit::Rounds;
use crate::audit::Level;
use crate::call::Call;
use crate::handle::text;
use crate::policy_admission::{Inputs, Verdict};
use crate::server::Server;
pub(crate) use call_out::{CallError, send as call};
use hooks::{Hook, Hooks};
pub(crate) use review::{has_own_kind, request_body};
use rules::{NamespaceLabels, Subject, converted};

const GROUP: &str = "admissionregistration.k8s.io";
const MUTATING: &str = "mutatingwebhookconfigurations";
const VALIDATING: &str = "validatingwebhookconfigurations";

/// Keeps a reference to the row whose version a webhook wants.
pub(crate) type Row = Arc<api::resource::Resource>;

/// Whether the request is about the configuration of admission itself, which nothing but its own
/// validation judges, lest it lock itself in.
pub(crate) fn is_exempt(call: &Call) -> bool {
    const PLURALS: [&str; 6] = [
        MUTATING,
        VALIDATING,
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    ];
    call.resource.group == GROUP && PLURALS.contains(&&*call.resource.plural)
}

impl Server {
    /// Lets every mutating webhook that applies change the object.
    pub(crate) async fn ask_mutating(
        &self,
        call: &Call,
        request: &mut Request<'_>,
        rounds: &mut Rounds,
    ) -> Result<(), Status> {
        let configurations = self.webhooks(MUTATING, call);
        if configurations.is_empty() {
            return Ok(());
        }
        if rounds.is_second {
            rounds.webhooks.begin_again(&request.object);
        }
        let mut place = 0;
        for hooks in &configurations {
            for (index, hook) in hooks.list.iter().enumerate() {
                let asked = Asked {
                    kind: "mutation",
                    configuration: &hooks.name,
                    round: u8::from(rounds.is_second),
                    place,
                };
                place += 1;
                let Some(row) = self.applies(hook, call, request).await? else { continue };
                let key = (hooks.name.clone(), index);
                if rounds.is_second && !rounds.webhooks.is_due(&key) {
                    continue;
                }
                if self.ask_one(call, request, (hook, &asked), &row).await? {
                    rounds.webhooks.note_change();
                    rounds.again = true;
                }
                if text(&hook.config, "/reinvocationPolicy") == "IfNeeded" {
                    rounds.webhooks.note_call(key);
                }
            }
        }
        rounds.webhooks.end(&request.object);
        Ok(())
    }

    /// Lets every validating webhook that applies refuse the object.
    pub(crate) async fn ask_validating(
        &self,
        call: &Call,
        request: &mut Request<'_>,
    ) -> Result<(), Status> {
        let configurations = self.webhooks(VALIDATING, call);
        let mut hooks = Vec::new();
        let mut place = 0;
        for configured in &configurations {
            for hook in &configured.list {
                if let Some(row) = self.applies(hook, call, request).await? {
                    let configuration = configured.name.as_str();
                    let asked = Asked { kind: "validating", configuration, round: 0, place };
                    hooks.push((hook, row, asked));
                }
                place += 1;
            }
        }
        let answers = hooks.iter().map(|(hook, row, _)| self.review(call, request, hook, row));
        let answers = futures::future::join_all(answers).await;
        for ((hook, _, asked), answer) in hooks.iter().zip(answers) {
            match answer? {
                Some(response) => {
                    take_notes(request, hook, &response);
                    refuse(hook, &response)?;
                }
                None => asked.note_failure(request, hook),
            }
        }
        Ok(())
    }

    /// The configurations by name; none for requests that are never subject to webhooks.
    fn webhooks(&self, plural: &str, call: &Call) -> Vec<Arc<Hooks>> {
        if is_exempt(call) {
            return Vec::new();
        }
        let configurations = self.caches.place(GROUP, plural).list("", |_| true);
        let read = configurations.iter().map(|object| {
            object.typed::<Hooks>().inspect_err(|error| {
                tracing::error!(?object, %error, "a webhook configuration is not readable");
            })
        });
        read.flatten().collect()
    }

    /// The row in whose version a webhook wants to see the request, if it wants to.
    async fn applies(
        &self,
        hook: &Hook,
        call: &Call,
        request: &Request<'_>,
    ) -> Result<Option<Row>, Status> {
        let namespace = self.namespace_labels(call, request).await?;
        let table = self.registry.table();
        let subject = Subject { call, request, table: &table, namespace: &namespace };
        let Some(row) = hook.criteria().matched(&subject)? else { return Ok(None) };
        if hook.conditions.is_empty() {
            return Ok(Some(row));
        }
        let inputs = Inputs::new(self, call, request, &row).await?;
        match hook.conditions.decide(&inputs.activation(None, &Value::Null)) {
            Verdict::Matches => Ok(Some(row)),
            Verdict::Differs => Ok(None),
            Verdict::Failed(why) if hook.ignores_failures() => {
                tracing::info!(
                    webhook = hook.name,
                    why,
                    "match conditions failed, webhook skipped"
                );
                Ok(None)
            }
            Verdict::Failed(why) => {
                let resource = &call.resource;
                let name = request.object_name();
                Err(Status::forbidden(&resource.group, &resource.plural, name, &why))
            }
        }
    }

    /// The labels that a namespace selector looks at.
    pub(crate) async fn namespace_labels(
        &self,
        call: &Call,
        request: &Request<'_>,
    ) -> Result<NamespaceLabels, Status> {
        let labels =
            |object: &Value| meta::get(object, "labels").cloned().unwrap_or_else(|| json!({}));
        let name = if call.resource.group.is_empty() && call.resource.plural == "namespaces" {
            let writes = matches!(request.operation, Operation::Create | Operation::Update);
            if writes && call.subresource().is_empty() {
                return Ok(NamespaceLabels::Of(labels(&request.object)));
            }
            request.object_name()
        } else if call.resource.is_namespaced() {
            request.namespace
        } else {
            return Ok(NamespaceLabels::Outside);
        };
        let namespaces = self.caches.place("", "namespaces");
        let mut found = namespaces.get("", name);
        if found.is_none() {
            self.fresh().await?;
            found = namespaces.get("", name);
        }
        Ok(match found {
            Some(namespace) => NamespaceLabels::Of(labels(&namespace.to_value())),
            None => NamespaceLabels::Missing(name.to_owned()),
        })
    }

    /// Asks one mutating webhook; whether it changed the object.
    async fn ask_one(
        &self,
        call: &Call,
        request: &mut Request<'_>,
        (hook, asked): (&Hook, &Asked<'_>),
        row: &Row,
    ) -> Result<bool, Status> {
        let Some(response) = self.review(call, request, hook, row).await? else {
            asked.note_failure(request, hook);
            return Ok(false);
        };
        take_notes(request, hook, &response);
        refuse(hook, &response)?;
        let changed = self.take_patch(call, request, (hook, asked), row, &response).await?;
        asked.note_mutation(request, hook, changed);
        Ok(changed)
    }

    /// Applies the patch of a response; whether it changed the object.
    async fn take_patch(
        &self,
        call: &Call,
        request: &mut Request<'_>,
        (hook, asked): (&Hook, &Asked<'_>),
        row: &Row,
        response: &Value,
    ) -> Result<bool, Status> {
        let Some(encoded) = response.get("patch").and_then(Value::as_str) else { return Ok(false) };
        let failed = |why: String| {
            Status::internal(format!("failed calling webhook \"{}\": {why}", hook.name))
        };
        let patch = STANDARD.decode(encoded).map_err(|error| failed(error.to_string()))?;
        let patch: Value =
            serde_json::from_slice(&patch).map_err(|error| failed(error.to_string()))?;
        let before = self.shown(call, &request.object, &call.resource, row).await?;
        let mut after = before.clone();
        patch::json::apply(&mut after, &patch).map_err(|error| failed(error.to_string()))?;
        if after == before {
            return Ok(false);
        }
        if call.record.as_ref().is_some_and(|record| record.wants(Level::Request)) {
            asked.note_patch(request, hook, &patch);
        }
        // The object goes through the decoder again, as any body does.
        let after = self.shown(call, &after, row, &call.resource).await?;
        let schema = self.registry.table().schema(&call.resource);
        let after = crate::patching::check_against_schema(call, &after, &schema, "Ignore");
        request.object = after.map_err(|error| failed(error.to_string()))?;
        Ok(true)
    }

    /// The response of one webhook; `None` when it failed and may be ignored.
    async fn review(
        &self,
        call: &Call,
        request: &Request<'_>,
        hook: &Hook,
        row: &Row,
    ) -> Result<Option<Value>, Status> {
        let side_effects = text(&hook.config, "/sideEffects");
        if request.dry_run && !matches!(side_effects, "None" | "NoneOnDryRun") {
            return Err(Status::bad_request(format!(
                "admission webhook \"{}\" does not support dry run",
                hook.name
            )));
        }
        let uid = uuid::Uuid::new_v4().to_string();
        let review = self.review_body(call, request, row, &uid).await?;
        match call_out::send(self, &hook.config, "/clientConfig", &review, hook.timeout()).await {
            Ok(answer) => match answer.get("response") {
                Some(response) if text(response, "/uid") == uid => Ok(Some(response.clone())),
                _ => hook.failed("expected response.uid to be that of the request"),
            },
            Err(error) => hook.failed(&error.to_string()),
        }
    }

    async fn review_body(
        &self,
        call: &Call,
        request: &Request<'_>,
        row: &Row,
        uid: &str,
    ) -> Result<Value, Status> {
        let mut body = request_body(call, request, row);
        body["uid"] = json!(uid);
        body["object"] = self.shown(call, &request.object, &call.resource, row).await?;
        body["oldObject"] = self.shown(call, request.old_object(), &call.resource, row).await?;
        Ok(json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": body}))
    }

    /// An object of the request in another row's version; the objects of a subresource that have a kind
    /// of their own stay as they are.
    pub(crate) async fn shown(
        &self,
        call: &Call,
        object: &Value,
        from: &Row,
        to: &Row,
    ) -> Result<Value, Status> {
        if has_own_kind(call) {
            return Ok(object.clone());
        }
        converted(self, object, from, to).await
    }
}

/// A webhook's place among those that are asked, as the audit log has it.
struct Asked<'a> {
    kind: &'static str,
    configuration: &'a str,
    round: u8,
    place: usize,
}

impl Asked<'_> {
    fn key(&self, prefix: &str) -> String {
        format!("{prefix}.webhook.admission.k8s.io/round_{}_index_{}", self.round, self.place)
    }

    fn note_failure(&self, request: &mut Request<'_>, hook: &Hook) {
        let key = self.key(&format!("failed-open.{}", self.kind));
        request.annotate(key, hook.name.as_str());
    }

    fn note_mutation(&self, request: &mut Request<'_>, hook: &Hook, changed: bool) {
        let note = json!({
            "configuration": self.configuration, "webhook": hook.name, "mutated": changed});
        request.annotate(self.key("mutation"), note.to_string());
    }

    fn note_patch(&self, request: &mut Request<'_>, hook: &Hook, patch: &Value) {
        let note = json!({"configuration": self.configuration, "webhook": hook.name,
            "patch": patch, "patchType": "JSONPatch"});
        request.annotate(self.key("patch"), note.to_string());
    }
}

/// The warnings of a response, and what it has for the audit log.
fn take_notes(request: &mut Request<'_>, hook: &Hook, response: &Value) {
    let warnings = response.get("warnings").and_then(Value::as_array);
    let warnings = warnings.into_iter().flatten().filter_map(Value::as_str);
    request.warnings.extend(warnings.map(str::to_owned));
    let annotations = response.get("auditAnnotations").and_then(Value::as_object);
    for (key, value) in annotations.into_iter().flatten() {
        if let Some(value) = value.as_str() {
            request.annotate(format!("{}/{key}", hook.name), value);
        }
    }
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
