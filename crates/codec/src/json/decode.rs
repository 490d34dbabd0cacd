//! The decoder: one pass over the text, guided by a schema.
//!
//! Like upstream it goes on after a value of the wrong type, reports the first such error at the end,
//! and lets an error of syntax win over it.

use std::borrow::Cow;

use schema::{Kind, Schema};
use serde_json::{Map, Value};

use super::{
    go_type, scalar,
    scanner::{Literal, Scanner, Start},
    union::{NO_FLAG, Union},
};
use crate::{
    limits::STRICT_ERRORS_MAX,
    result::{DecodeError, TypeMeta, WrongType},
};

/// Decodes a whole text. The second part of the result is the unknown and duplicate fields.
pub(super) fn run(text: &[u8], schema: &Schema) -> Result<(Value, Vec<String>), DecodeError> {
    let mut decoder = Decoder {
        scanner: Scanner::new(text),
        path: Vec::new(),
        unknown: Findings::default(),
        duplicate: Findings::default(),
        all: Vec::new(),
        lenient: false,
        error: None,
    };
    let typed = schema.definition_name().is_some();
    let value = decoder.value(&Target::Node { schema: schema.clone(), typed })?;
    decoder.scanner.finish()?;
    if let Some(error) = decoder.error {
        return Err(error);
    }
    let found = if typed {
        decoder.all
    } else {
        decoder.unknown.0.sort();
        let mut found = decoder.duplicate.0;
        found.append(&mut decoder.unknown.0);
        found
    };
    Ok((value.unwrap_or(Value::Null), found))
}

/// Reads the two fields and checks the syntax of the rest.
pub(super) fn type_meta(text: &[u8]) -> Result<TypeMeta, DecodeError> {
    let mut scanner = Scanner::new(text);
    let mut meta = TypeMeta::default();
    if scanner.start()? != Start::Object {
        let value = match scanner.start()? {
            Start::Array => "array",
            _ => scanner.literal()?.go_value(),
        };
        if value == "null" {
            return Ok(meta);
        }
        let target = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
                      Kind string \"json:\\\"kind,omitempty\\\"\" }";
        return Err(wrong_type(value, target, None));
    }
    scanner.enter()?;
    let mut first = true;
    let mut error = None;
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        let field = match key.as_ref() {
            "apiVersion" => &mut meta.api_version,
            "kind" => &mut meta.kind,
            _ => {
                scanner.skip()?;
                continue;
            }
        };
        let value = match scanner.start()? {
            Start::Literal => match scanner.literal()? {
                Literal::String(text) => {
                    *field = text.into_owned();
                    continue;
                }
                Literal::Null => continue,
                other => other.go_value(),
            },
            Start::Object => {
                scanner.skip()?;
                "object"
            }
            Start::Array => {
                scanner.skip()?;
                "array"
            }
        };
        error.get_or_insert_with(|| wrong_type(value, "string", Some((String::new(), key.into()))));
    }
    scanner.finish()?;
    error.map_or(Ok(meta), Err)
}

/// Go's error for a value of the wrong type; `field` is the struct's name and the path to the field.
pub(super) fn wrong_type(
    value: &str,
    target: &str,
    field: Option<(String, String)>,
) -> DecodeError {
    WrongType { value: value.to_owned(), target: target.to_owned(), field }.into()
}

/// What a value is decoded into.
enum Target {
    /// Read past it.
    Skip,
    /// Keep whatever it is; `checked` when duplicate keys in it count.
    Free { checked: bool },
    /// A schema or something else.
    Union(Union),
    /// Follow the schema; `typed` for built-in kinds, where Go's decoder checks types.
    Node { schema: Schema, typed: bool },
}

impl Target {
    fn node(schema: Schema, typed: bool) -> Self {
        let typed = typed || schema.definition_name().is_some();
        if let Some(union) = Union::of(&schema) {
            return Self::Union(union);
        }
        if schema.kind() == Kind::Any && schema.preserve_unknown() {
            return Self::Free { checked: !typed };
        }
        Self::Node { schema, typed }
    }
}

/// One step of the path to the current value.
enum Step<'a> {
    /// A field of a struct with its Go name, if it has one.
    Field {
        name: Cow<'a, str>,
        owner: Option<&'static str>,
    },
    Key(Cow<'a, str>),
    Index(usize),
}

