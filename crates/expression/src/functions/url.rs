//! URLs, read as Go's `net/url` reads them.

use std::sync::Arc;

use super::{Native, Outcome, no_overload};
use crate::value::Value;

/// A parsed URL; the parts are as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "url" => |arguments| match arguments {
            [Value::String(text)] => match Url::parse(text) {
                Ok(url) => Ok(Value::Url(Arc::new(url))),
                Err(error) => {
                    Err(format!("URL parse error during conversion from string: {error}"))
                }
            },
            _ => no_overload(),
        },
        "isURL" => |arguments| match arguments {
            [Value::String(text)] => Ok(Value::Bool(Url::parse(text).is_ok())),
            _ => no_overload(),
        },
        "getScheme" => |arguments| part(arguments, |url| url.scheme.clone()),
        "getHost" => |arguments| part(arguments, |url| url.host.clone()),
        "getHostname" => |arguments| part(arguments, |url| url.host_and_port().0.to_owned()),
        "getPort" => |arguments| part(arguments, |url| url.host_and_port().1.to_owned()),
        "getEscapedPath" => |arguments| part(arguments, |url| url.path.clone()),
        "getQuery" => query,
        _ => return None,
    })
}

fn part(arguments: &[Value], part: fn(&Url) -> String) -> Outcome {
    match arguments {
        [Value::Url(url)] => Ok(Value::string(part(url))),
        _ => no_overload(),
    }
}

fn query(arguments: &[Value]) -> Outcome {
    let [Value::Url(url)] = arguments else { return no_overload() };
    let mut all: Vec<(String, Vec<Value>)> = Vec::new();
    for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (unescape(name), unescape(value)) else { continue };
        match all.iter_mut().find(|(own, _)| *own == name) {
            Some((_, values)) => values.push(value.into()),
            None => all.push((name, vec![value.into()])),
        }
    }
    let entries = all.into_iter().map(|(name, values)| (name.into(), Value::list(values)));
    Ok(Value::map(entries.collect()))
}

/// A part of a query with `+` and `%xx` undone; none if it is malformed.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            other => bytes.push(other),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

impl Url {
    /// The URL as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Reads an absolute URL or an absolute path.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("parse {text:?}: {why}"));
        if text.is_empty() {
            return wrong("empty url");
        }
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return wrong("net/url: invalid control character in URL");
        }
        let (scheme, rest) = scheme(text);
        if scheme.is_empty() && text.starts_with(':') {
            return wrong("missing protocol scheme");
        }
        let rest = rest.split('#').next().unwrap_or(rest);
        if !scheme.is_empty() && !rest.starts_with('/') {
            // What has no path is opaque: only the scheme and the query are known.
            let query = rest.split_once('?').map_or("", |(_, query)| query).to_owned();
            let scheme = scheme.to_ascii_lowercase();
            let (host, path) = (String::new(), String::new());
            return Ok(Self { text: text.to_owned(), scheme, host, path, query });
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !rest.starts_with('/') && scheme.is_empty() {
            return wrong("invalid URI for request");
        }
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) if !scheme.is_empty() || !rest.starts_with('/') => {
                rest.split_at(rest.find('/').unwrap_or(rest.len()))
            }
            _ => ("", rest),
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        check_host(host).map_err(|why| format!("parse {text:?}: {why}"))?;
        if let Some(bad) = bad_escape(path) {
            return wrong(&format!("invalid URL escape {bad:?}"));
        }
        Ok(Self {
            text: text.to_owned(),
            scheme: scheme.to_ascii_lowercase(),
            host: host.to_owned(),
            path: escaped(path),
            query: query.to_owned(),
        })
    }

    fn host_and_port(&self) -> (&str, &str) {
        let (host, port) = match self.host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
            _ => (self.host.as_str(), ""),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        (bare.unwrap_or(host), port)
    }
}

/// The scheme, which may be empty, and what follows.
fn scheme(text: &str) -> (&str, &str) {
    for (index, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if index > 0 => {}
            ':' if index > 0 => return (&text[..index], &text[index + 1..]),
            _ => return ("", text),
        }
    }
    ("", text)
}

fn check_host(host: &str) -> Result<(), String> {
    let port = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((_, port)) => port,
            None => return Err("missing ']' in host".to_owned()),
        },
        None => host.find(':').map_or("", |index| &host[index..]),
    };
    let number = port.strip_prefix(':').unwrap_or(port);
    let valid = port.is_empty()
        || (port.starts_with(':') && number.bytes().all(|byte| byte.is_ascii_digit()));
    if !valid {
        return Err(format!("invalid port {port:?} after host"));
    }
    match host
        .chars()
        .find(|c| matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'))
    {
        Some(c) if c != '"' && c != '<' && c != '>' => {
            Err(format!("invalid character {:?} in host name", c.to_string()))
        }
        _ => Ok(()),
    }
}

/// The first `%` that two hexadecimal digits do not follow, with what does.
fn bad_escape(path: &str) -> Option<String> {
    path.char_indices().filter(|(_, c)| *c == '%').find_map(|(index, _)| {
        let code: String = path[index..].chars().take(3).collect();
        let valid = code.len() == 3 && code[1..].bytes().all(|byte| byte.is_ascii_hexdigit());
        (!valid).then_some(code)
    })
}

/// A path with what may not be in one escaped.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%!'()*[]".contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
