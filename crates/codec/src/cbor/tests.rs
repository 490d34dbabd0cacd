//! CBOR in the form of RFC 8949 that upstream writes, and input that is none.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

#[test]
fn items_of_the_standard_are_read() {
    let cases = [
        ("00", json!(0)),
        ("1903e8", json!(1000)),
        ("3903e7", json!(-1000)),
        ("f93c00", json!(1.0)),
        ("fb3ff199999999999a", json!(1.1)),
        ("f6", json!(null)),
        ("6161", json!("a")),
        ("4161", json!("a")),
        ("5f41614162ff", json!("ab")),
        ("d64301020c", json!("AQIM")),
        ("d743010eff", json!("010eff")),
        ("c074323031332d30332d32315432303a30343a30305a", json!("2013-03-21T20:04:00Z")),
        ("83010203", json!([1, 2, 3])),
        ("9f01ff", json!([1])),
        ("a26161014162820203", json!({"a": 1, "b": [2, 3]})),
        ("bf6161f5ff", json!({"a": true})),
        ("d9d9f7a0", json!({})),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode_any(&hex(bytes)).unwrap(), expected, "{bytes}");
    }
}

#[test]
fn what_json_cannot_hold_is_refused() {
    let cases = [
        ("", "cbor: end of input bytes"),
        ("0000", "cbor: 1 bytes of extraneous data starting at index 1"),
        ("1bffffffffffffffff", "cbor: cannot unmarshal positive integer"),
        ("f97e00", "cbor: floating-point NaN is forbidden"),
        ("f97c00", "cbor: floating-point inf is forbidden"),
        ("a2616101616102", "cbor: found duplicate map key \"a\""),
        ("a10102", "cbor: a key of type"),
        ("c249010000000000000000", "cbor: bignum is forbidden"),
        ("f7", "cbor: unexpected item of type undefined"),
        ("9bffffffffffffffff", "cbor: end of input bytes"),
        ("5bffffffffffffffff61", "cbor: "),
    ];
    for (bytes, start) in cases {
        let error = decode_any(&hex(bytes)).unwrap_err().to_string();
        assert!(error.starts_with(start), "{bytes}: {error}");
    }
    let deep = [vec![0x81; 200], vec![0]].concat();
    assert!(decode_any(&deep).unwrap_err().to_string().contains("max nested level"));
    let deepest = [vec![0x81; CBOR_DEPTH_MAX], vec![0]].concat();
    let value = decode_any(&deepest).unwrap();
    assert_eq!(decode_any(&encode(&value)).unwrap(), value, "what is written ahead is no level");
    let many = [vec![0x9f], vec![0; CBOR_NODES_MAX + 1], vec![0xff]].concat();
    assert_eq!(decode_any(&many), Err(DecodeError::TooLarge));
    assert_eq!(decode_any(&vec![0; BODY_BYTES_MAX + 1]), Err(DecodeError::TooLarge));
}

#[test]
fn objects_are_decoded_against_their_schema() {
    let schema = schema::for_kind("", "v1", "ConfigMap").unwrap();
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"b": "c"}, "none": 1});
    let decoded = decode(&encode(&object), &schema, Mode::Warn).unwrap();
    assert_eq!(decoded.value["data"], json!({"b": "c"}));
    assert_eq!(decoded.warnings, ["unknown field \"none\""]);
    let wrong = encode(&json!({"data": {"b": 1}}));
    assert!(matches!(decode(&wrong, &schema, Mode::Warn), Err(DecodeError::Type(_))));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |n| n.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in any_json()) {
        prop_assert_eq!(decode_any(&encode(&value)), Ok(value));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _any_outcome = decode_any(&bytes);
    }

    #[test]
    fn damaged_items_do_not_panic(value in any_json(), at in any::<usize>(), with in any::<u8>(), cut in any::<usize>()) {
        let mut bytes = encode(&value);
        let at = at % bytes.len();
        bytes[at] = with;
        bytes.truncate(1 + cut % bytes.len());
        let _any_outcome = decode_any(&bytes);
    }
}
