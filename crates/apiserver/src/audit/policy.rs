//! What is recorded of which request: `audit.k8s.io/v1 Policy`. Pure.

use admission::User;
use serde::Deserialize;

use crate::request::RequestInfo;

/// How much of a request is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who asked for what, and how it ended.
    Metadata,
    /// The body of the request, too.
    Request,
    /// The bodies of request and answer, too.
    RequestResponse,
}

impl Level {
    /// The word in an event.
    pub fn text(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// How far a request has come when an event is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Stage {
    /// Nothing has been done yet.
    RequestReceived,
    /// The answer of a long-running request has begun.
    ResponseStarted,
    /// The answer has been sent.
    ResponseComplete,
    /// The server failed over it.
    Panic,
}

impl Stage {
    /// The word in an event.
    pub fn text(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is not YAML of the right shape.
    #[error("failed decoding audit policy: {0}")]
    Malformed(String),
    /// It is of another kind or version.
    #[error("unknown group version field {api_version:?} in policy of kind {kind:?}")]
    Kind {
        /// `apiVersion` as given.
        api_version: String,
        /// `kind` as given.
        kind: String,
    },
    /// It has no rules.
    #[error("loaded illegal policy with 0 rules")]
    Empty,
    /// A rule makes no sense.
    #[error("{path}: {why}")]
    Rule {
        /// The field.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

/// See the module's text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: serde_json::Value,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    paths: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What a policy says of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How much is recorded.
    pub level: Level,
    /// At which stages nothing is.
    pub omit_stages: Vec<Stage>,
    /// Whether `managedFields` are left out of recorded bodies.
    pub omit_managed_fields: bool,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// It is not one, or makes no sense.
    pub fn from_yaml(text: &str) -> Result<Self, PolicyError> {
        let policy: Self = serde_saphyr::from_str(text)
            .map_err(|error| PolicyError::Malformed(error.to_string()))?;
        if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
            return Err(PolicyError::Kind {
                api_version: policy.api_version.clone(),
                kind: policy.kind.clone(),
            });
        }
        if policy.rules.is_empty() {
            return Err(PolicyError::Empty);
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            rule.check(&format!("rules[{index}]"))?;
        }
        Ok(policy)
    }

    /// The first rule that matches decides; without one nothing is recorded.
    pub fn judge(&self, user: &User, info: &RequestInfo) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(user, info)) else {
            return Verdict::default();
        };
        let mut omit_stages = self.omit_stages.clone();
        omit_stages.extend(&rule.omit_stages);
        Verdict {
            level: rule.level,
            omit_stages,
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn check(&self, path: &str) -> Result<(), PolicyError> {
        let fault = |field: &str, why: &str| {
            Err(PolicyError::Rule { path: format!("{path}.{field}"), why: why.to_owned() })
        };
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if !self.paths.is_empty() && of_resources {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            return fault("nonResourceURLs", why);
        }
        for url in self.paths.iter().filter(|url| *url != "*") {
            if !url.starts_with('/') {
                let why = "non-resource URL rules must begin with a '/' character";
                return fault("nonResourceURLs", why);
            }
            if url.find('*').is_some_and(|place| place + 1 < url.len()) {
                let why = "non-resource URL wildcards '*' must be the final character of the rule";
                return fault("nonResourceURLs", why);
            }
        }
        for group in &self.resources {
            if !group.group.is_empty()
                && let Err(why) = api::name::subdomain(&group.group)
            {
                return fault("resources.group", &why.to_string());
            }
            if !group.resource_names.is_empty() && group.resources.is_empty() {
                let why = "using resourceNames requires at least one resource";
                return fault("resources.resourceNames", why);
            }
        }
        Ok(())
    }

    fn matches(&self, user: &User, info: &RequestInfo) -> bool {
        let admits = |list: &[String], value: &String| list.is_empty() || list.contains(value);
        if !admits(&self.users, &user.name) || !admits(&self.verbs, &info.verb) {
            return false;
        }
        let in_group = || user.groups.iter().any(|group| self.user_groups.contains(group));
        if !self.user_groups.is_empty() && !in_group() {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource && self.matches_resource(info);
        }
        self.paths.is_empty()
            || !info.is_resource && self.paths.iter().any(|path| path_matches(path, &info.path))
    }

    fn matches_resource(&self, info: &RequestInfo) -> bool {
        if !self.namespaces.is_empty() && !self.namespaces.contains(&info.namespace) {
            return false;
        }
        self.resources.is_empty() || self.resources.iter().any(|group| group.matches(info))
    }
}

impl GroupResources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != info.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let named = self.resource_names.is_empty() || self.resource_names.contains(&info.name);
        named && self.resources.iter().any(|resource| resource_matches(resource, info))
    }
}

