//! Semantic versions. Their comparisons are in `quantity`.

use std::sync::Arc;

use semver::Version;

use super::{Native, Outcome, no_overload};
use crate::value::Value;

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "semver" => parse,
        "isSemver" => |arguments| match arguments {
            [Value::String(_)] | [Value::String(_), Value::Bool(_)] => {
                Ok(Value::Bool(parse(arguments).is_ok()))
            }
            _ => no_overload(),
        },
        "major" => |arguments| part(arguments, |version| version.major),
        "minor" => |arguments| part(arguments, |version| version.minor),
        "patch" => |arguments| part(arguments, |version| version.patch),
        _ => return None,
    })
}

fn parse(arguments: &[Value]) -> Outcome {
    let (text, normalize) = match arguments {
        [Value::String(text)] => (&**text, false),
        [Value::String(text), Value::Bool(normalize)] => (&**text, *normalize),
        _ => return no_overload(),
    };
    let normalized;
    let text = if normalize {
        normalized = normal(text);
        &normalized
    } else {
        text
    };
    match Version::parse(text) {
        Ok(version) => Ok(Value::Semver(Arc::new(version))),
        Err(error) => Err(format!("{error}")),
    }
}

/// A version without `v`, with three numbers, none of which has zeros in front.
fn normal(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let trimmed = |number: &str| match number.trim_start_matches('0') {
        "" if !number.is_empty() => "0".to_owned(),
        kept => kept.to_owned(),
    };
    let mut numbers: Vec<String> = numbers.split('.').map(trimmed).collect();
    while numbers.len() < 3 {
        numbers.push("0".to_owned());
    }
    format!("{}{rest}", numbers.join("."))
}

fn part(arguments: &[Value], part: fn(&Version) -> u64) -> Outcome {
    match arguments {
        [Value::Semver(version)] => {
            Ok(Value::Int(i64::try_from(part(version)).unwrap_or(i64::MAX)))
        }
        _ => no_overload(),
    }
}
