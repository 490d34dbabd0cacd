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
    if has_nested_repetition(pattern) {
        return Err(format!(
            "error parsing regexp: invalid nested repetition operator: `{pattern}`"
        ));
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

/// Whether something repeated is repeated again without brackets (`x++`), which RE2 refuses.
fn has_nested_repetition(pattern: &str) -> bool {
    let mut chars = pattern.chars().peekable();
    // Operators since the last thing that can be repeated.
    let mut operators = 0;
    while let Some(c) = chars.next() {
        let is_operator = match c {
            '\\' => {
                chars.next();
                false
            }
            '[' => {
                skip_class(&mut chars);
                false
            }
            '*' | '+' => true,
            // After another operator this makes it reluctant.
            '?' if operators == 1 => {
                operators = 2;
                continue;
            }
            '?' => true,
            '{' if is_count(&mut chars) => true,
            // In `(?:` and the like it is no operator.
            '(' => {
                chars.next_if_eq(&'?');
                false
            }
            _ => false,
        };
        if is_operator && operators > 0 {
            return true;
        }
        operators = usize::from(is_operator);
    }
    false
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn skip_class(chars: &mut Chars<'_>) {
    chars.next_if_eq(&'^');
    chars.next_if_eq(&']');
    while let Some(c) = chars.next() {
        match c {
            ']' => return,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
}

/// Reads the rest of `{2}`, `{2,}` or `{2,3}`; nothing is read if it is not one of them.
fn is_count(chars: &mut Chars<'_>) -> bool {
    let inner: String = chars.clone().take_while(|c| *c != '}').collect();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (least, most) = inner.split_once(',').unwrap_or((&inner, ""));
    let is_count = !least.is_empty() && digits(least) && digits(most);
    let closed = chars.clone().nth(inner.chars().count()) == Some('}');
    if is_count && closed {
        chars.nth(inner.chars().count());
    }
    is_count && closed
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