/// `*`, `pods`, `pods/log`, `pods/*`, `*/scale`.
fn resource_matches(wanted: &str, info: &RequestInfo) -> bool {
    match wanted.split_once('/') {
        None => wanted == "*" || info.subresource.is_empty() && wanted == info.resource,
        Some(("*", subresource)) => subresource == info.subresource,
        Some((resource, "*")) => resource == info.resource,
        Some((resource, subresource)) => {
            resource == info.resource && subresource == info.subresource
        }
    }
}

fn path_matches(wanted: &str, path: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => wanted == path,
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::request::Query;

    const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: [system:kube-proxy], verbs: [watch], resources: [{group: '', resources: [endpoints, services]}]}
- {level: None, nonResourceURLs: ['/healthz*', '/version'], userGroups: [probers]}
- {level: Request, resources: [{resources: [configmaps], resourceNames: [c]}], namespaces: [kube-system]}
- {level: Metadata, resources: [{resources: ['pods/log', '*/scale', 'secrets/*']}], omitStages: [ResponseStarted]}
- {level: RequestResponse, resources: [{group: apps}, {group: ''}], omitManagedFields: true}
";

    fn judge(policy: &str, user: &str, method: Method, target: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let info = RequestInfo::parse(&method, path, &Query::parse(query));
        let user =
            User { name: user.to_owned(), groups: vec!["probers".to_owned()], ..User::default() };
        let verdict = Policy::from_yaml(policy).unwrap().judge(&user, &info);
        let omitted: Vec<&str> = verdict.omit_stages.iter().map(|stage| stage.text()).collect();
        let managed = if verdict.omit_managed_fields { " -managed" } else { "" };
        format!("{} -{}{managed}", verdict.level.text(), omitted.join(" -"))
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let system = "/api/v1/namespaces/kube-system";
        let all = "RequestResponse -RequestReceived -managed";
        let cases = [
            ("system:kube-proxy", "/api/v1/services?watch=1".to_owned(), "None -RequestReceived"),
            ("system:kube-proxy", "/api/v1/services".to_owned(), all),
            ("ann", "/api/v1/services?watch=1".to_owned(), all),
            ("ann", "/healthz/etcd".to_owned(), "None -RequestReceived"),
            ("ann", "/version/x".to_owned(), "None -"),
            ("ann", format!("{system}/configmaps/c"), "Request -RequestReceived"),
            ("ann", format!("{system}/configmaps/d"), all),
            ("ann", format!("{system}/pods/p/log"), "Metadata -RequestReceived -ResponseStarted"),
            ("ann", format!("{system}/pods/p"), all),
            ("ann", format!("{system}/secrets/s"), "Metadata -RequestReceived -ResponseStarted"),
            ("ann", "/apis/apps/v1/namespaces/a/deployments/d/scale".to_owned(), all),
            ("ann", "/apis/batch/v1/jobs".to_owned(), "None -"),
        ];
        for (user, target, expected) in cases {
            assert_eq!(judge(POLICY, user, Method::GET, &target), expected, "{user} {target}");
        }
    }

    #[test]
    fn policies_that_make_no_sense_are_refused() {
        let rules =
            |rules: &str| format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}");
        let cases = [
            ("{}".to_owned(), "unknown group version"),
            ("kind: Policy\napiVersion: audit.k8s.io/v1beta1".to_owned(), "unknown group version"),
            (rules("[]"), "0 rules"),
            (rules("[{level: Everything}]"), "failed decoding"),
            (rules("[{level: None, unknown: 1}]"), "failed decoding"),
            (rules("[{level: None, nonResourceURLs: [x]}]"), "must begin with"),
            (rules("[{level: None, nonResourceURLs: ['/*/x']}]"), "final character"),
            (
                rules("[{level: None, nonResourceURLs: [/x], namespaces: [a]}]"),
                "cannot apply to both",
            ),
            (rules("[{level: None, resources: [{group: a/v1}]}]"), "rules[0].resources.group"),
            (rules("[{level: None, resources: [{resourceNames: [x]}]}]"), "at least one resource"),
        ];
        for (text, expected) in cases {
            let error = Policy::from_yaml(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
