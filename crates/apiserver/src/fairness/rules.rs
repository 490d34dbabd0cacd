//! Which FlowSchema a request matches. Pure.

use admission::User;
use k8s_openapi::api::flowcontrol::v1::{
    self as flowcontrol, FlowSchemaSpec, NonResourcePolicyRule, PolicyRulesWithSubjects,
    ResourcePolicyRule,
};

use crate::request::RequestInfo;
use crate::tokens::USER_PREFIX;

/// Stands for everything in a list.
const ALL: &str = "*";

/// The rules of a schema, read once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Clone, Debug)]
enum Subject {
    User(Name),
    Group(Name),
    /// Namespace and name of an account.
    Account(String, Name),
}

#[derive(Clone, Debug)]
enum Name {
    Any,
    Only(String),
}

#[derive(Clone, Debug)]
enum Names {
    Any,
    Only(Vec<String>),
}

#[derive(Clone, Debug)]
struct ResourceRule {
    verbs: Names,
    groups: Names,
    /// `pods`, `pods/status`.
    resources: Names,
    namespaces: Names,
    cluster_scope: bool,
}

#[derive(Clone, Debug)]
struct PathRule {
    verbs: Names,
    /// Whole paths, and what paths begin with.
    paths: Vec<(String, String)>,
    any: bool,
}

/// What tells one flow of a schema from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Distinguisher {
    /// All requests are one flow.
    #[default]
    None,
    /// Each user has a flow.
    User,
    /// Each namespace has a flow.
    Namespace,
}

impl Distinguisher {
    pub(crate) fn of(spec: &FlowSchemaSpec) -> Self {
        match spec.distinguisher_method.as_ref().map(|method| method.type_.as_str()) {
            Some("ByUser") => Self::User,
            Some("ByNamespace") => Self::Namespace,
            _ => Self::None,
        }
    }

    /// The name of the flow.
    pub(crate) fn flow<'a>(self, user: &'a User, info: &'a RequestInfo) -> &'a str {
        match self {
            Self::None => "",
            Self::User => &user.name,
            Self::Namespace => &info.namespace,
        }
    }
}

impl Name {
    fn new(text: &str) -> Self {
        if text == ALL { Self::Any } else { Self::Only(text.to_owned()) }
    }

    fn admits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(name) => name == text,
        }
    }
}

impl Names {
    fn new(list: &[String]) -> Self {
        match list {
            [only] if only == ALL => Self::Any,
            list => Self::Only(list.to_vec()),
        }
    }

    fn admits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => names.iter().any(|name| name == text),
        }
    }

    fn admits_resource(&self, resource: &str, subresource: &str) -> bool {
        let Self::Only(names) = self else { return true };
        names.iter().any(|name| match name.split_once('/') {
            Some((plural, sub)) => plural == resource && sub == subresource,
            None => subresource.is_empty() && name == resource,
        })
    }
}

impl Subject {
    fn new(subject: &flowcontrol::Subject) -> Option<Self> {
        Some(match subject.kind.as_str() {
            "User" => Self::User(Name::new(&subject.user.as_ref()?.name)),
            "Group" => Self::Group(Name::new(&subject.group.as_ref()?.name)),
            "ServiceAccount" => {
                let account = subject.service_account.as_ref()?;
                Self::Account(account.namespace.clone(), Name::new(&account.name))
            }
            _ => return None,
        })
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Self::User(name) => name.admits(&user.name),
            Self::Group(Name::Any) => true,
            Self::Group(name) => user.groups.iter().any(|group| name.admits(group)),
            Self::Account(namespace, name) => {
                let account =
                    user.name.strip_prefix(USER_PREFIX).and_then(|rest| rest.split_once(':'));
                account.is_some_and(|(space, account)| space == namespace && name.admits(account))
            }
        }
    }
}

impl ResourceRule {
    fn new(rule: &ResourcePolicyRule) -> Self {
        Self {
            verbs: Names::new(&rule.verbs),
            groups: Names::new(&rule.api_groups),
            resources: Names::new(&rule.resources),
            namespaces: Names::new(rule.namespaces.as_deref().unwrap_or_default()),
            cluster_scope: rule.cluster_scope.unwrap_or_default(),
        }
    }

    fn admits(&self, info: &RequestInfo) -> bool {
        let place = match info.namespace.as_str() {
            "" => self.cluster_scope,
            namespace => self.namespaces.admits(namespace),
        };
        place
            && self.verbs.admits(&info.verb)
            && self.groups.admits(&info.group)
            && self.resources.admits_resource(&info.resource, &info.subresource)
    }
}

impl PathRule {
    fn new(rule: &NonResourcePolicyRule) -> Self {
        let begins = |path: &String| {
            let start = path.trim_end_matches('*').trim_end_matches('/');
            (path.clone(), format!("{start}/"))
        };
        Self {
            verbs: Names::new(&rule.verbs),
            paths: rule.non_resource_urls.iter().map(begins).collect(),
            any: rule.non_resource_urls.iter().any(|path| path == ALL),
        }
    }

