//! Pages behind the proxy: their links and redirects, meant for the root of a server, are led through the
//! proxy's own path.

use std::sync::LazyLock;

use api::status::Status;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use regex::bytes::{Captures, Regex};

use crate::call::Call;
use crate::limits::BODY_BYTES_MAX;
use crate::respond::{Answer, Body as HttpBody, full};

/// Attributes that hold a URL, up to its leading slash (but not a second one, which names another host).
static LINKS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = "href|src|action|cite|background|codebase|longdesc|data|formaction|poster|manifest|profile|usemap|icon|classid";
    Regex::new(&format!(r#"(?i)(\s(?:{names})\s*=\s*["'])(/(?:[^/"'][^"']*)?)(["'])"#)).ok()
});

/// Whether the path ends at `proxy` itself: relative links would then lead astray.
pub(super) fn needs_slash(call: &Call, request: &Request<HttpBody>) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    reads && prefix(call) == call.info.path
}

/// To the same path with a slash.
pub(super) fn redirect(request: &Request<HttpBody>) -> Result<Answer, Status> {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{}/{query}", request.uri().path());
    let mut answer = Answer::new(full(""));
    *answer.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = HeaderValue::from_str(&location)
        .map_err(|_| Status::bad_request("the path cannot be redirected to"))?;
    answer.headers_mut().insert(LOCATION, location);
    Ok(answer)
}

/// The path in front of everything that is proxied, without a trailing slash.
fn prefix(call: &Call) -> &str {
    // `/api/v1/namespaces/NAMESPACE/pods/NAME/proxy` or `/api/v1/nodes/NAME/proxy`: names may hold "proxy" themselves.
    let segments = if call.info.namespace.is_empty() { 5 } else { 7 };
    leading(&call.info.path, segments)
}

/// The first segments of a path.
fn leading(path: &str, segments: usize) -> &str {
    let end = path.match_indices('/').nth(segments).map_or(path.len(), |(at, _)| at);
    &path[..end]
}

/// The answer with its links and `Location` led through the proxy.
///
/// # Errors
/// The page broke off or is larger than any body may be.
pub(super) async fn rewritten(call: &Call, mut answer: Answer) -> Result<Answer, Status> {
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    if let Some(location) = location.filter(|to| to.starts_with('/') && !to.starts_with("//"))
        && let Ok(through) = HeaderValue::from_str(&format!("{}{location}", prefix(call)))
    {
        answer.headers_mut().insert(LOCATION, through);
    }
    let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_page = media_type.is_some_and(|media_type| media_type.starts_with("text/html"));
    if !is_page || answer.headers().contains_key(CONTENT_ENCODING) {
        return Ok(answer);
    }
    let (mut parts, body) = answer.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let page = body.map_err(|error| Status::unavailable(error.to_string()))?.to_bytes();
    let page = lead_through(prefix(call), &page);
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(page.len()));
    Ok(Answer::from_parts(parts, full(page)))
}

fn lead_through(prefix: &str, page: &[u8]) -> Vec<u8> {
    let Some(links) = &*LINKS else { return page.to_vec() };
    let through = |captures: &Captures<'_>| {
        let part = |index: usize| captures.get(index).map(|m| m.as_bytes()).unwrap_or_default();
        [part(1), prefix.as_bytes(), part(2), part(3)].concat()
    };
    links.replace_all(page, through).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_end_the_path_of_the_proxy() {
        let cases = [
            ("/api/v1/namespaces/proxy-1/pods/proxy/proxy/a/b", 7),
            ("/api/v1/namespaces/proxy-1/pods/proxy/proxy/", 7),
            ("/api/v1/namespaces/proxy-1/pods/proxy/proxy", 7),
        ];
        for (path, segments) in cases {
            assert_eq!(leading(path, segments), "/api/v1/namespaces/proxy-1/pods/proxy/proxy");
        }
        assert_eq!(leading("/api/v1/nodes/n/proxy/logs/", 5), "/api/v1/nodes/n/proxy");
    }

    #[test]
    fn links_to_the_root_are_led_through_the_proxy() {
        let cases = [
            (r#"<a href="/x">"#, r#"<a href="/p/x">"#),
            (r#"<a HREF='/'>"#, r#"<a HREF='/p/'>"#),
            (r#"<img alt="" src="/i.png">"#, r#"<img alt="" src="/p/i.png">"#),
            (r#"<a href="//other/x">"#, r#"<a href="//other/x">"#),
            (r#"<a href="x">"#, r#"<a href="x">"#),
            (r#"href="/text""#, r#"href="/text""#),
        ];
        for (page, expected) in cases {
            assert_eq!(String::from_utf8(lead_through("/p", page.as_bytes())).unwrap(), expected);
        }
    }
}
