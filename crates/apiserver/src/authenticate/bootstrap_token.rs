//! Bootstrap tokens: short-lived secrets with which machines join, kept as Secrets in `kube-system`.

use admission::User;
use api::meta;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::{AUTHENTICATED, same_secret};
use crate::handle::text;

/// What the names of the Secrets begin with; the token's public part follows.
const NAME_PREFIX: &str = "bootstrap-token-";
const KIND: &str = "bootstrap.kubernetes.io/token";
const USER_PREFIX: &str = "system:bootstrap:";
const GROUP: &str = "system:bootstrappers";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;
const GROUP_TAIL_MAX: usize = 256;

/// The public and the secret part of a token that has the form of these.
pub(super) fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |part: &str, length: usize| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (plain(id, ID_LENGTH) && plain(secret, SECRET_LENGTH)).then_some((id, secret))
}

/// The name of the Secret that a token is kept in.
pub(super) fn secret_name(id: &str) -> String {
    format!("{NAME_PREFIX}{id}")
}

/// Whom a token stands for, given its Secret; nobody if that does not bear it out.
pub(super) fn user(object: &Value, id: &str, secret: &str, now: Timestamp) -> Option<User> {
    let data = |key: &str| {
        let encoded = object.get("data")?.get(key)?.as_str()?;
        String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
    };
    let is_good = !meta::is_deleting(object)
        && text(object, "/type") == KIND
        && same_secret(&data("token-secret")?, secret)
        && data("token-id")? == id
        && data("usage-bootstrap-authentication")? == "true";
    let lives = match data("expiration") {
        // An end that cannot be read is one that has come.
        Some(ends) if !ends.is_empty() => ends.parse::<Timestamp>().is_ok_and(|ends| ends > now),
        _ => true,
    };
    if !is_good || !lives {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    let extra = data("auth-extra-groups").unwrap_or_default();
    for group in extra.split(',').map(str::trim).filter(|group| !group.is_empty()) {
        if !is_group(group) {
            return None;
        }
        groups.push(group.to_owned());
    }
    groups.sort();
    groups.dedup();
    groups.push(AUTHENTICATED.to_owned());
    Some(User { name: format!("{USER_PREFIX}{id}"), groups, ..User::default() })
}

/// Whether a token may put its bearer into a group.
fn is_group(name: &str) -> bool {
    let tail = name.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':'));
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    tail.is_some_and(|tail| {
        (1..=GROUP_TAIL_MAX).contains(&tail.len())
            && tail.bytes().all(|byte| plain(byte) || matches!(byte, b':' | b'-'))
            && tail.bytes().last().is_some_and(plain)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "abcdef";
    const SECRET: &str = "0123456789abcdef";

    fn secret(changes: &[(&str, &str)]) -> Value {
        let mut data = json!({});
        let given = [
            ("token-id", ID),
            ("token-secret", SECRET),
            ("usage-bootstrap-authentication", "true"),
        ];
        for (key, value) in given.iter().chain(changes) {
            data[*key] = STANDARD.encode(value).into();
        }
        json!({"type": KIND, "metadata": {"name": secret_name(ID)}, "data": data})
    }

    #[test]
    fn tokens_have_two_parts() {
        let cases = [
            ("abcdef.0123456789abcdef", Some((ID, SECRET))),
            ("abcdef.0123456789abcde", None),
            ("abcde.0123456789abcdef", None),
            ("ABCDEF.0123456789abcdef", None),
            ("abcdef0123456789abcdef", None),
            ("", None),
        ];
        for (token, expected) in cases {
            assert_eq!(parts(token), expected, "{token}");
        }
    }

    #[test]
    fn the_secret_says_whether_the_token_holds() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let base = ["system:bootstrappers", "system:authenticated"];
        let more = ["system:bootstrappers", "system:bootstrappers:a:b", "system:authenticated"];
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a [&'a str]>);
        let cases: [Case<'_>; 9] = [
            (&[], Some(&base)),
            (&[("auth-extra-groups", "system:bootstrappers:a:b")], Some(&more)),
            (&[("auth-extra-groups", "system:masters")], None),
            (&[("auth-extra-groups", "system:bootstrappers:a-")], None),
            (&[("token-secret", "another")], None),
            (&[("token-id", "another")], None),
            (&[("usage-bootstrap-authentication", "false")], None),
            (&[("expiration", "2026-01-01T00:00:01Z")], Some(&base)),
            (&[("expiration", "2025-12-31T23:59:59+00:00")], None),
        ];
        for (changes, expected) in cases {
            let user = user(&secret(changes), ID, SECRET, now);
            let groups = user
                .as_ref()
                .map(|user| user.groups.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(groups.as_deref(), expected, "{changes:?}");
        }
        let known = user(&secret(&[]), ID, SECRET, now).unwrap();
        assert_eq!(known.name, "system:bootstrap:abcdef");
        let mut other = secret(&[]);
        other["type"] = json!("Opaque");
        assert_eq!(user(&other, ID, SECRET, now), None);
        let mut dying = secret(&[]);
        dying["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(user(&dying, ID, SECRET, now), None);
        assert_eq!(user(&secret(&[]), ID, "0000000000000000", now), None);
    }
}
