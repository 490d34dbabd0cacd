//! The `Status` object: the one shape of every error that a client sees.
//!
//! Messages are upstream's, because people and programs know them.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::field;

/// A failed (or, for deletions, successful) answer: `meta/v1 Status`.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// `Success` or `Failure`.
    pub status: &'static str,
    /// For people.
    pub message: String,
    /// For programs, in CamelCase; empty where upstream leaves it out.
    pub reason: &'static str,
    /// What the error is about.
    pub details: Details,
    /// `metadata.continue`: where a list can go on that has expired.
    pub next: String,
}

/// What a [`Status`] is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// The resource's plural or the object's kind, as upstream has it per reason.
    pub kind: String,
    /// API group, empty for core.
    pub group: String,
    /// Object name.
    pub name: String,
    /// Object UID.
    pub uid: String,
    /// One per field at fault.
    pub causes: Vec<Cause>,
    /// Seconds after which a client may try again.
    pub retry_after_seconds: u32,
    /// Whether they are written even when they say nothing: where no resource has answered.
    pub is_written: bool,
}

/// One fault of several.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// For programs, e.g. `FieldValueRequired`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Field path.
    pub field: String,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

/// `plural.group`, or `plural` in the core group: how messages name a resource.
pub fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

impl Status {
    /// A failure with neither causes nor subject.
    pub fn failure(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            status: "Failure",
            message: message.into(),
            reason,
            details: Details::default(),
            next: String::new(),
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        kind.clone_into(&mut self.details.kind);
        group.clone_into(&mut self.details.group);
        name.clone_into(&mut self.details.name);
        self
    }

    /// 404 for an object.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(group, plural));
        Self::failure(404, "NotFound", message).about(group, plural, name)
    }

    /// 404 for a path that serves nothing.
    pub fn no_such_path() -> Self {
        Self::failure(404, "NotFound", "the server could not find the requested resource").generic()
    }

    fn generic(mut self) -> Self {
        self.details.is_written = true;
        self
    }

    /// 409 on create.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(group, plural));
        Self::failure(409, "AlreadyExists", message).about(group, plural, name)
    }

    /// 409 on update or delete.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            qualified(group, plural)
        );
        Self::failure(409, "Conflict", message).about(group, plural, name)
    }

    /// 409 with upstream's text for a stale `resourceVersion`.
    pub fn stale(group: &str, plural: &str, name: &str) -> Self {
        Self::conflict(
            group,
            plural,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422 with a cause per field.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[field::Error]) -> Self {
        // The causes repeat what is wrong twice, the message does not.
        let mut seen = HashSet::new();
        let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        texts.retain(|text| seen.insert(text.clone()));
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} \"{name}\" is invalid: {list}", qualified(group, kind));
        let mut status = Self::failure(422, "Invalid", message).about(group, kind, name);
        status.details.causes = errors
            .iter()
            .map(|e| Cause { reason: e.reason(), message: e.body(), field: e.field.clone() })
            .collect();
        status
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// 403 for an object; `why` follows the colon.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let resource = qualified(group, plural);
        let message = if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} \"{name}\" is forbidden: {why}")
        };
        Self::failure(403, "Forbidden", message).about(group, plural, name)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::failure(405, "MethodNotAllowed", message).generic()
    }

    /// 410: the requested revision or continue token is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::failure(413, "RequestEntityTooLarge", message)
    }

    /// 415.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::failure(415, "UnsupportedMediaType", message)
    }

    /// 406.
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::failure(406, "NotAcceptable", message)
    }

    /// 429 with a time to wait.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut status = Self::failure(429, "TooManyRequests", message);
        status.details.retry_after_seconds = retry_after_seconds;
        status
    }

    /// 500; the message goes to the client, so it must not hold a secret.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::failure(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    /// 504.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::failure(504, "Timeout", message)
    }

    /// The answer to a deletion that leaves nothing behind.
    pub fn deleted(group: &str, plural: &str, name: &str, uid: &str) -> Self {
        let mut status = Self {
            code: 200,
            status: "Success",
            message: String::new(),
            reason: "",
            details: Details::default(),
            next: String::new(),
        }
        .about(group, plural, name);
        uid.clone_into(&mut status.details.uid);
        status
    }

    /// The JSON object of `meta/v1 Status`.
    pub fn to_json(&self) -> Value {
        let mut out = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": self.status,
        });
        if !self.next.is_empty() {
            out["metadata"]["continue"] = json!(self.next);
        }
        if !self.message.is_empty() {
            out["message"] = json!(self.message);
        }
        if !self.reason.is_empty() {
            out["reason"] = json!(self.reason);
        }
        if let Some(details) = self.details.to_json() {
            out["details"] = details;
        }
        if self.status == "Failure" {
            out["code"] = json!(self.code);
        }
        out
    }
}

impl Details {
    fn to_json(&self) -> Option<Value> {
        let mut out = serde_json::Map::new();
        for (key, value) in
            [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)]
        {
            if !value.is_empty() {
                out.insert(key.to_owned(), json!(value));
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(Cause::to_json).collect();
            out.insert("causes".to_owned(), Value::Array(causes));
        }
        if self.retry_after_seconds > 0 {
            out.insert("retryAfterSeconds".to_owned(), json!(self.retry_after_seconds));
        }
        (self.is_written || !out.is_empty()).then_some(Value::Object(out))
    }
}

impl Cause {
    fn to_json(&self) -> Value {
        let mut out = serde_json::Map::new();
        for (key, value) in
            [("reason", self.reason), ("message", &self.message), ("field", &self.field)]
        {
            if !value.is_empty() {
                out.insert(key.to_owned(), json!(value));
            }
        }
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_that_users_know() {
        let cases = [
            (Status::not_found("", "pods", "a"), r#"pods "a" not found"#),
            (
                Status::already_exists("apps", "deployments", "web"),
                r#"deployments.apps "web" already exists"#,
            ),
            (Status::forbidden("", "pods", "a", "no"), r#"pods "a" is forbidden: no"#),
        ];
        for (status, message) in cases {
            assert_eq!(status.message, message);
            assert_eq!(status.to_json()["message"], message);
        }
    }

    #[test]
    fn invalid_has_one_cause_per_field() {
        let path = field::Path::new("spec").child("replicas");
        let status = Status::invalid(
            "apps",
            "Deployment",
            "web",
            &[field::Error::required(&path, ""), field::Error::forbidden(&path, "no")],
        );
        assert_eq!(status.code, 422);
        assert_eq!(
            status.message,
            r#"Deployment.apps "web" is invalid: [spec.replicas: Required value, spec.replicas: Forbidden: no]"#
        );
        assert_eq!(status.details.causes[0].reason, "FieldValueRequired");
        assert_eq!(status.details.causes[1].message, "Forbidden: no");
    }
}
