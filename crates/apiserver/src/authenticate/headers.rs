//! Who asks, as a front proxy says it: `X-Remote-User`, `-Group`, `-Uid` and `-Extra-…`.
//!
//! Nobody but a front proxy is believed; the caller sees to that.

use std::collections::BTreeMap;

use admission::User;
use http::HeaderMap;

use super::AUTHENTICATED;
use crate::request::decode_percent;

/// Where the user's name is; the ConfigMap `extension-apiserver-authentication` tells others of these.
pub(crate) const USER: &str = "X-Remote-User";
/// Where the user's identity is.
pub(crate) const UID: &str = "X-Remote-Uid";
/// Where the groups are.
pub(crate) const GROUP: &str = "X-Remote-Group";
/// What the names of further facts begin with.
pub(crate) const EXTRA: &str = "X-Remote-Extra-";

/// The user that the headers name, if they name one.
pub(super) fn user(headers: &HeaderMap) -> Option<User> {
    let texts = |name: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.filter(|text| !text.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let name = texts(USER).into_iter().next()?;
    let uid = texts(UID).into_iter().next().unwrap_or_default();
    let mut groups = texts(GROUP);
    if !groups.iter().any(|group| group == AUTHENTICATED || group == "system:unauthenticated") {
        groups.push(AUTHENTICATED.to_owned());
    }
    Some(User { name, uid, groups, extra: extra(headers, EXTRA) })
}

/// Facts whose headers begin with a prefix, by what stands behind it.
pub(crate) fn extra(headers: &HeaderMap, prefix: &str) -> BTreeMap<String, Vec<String>> {
    let prefix = prefix.to_ascii_lowercase();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(&prefix), value.to_str()) {
            extra.entry(decode_percent(key)).or_default().push(value.to_owned());
        }
    }
    extra
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_the_user() {
        let mut headers = HeaderMap::new();
        assert_eq!(user(&headers), None);
        let lines = [
            ("X-Remote-User", "ann"),
            ("X-Remote-Uid", "7"),
            ("X-Remote-Group", "a"),
            ("X-Remote-Group", "b"),
            ("X-Remote-Extra-Example.org%2Fscope", "read"),
            ("X-Remote-Extra-Example.org%2Fscope", "write"),
        ];
        for (name, value) in lines {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let extra = [("example.org/scope".to_owned(), vec!["read".to_owned(), "write".to_owned()])];
        let expected = User {
            name: "ann".to_owned(),
            uid: "7".to_owned(),
            groups: ["a", "b", "system:authenticated"].map(str::to_owned).to_vec(),
            extra: extra.into(),
        };
        assert_eq!(user(&headers), Some(expected));
    }
}
