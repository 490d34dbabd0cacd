//! The transcoder against real bytes, against `prost` types of the same messages, and against noise.

use k8s_pb::api::{apps::v1 as apps, core::v1 as core};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Map, Value, json};

use super::{
    decode, decode_opened, decode_watch_event, encode, encode_list, encode_watch_event, next_frame,
    open, seal, special, supports,
    table::{self, Presence, Repeat, Shape, Special},
};
use crate::{DecodeError, TypeMeta};

/// A PodList as an API server wrote it; from the test data of the crate `k8s-rs-pb` (Apache-2.0).
const POD_LIST: &[u8] = include_bytes!("testdata/pod_list.bin");

fn meta(api_version: &str, kind: &str) -> TypeMeta {
    TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() }
}

fn round_trip(value: &Value) -> Value {
    let bytes = encode(value).unwrap_or_else(|error| panic!("{value}: {error}"));
    decode(&bytes, &TypeMeta::default()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

#[test]
fn the_table_is_whole() {
    let mut count = 0;
    for message in table::all() {
        count += 1;
        assert!(message.fields.is_sorted_by(|a, b| a.number < b.number), "{}", message.name);
        let Some(schema) = schema::builtin(message.name) else { continue };
        if message.special.is_some() {
            continue;
        }
        for (name, _) in schema.properties() {
            let known = has_field(message, name) || matches!(name, "apiVersion" | "kind");
            // Alpha fields of 1.37 whose numbers are not known here.
            let late = matches!(
                name,
                "compatibilityGroups" | "derivedAttributes" | "runningInUserNamespace"
            );
            assert!(known || late, "{} has no field {name}", message.name);
        }
    }
    assert!(count > 800, "{count}");
}

fn has_field(message: &table::Message, name: &str) -> bool {
    message.field_named(name).is_some()
        || message.fields.iter().any(|field| match (field.presence, field.shape) {
            (Presence::Inline, Shape::Message(index)) => has_field(table::message(index), name),
            _ => false,
        })
}

#[test]
fn a_real_pod_list_reads_and_writes() {
    let envelope = open(POD_LIST).expect("an envelope");
    assert_eq!(envelope.meta, meta("v1", "PodList"));
    let value = decode_opened(&envelope).expect("a list");
    let items = value["items"].as_array().expect("items");
    assert_eq!(items.len(), 14);
    let schema = schema::for_kind("", "v1", "PodList").expect("built in");
    let text = value.to_string();
    let decoded =
        crate::json::decode(text.as_bytes(), &schema, crate::Mode::Strict).expect("valid");
    assert_eq!(decoded.value, value, "the tree is the one that JSON gives");

    let ours = encode(&value).expect("encodes");
    let theirs = core::PodList::decode(envelope.raw).expect("prost reads the original");
    let again =
        core::PodList::decode(open(&ours).expect("an envelope").raw).expect("prost reads ours");
    assert_eq!(again.items.len(), theirs.items.len());
    assert_eq!(decode(&ours, &TypeMeta::default()).expect("decodes"), value);
}

#[test]
fn a_real_pod_list_keeps_its_bytes() {
    let envelope = open(POD_LIST).expect("an envelope");
    let ours = encode(&decode_opened(&envelope).expect("a list")).expect("encodes");
    let ours = open(&ours).expect("an envelope").raw;
    // Go orders the keys in FieldsV1 by their numbers, we by their text; all else is the same.
    assert_eq!(ours.len(), envelope.raw.len());
    assert_eq!(without_managed_fields(ours), without_managed_fields(envelope.raw));
}

fn without_managed_fields(raw: &[u8]) -> Vec<u8> {
    let mut list = core::PodList::decode(raw).expect("prost reads it");
    for metadata in list.items.iter_mut().filter_map(|pod| pod.metadata.as_mut()) {
        metadata.managed_fields.clear();
    }
    list.encode_to_vec()
}

#[test]
fn prost_reads_what_we_write() {
    let value = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"b": "2", "a": "1"}, "creationTimestamp": "2024-01-02T03:04:05Z"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            "template": {"metadata": {}, "spec": {"containers": [{"name": "c",
                "resources": {"limits": {"cpu": "500m"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": 80}}}],
                "volumes": [{"name": "v", "configMap": {"name": "m", "optional": false}}]}}},
        "status": {}
    });
    let bytes = encode(&value).expect("encodes");
    let deployment =
        apps::Deployment::decode(open(&bytes).expect("an envelope").raw).expect("prost");
    let metadata = deployment.metadata.expect("metadata");
    assert_eq!(metadata.name(), "web");
    assert_eq!(metadata.labels.len(), 2);
    assert_eq!(metadata.creation_timestamp.expect("a time").seconds(), 1_704_164_645);
    let spec = deployment.spec.expect("a spec");
    assert_eq!(spec.replicas, Some(0));
    let rolling = spec.strategy.and_then(|strategy| strategy.rolling_update).expect("a strategy");
    assert_eq!(rolling.max_surge.expect("set").str_val(), "25%");
    assert_eq!(rolling.max_unavailable.expect("set").int_val(), 1);
    let pod = spec.template.and_then(|template| template.spec).expect("a pod");
    let volume = pod.volumes[0].volume_source.clone().expect("a source");
    let config_map = volume.config_map.expect("a config map");
    assert_eq!(config_map.optional, Some(false));
    assert_eq!(config_map.local_object_reference.expect("a name").name(), "m");
    let mut expected = value.clone();
    expected["spec"]["template"]["spec"]["containers"][0]["name"] = "c".into();
    assert_eq!(round_trip(&value), expected);
}

#[test]
fn zero_and_absent_are_told_apart_where_go_does() {
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "a"},
        "spec": {"storageClassName": "", "resources": {}, "volumeName": ""}, "status": {}
    });
    let back = round_trip(&claim);
    assert_eq!(back["spec"], json!({"storageClassName": "", "resources": {}}));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
        "data": {"k": "AAEC", "empty": ""}, "immutable": false
    });
    assert_eq!(round_trip(&secret), secret);
}

