//! Regular expressions (RE2's syntax).

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::{Regex, RegexBuilder};

use super::{Native, Outcome, no_overload};
use crate::limits::{REGEX_BYTES_MAX, REGEXES_KEPT_MAX};
use crate::value::Value;

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "matches" => matches,
        "find" => find_one,
        "findAll" => find_all,
        _ => return None,
    })
}

/// A compiled expression. Rules are evaluated often with the same few, so that compiled ones are kept.
pub(crate) fn compiled(pattern: &str) -> Result<Regex, String> {
    static KEPT: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = kept.get(pattern) {
        return Ok(regex.clone());
    }
    let regex = RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|_| format!("error parsing regexp: `{pattern}`"))?;
    if kept.len() >= REGEXES_KEPT_MAX {
        kept.clear();
    }
    kept.insert(pattern.to_owned(), regex.clone());
    Ok(regex)
}

fn matches(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::String(text), Value::String(pattern)] => {
            Ok(Value::Bool(compiled(pattern)?.is_match(text)))
        }
        _ => no_overload(),
    }
}

fn find_one(arguments: &[Value]) -> Outcome {
    let [Value::String(text), Value::String(pattern)] = arguments else { return no_overload() };
    let regex = compiled(pattern).map_err(|error| format!("Illegal regex: {error}"))?;
    Ok(Value::from(regex.find(text).map_or("", |found| found.as_str())))
}

fn find_all(arguments: &[Value]) -> Outcome {
    let (text, pattern, most) = match arguments {
        [Value::String(text), Value::String(pattern)] => (text, pattern, usize::MAX),
        [Value::String(text), Value::String(pattern), Value::Int(most)] => {
            (text, pattern, usize::try_from(*most).unwrap_or(usize::MAX))
        }
        _ => return no_overload(),
    };
    let regex = compiled(pattern).map_err(|error| format!("Illegal regex: {error}"))?;
    let found = regex.find_iter(text).take(most);
    Ok(Value::list(found.map(|found| Value::from(found.as_str())).collect()))
}
