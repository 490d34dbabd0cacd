//! The names in the documents: of definitions, operations and tags.

use crate::definition_for_kind;

/// The name of a kind's definition: the built-in one, or for custom resources the group turned round, as in
/// `com.example.stable.v1.CronTab`.
pub fn definition_name(group: &str, version: &str, kind: &str) -> String {
    if let Some(name) = definition_for_kind(group, version, kind) {
        return name.to_owned();
    }
    let mut parts: Vec<&str> = group.split('.').filter(|part| !part.is_empty()).collect();
    parts.reverse();
    parts.extend([version, kind]);
    parts.join(".")
}

/// The group as it stands in tags: `rbacAuthorization` for `rbac.authorization.k8s.io`.
fn group_name(group: &str) -> String {
    if group.is_empty() {
        return "core".to_owned();
    }
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    let mut name = String::new();
    for (index, part) in group.split(['.', '-']).enumerate() {
        if index == 0 { name.push_str(part) } else { name.push_str(&capitalized(part)) }
    }
    name
}

/// The tag of all operations of a group and version, such as `apps_v1`.
pub(super) fn tag(group: &str, version: &str) -> String {
    format!("{}_{version}", group_name(group))
}

/// The identity of an operation, such as `listAppsV1NamespacedDeployment`.
pub(super) fn operation(verb: &str, group: &str, version: &str, rest: &str) -> String {
    format!("{verb}{}{}{rest}", capitalized(&group_name(group)), capitalized(version))
}

/// With the first letter in upper case.
pub(super) fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{definition_name, operation, tag};

    #[test]
    fn names_of_upstream() {
        assert_eq!(definition_name("", "v1", "Pod"), "io.k8s.api.core.v1.Pod");
        assert_eq!(
            definition_name("stable.example.com", "v1", "CronTab"),
            "com.example.stable.v1.CronTab"
        );
        assert_eq!(tag("rbac.authorization.k8s.io", "v1"), "rbacAuthorization_v1");
        assert_eq!(
            operation("list", "apps", "v1", "NamespacedDeployment"),
            "listAppsV1NamespacedDeployment"
        );
        assert_eq!(operation("read", "", "v1", "Node"), "readCoreV1Node");
    }
}