/// Distinct findings of one sort, bounded.
#[derive(Default)]
struct Findings(Vec<String>);

struct Decoder<'a> {
    scanner: Scanner<'a>,
    path: Vec<Step<'a>>,
    unknown: Findings,
    duplicate: Findings,
    /// Both sorts in the order of the text.
    all: Vec<String>,
    /// Whether neither counts.
    lenient: bool,
    /// The first error of type.
    error: Option<DecodeError>,
}

impl<'a> Decoder<'a> {
    /// Decodes one value. Nothing means: unset.
    fn value(&mut self, target: &Target) -> Result<Option<Value>, DecodeError> {
        if let Target::Skip = target {
            self.scanner.skip()?;
            return Ok(None);
        }
        if let Target::Union(union) = target {
            return self.union(*union);
        }
        match self.scanner.start()? {
            Start::Object => self.object(target),
            Start::Array => self.array(target),
            Start::Literal => {
                let literal = self.scanner.literal()?;
                Ok(self.literal(literal, target))
            }
        }
    }

    fn union(&mut self, union: Union) -> Result<Option<Value>, DecodeError> {
        let start = self.scanner.start()?;
        let Some(schema) = union.schema(start) else {
            return self.no_schema(union, start);
        };
        let path = std::mem::take(&mut self.path);
        let was_lenient = std::mem::replace(&mut self.lenient, true);
        let value = self.value(&Target::Node { schema, typed: true });
        self.lenient = was_lenient;
        self.path = path;
        value
    }

    /// What stands in a union for no schema. Of what none of its types is, lists say nothing.
    fn no_schema(&mut self, union: Union, start: Start) -> Result<Option<Value>, DecodeError> {
        let literal = match start {
            Start::Literal => Some(self.scanner.literal()?),
            Start::Object | Start::Array => {
                self.scanner.skip()?;
                None
            }
        };
        Ok(match (union, literal) {
            (_, Some(Literal::Null)) => None,
            (Union::Flag, Some(Literal::Bool(on))) => Some(Value::Bool(on)),
            (Union::Flag, _) => {
                self.error.get_or_insert_with(|| DecodeError::Value(NO_FLAG.to_owned()));
                None
            }
            (Union::Schemas | Union::Names, _) => None,
        })
    }

    fn object(&mut self, target: &Target) -> Result<Option<Value>, DecodeError> {
        if let Target::Node { schema, typed: true } = target
            && !matches!(schema.kind(), Kind::Object | Kind::Map | Kind::Any)
        {
            self.mismatch("object", schema);
            self.scanner.skip()?;
            return Ok(None);
        }
        self.scanner.enter()?;
        let mut map = Map::new();
        let mut first = true;
        while let Some(key) = self.scanner.next_key(first)? {
            first = false;
            let child = self.child(target, &key);
            self.check_key(target, &child, &map, &key);
            if let Target::Skip = child {
                self.scanner.skip()?;
                continue;
            }
            self.path.push(step(target, key.clone()));
            let value = self.value(&child)?;
            self.path.pop();
            if let Some(value) = value.or_else(|| zero_in_map(target, &child)) {
                map.insert(key.into_owned(), value);
            }
        }
        Ok(Some(Value::Object(map)))
    }

    /// What the value of a key is decoded into.
    fn child(&self, target: &Target, key: &str) -> Target {
        match target {
            Target::Skip => Target::Skip,
            Target::Free { checked } => Target::Free { checked: *checked },
            // Not come by: each value of a union is decoded as what it is.
            Target::Union(_) => Target::Free { checked: false },
            Target::Node { schema, typed } => match schema.child(key) {
                Some(child) => Target::node(child, *typed),
                None if schema.preserve_unknown() => Target::Free { checked: !typed },
                None => Target::Skip,
            },
        }
    }

    /// Notes unknown and duplicate keys.
    fn check_key(&mut self, target: &Target, child: &Target, map: &Map<String, Value>, key: &str) {
        match (target, child) {
            (Target::Node { .. }, Target::Skip) => self.note(true, key),
            (Target::Free { checked: false }, _) => {}
            _ if map.contains_key(key) => self.note(false, key),
            _ => {}
        }
    }

