//! Role-based access control: rules, subjects and what they match.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{PolicyRule, Subject};

use crate::Attributes;

/// Members may do everything: upstream's break-glass group.
pub const SUPERUSERS: &str = "system:masters";
const ALL: &str = "*";

/// Whether a rule allows what is asked.
pub fn allows(rule: &PolicyRule, asked: &Attributes<'_>) -> bool {
    if !has(Some(&rule.verbs), asked.verb) {
        return false;
    }
    if !asked.is_resource {
        return rule.non_resource_urls.iter().flatten().any(|url| path_fits(url, asked.path));
    }
    has(rule.api_groups.as_ref(), asked.group)
        && rule.resources.iter().flatten().any(|resource| resource_fits(resource, asked))
        && name_fits(rule, asked)
}

fn has(list: Option<&Vec<String>>, wanted: &str) -> bool {
    list.is_some_and(|list| list.iter().any(|have| have == ALL || have == wanted))
}

fn resource_fits(pattern: &str, asked: &Attributes<'_>) -> bool {
    if pattern == ALL {
        return true;
    }
    match (pattern.split_once('/'), asked.subresource) {
        (None, "") => pattern == asked.resource,
        (None, _) => false,
        (Some((resource, subresource)), have) => {
            !have.is_empty()
                && subresource == have
                && (resource == ALL || resource == asked.resource)
        }
    }
}

fn name_fits(rule: &PolicyRule, asked: &Attributes<'_>) -> bool {
    let names = rule.resource_names.as_deref().unwrap_or_default();
    names.is_empty() || names.iter().any(|name| name == asked.name)
}

