//! What a request asks for, read from its method, path and query.
//!
//! The path grammar is upstream's: `/api/v1/…` and `/apis/GROUP/VERSION/…`, then
//! `[namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE[/REST]]]`, with the old `watch/` prefix still understood.

use http::Method;

/// A request on a resource, or a path of its own (`verb` is then the method in lower case).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path is below `/api/VERSION` or `/apis/GROUP/VERSION` and names a resource.
    pub is_resource: bool,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for other paths the
    /// method in lower case.
    pub verb: String,
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Empty for all namespaces and for cluster-scoped resources.
    pub namespace: String,
    /// Plural.
    pub resource: String,
    /// Empty for collections.
    pub name: String,
    /// First segment behind the name.
    pub subresource: String,
    /// Everything behind the subresource, without the leading slash (proxy paths).
    pub rest: String,
    /// The whole path.
    pub path: String,
    /// `fieldSelector` of the query, may be empty.
    pub field_selector: String,
}

/// Subresources whose path goes on.
const OPEN_ENDED: &[&str] = &["proxy"];

impl RequestInfo {
    /// Reads method, path and query. Percent-encoding in path segments is resolved.
    pub fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let mut info = Self {
            path: path.to_owned(),
            verb: method.as_str().to_ascii_lowercase(),
            ..Self::default()
        };
        let trimmed = path.trim_matches('/');
        let mut rest: Vec<&str> = trimmed.split('/').collect();
        match rest.first().copied() {
            Some("api") if rest.len() >= 3 => {
                rest[1].clone_into(&mut info.version);
                rest.drain(..2);
            }
            Some("apis") if rest.len() >= 4 => {
                rest[1].clone_into(&mut info.group);
                rest[2].clone_into(&mut info.version);
                rest.drain(..3);
            }
            _ => return info,
        }
        info.is_resource = true;
        let old_watch = rest.first() == Some(&"watch") && rest.len() > 1;
        if old_watch {
            rest.remove(0);
        }
        info.take_segments(&rest, path);
        info.take_verb(method, query, old_watch);
        query.text("fieldSelector").clone_into(&mut info.field_selector);
        info
    }

    fn take_segments(&mut self, rest: &[&str], path: &str) {
        let mut segments: Vec<String> =
            rest.iter().map(|segment| decode_percent(segment)).collect();
        let in_namespace = segments.len() > 2
            && segments[0] == "namespaces"
            && !(segments.len() == 3 && matches!(segments[2].as_str(), "status" | "finalize"));
        if in_namespace {
            self.namespace = segments[1].clone();
            segments.drain(..2);
        }
        let mut segments = segments.into_iter();
        self.resource = segments.next().unwrap_or_default();
        self.name = segments.next().unwrap_or_default();
        self.subresource = segments.next().unwrap_or_default();
        self.rest = segments.collect::<Vec<_>>().join("/");
        if self.resource == "namespaces" {
            self.namespace = self.name.clone();
        }
        let goes_on = OPEN_ENDED.contains(&self.subresource.as_str()) && !self.rest.is_empty();
        if goes_on && path.ends_with('/') {
            self.rest.push('/');
        }
    }

    fn take_verb(&mut self, method: &Method, query: &Query, old_watch: bool) {
        let collection = self.name.is_empty();
        let watching = old_watch || query.flag("watch");
        let verb = match *method {
            Method::GET | Method::HEAD if watching && (collection || old_watch) => "watch",
            Method::GET | Method::HEAD if collection => "list",
            Method::GET | Method::HEAD => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if collection => "deletecollection",
            Method::DELETE => "delete",
            _ => return,
        };
        verb.clone_into(&mut self.verb);
    }
}

/// A query string's parameters in order; a key may occur more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d` with percent and plus decoding.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode_form(key), decode_form(value))
                })
                .collect(),
        )
    }

    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(have, _)| have == key).map(|(_, value)| value.as_str())
    }

    /// The first value of a key, empty when missing.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    /// All values of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(have, _)| have == key).map(|(_, value)| value.as_str())
    }

    /// Whether a boolean parameter is on: present and neither `0` nor `false`.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key)
            .is_some_and(|value| !matches!(value, "0" | "false" | "False" | "FALSE" | "f" | "F"))
    }
}

fn decode_form(text: &str) -> String {
    decode_percent(&text.replace('+', " "))
}

pub(crate) fn decode_percent(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(method: &str, target: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let i = RequestInfo::parse(&method, path, &Query::parse(query));
        if !i.is_resource {
            return format!("{} {}", i.verb, i.path);
        }
        format!(
            "{} g={} v={} ns={} r={} n={} s={} rest={}",
            i.verb, i.group, i.version, i.namespace, i.resource, i.name, i.subresource, i.rest
        )
    }

    #[test]
    fn paths_are_understood_as_upstream_does() {
        let cases = [
            ("GET", "/api/v1/pods", "list g= v=v1 ns= r=pods n= s= rest="),
            ("GET", "/api/v1/namespaces/a/pods?watch=1", "watch g= v=v1 ns=a r=pods n= s= rest="),
            ("GET", "/api/v1/watch/namespaces/a/pods/x", "watch g= v=v1 ns=a r=pods n=x s= rest="),
            (
                "PUT",
                "/api/v1/namespaces/a/finalize",
                "update g= v=v1 ns=a r=namespaces n=a s=finalize rest=",
            ),
            ("GET", "/api/v1/namespaces/a", "get g= v=v1 ns=a r=namespaces n=a s= rest="),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/a/deployments",
                "deletecollection g=apps v=v1 ns=a r=deployments n= s= rest=",
            ),
            (
                "POST",
                "/api/v1/namespaces/a/pods/x/exec?command=ls",
                "create g= v=v1 ns=a r=pods n=x s=exec rest=",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/services/x:80/proxy/a/b/",
                "get g= v=v1 ns=a r=services n=x:80 s=proxy rest=a/b/",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/x/proxy/",
                "get g= v=v1 ns=a r=pods n=x s=proxy rest=",
            ),
            ("GET", "/healthz", "get /healthz"),
            ("GET", "/apis/apps/v1", "get /apis/apps/v1"),
            ("GET", "/api/v1/namespaces/a%2Fb/pods", "list g= v=v1 ns=a/b r=pods n= s= rest="),
        ];
        for (method, target, expected) in cases {
            assert_eq!(line(method, target), expected, "{method} {target}");
        }
    }
}
