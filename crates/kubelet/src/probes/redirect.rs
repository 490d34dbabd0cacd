//! Where an answer sends a probe, and whether it goes there: only within the host that it was to ask.

use super::http::{HttpError, Request};

/// The request to go on with; `None`: it is for another host.
pub(super) fn follow(request: &Request, location: &str) -> Result<Option<Request>, HttpError> {
    let place = location.split('#').next().unwrap_or_default();
    let Some(absolute) = absolute(request, place) else {
        let path = joined(&request.path, place);
        return Ok(Some(Request { path, ..request.clone() }));
    };
    let uri: http::Uri = absolute.parse().map_err(|error| {
        request.failed(format!("failed to parse Location header {location:?}: {error}"))
    })?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    if host != request.host {
        return Ok(None);
    }
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        scheme => {
            let scheme = scheme.unwrap_or_default();
            let reason = format!("unsupported protocol scheme {scheme:?}");
            return Err(HttpError::Failed { url: location.to_owned(), reason });
        }
    };
    let mut headers = request.headers.clone();
    // The name that the first server is asked under is not the next one's.
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
    Ok(Some(Request {
        tls,
        host: request.host.clone(),
        port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        path: uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned(),
        headers,
    }))
}

/// The whole address, when the place names a host.
fn absolute(request: &Request, place: &str) -> Option<String> {
    if place.starts_with("//") {
        return Some(format!("{}:{place}", if request.tls { "https" } else { "http" }));
    }
    let (scheme, _) = place.split_once("://")?;
    let is_scheme = scheme.chars().all(|it| it.is_ascii_alphanumeric() || "+-.".contains(it));
    is_scheme.then(|| place.to_owned())
}

/// A place on the same server, as seen from `path`.
fn joined(path: &str, place: &str) -> String {
    let before_query = path.split('?').next().unwrap_or_default();
    match place.chars().next() {
        None => path.to_owned(),
        Some('/') => place.to_owned(),
        Some('?') => format!("{before_query}{place}"),
        Some(_) => {
            let folder = before_query.rfind('/').map_or("/", |at| &before_query[..=at]);
            format!("{folder}{place}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next address with the `Host` that is asked for, or why there is none.
    fn next(host: &str, location: &str) -> String {
        let request = Request {
            tls: false,
            host: host.to_owned(),
            port: 8080,
            path: "/a/b?c=d".to_owned(),
            headers: vec![("Host".to_owned(), "own".to_owned())],
        };
        match follow(&request, location) {
            Ok(Some(next)) => {
                let name = next.headers.first().map_or("", |(_, name)| name.as_str());
                format!("{} {name}", next.url())
            }
            Ok(None) => "elsewhere".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn places() {
        for (location, expected) in [
            ("/x?y#z", "http://1.2.3.4:8080/x?y own"),
            ("x", "http://1.2.3.4:8080/a/x own"),
            ("?x", "http://1.2.3.4:8080/a/b?x own"),
            ("#x", "http://1.2.3.4:8080/a/b?c=d own"),
            ("/to?next=http://0.0.0.0/", "http://1.2.3.4:8080/to?next=http://0.0.0.0/ own"),
            ("http://1.2.3.4", "http://1.2.3.4:80/ "),
            ("https://1.2.3.4/x", "https://1.2.3.4:443/x "),
            ("//1.2.3.4:81/x", "http://1.2.3.4:81/x "),
            ("http://0.0.0.0/", "elsewhere"),
            ("//example.com", "elsewhere"),
            ("ftp://1.2.3.4/", "Get \"ftp://1.2.3.4/\": unsupported protocol scheme \"ftp\""),
        ] {
            assert_eq!(next("1.2.3.4", location), expected, "{location}");
        }
        assert_eq!(next("fd00::1", "http://[fd00::1]:81/x"), "http://[fd00::1]:81/x ");
        let broken = next("1.2.3.4", "http://a b/");
        let start = "Get \"http://1.2.3.4:8080/a/b?c=d\": failed to parse Location header";
        assert!(broken.starts_with(start), "{broken}");
    }
}