#[test]
fn messages_with_a_form_of_their_own() {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "x"},
        "spec": {"group": "g", "scope": "Namespaced", "names": {"plural": "xs", "kind": "X"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true, "minimum": 1.5,
                "properties": {"a": {"type": "array", "items": {"type": "string", "default": [1, "x"]}},
                    "b": {"additionalProperties": false}, "c": {"additionalProperties": {"type": "integer"}}}}}}]},
        "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"]}
    });
    let mut expected = definition.clone();
    expected["status"].as_object_mut().expect("a map").remove("conditions");
    assert_eq!(round_trip(&definition), expected);

    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {},
        "status": {"user": {"extra": {"scopes": ["a", "b"]}}}
    });
    assert_eq!(round_trip(&review), review);

    let revision = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 3,
        "metadata": {"name": "r", "managedFields": [{"manager": "m", "operation": "Apply",
            "time": "2024-01-01T00:00:00Z", "fieldsV1": {"f:data": {}}}]},
        "data": {"spec": {"x": [1, null, "y"]}}
    });
    assert_eq!(round_trip(&revision), revision);

    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"renewTime": "2024-01-01T00:00:00.123456Z", "leaseTransitions": 0}
    });
    assert_eq!(round_trip(&lease), lease);
}

#[test]
fn lists_are_put_together_from_encoded_items() {
    let pod = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec":
        {"containers": [{"name": "c", "resources": {}}]}, "status": {}})
    };
    let items: Vec<_> = ["a", "b"].map(|name| encode(&pod(name)).expect("encodes")).into();
    let list = encode_list(
        &meta("v1", "PodList"),
        &json!({"resourceVersion": "7"}),
        items.iter().map(AsRef::as_ref),
    )
    .expect("a list");
    let value = decode(&list, &TypeMeta::default()).expect("decodes");
    assert_eq!(value["metadata"], json!({"resourceVersion": "7"}));
    assert_eq!(value["items"][1]["metadata"]["name"], "b");
    assert!(value["items"][0].get("kind").is_none());
    assert_eq!(encode(&value).expect("encodes"), list, "the same bytes as in one go");
}

#[test]
fn watch_frames() {
    let status = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "code": 410, "reason": "Expired"});
    let object = encode(&status).expect("encodes");
    let frame = encode_watch_event("ERROR", &object);
    let mut stream = frame.to_vec();
    stream.extend_from_slice(&[0, 0]);
    assert_eq!(next_frame(&stream[..10]), Ok(None));
    let (event, rest) = next_frame(&stream).expect("bounded").expect("a whole frame");
    assert_eq!(rest, [0, 0]);
    let event = decode_watch_event(event).expect("an event");
    assert_eq!(event.kind, "ERROR");
    assert_eq!(decode(event.object, &TypeMeta::default()), Ok(status));
    assert_eq!(next_frame(&[0xff; 8]), Err(DecodeError::TooLarge));
}

#[test]
fn refusals() {
    let none = TypeMeta::default();
    assert_eq!(decode(b"", &none).expect_err("empty").to_string(), "empty data");
    assert_eq!(
        decode(b"{}", &none).expect_err("json").to_string(),
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    );
    let custom = seal(&meta("example.com/v1", "Foo"), b"");
    assert!(matches!(decode(&custom, &none), Err(DecodeError::UnknownKind { .. })));
    assert!(!supports(&meta("meta.k8s.io/v1", "Table")));
    assert!(supports(&meta("meta.k8s.io/v1", "PartialObjectMetadataList")));
    assert!(supports(&meta("v1", "Status")));
    let wrong = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": 5}});
    assert!(encode(&wrong).is_err());
    let fallback = decode(&seal(&none, b""), &meta("v1", "Pod")).expect("an empty pod");
    assert_eq!(fallback["kind"], "Pod");
}

#[test]
fn endless_nesting_is_refused() {
    // An embedded object in an embedded object in ...
    let revision = meta("apps/v1", "ControllerRevision");
    let mut object = seal(&revision, b"");
    for _ in 0..2_000 {
        let mut extension = Vec::new();
        super::wire::write_bytes_field(&mut extension, 1, &object);
        let mut raw = Vec::new();
        super::wire::write_bytes_field(&mut raw, 2, &extension);
        object = seal(&revision, &raw);
    }
    assert_eq!(
        decode(&object, &TypeMeta::default()),
        Err(DecodeError::Protobuf("proto: exceeded max depth".to_owned()))
    );
}

