//! Text: upstream's string extensions, version 2.

use super::{Native, Outcome, no_overload, text_format};
use crate::value::Value;

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "contains" => |arguments| test(arguments, |text, part| text.contains(part)),
        "startsWith" => |arguments| test(arguments, |text, part| text.starts_with(part)),
        "endsWith" => |arguments| test(arguments, |text, part| text.ends_with(part)),
        "charAt" => char_at,
        "lowerAscii" => |arguments| change(arguments, |text| text.to_ascii_lowercase()),
        "upperAscii" => |arguments| change(arguments, |text| text.to_ascii_uppercase()),
        "trim" => |arguments| change(arguments, |text| text.trim().to_owned()),
        "strings.quote" => |arguments| change(arguments, quote),
        "jsonpatch.escapeKey" => {
            |arguments| change(arguments, |text| text.replace('~', "~0").replace('/', "~1"))
        }
        "replace" => replace,
        "split" => split,
        "substring" => substring,
        "join" => join,
        "format" => text_format::format,
        _ => return None,
    })
}

fn test(arguments: &[Value], test: fn(&str, &str) -> bool) -> Outcome {
    match arguments {
        [Value::String(text), Value::String(part)] => Ok(Value::Bool(test(text, part))),
        _ => no_overload(),
    }
}

fn change(arguments: &[Value], change: fn(&str) -> String) -> Outcome {
    match arguments {
        [Value::String(text)] => Ok(Value::string(change(text))),
        _ => no_overload(),
    }
}

fn place(index: i64, length: usize) -> Result<usize, String> {
    usize::try_from(index)
        .ok()
        .filter(|index| *index <= length)
        .ok_or_else(|| format!("index out of range: {index}"))
}

fn char_at(arguments: &[Value]) -> Outcome {
    let [Value::String(text), Value::Int(index)] = arguments else { return no_overload() };
    let index = place(*index, text.chars().count())?;
    Ok(Value::string(text.chars().nth(index).map(String::from).unwrap_or_default()))
}

fn substring(arguments: &[Value]) -> Outcome {
    let (text, start, end) = match arguments {
        [Value::String(text), Value::Int(start)] => (text, *start, None),
        [Value::String(text), Value::Int(start), Value::Int(end)] => (text, *start, Some(*end)),
        _ => return no_overload(),
    };
    let length = text.chars().count();
    let first = place(start, length)?;
    let last = match end {
        Some(end) => place(end, length)?,
        None => length,
    };
    if first > last {
        return Err(format!("invalid substring range. start: {first}, end: {last}"));
    }
    Ok(Value::string(text.chars().skip(first).take(last - first).collect::<String>()))
}

/// How many pieces or replacements a signed limit allows; negative means all.
fn limit(limit: i64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn replace(arguments: &[Value]) -> Outcome {
    let (text, from, to, most) = match arguments {
        [Value::String(text), Value::String(from), Value::String(to)] => {
            (text, from, to, usize::MAX)
        }
        [Value::String(text), Value::String(from), Value::String(to), Value::Int(most)] => {
            (text, from, to, limit(*most))
        }
        _ => return no_overload(),
    };
    /// Beyond this a replacement has made too much of its text.
    const BYTES_MAX: usize = 64 << 20;
    let growth = text.len().saturating_add(1).saturating_mul(to.len());
    if growth > BYTES_MAX {
        return Err("the value is too large".to_owned());
    }
    Ok(Value::string(text.replacen(&**from, to, most)))
}

fn split(arguments: &[Value]) -> Outcome {
    let (text, separator, most) = match arguments {
        [Value::String(text), Value::String(separator)] => (text, separator, usize::MAX),
        [Value::String(text), Value::String(separator), Value::Int(most)] => {
            (text, separator, limit(*most))
        }
        _ => return no_overload(),
    };
    let pieces: Vec<Value> = if separator.is_empty() {
        let mut pieces: Vec<Value> = Vec::new();
        let mut rest = &**text;
        while let Some(first) = rest.chars().next() {
            let end = if pieces.len() + 1 == most { rest.len() } else { first.len_utf8() };
            if pieces.len() == most {
                break;
            }
            pieces.push(rest[..end].into());
            rest = &rest[end..];
        }
        pieces
    } else {
        text.splitn(most, &**separator).map(Value::from).collect()
    };
    Ok(Value::list(pieces))
}

fn join(arguments: &[Value]) -> Outcome {
    let (list, separator) = match arguments {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, &**separator),
        _ => return no_overload(),
    };
    let mut joined = String::new();
    for (index, item) in list.items.iter().enumerate() {
        let Value::String(item) = item else { return no_overload() };
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(item);
    }
    Ok(Value::string(joined))
}

/// Text in quotes, with everything that needs it escaped.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
