//! OpenAPI v2 as protobuf, the only form in which client-go's discovery asks for it.
//!
//! The messages are those of gnostic's `openapi.v2`, as far as our documents use them. Each part is rendered
//! as JSON first and then written here; extensions and defaults travel as YAML text, for which JSON serves.

use serde_json::{Map, Value};

use super::writer::Sink;

/// A message that is being written.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.0.push(low);
            }
            self.0.push(low | 0x80);
        }
    }

    fn tag(&mut self, number: u32, wire: u64) {
        self.varint(u64::from(number) << 3 | wire);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.tag(number, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, number: u32, value: Option<&Value>) {
        if let Some(text) = value.and_then(Value::as_str) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u32, value: Option<&Value>) {
        for text in value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            self.bytes(number, text.as_bytes());
        }
    }

    fn flag(&mut self, number: u32, value: Option<&Value>) {
        if value == Some(&Value::Bool(true)) {
            self.tag(number, 0);
            self.varint(1);
        }
    }

    fn whole(&mut self, number: u32, value: Option<&Value>) {
        if let Some(whole) = value.and_then(Value::as_i64) {
            self.tag(number, 0);
            self.varint(whole.cast_unsigned());
        }
    }

    fn double(&mut self, number: u32, value: Option<&Value>) {
        if let Some(double) = value.and_then(Value::as_f64) {
            self.tag(number, 1);
            self.0.extend_from_slice(&double.to_le_bytes());
        }
    }

    pub(super) fn nested(&mut self, number: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(number, &inner.0);
    }

    /// A value of any shape.
    fn any(&mut self, number: u32, value: &Value) {
        self.nested(number, |out| out.bytes(2, value.to_string().as_bytes()));
    }

    /// The fields that begin with `x-`.
    fn extensions(&mut self, number: u32, map: &Map<String, Value>) {
        for (name, value) in map.iter().filter(|(name, _)| name.starts_with("x-")) {
            self.named(number, name, |out| out.bytes(2, value.to_string().as_bytes()));
        }
    }

    /// An entry of a map: a message of name and value.
    fn named(&mut self, number: u32, name: &str, write: impl FnOnce(&mut Self)) {
        self.nested(number, |out| {
            out.bytes(1, name.as_bytes());
            out.nested(2, write);
        });
    }

    fn schema(&mut self, value: &Value) {
        let Some(map) = value.as_object() else { return };
        self.text(1, map.get("$ref"));
        self.text(2, map.get("format"));
        self.text(3, map.get("title"));
        self.text(4, map.get("description"));
        if let Some(default) = map.get("default") {
            self.any(5, default);
        }
        self.double(6, map.get("multipleOf"));
        self.double(7, map.get("maximum"));
        self.flag(8, map.get("exclusiveMaximum"));
        self.double(9, map.get("minimum"));
        self.flag(10, map.get("exclusiveMinimum"));
        self.whole(11, map.get("maxLength"));
        self.whole(12, map.get("minLength"));
        self.text(13, map.get("pattern"));
        self.whole(14, map.get("maxItems"));
        self.whole(15, map.get("minItems"));
        self.flag(16, map.get("uniqueItems"));
        self.whole(17, map.get("maxProperties"));
        self.whole(18, map.get("minProperties"));
        self.texts(19, map.get("required"));
        for value in map.get("enum").and_then(Value::as_array).into_iter().flatten() {
            self.any(20, value);
        }
        if let Some(values) = map.get("additionalProperties") {
            self.nested(21, |out| out.nested(1, |out| out.schema(values)));
        }
        if map.contains_key("type") {
            self.nested(22, |out| out.text(1, map.get("type")));
        }
        if let Some(items) = map.get("items") {
            self.nested(23, |out| out.nested(1, |out| out.schema(items)));
        }
        if let Some(properties) = map.get("properties").and_then(Value::as_object) {
            self.nested(25, |out| {
                for (name, value) in properties {
                    out.named(1, name, |out| out.schema(value));
                }
            });
        }
        self.extensions(31, map);
    }

    fn path_item(&mut self, item: &Value) {
        let methods = [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)];
        for (method, number) in methods {
            if let Some(operation) = item.get(method).and_then(Value::as_object) {
                self.nested(number, |out| out.operation(operation));
            }
        }
        self.parameters(9, item.get("parameters"));
    }

    fn operation(&mut self, operation: &Map<String, Value>) {
        self.texts(1, operation.get("tags"));
        self.text(3, operation.get("description"));
        self.text(5, operation.get("operationId"));
        self.texts(6, operation.get("produces"));
        self.texts(7, operation.get("consumes"));
        self.parameters(8, operation.get("parameters"));
        if let Some(responses) = operation.get("responses").and_then(Value::as_object) {
            self.nested(9, |out| {
                for (code, response) in responses {
                    out.named(1, code, |out| out.nested(1, |out| out.response(response)));
                }
            });
        }
        self.texts(10, operation.get("schemes"));
        self.extensions(13, operation);
    }

    fn response(&mut self, response: &Value) {
        self.text(1, response.get("description"));
        if let Some(schema) = response.get("schema") {
            self.nested(2, |out| out.nested(1, |out| out.schema(schema)));
        }
    }

    fn parameters(&mut self, number: u32, parameters: Option<&Value>) {
        for parameter in parameters.and_then(Value::as_array).into_iter().flatten() {
            self.nested(number, |out| out.nested(1, |out| out.parameter(parameter)));
        }
    }

    fn parameter(&mut self, parameter: &Value) {
        match parameter["in"].as_str() {
            Some("body") => self.nested(1, |out| {
                out.text(2, parameter.get("name"));
                out.text(3, parameter.get("in"));
                out.flag(4, parameter.get("required"));
                if let Some(schema) = parameter.get("schema") {
                    out.nested(5, |out| out.schema(schema));
                }
            }),
            place => self.nested(2, |out| {
                // The two forms differ in their numbers from the type on.
                let (form, kind, unique) =
                    if place == Some("path") { (4, 5, 19) } else { (3, 6, 20) };
                out.nested(form, |out| {
                    out.flag(1, parameter.get("required"));
                    out.text(2, parameter.get("in"));
                    out.text(3, parameter.get("description"));
                    out.text(4, parameter.get("name"));
                    out.text(kind, parameter.get("type"));
                    out.flag(unique, parameter.get("uniqueItems"));
                });
            }),
        }
    }

    /// The document's head.
    pub(super) fn head(&mut self, info: &Value) {
        self.bytes(1, b"2.0");
        self.nested(2, |out| {
            out.text(1, info.get("title"));
            out.text(2, info.get("version"));
        });
    }

    /// The document's end: the use and the definitions of the ways to authenticate.
    pub(super) fn security(&mut self, schemes: &Value) {
        let Some(schemes) = schemes.as_object() else { return };
        for name in schemes.keys() {
            self.nested(12, |out| out.named(1, name, |_| {}));
        }
        self.nested(13, |out| {
            for (name, scheme) in schemes {
                out.named(1, name, |out| {
                    out.nested(2, |out| {
                        out.text(1, scheme.get("type"));
                        out.text(2, scheme.get("name"));
                        out.text(3, scheme.get("in"));
                        out.text(4, scheme.get("description"));
                    });
                });
            }
        });
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes paths.
pub(super) struct Paths<'a>(pub(super) &'a mut Message);

impl Sink for Paths<'_> {
    fn value(&mut self, key: &str, value: &Value) {
        self.0.named(2, key, |out| out.path_item(value));
    }
}

/// Takes definitions.
pub(super) struct Definitions<'a>(pub(super) &'a mut Message);

impl Sink for Definitions<'_> {
    fn value(&mut self, key: &str, value: &Value) {
        self.0.named(1, key, |out| out.schema(value));
    }
}