/// Values of a message that survive the way there and back.
fn any_message(name: &'static str, depth: u32) -> BoxedStrategy<Value> {
    let message = table::by_name(name).expect("in the table");
    if let Some(special) = message.special {
        return any_special(special);
    }
    let mut fields: Vec<BoxedStrategy<Option<(String, Value)>>> = Vec::new();
    let mut inlined: Vec<BoxedStrategy<Value>> = Vec::new();
    for field in &message.fields {
        let value = match field.shape {
            Shape::String => "[a-z]{1,5}".prop_map(Value::from).boxed(),
            Shape::Bytes => Just(Value::from("AAEC")).boxed(),
            Shape::Bool => Just(Value::from(true)).boxed(),
            Shape::Int32 => {
                any::<i32>().prop_filter("zero", |n| *n != 0).prop_map(Value::from).boxed()
            }
            Shape::Int64 => {
                any::<i64>().prop_filter("zero", |n| *n != 0).prop_map(Value::from).boxed()
            }
            Shape::Double => Just(Value::from(1.5)).boxed(),
            Shape::Message(index) if field.presence == Presence::Inline => {
                inlined.push(any_message(table::message(index).name, depth));
                continue;
            }
            Shape::Message(_) if depth == 0 => continue,
            Shape::Message(index) => any_message(table::message(index).name, depth - 1),
        };
        let value = match field.repeat {
            Repeat::One => value,
            Repeat::List => prop::collection::vec(value, 1..3).prop_map(Value::from).boxed(),
            Repeat::Map => prop::collection::btree_map("[a-z]{1,3}", value, 1..3)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
                .boxed(),
        };
        let field_name = field.name.to_owned();
        let pair = value.prop_map(move |value| (field_name.clone(), value));
        fields.push(prop::option::weighted(0.3, pair).boxed());
    }
    (fields, inlined)
        .prop_map(move |(fields, inlined)| {
            let mut map: Map<String, Value> = fields.into_iter().flatten().collect();
            for part in inlined {
                if let Value::Object(part) = part {
                    map.extend(part);
                }
            }
            let mut value = Value::Object(map);
            crate::go_form(&mut value, name);
            value
        })
        .boxed()
}

fn any_special(special: Special) -> BoxedStrategy<Value> {
    match special {
        Special::Time => Just(json!("2024-01-02T03:04:05Z")).boxed(),
        Special::MicroTime => Just(json!("2024-01-02T03:04:05.000006Z")).boxed(),
        Special::Quantity => prop_oneof![Just(json!("1Gi")), Just(json!("100m"))].boxed(),
        Special::IntOrString => prop_oneof![Just(json!(80)), Just(json!("http"))].boxed(),
        Special::Duration => Just(json!("1m30s")).boxed(),
        Special::Json | Special::RawExtension => Just(json!({"a": [1, "b"]})).boxed(),
        Special::Strings => Just(json!(["a", "b"])).boxed(),
        Special::SchemaOrArray | Special::SchemaOrStrings => {
            Just(json!({"type": "string"})).boxed()
        }
        Special::SchemaOrBool => Just(json!(false)).boxed(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pods_survive(mut value in any_message("io.k8s.api.core.v1.Pod", 4)) {
        value["apiVersion"] = "v1".into();
        value["kind"] = "Pod".into();
        let bytes = encode(&value).expect("encodes");
        prop_assert_eq!(&decode(&bytes, &TypeMeta::default()).expect("decodes"), &value);
        core::Pod::decode(open(&bytes).expect("an envelope").raw).expect("prost reads it");
    }

    #[test]
    fn services_survive(mut value in any_message("io.k8s.api.core.v1.Service", 4)) {
        value["apiVersion"] = "v1".into();
        value["kind"] = "Service".into();
        prop_assert_eq!(round_trip(&value), value);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(raw in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&raw, &TypeMeta::default());
        for kind in ["Pod", "Service", "Event", "Status"] {
            let _ = decode(&seal(&meta("v1", kind), &raw), &TypeMeta::default());
        }
        let _ = decode(&seal(&meta("apiextensions.k8s.io/v1", "CustomResourceDefinition"), &raw), &TypeMeta::default());
        let _ = decode_watch_event(&raw);
        let _ = next_frame(&raw);
    }

    #[test]
    fn damaged_bytes_do_not_panic(at in 0..POD_LIST.len(), byte in any::<u8>(), end in 0..POD_LIST.len()) {
        let mut bytes = POD_LIST.to_vec();
        bytes[at] = byte;
        let _ = decode(&bytes, &TypeMeta::default());
        let _ = decode(&bytes[..end], &TypeMeta::default());
    }
}

#[test]
fn zero_values_of_special_messages_are_what_go_writes() {
    assert_eq!(special::zero(Special::Quantity), json!("0"));
    assert_eq!(special::zero(Special::Time), Value::Null);
}
