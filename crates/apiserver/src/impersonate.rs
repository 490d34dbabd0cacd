//! Acting under another name: the `Impersonate-*` headers.

use admission::User;
use api::status::Status;
use http::HeaderMap;

use crate::audit::Record;
use crate::authenticate::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, headers};
use crate::request::RequestInfo;
use crate::server::Server;
use crate::tokens;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
/// The group of what a name and its groups leave unsaid.
const AUTHENTICATION: &str = "authentication.k8s.io";

/// The other user, and what the real one must be allowed to impersonate.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    user: User,
    rights: Vec<Right>,
}

/// Resource, namespace, name, subresource.
type Right = (&'static str, String, String, String);

impl Server {
    /// The user that the `Impersonate-*` headers name, if the real one may.
    pub(crate) fn impersonate(
        &self,
        user: User,
        headers: &HeaderMap,
        record: Option<&Record>,
    ) -> Result<User, Status> {
        let Some(wanted) = read(headers).map_err(Status::internal)? else { return Ok(user) };
        for (resource, namespace, name, subresource) in wanted.rights {
            let group = if matches!(resource, "userextras" | "uids") { AUTHENTICATION } else { "" };
            let info = RequestInfo {
                is_resource: true,
                verb: "impersonate".to_owned(),
                group: group.to_owned(),
                version: "v1".to_owned(),
                namespace,
                resource: resource.to_owned(),
                name,
                subresource,
                ..RequestInfo::default()
            };
            self.check_rights(&user, &info, None)?;
        }
        if let Some(record) = record {
            record.impersonates(&wanted.user);
        }
        Ok(wanted.user)
    }
}

fn read(headers: &HeaderMap) -> Result<Option<Wanted>, String> {
    let all = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.map(str::to_owned).collect()
    };
    let first = |name: &str| all(name).into_iter().next().unwrap_or_default();
    let (name, groups, uid) = (first(USER), all(GROUP), first(UID));
    let extra = headers::extra(headers, EXTRA);
    if name.is_empty() {
        let others = [!groups.is_empty(), !uid.is_empty(), !extra.is_empty()];
        if others.contains(&true) {
            return Err("requested impersonation without impersonating a user".to_owned());
        }
        return Ok(None);
    }
    let mut rights = Vec::new();
    let mut known = Vec::new();
    let account = name.strip_prefix(tokens::USER_PREFIX).and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, account)) => {
            let (namespace, account) = (namespace.to_owned(), account.to_owned());
            known = tokens::groups(&namespace);
            rights.push(("serviceaccounts", namespace, account, String::new()));
        }
        None => rights.push(("users", String::new(), name.clone(), String::new())),
    }
    let group = |group: &String| ("groups", String::new(), group.clone(), String::new());
    rights.extend(groups.iter().map(group));
    for (key, values) in &extra {
        let fact = |value: &String| ("userextras", String::new(), value.clone(), key.clone());
        rights.extend(values.iter().map(fact));
    }
    if !uid.is_empty() {
        rights.push(("uids", String::new(), uid.clone(), String::new()));
    }
    let mut groups = if groups.is_empty() { known } else { groups };
    let has = |wanted: &str| groups.iter().any(|group| group == wanted);
    if name == ANONYMOUS {
        if !has(UNAUTHENTICATED) {
            groups.push(UNAUTHENTICATED.to_owned());
        }
    } else if !has(AUTHENTICATED) && !has(UNAUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    Ok(Some(Wanted { user: User { name, uid, groups, extra }, rights }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(lines: &[(&str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let wanted = match read(&headers) {
            Ok(Some(wanted)) => wanted,
            Ok(None) => return "nobody".to_owned(),
            Err(why) => return why,
        };
        let rights = wanted.rights.iter().map(|(resource, namespace, name, subresource)| {
            [resource, namespace.as_str(), name, subresource].join("|")
        });
        let user = &wanted.user;
        let rights: Vec<String> = rights.collect();
        let facts: Vec<String> =
            user.extra.iter().map(|(key, values)| format!("{key}={}", values.join("+"))).collect();
        format!(
            "{}#{} in {} with {}; needs {}",
            user.name,
            user.uid,
            user.groups.join(","),
            facts.join(","),
            rights.join(" ")
        )
    }

    #[test]
    fn headers_say_who_and_what_it_takes() {
        let cases = [
            (vec![], "nobody"),
            (
                vec![("Impersonate-Group", "g")],
                "requested impersonation without impersonating a user",
            ),
            (
                vec![("Impersonate-User", "bob")],
                "bob# in system:authenticated with ; needs users||bob|",
            ),
            (
                vec![("Impersonate-User", "bob"), ("Impersonate-Group", "system:unauthenticated")],
                "bob# in system:unauthenticated with ; needs users||bob| groups||system:unauthenticated|",
            ),
            (
                vec![("Impersonate-User", "system:anonymous")],
                "system:anonymous# in system:unauthenticated with ; needs users||system:anonymous|",
            ),
            (
                vec![("Impersonate-User", "system:serviceaccount:a:b")],
                "system:serviceaccount:a:b# in system:serviceaccounts,system:serviceaccounts:a,system:authenticated with ; needs serviceaccounts|a|b|",
            ),
            (
                vec![
                    ("Impersonate-User", "bob"),
                    ("Impersonate-Uid", "7"),
                    ("Impersonate-Extra-Acme.com%2Fproject", "x"),
                    ("Impersonate-Extra-Acme.com%2Fproject", "y"),
                ],
                "bob#7 in system:authenticated with acme.com/project=x+y; needs users||bob| userextras||x|acme.com/project userextras||y|acme.com/project uids||7|",
            ),
        ];
        for (lines, expected) in cases {
            assert_eq!(show(&lines), expected, "{lines:?}");
        }
    }
}
