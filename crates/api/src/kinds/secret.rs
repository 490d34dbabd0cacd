//! `v1 Secret`: bytes that only some may read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, row, tree};
use crate::meta;
use crate::name;
use crate::object::SelectableFields;
use crate::resource::{Cell, Column, Resource, Strategy};

struct Secret;

/// All values of one object together, in bytes.
const SIZE_MAX: usize = 1024 * 1024;
const ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";
/// What faults show in place of a secret.
const REDACTED: &str = "<secret contents redacted>";

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        columns: vec![
            Column::new("Type", Cell::Pointer("/type")),
            Column::new("Data", Cell::Compute(|o, _| tree::entries(o, "/data").count().into())),
            cells::age(),
        ],
        ..row("", "v1", "Secret", "secrets", &Secret)
    }]
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(value.as_str()?).ok()
}

/// Moves what the user wrote as text into `data`.
fn encode_text(object: &mut Value) {
    let Some(Value::Object(texts)) = tree::remove(object, "stringData") else { return };
    if texts.is_empty() {
        return;
    }
    let data = tree::make(object, "data");
    for (key, text) in texts {
        let encoded = STANDARD.encode(text.as_str().unwrap_or_default());
        tree::set(data, &key, encoded);
    }
}

fn of_type(object: &At<'_>, faults: &mut Faults) {
    let data = object.get("data");
    let key = |key: &str| At { value: data.get(key).value, path: data.path.key(key) };
    let account = meta::annotation(object.value, ACCOUNT_ANNOTATION);
    match object.get("type").text() {
        "kubernetes.io/service-account-token" if account.is_none_or(str::is_empty) => {
            let path = object.get2("metadata", "annotations").path.key(ACCOUNT_ANNOTATION);
            faults.required(&At { value: data.value, path }, "");
        }
        "kubernetes.io/dockercfg" => docker_config(&key(".dockercfg"), faults),
        "kubernetes.io/dockerconfigjson" => docker_config(&key(".dockerconfigjson"), faults),
        "kubernetes.io/basic-auth" if !key("username").is_set() && !key("password").is_set() => {
            faults.required(&key("username"), "");
            faults.required(&key("password"), "");
        }
        "kubernetes.io/ssh-auth" if key("ssh-privatekey").is_zero() => {
            faults.required(&key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for part in ["tls.crt", "tls.key"] {
                if !key(part).is_set() {
                    faults.required(&key(part), "");
                }
            }
        }
        _ => {}
    }
}

fn docker_config(at: &At<'_>, faults: &mut Faults) {
    if !at.is_set() {
        faults.required(at, "");
        return;
    }
    let content = bytes(at.value).unwrap_or_default();
    let parsed: Result<serde_json::Map<String, Value>, _> = serde_json::from_slice(&content);
    if let Err(fault) = parsed {
        faults.invalid_as(at, REDACTED, fault.to_string());
    }
}

impl Strategy for Secret {
    fn default(&self, object: &mut Value) {
        encode_text(object);
        tree::fill_zero(object, "type", "Opaque");
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value) {
        if tree::text(new, "/type").is_empty() {
            tree::restore(new, old, "type");
        }
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let at = At::root(object);
        let data = at.get("data");
        let mut faults = Faults::default();
        let mut size = 0;
        for (key, value) in data.entries() {
            if let Err(fault) = name::config_key(key) {
                faults.invalid_as(&value, key, fault);
            }
            match bytes(value.value) {
                Some(content) => size += content.len(),
                None if value.is_set() => {
                    faults.invalid_as(&value, REDACTED, "must be base64 text");
                }
                None => {}
            }
        }
        if size > SIZE_MAX {
            faults.too_long(&data, SIZE_MAX);
        }
        of_type(&at, &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let at = At::root(new);
        let mut faults = Faults::default();
        faults.immutable(&at.get("type"), &At::root(old).get("type"));
        if tree::flag(old, "/immutable") {
            let text = "field is immutable when `immutable` is set";
            if !tree::flag(new, "/immutable") {
                faults.forbidden(&at.get("immutable"), text);
            }
            if !tree::same_at(new, old, "/data") {
                faults.forbidden(&at.get("data"), text);
            }
        }
        faults.0.extend(self.validate(new));
        faults.0
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if tree::text(new, "/type") == "kubernetes.io/tls" {
            let has_pem = |field: &str| {
                let found = new.pointer(field).and_then(bytes).unwrap_or_default();
                String::from_utf8_lossy(&found).contains("-----BEGIN ")
            };
            if !has_pem("/data/tls.crt") {
                warnings.push("tls: failed to find any PEM data in certificate input".to_owned());
            } else if !has_pem("/data/tls.key") {
                warnings.push("tls: failed to find any PEM data in key input".to_owned());
            }
        }
        warnings
    }

    fn selectable_fields(&self, object: &Value) -> SelectableFields {
        vec![("type", tree::text(object, "/type").into())]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn text_becomes_data() {
        let mut object = json!({"stringData": {"a": "b"}, "data": {"c": "ZA=="}});
        Secret.default(&mut object);
        assert_eq!(object, json!({"data": {"a": "Yg==", "c": "ZA=="}, "type": "Opaque"}));
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["Opaque", "2", "<unknown>"]
        );
    }

    #[test]
    fn faults_read_as_upstreams() {
        let cases = [
            (
                json!({"type": "Opaque", "data": {"a/b": ""}}),
                "data[a/b]: Invalid value: \"a/b\": a valid config key",
            ),
            (
                json!({"type": "kubernetes.io/tls", "data": {}}),
                "data[tls.crt]: Required value\ndata[tls.key]: Required value",
            ),
            (
                json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "eA=="}}),
                "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\"",
            ),
            (
                json!({"type": "kubernetes.io/service-account-token"}),
                "metadata.annotations[kubernetes.io/service-account.name]: Required value",
            ),
        ];
        for (object, text) in cases {
            let shown = show(&Secret.validate(&object));
            assert!(shown.starts_with(text), "{shown}");
        }
        let old = json!({"type": "Opaque", "immutable": true, "data": {"a": "eA=="}});
        let new = json!({"type": "x", "data": {}});
        assert_eq!(
            show(&Secret.validate_update(&new, &old)),
            "type: Invalid value: \"x\": field is immutable\n\
             immutable: Forbidden: field is immutable when `immutable` is set\n\
             data: Forbidden: field is immutable when `immutable` is set"
        );
    }
}
