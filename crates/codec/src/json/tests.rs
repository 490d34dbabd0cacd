//! The decoder against the texts and rules of upstream's.

use proptest::prelude::*;
use schema::{Schema, for_kind};
use serde_json::{Value, json};

use super::{decode, decode_any, type_meta};
use crate::{BODY_BYTES_MAX, DecodeError, Mode};

fn pod() -> Schema {
    for_kind("", "v1", "Pod").expect("built in")
}

fn deployment() -> Schema {
    for_kind("apps", "v1", "Deployment").expect("built in")
}

fn error(schema: &Schema, text: &str) -> String {
    decode(text.as_bytes(), schema, Mode::Strict).expect_err(text).to_string()
}

#[test]
fn strict_errors_in_the_order_of_the_text() {
    let text = r#"{"apiVersion":"apps/v1","kind":"Deployment","foo":1,
        "spec":{"replicas":1,"bar":{},"replicas":2,
        "template":{"spec":{"containers":[{"name":"a"},{"name":"b","imagePullSecretz":[]}]}}}}"#;
    assert_eq!(
        error(&deployment(), text),
        "strict decoding error: unknown field \"foo\", unknown field \"spec.bar\", \
         duplicate field \"spec.replicas\", \
         unknown field \"spec.template.spec.containers[1].imagePullSecretz\""
    );
    let decoded = decode(text.as_bytes(), &deployment(), Mode::Warn).expect("warnings only");
    assert_eq!(decoded.warnings.len(), 4);
    assert_eq!(decoded.warnings[0], "unknown field \"foo\"");
    assert_eq!(decoded.value["spec"]["replicas"], 2);
    assert!(decoded.value.get("foo").is_none());
    let decoded = decode(text.as_bytes(), &deployment(), Mode::Ignore).expect("silent");
    assert!(decoded.warnings.is_empty());
}