    fn admits(&self, info: &RequestInfo) -> bool {
        let path = |(whole, start): &(String, String)| {
            *whole == info.path || info.path.starts_with(start.as_str())
        };
        self.verbs.admits(&info.verb) && (self.any || self.paths.iter().any(path))
    }
}

impl Rules {
    pub(crate) fn new(rules: &[PolicyRulesWithSubjects]) -> Self {
        let read = |rule: &PolicyRulesWithSubjects| Rule {
            subjects: rule.subjects.iter().filter_map(Subject::new).collect(),
            resources: rule.resource_rules.iter().flatten().map(ResourceRule::new).collect(),
            paths: rule.non_resource_rules.iter().flatten().map(PathRule::new).collect(),
        };
        Self(rules.iter().map(read).collect())
    }

    /// Whether a rule names both the user and what is asked for.
    pub(crate) fn match_request(&self, user: &User, info: &RequestInfo) -> bool {
        self.0.iter().any(|rule| {
            rule.subjects.iter().any(|subject| subject.is(user))
                && if info.is_resource {
                    rule.resources.iter().any(|rule| rule.admits(info))
                } else {
                    rule.paths.iter().any(|rule| rule.admits(info))
                }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn user(name: &str, groups: &[&str]) -> User {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        User { name: name.to_owned(), groups, ..User::default() }
    }

    fn info(line: &str) -> RequestInfo {
        let (verb, rest) = line.split_once(' ').unwrap();
        if rest.starts_with('/') {
            return RequestInfo {
                verb: verb.to_owned(),
                path: rest.to_owned(),
                ..RequestInfo::default()
            };
        }
        let parts: Vec<&str> = rest.split(' ').collect();
        let (resource, subresource) = parts[1].split_once('/').unwrap_or((parts[1], ""));
        RequestInfo {
            is_resource: true,
            verb: verb.to_owned(),
            group: parts[0].trim_matches('-').to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: parts.get(2).copied().unwrap_or_default().to_owned(),
            ..RequestInfo::default()
        }
    }

    fn rules(subjects: Value, resources: Value, paths: Value) -> Rules {
        let rule =
            json!({"subjects": subjects, "resourceRules": resources, "nonResourceRules": paths});
        Rules::new(&[serde_json::from_value(rule).unwrap()])
    }

    #[test]
    fn subjects_are_users_groups_and_accounts() {
        let account = |namespace: &str, name: &str| json!([{"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}}]);
        let cases = [
            (json!([{"kind": "User", "user": {"name": "ann"}}]), true),
            (json!([{"kind": "User", "user": {"name": "*"}}]), true),
            (json!([{"kind": "User", "user": {"name": "bob"}}]), false),
            (json!([{"kind": "Group", "group": {"name": "g"}}]), true),
            (json!([{"kind": "Group", "group": {"name": "h"}}]), false),
            (json!([{"kind": "Group"}]), false),
            (account("ns", "*"), false),
        ];
        let all = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
        for (subjects, expected) in cases {
            let rules = rules(subjects.clone(), json!([]), all.clone());
            let asked = info("get /x");
            assert_eq!(rules.match_request(&user("ann", &["g"]), &asked), expected, "{subjects}");
        }
        let cases = [("ns", "*", true), ("ns", "sa", true), ("ns", "s", false), ("n", "*", false)];
        for (namespace, name, expected) in cases {
            let rules = rules(account(namespace, name), json!([]), all.clone());
            let ann = user("system:serviceaccount:ns:sa", &[]);
            assert_eq!(rules.match_request(&ann, &info("get /x")), expected, "{namespace} {name}");
        }
    }

    #[test]
    fn resources_and_paths_match_as_upstream_says() {
        let everyone = json!([{"kind": "User", "user": {"name": "*"}}]);
        let rules = rules(
            everyone,
            json!([
                {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "nodes/status"],
                    "namespaces": ["a"], "clusterScope": true},
                {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"], "namespaces": ["*"]},
            ]),
            json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/x/*"]}]),
        );
        let cases = [
            ("get - pods a", true),
            ("get - pods b", false),
            ("list - pods", true),
            ("create - pods a", false),
            ("get - pods/log a", false),
            ("get - nodes/status", true),
            ("get - nodes", false),
            ("delete apps deployments/scale any", true),
            ("list apps deployments", false),
            ("get batch jobs a", false),
            ("get /healthz", true),
            ("get /healthz/ping", true),
            ("get /healthzy", false),
            ("get /x/y", true),
            ("get /x", false),
            ("post /healthz", false),
        ];
        for (line, expected) in cases {
            assert_eq!(rules.match_request(&user("u", &[]), &info(line)), expected, "{line}");
        }
    }
}