    fn note(&mut self, unknown: bool, key: &str) {
        if self.lenient {
            return;
        }
        let word = if unknown { "unknown" } else { "duplicate" };
        let text = format!("{word} field {}", go_quote(&self.path_text(key)));
        if self.all.len() >= STRICT_ERRORS_MAX || self.all.contains(&text) {
            return;
        }
        let sort = if unknown { &mut self.unknown } else { &mut self.duplicate };
        sort.0.push(text.clone());
        self.all.push(text);
    }

    /// The path of a key below the current value, such as `spec.containers[0].image`.
    fn path_text(&self, key: &str) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Field { name, .. } | Step::Key(name) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(name);
                }
                Step::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        if !text.is_empty() {
            text.push('.');
        }
        text + key
    }

    fn array(&mut self, target: &Target) -> Result<Option<Value>, DecodeError> {
        let child = match target {
            Target::Skip => Target::Skip,
            Target::Free { checked } => Target::Free { checked: *checked },
            Target::Union(_) => Target::Free { checked: false },
            Target::Node { schema, typed } => match schema.items() {
                Some(items) => Target::node(items, *typed),
                None if *typed && schema.kind() != Kind::Any => {
                    self.mismatch("array", schema);
                    self.scanner.skip()?;
                    return Ok(None);
                }
                None => Target::Free { checked: !typed },
            },
        };
        self.scanner.enter()?;
        let mut items = Vec::new();
        while self.scanner.next_item(items.is_empty())? {
            self.path.push(Step::Index(items.len()));
            let item = self.value(&child)?;
            self.path.pop();
            items.push(item.or_else(|| zero_of(&child)).unwrap_or(Value::Null));
        }
        Ok(Some(Value::Array(items)))
    }

    fn literal(&mut self, literal: Literal<'a>, target: &Target) -> Option<Value> {
        let result = match target {
            Target::Skip => return None,
            Target::Node { schema, typed: true } => scalar::typed(literal, schema),
            Target::Free { .. } | Target::Union(_) | Target::Node { .. } => scalar::free(literal),
        };
        match result {
            Ok(value) => value,
            Err(scalar::Refused::Wrong { value, target }) => {
                self.wrong(&value, &target);
                None
            }
            Err(scalar::Refused::Message(message)) => {
                self.error.get_or_insert(DecodeError::Value(message));
                None
            }
        }
    }

    fn mismatch(&mut self, value: &str, schema: &Schema) {
        self.wrong(value, &go_type::name(schema));
    }

    /// Keeps the first error of type, with the field it is in.
    fn wrong(&mut self, value: &str, target: &str) {
        if self.error.is_some() {
            return;
        }
        let mut owner = None;
        let mut fields = Vec::new();
        for step in &self.path {
            if let Step::Field { name, owner: of } = step {
                owner = of.or(owner);
                fields.push(name.as_ref());
            }
        }
        let field = owner.map(|owner| (go_type::bare(owner).to_owned(), fields.join(".")));
        self.error = Some(wrong_type(value, target, field));
    }
}

fn step<'a>(target: &Target, key: Cow<'a, str>) -> Step<'a> {
    match target {
        Target::Node { schema, .. } if schema.kind() == Kind::Object => {
            Step::Field { name: key, owner: schema.definition_name() }
        }
        _ => Step::Key(key),
    }
}

/// A null in a map of a built-in kind is there with the zero value; a null field is not there.
fn zero_in_map(parent: &Target, child: &Target) -> Option<Value> {
    match parent {
        Target::Node { schema, typed: true } if schema.kind() == Kind::Map => zero_of(child),
        _ => None,
    }
}

/// The zero value of a built-in type, which stands for a null in a list or map.
fn zero_of(target: &Target) -> Option<Value> {
    let Target::Node { schema, typed: true } = target else { return None };
    Some(match schema.kind() {
        Kind::Object => Value::Object(Map::new()),
        Kind::String if schema.definition_name().is_none() => Value::String(String::new()),
        Kind::Quantity => Value::String("0".to_owned()),
        Kind::Integer | Kind::IntOrString => Value::from(0),
        Kind::Number => Value::from(0),
        Kind::Boolean => Value::Bool(false),
        _ => Value::Null,
    })
}

/// Go's `strconv.Quote`.
pub(crate) fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' || control == '\x7f' => {
                out.push_str(&format!("\\x{:02x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
