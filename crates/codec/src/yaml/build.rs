//! From YAML events to JSON values, within bounds.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::resolve::{Scalar, resolve};
use crate::{
    limits::{DEPTH_MAX, YAML_BYTES_MAX, YAML_NODES_MAX},
    result::DecodeError,
};

/// The namespace of YAML's own tags (`!!str`).
const YAML_TAGS: &str = "tag:yaml.org,2002:";

/// The first `most` documents, each with its duplicate keys.
pub(super) fn documents(text: &str, most: usize) -> Result<Vec<(Value, Vec<String>)>, DecodeError> {
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        bytes: 0,
        depth: 0,
        duplicates: Vec::new(),
    };
    let mut documents = Vec::new();
    while documents.len() < most {
        let (event, _) = builder.next()?;
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(..) => {}
            Event::DocumentEnd => builder.anchors.clear(),
            event => {
                let value = builder.node(event)?;
                documents.push((value, std::mem::take(&mut builder.duplicates)));
            }
        }
    }
    Ok(documents)
}

fn refuse(message: impl Into<String>) -> DecodeError {
    DecodeError::Yaml(format!("yaml: {}", message.into()))
}

/// A finished anchored value and what it weighs.
struct Anchored {
    value: Value,
    nodes: usize,
    bytes: usize,
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    bytes: usize,
    depth: usize,
    duplicates: Vec<String>,
}

impl<'a> Builder<'a> {
    /// The next event that means something.
    fn next(&mut self) -> Result<(Event<'a>, Span), DecodeError> {
        loop {
            match self.parser.next_event() {
                None => return Err(refuse("unexpected end of the document")),
                Some(Err(error)) => {
                    return Err(refuse(format!(
                        "line {}: {}",
                        error.marker().line(),
                        error.info()
                    )));
                }
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
            }
        }
    }

    fn charge(&mut self, nodes: usize, bytes: usize) -> Result<(), DecodeError> {
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes > YAML_NODES_MAX || self.bytes > YAML_BYTES_MAX {
            return Err(refuse("document contains excessive aliasing"));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>) -> Result<Value, DecodeError> {
        let (nodes, bytes) = (self.nodes, self.bytes);
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor),
            Event::Scalar(text, style, anchor, tag) => {
                self.charge(1, text.len())?;
                (json(scalar(&text, style, tag.as_deref())?)?, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.nested(Self::sequence)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.nested(Self::mapping)?, anchor),
            _ => return Err(refuse("a value is missing")),
        };
        if anchor != 0 {
            let (nodes, bytes) = (self.nodes - nodes, self.bytes - bytes);
            self.charge(nodes, bytes)?;
            self.anchors.insert(anchor, Anchored { value: value.clone(), nodes, bytes });
        }
        Ok(value)
    }

    fn alias(&mut self, anchor: usize) -> Result<Value, DecodeError> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(refuse("anchor value contains itself"));
        };
        let (nodes, bytes) = (anchored.nodes, anchored.bytes);
        self.charge(nodes, bytes)?;
        Ok(self.anchors[&anchor].value.clone())
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, DecodeError>,
    ) -> Result<Value, DecodeError> {
        self.charge(1, 0)?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(refuse("exceeded max depth"));
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn sequence(&mut self) -> Result<Value, DecodeError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, _) => items.push(self.node(event)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Value, DecodeError> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        let mut seen = BTreeSet::new();
        loop {
            let (event, span) = self.next()?;
            if let Event::MappingEnd = event {
                break;
            }
            let merge = is_merge(&event);
            let key = self.key(event)?;
            let (event, _) = self.next()?;
            let value = self.node(event)?;
            if merge {
                merged.push(value);
                continue;
            }
            if !seen.insert(key.clone()) {
                self.duplicates
                    .push(format!("line {}: key {key:?} already set in map", span.start.line()));
            }
            map.insert(key, value);
        }
        for value in merged {
            merge_into(&mut map, value)?;
        }
        Ok(Value::Object(map))
    }

    /// A key as text, as JSON wants it.
    fn key(&mut self, event: Event<'a>) -> Result<String, DecodeError> {
        if let Event::Scalar(text, style, anchor, tag) = &event
            && *anchor == 0
        {
            self.charge(1, text.len())?;
            return key_text(&scalar(text, *style, tag.as_deref())?);
        }
        match self.node(event)? {
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(on) => Ok(on.to_string()),
            other => Err(refuse(format!("invalid map key: {other}"))),
        }
    }
}

fn is_merge(event: &Event<'_>) -> bool {
    match event {
        Event::Scalar(text, style, _, tag) => {
            let tag = tag.as_deref();
            let tagged = tag.and_then(|tag| tag.suffix_in_namespace(YAML_TAGS));
            let plain = *style == ScalarStyle::Plain && tag.is_none();
            text == "<<" && (plain || tagged.as_deref() == Some("merge"))
        }
        _ => false,
    }
}

/// Adds the fields of a merge key's value where the mapping does not have its own.
fn merge_into(map: &mut Map<String, Value>, value: Value) -> Result<(), DecodeError> {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                map.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(items) if items.iter().all(Value::is_object) => {
            items.into_iter().try_for_each(|item| merge_into(map, item))
        }
        _ => Err(refuse("map merge requires map or sequence of maps as the value")),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Scalar, DecodeError> {
    let plain = style == ScalarStyle::Plain;
    // A lone `!` and tags that are not YAML's own make a string.
    let own = tag.map(|tag| tag.suffix_in_namespace(YAML_TAGS).unwrap_or(Cow::Borrowed("str")));
    resolve(text, plain, own.as_deref()).map_err(refuse)
}

fn json(scalar: Scalar) -> Result<Value, DecodeError> {
    Ok(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(on) => Value::Bool(on),
        Scalar::Text(text) => Value::String(text),
        Scalar::Int(_) | Scalar::Uint(_) | Scalar::Float(_) => match scalar.number() {
            Some(number) => Value::Number(number),
            None => return Err(DecodeError::Yaml(format!("json: unsupported value: {scalar:?}"))),
        },
    })
}

fn key_text(scalar: &Scalar) -> Result<String, DecodeError> {
    Ok(match scalar {
        Scalar::Text(text) => text.clone(),
        Scalar::Bool(on) => on.to_string(),
        Scalar::Int(whole) => whole.to_string(),
        Scalar::Uint(whole) => whole.to_string(),
        // go-yaml prints float keys with the precision of 32 bits.
        Scalar::Float(float) if float.is_nan() => ".nan".to_owned(),
        Scalar::Float(float) if float.is_infinite() => {
            if *float > 0.0 {
                ".inf".to_owned()
            } else {
                "-.inf".to_owned()
            }
        }
        Scalar::Float(float) => single(*float).to_string(),
        Scalar::Null => return Err(refuse("unsupported map key of type: null")),
    })
}

#[expect(clippy::cast_possible_truncation, reason = "losing precision is what is wanted")]
fn single(float: f64) -> f32 {
    float as f32
}
