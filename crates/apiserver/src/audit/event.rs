//! One line of the audit log: `audit.k8s.io/v1 Event`.

use std::sync::Arc;

use admission::User;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::policy::{Level, Stage};
use super::record::Record;

/// What is queued for the log: the rest is in the record.
#[derive(Debug)]
pub(super) struct Event {
    pub record: Arc<Record>,
    pub stage: Stage,
    pub at: Timestamp,
    /// The answer, from the second stage on.
    pub answer: Option<AnswerNote>,
}

/// What is known of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct AnswerNote {
    pub code: u16,
    pub media_type: String,
    /// Its body where that is recorded and not too long.
    pub body: Bytes,
}

/// The event as a line, without its end.
pub(super) fn line(event: &Event) -> String {
    let record = &event.record;
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            out.insert(key.to_owned(), value);
        }
    };
    put("kind", json!("Event"));
    put("apiVersion", json!("audit.k8s.io/v1"));
    put("level", json!(record.verdict.level.text()));
    put("auditID", json!(record.id));
    put("stage", json!(event.stage.text()));
    put("requestURI", json!(record.uri));
    put("verb", json!(record.info.verb));
    put("user", user_info(&record.user));
    put("impersonatedUser", record.impersonated.get().map_or(Value::Null, user_info));
    put("sourceIPs", list(&record.sources));
    put("userAgent", text(&record.agent));
    let sent = (event.stage != Stage::RequestReceived).then(|| record.request()).flatten();
    let request = sent.as_ref().map(|(media_type, body)| decode(media_type, body));
    put("objectRef", object_reference(record, request.as_ref()));
    let answer = event.answer.as_ref();
    put("responseStatus", answer.map_or(Value::Null, response_status));
    let tidy = |value: Value| tidy(value, record.verdict.omit_managed_fields);
    if record.verdict.level >= Level::Request {
        put("requestObject", request.map_or(Value::Null, tidy));
    }
    if record.verdict.level == Level::RequestResponse
        && event.stage == Stage::ResponseComplete
        && let Some(answer) = answer
    {
        put("responseObject", tidy(decode(&answer.media_type, &answer.body)));
    }
    put("requestReceivedTimestamp", json!(micro(record.began)));
    put("stageTimestamp", json!(micro(event.at)));
    let annotations = record.annotations();
    if !annotations.is_empty() && event.stage != Stage::RequestReceived {
        put("annotations", json!(annotations));
    }
    Value::Object(out).to_string()
}

fn micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn text(value: &str) -> Value {
    if value.is_empty() { Value::Null } else { json!(value) }
}

fn list(values: &[String]) -> Value {
    if values.is_empty() { Value::Null } else { json!(values) }
}

fn user_info(user: &User) -> Value {
    let mut info = Map::new();
    let extra = if user.extra.is_empty() { Value::Null } else { json!(user.extra) };
    let fields = [
        ("username", text(&user.name)),
        ("uid", text(&user.uid)),
        ("groups", list(&user.groups)),
        ("extra", extra),
    ];
    for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
        info.insert(key.to_owned(), value);
    }
    Value::Object(info)
}

fn object_reference(record: &Record, request: Option<&Value>) -> Value {
    let info = &record.info;
    if !info.is_resource {
        return Value::Null;
    }
    let of_body = |field: &str| {
        let whole = matches!(info.verb.as_str(), "create" | "update");
        let body = request.filter(|_| whole);
        body.map(|body| api::meta::text(body, field)).unwrap_or_default()
    };
    let or_body = |have: &'_ str, field: &str| -> Value {
        if have.is_empty() { text(of_body(field)) } else { json!(have) }
    };
    let mut reference = Map::new();
    let fields = [
        ("resource", text(&info.resource)),
        ("namespace", or_body(&info.namespace, "namespace")),
        ("name", or_body(&info.name, "name")),
        ("uid", text(of_body("uid"))),
        ("apiGroup", text(&info.group)),
        ("apiVersion", text(&info.version)),
        ("resourceVersion", text(of_body("resourceVersion"))),
        ("subresource", text(&info.subresource)),
    ];
    for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
        reference.insert(key.to_owned(), value);
    }
    Value::Object(reference)
}

/// The code; of refusals what they say, too.
fn response_status(answer: &AnswerNote) -> Value {
    let mut status = json!({"metadata": {}, "code": answer.code});
    if answer.code >= 400 {
        let said = decode(&answer.media_type, &answer.body);
        for field in ["status", "message", "reason", "details"] {
            if let Some(value) = said.get(field).filter(|value| !value.is_null()) {
                status[field] = value.clone();
            }
        }
    }
    status
}

/// A body as JSON; null where it is none that has such a form.
fn decode(media_type: &str, body: &Bytes) -> Value {
    use codec::{Mode, TypeMeta};
    if body.is_empty() {
        return Value::Null;
    }
    let any = schema::Schema::any();
    if media_type.contains("protobuf") {
        let fallback = TypeMeta { api_version: String::new(), kind: String::new() };
        return codec::protobuf::decode(body, &fallback).unwrap_or_default();
    }
    if media_type.contains("yaml") {
        let decoded = codec::yaml::decode(body, &any, Mode::Ignore);
        return decoded.map(|decoded| decoded.value).unwrap_or_default();
    }
    if media_type.contains("cbor") {
        let decoded = codec::cbor::decode(body, &any, Mode::Ignore);
        return decoded.map(|decoded| decoded.value).unwrap_or_default();
    }
    serde_json::from_slice(body).unwrap_or_default()
}

/// An object, or a list of them, without `managedFields` where the policy leaves those out.
fn tidy(mut value: Value, omit_managed_fields: bool) -> Value {
    if !omit_managed_fields {
        return value;
    }
    let strip = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    strip(&mut value);
    for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        strip(item);
    }
    value
}
