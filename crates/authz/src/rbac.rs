//! Role-based access control: rules, subjects and what they match.

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
            !have.is_empty() && subresource == have && (resource == ALL || resource == asked.resource)
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
pub fn is_subject(subject: &Subject, user: &str, groups: &[String], binding_namespace: &str) -> bool {
    match subject.kind.as_str() {
        "User" => subject.name == user,
        "Group" => groups.iter().any(|group| *group == subject.name),
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
    let some = |list: Option<&Vec<String>>| -> Vec<String> {
        list.filter(|list| !list.is_empty()).cloned().unwrap_or_else(|| vec![String::new()])
    };
    let covered = |asked: &Attributes<'_>| held.iter().any(|rule| allows(rule, asked));
    for verb in &wanted.verbs {
        for path in wanted.non_resource_urls.iter().flatten() {
            if !covered(&Attributes { verb, path, ..Attributes::default() }) {
                return false;
            }
        }
        for group in wanted.api_groups.iter().flatten() {
            for resource in wanted.resources.iter().flatten() {
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                for name in some(wanted.resource_names.as_ref()) {
                    let asked = Attributes {
                        verb,
                        is_resource: true,
                        group,
                        resource,
                        subresource,
                        name: &name,
                        ..Attributes::default()
                    };
                    if !covered(&asked) {
                        return false;
                    }
                }
            }
        }
    }
    true
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
