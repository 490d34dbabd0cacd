//! The dialect against what go-yaml v2 does.

use serde_json::{Value, json};

use super::{decode, documents, to_value};
use crate::{DecodeError, Mode};

fn value(text: &str) -> Value {
    to_value(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn scalars_of_yaml_1_1() {
    for (text, expected) in [
        ("yes", json!(true)),
        ("Off", json!(false)),
        ("'yes'", json!("yes")),
        ("!!str yes", json!("yes")),
        ("~", Value::Null),
        ("017", json!(15)),
        ("0o17", json!(15)),
        ("0x1F", json!(31)),
        ("-0b11", json!(-3)),
        ("1_000", json!(1000)),
        ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
        ("1e3", json!(1000.0)),
        ("1.50", json!(1.5)),
        (".5", json!(0.5)),
        ("08", json!(8.0)),
        ("1.2.3", json!("1.2.3")),
        ("0x", json!("0x")),
        ("2024-01-02", json!("2024-01-02")),
        ("10:30", json!("10:30")),
        ("-", json!([null])),
        ("!!float 3", json!(3.0)),
        ("!!binary aGk=", json!("hi")),
        ("!local yes", json!("yes")),
        ("|\n  a\n  b\n", json!("a\nb\n")),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn texts_stay_texts_for_other_readers_of_yaml() {
    for (text, written) in [
        ("1:30", "\"1:30\""),
        ("-12:30:45.5", "\"-12:30:45.5\""),
        ("2001-01-01", "\"2001-01-01\""),
        ("2026-11-22T03:43:39Z", "\"2026-11-22T03:43:39Z\""),
        ("a:30", "a:30"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("1.2.3-4", "1.2.3-4"),
        ("v1-2-3", "v1-2-3"),
    ] {
        assert_eq!(super::encode(&json!({"a": text})), format!("a: {written}\n"));
    }
}

#[test]
fn keys_become_strings() {
    assert_eq!(
        value("1: a\ntrue: b\n1.5: c\n\"x\": d\n"),
        json!({"1": "a", "true": "b", "1.5": "c", "x": "d"})
    );
    assert!(to_value(b"? [a]\n: b\n").is_err());
    assert!(to_value(b"~: b\n").is_err());
}

#[test]
fn aliases_and_merge_keys() {
    let text = "base: &b {a: 1, b: 2}\nuse: *b\nmerged:\n  <<: *b\n  b: 3\n";
    assert_eq!(
        value(text),
        json!({"base": {"a": 1, "b": 2}, "use": {"a": 1, "b": 2}, "merged": {"a": 1, "b": 3}})
    );
    assert!(to_value(b"a: &a [*a]\n").is_err());
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let error = to_value(text.as_bytes()).expect_err("too large");
    assert_eq!(
        error.to_string(),
        "error converting YAML to JSON: yaml: document contains excessive aliasing"
    );
}

#[test]
fn many_documents() {
    let found = documents(b"---\na: 1\n---\n---\nb: 2\n").expect("well formed");
    assert_eq!(found, [json!({"a": 1}), json!({"b": 2})]);
    assert_eq!(value("a: 1\n---\nb: 2\n"), json!({"a": 1}));
    assert_eq!(value(""), Value::Null);
}

#[test]
fn duplicates_count_as_one_strict_error() {
    let schema = schema::for_kind("", "v1", "ConfigMap").expect("built in");
    let text = b"apiVersion: v1\nkind: ConfigMap\ndata:\n  a: x\n  a: z\nfoo: 1\n";
    assert_eq!(
        decode(text, &schema, Mode::Strict),
        Err(DecodeError::Strict(vec![
            "yaml: unmarshal errors:\n  line 5: key \"a\" already set in map".to_owned(),
            "unknown field \"foo\"".to_owned(),
        ]))
    );
    let decoded = decode(text, &schema, Mode::Warn).expect("a warning only");
    assert_eq!(decoded.value["data"], json!({"a": "z"}));
    assert_eq!(decoded.warnings.len(), 2);
}

#[test]
fn syntax_errors_name_the_line() {
    let error = to_value(b"a: b\n  c: d\n").expect_err("bad indentation").to_string();
    assert!(error.starts_with("error converting YAML to JSON: yaml: line 2: "), "{error}");
    assert!(to_value(b"\xff").is_err());
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _either = documents(&bytes).is_ok();
    }

    #[test]
    fn near_yaml_does_not_panic(text in r#"([a1&*!<:?,|>%@'"\[\]{}#\-~. \t\n]|\n  |- |: |---\n|<<: ){0,60}"#) {
        let _either = documents(text.as_bytes()).is_ok();
    }
}