#[test]
fn a_schema_or_something_else_is_read_as_what_it_is() {
    let definition = for_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap();
    let within = |inner: &str| {
        format!(
            r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{{"foo":1,"properties":{{"a":{inner}}}}}}}}}]}}}}"#
        )
    };
    let read = |inner: &str| {
        let decoded = decode(within(inner).as_bytes(), &definition, Mode::Warn).expect(inner);
        let unknown = ["unknown field \"spec.versions[0].schema.openAPIV3Schema.foo\""];
        assert_eq!(decoded.warnings, unknown, "what is inside of a union does not count: {inner}");
        let at = "/spec/versions/0/schema/openAPIV3Schema/properties/a";
        decoded.value.pointer(at).unwrap().to_string()
    };
    for (given, kept) in [
        (r#"{"items":{"type":"string","bar":1}}"#, r#"{"items":{"type":"string"}}"#),
        (r#"{"items":[{"bar":1},{"items":{"x":1}}]}"#, r#"{"items":[{},{"items":{}}]}"#),
        (r#"{"items":7}"#, "{}"),
        (r#"{"additionalProperties":true}"#, r#"{"additionalProperties":true}"#),
        (r#"{"additionalProperties":null}"#, "{}"),
        (r#"{"additionalProperties":{"x":1}}"#, r#"{"additionalProperties":{}}"#),
        (r#"{"dependencies":{"a":["b"],"c":{"x":1}}}"#, r#"{"dependencies":{"a":["b"],"c":{}}}"#),
    ] {
        assert_eq!(read(given), kept);
    }
    for (given, told) in [
        (
            r#"{"items":{"properties":{"b":{"type":7}}}}"#,
            "json: cannot unmarshal number into Go struct field \
             JSONSchemaProps.properties.type of type string",
        ),
        (r#"{"additionalProperties":"yes"}"#, "boolean or JSON schema expected"),
        (r#"{"additionalItems":[]}"#, "boolean or JSON schema expected"),
    ] {
        assert_eq!(error(&definition, &within(given)), told);
    }
}

#[test]
fn type_errors_read_as_in_go() {
    for (text, expected) in [
        (
            r#"{"metadata":{"name":3}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string",
        ),
        (
            r#"{"spec":{"containers":{}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            r#"{"metadata":{"labels":{"a":true}}}"#,
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            r#"{"spec":{"containers":[{"ports":[{"containerPort":"80"}]}]}}"#,
            "json: cannot unmarshal string into Go struct field \
             ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            r#"{"spec":{"priority":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            r#"{"spec":{"priority":3000000000}}"#,
            "json: cannot unmarshal number 3000000000 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (r#"[]"#, "json: cannot unmarshal array into Go value of type v1.Pod"),
        (
            r#"{"metadata":{"creationTimestamp":"x"}}"#,
            "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"",
        ),
        (
            r#"{"metadata":{"creationTimestamp":5}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
        ),
        (
            r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"much"}}}]}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        assert_eq!(error(&pod(), text), expected, "{text}");
    }
}

#[test]
fn syntax_errors_read_as_in_go() {
    for (text, expected) in [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("{a", "invalid character 'a' looking for beginning of object key string"),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
        ("nul", "unexpected end of JSON input"),
        ("nulx", "invalid character 'x' in literal null (expecting 'l')"),
        ("01", "invalid character '1' after top-level value"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("-", "unexpected end of JSON input"),
        ("\"a\n\"", "invalid character '\\n' in string literal"),
        ("\"\\x\"", "invalid character 'x' in string escape code"),
        ("\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"),
        ("{} x", "invalid character 'x' after top-level value"),
    ] {
        assert_eq!(
            decode_any(text.as_bytes()),
            Err(DecodeError::Syntax(expected.to_owned())),
            "{text}"
        );
    }
    // Syntax wins over type.
    assert_eq!(error(&pod(), r#"{"metadata":{"name":3}"#), "unexpected end of JSON input");
}

#[test]
fn values_come_out_in_one_form() {
    let text = r#"{"metadata":{"name":"a","creationTimestamp":"2024-01-01T01:00:00.5+01:00","labels":null,
        "annotations":{"x":null}},"spec":{"nodeName":null,"containers":[{"name":"c",
        "resources":{"limits":{"cpu":0.5,"memory":"1024Mi"}},
        "livenessProbe":{"httpGet":{"port":"http"},"grpc":{"port":1}}}]}}"#;
    let decoded = decode(text.as_bytes(), &pod(), Mode::Strict).expect("valid");
    assert_eq!(
        decoded.value,
        json!({"metadata":{"name":"a","creationTimestamp":"2024-01-01T00:00:00Z","annotations":{"x":""}},
            "spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"500m","memory":"1Gi"}},
            "livenessProbe":{"httpGet":{"port":"http"},"grpc":{"port":1}}}]}})
    );
}

#[test]
fn strings_survive_as_in_go() {
    for (text, expected) in [
        (r#""a\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t""#, "aé😀\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\ud83dx""#, "\u{fffd}x"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
    ] {
        assert_eq!(decode_any(text.as_bytes()), Ok(json!(expected)), "{text}");
    }
    assert_eq!(decode_any(b"\"\xff\""), Ok(json!("\u{fffd}")));
    assert_eq!(decode_any(b"\"\\n\xff\""), Ok(json!("\n\u{fffd}")));
}

#[test]
fn numbers_without_a_type() {
    for (text, expected) in [
        ("1", json!(1)),
        ("1.0", json!(1)),
        ("-0", json!(0)),
        ("1e2", json!(100)),
        ("1.5", json!(1.5)),
        ("9223372036854775807", json!(i64::MAX)),
        ("9223372036854775808", json!(9_223_372_036_854_775_808.0)),
    ] {
        assert_eq!(decode_any(text.as_bytes()), Ok(expected), "{text}");
    }
    assert!(decode_any(b"1e999").is_err());
}

#[test]
fn custom_resources_keep_types_and_lose_unknown_fields() {
    let schema = Schema::custom_resource(&json!({"type":"object","properties":{
        "spec":{"type":"object","properties":{
            "size":{"type":"integer"},
            "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true},
            "tags":{"type":"object","additionalProperties":{"type":"string"}}}}}}))
    .expect("structural");
    let text = r#"{"apiVersion":"x/v1","kind":"X","metadata":{"name":"a","foo":1},
        "spec":{"size":"big","free":{"a":{"b":1,"b":2}},"tags":{"a":1},"z":1,"other":[1]}}"#;
    let decoded = decode(text.as_bytes(), &schema, Mode::Warn).expect("types are for validation");
    assert_eq!(
        decoded.value,
        json!({"apiVersion":"x/v1","kind":"X","metadata":{"name":"a"},
            "spec":{"size":"big","free":{"a":{"b":2}},"tags":{"a":1}}})
    );
    assert_eq!(
        decoded.warnings,
        [
            "duplicate field \"spec.free.a.b\"",
            "unknown field \"metadata.foo\"",
            "unknown field \"spec.other\"",
            "unknown field \"spec.z\""
        ]
    );
    let wrong = r#"{"metadata":{"name":5}}"#;
    assert_eq!(
        error(&schema, wrong),
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string"
    );
}

#[test]
fn bounds_hold() {
    let deep = "[".repeat(100_000);
    assert_eq!(
        decode_any(deep.as_bytes()),
        Err(DecodeError::Syntax("exceeded max depth".to_owned()))
    );
    let large = vec![b' '; BODY_BYTES_MAX + 1];
    assert_eq!(decode_any(&large), Err(DecodeError::TooLarge));
    let many: String = (0..500).map(|i| format!("\"u{i}\":1,")).collect();
    let decoded = decode(format!("{{{many}\"kind\":\"Pod\"}}").as_bytes(), &pod(), Mode::Warn);
    assert_eq!(decoded.expect("valid").warnings.len(), 100);
}

#[test]
fn type_meta_is_read_alone() {
    let meta =
        type_meta(br#"{"kind":"Pod","spec":{"kind":"no"},"apiVersion":"v1"}"#).expect("valid");
    assert_eq!((meta.api_version.as_str(), meta.kind.as_str()), ("v1", "Pod"));
    assert_eq!(
        type_meta(b"{x").expect_err("broken").to_string(),
        "couldn't get version/kind; json parse error: \
         invalid character 'x' looking for beginning of object key string"
    );
    assert_eq!(type_meta(b"null").expect("empty").kind, "");
    assert!(type_meta(b"[]").is_err());
    assert!(type_meta(br#"{"kind":5}"#).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_serde_writes_is_read_back(value in any_json()) {
        prop_assert_eq!(decode_any(value.to_string().as_bytes()), Ok(value));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes, &pod(), Mode::Strict);
        let _ = type_meta(&bytes);
        let _ = crate::yaml::to_value(&bytes);
    }

    #[test]
    fn near_json_does_not_panic(text in r#"[\{\}\[\]:,"a1\\u\.e \-ntf]{0,60}"#) {
        let ours = decode_any(text.as_bytes());
        let theirs = serde_json::from_str::<Value>(&text);
        if theirs.is_ok() {
            prop_assert!(ours.is_ok(), "{}", text);
        }
    }
}