fn path_fits(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix(ALL) {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

/// Whether a binding's subject is this user. Service accounts without a namespace are those of the
/// binding's.
pub fn is_subject(
    subject: &Subject,
    user: &str,
    groups: &[String],
    binding_namespace: &str,
) -> bool {
    match subject.kind.as_str() {
        "User" => subject.name == user,
        "Group" => groups.contains(&subject.name),
        "ServiceAccount" => {
            let namespace = match subject.namespace.as_deref() {
                None | Some("") => binding_namespace,
                Some(namespace) => namespace,
            };
            let rest = user.strip_prefix("system:serviceaccount:");
            !namespace.is_empty()
                && rest.and_then(|rest| rest.split_once(':')) == Some((namespace, &subject.name))
        }
        _ => false,
    }
}

/// Whether rules already held cover a rule that is to be granted: what prevents escalation. Each verb,
/// group, resource and name of the wanted rule must be covered by one held rule.
pub fn covers(held: &[PolicyRule], wanted: &PolicyRule) -> bool {
    break_down(wanted).all(|part| held.iter().any(|rule| part.is_covered_by(rule)))
}

/// Of the wanted rules those that the held ones do not cover, whole.
pub fn missing(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    wanted.iter().filter(|rule| !covers(held, rule)).cloned().collect()
}

/// What of the wanted rules is not held, in upstream's short form: one line per resource or path, sorted.
pub fn describe_missing(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<String> {
    let parts = wanted.iter().flat_map(break_down);
    let parts = parts.filter(|part| !held.iter().any(|rule| part.is_covered_by(rule)));
    let mut by_resource: Vec<(Part<'_>, Vec<&str>)> = Vec::new();
    for part in parts {
        let known = by_resource.iter_mut().find(|(have, verbs)| {
            have.is_resource
                && Part { verb: have.verb, ..part } == *have
                && !verbs.contains(&part.verb)
        });
        match known {
            Some((_, verbs)) => verbs.push(part.verb),
            None => by_resource.push((part, vec![part.verb])),
        }
    }
    let lines: BTreeSet<String> =
        by_resource.iter().map(|(part, verbs)| part.describe(verbs)).collect();
    lines.into_iter().collect()
}

/// The smallest piece of a rule: one verb on one resource (or path).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Part<'a> {
    verb: &'a str,
    is_resource: bool,
    group: &'a str,
    /// With its subresource; or the path.
    target: &'a str,
    name: &'a str,
}

impl Part<'_> {
    fn is_covered_by(&self, rule: &PolicyRule) -> bool {
        if !has(Some(&rule.verbs), self.verb) {
            return false;
        }
        if !self.is_resource {
            return rule.non_resource_urls.iter().flatten().any(|url| path_fits(url, self.target));
        }
        let names = rule.resource_names.as_deref().unwrap_or_default();
        has(rule.api_groups.as_ref(), self.group)
            && rule.resources.iter().flatten().any(|have| target_fits(have, self.target))
            && (names.is_empty() || names.iter().any(|name| name == self.name))
    }

    fn describe(&self, verbs: &[&str]) -> String {
        let quoted = |items: &[&str]| {
            let items: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
            format!("[{}]", items.join(" "))
        };
        let verbs = quoted(verbs);
        if !self.is_resource {
            return format!("{{NonResourceURLs:{}, Verbs:{verbs}}}", quoted(&[self.target]));
        }
        let names = match self.name {
            "" => String::new(),
            name => format!(", ResourceNames:{}", quoted(&[name])),
        };
        let (group, target) = (quoted(&[self.group]), quoted(&[self.target]));
        format!("{{APIGroups:{group}, Resources:{target}{names}, Verbs:{verbs}}}")
    }
}

/// Whether a rule's resource includes another one's, wildcards and all.
fn target_fits(pattern: &str, target: &str) -> bool {
    pattern == ALL
        || pattern == target
        || matches!(
            (pattern.split_once('/'), target.split_once('/')),
            (Some((ALL, pattern)), Some((_, subresource))) if pattern == subresource
        )
}

fn break_down(rule: &PolicyRule) -> impl Iterator<Item = Part<'_>> {
    let groups = rule.api_groups.as_deref().unwrap_or_default();
    let resources = rule.resources.as_deref().unwrap_or_default();
    let names: Vec<&str> = match rule.resource_names.as_deref() {
        None | Some([]) => vec![""],
        Some(names) => names.iter().map(String::as_str).collect(),
    };
    let urls = rule.non_resource_urls.iter().flatten();
    let mut parts = Vec::new();
    for group in groups {
        for target in resources {
            for name in &names {
                parts.extend(rule.verbs.iter().map(|verb| Part {
                    verb,
                    is_resource: true,
                    group,
                    target,
                    name,
                }));
            }
        }
    }
    for target in urls {
        parts.extend(rule.verbs.iter().map(|verb| Part {
            verb,
            is_resource: false,
            group: "",
            target,
            name: "",
        }));
    }
    parts.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> PolicyRule {
        let list = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
        PolicyRule {
            verbs: list(verbs),
            api_groups: Some(list(groups)),
            resources: Some(list(resources)),
            resource_names: (!names.is_empty()).then(|| list(names)),
            non_resource_urls: None,
        }
    }

    #[test]
    fn rules_match_resources_subresources_and_names() {
        let cases = [
            (rule("get", "", "pods", ""), "get", "pods", "", "a", true),
            (rule("get", "", "pods", ""), "list", "pods", "", "", false),
            (rule("get", "", "pods", ""), "get", "pods", "log", "a", false),
            (rule("get", "", "pods/log", ""), "get", "pods", "log", "a", true),
            (rule("get", "", "*/log", ""), "get", "pods", "log", "a", true),
            (rule("*", "*", "*", ""), "delete", "pods", "log", "a", true),
            (rule("get", "", "pods", "a"), "get", "pods", "", "a", true),
            (rule("get", "", "pods", "a"), "get", "pods", "", "b", false),
            (rule("list", "", "pods", "a"), "list", "pods", "", "", false),
            (rule("get", "apps", "pods", ""), "get", "pods", "", "a", false),
        ];
        for (rule, verb, resource, subresource, name, expected) in cases {
            let asked = Attributes {
                verb,
                is_resource: true,
                resource,
                subresource,
                name,
                ..Attributes::default()
            };
            assert_eq!(allows(&rule, &asked), expected, "{rule:?} {asked:?}");
        }
    }

    #[test]
    fn a_wider_rule_covers_a_narrower_one_only() {
        let held = [rule("get,list", "", "pods,services", "")];
        assert!(covers(&held, &rule("get", "", "pods", "a")));
        assert!(!covers(&held, &rule("get,delete", "", "pods", "")));
        assert!(!covers(&[rule("get", "", "pods", "a")], &rule("get", "", "pods", "")));
    }

    #[test]
    fn what_is_missing_is_told_in_short() {
        let held = [rule("get", "", "pods", "")];
        let wanted = [
            rule("get,list,delete", "", "pods", ""),
            rule("get", "apps", "deployments,*/scale", "a"),
        ];
        assert_eq!(
            describe_missing(&held, &wanted),
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "delete"]}"#,
                r#"{APIGroups:["apps"], Resources:["*/scale"], ResourceNames:["a"], Verbs:["get"]}"#,
                r#"{APIGroups:["apps"], Resources:["deployments"], ResourceNames:["a"], Verbs:["get"]}"#,
            ]
        );
        assert!(missing(&[rule("*", "*", "*", "")], &wanted).is_empty());
        assert!(covers(
            &[rule("get", "*", "*/scale", "")],
            &rule("get", "apps", "deployments/scale", "")
        ));
        assert!(!covers(&[rule("get", "", "pods", "")], &rule("get", "", "pods/log", "")));
    }

    #[test]
    fn service_accounts_are_subjects() {
        let subject = |namespace: Option<&str>| Subject {
            kind: "ServiceAccount".into(),
            name: "sa".into(),
            namespace: namespace.map(str::to_owned),
            api_group: None,
        };
        let user = "system:serviceaccount:n:sa";
        assert!(is_subject(&subject(Some("n")), user, &[], ""));
        assert!(is_subject(&subject(None), user, &[], "n"));
        assert!(!is_subject(&subject(Some("m")), user, &[], "n"));
    }
}
