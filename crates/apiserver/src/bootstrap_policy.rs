//! The roles and bindings that every cluster starts with, brought up to date at every start.
//!
//! The tables are text, one rule a line: verbs, API groups, resources and, where there are any, names,
//! separated by blanks; items of a list by commas. `core` stands for the empty group, `url` in its place
//! for paths, `read` and `write` for their verbs.

mod aggregated_roles;
mod cluster_roles;
mod controller_roles;
mod namespaced;

use api::meta;
use api::status::Status;
use authz::rbac;
use futures::StreamExt;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use crate::call::WriteOptions;
use crate::server::Server;
use crate::write::Part;

/// Role names with the lines of their rules.
type Rules = &'static [(&'static str, &'static [&'static str])];

const API: &str = "rbac.authorization.k8s.io/v1";
const GROUP: &str = "rbac.authorization.k8s.io";
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];
/// Objects that are made at the same time, to share disk flushes.
const WRITES_AT_ONCE: usize = 64;

/// Cluster roles beside those of controllers, and who has them.
const BINDINGS: &[(&str, &[&str])] = &[
    ("cluster-admin", &["group system:masters"]),
    ("system:basic-user", &["group system:authenticated"]),
    ("system:cluster-trust-bundle-discovery", &["group system:serviceaccounts"]),
    ("system:discovery", &["group system:authenticated"]),
    ("system:coredns", &["user system:coredns"]),
    ("system:kube-controller-manager", &["user system:kube-controller-manager"]),
    ("system:kube-dns", &["sa kube-system kube-dns"]),
    ("system:kube-scheduler", &["user system:kube-scheduler"]),
    ("system:kubelet-api-admin", &["user kube-apiserver-kubelet-client"]),
    ("system:monitoring", &["group system:monitoring"]),
    // The node authorizer decides for nodes; this is for clusters that run without it.
    ("system:node", &[]),
    ("system:node-proxier", &["user system:kube-proxy"]),
    ("system:public-info-viewer", &["group system:authenticated", "group system:unauthenticated"]),
    ("system:service-account-issuer-discovery", &["group system:serviceaccounts"]),
    ("system:volume-scheduler", &["user system:kube-scheduler"]),
];

/// The roles that are the sum of others with a label, and what they start with: as the controller that
/// keeps them sums them.
const SUMS: [(&str, &[&str]); 3] = [
    ("admin", &["edit", "system:aggregate-to-admin"]),
    ("edit", &["system:aggregate-to-edit", "view"]),
    ("view", &["system:aggregate-to-view"]),
];

/// A line of a table as a rule.
fn rule(line: &str) -> Value {
    let mut columns = line.split(' ');
    let mut column = || columns.next().unwrap_or_default();
    let list = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
    let verbs: Vec<String> = list(column())
        .into_iter()
        .flat_map(|verb| match verb.as_str() {
            "read" => READ.map(str::to_owned).to_vec(),
            "write" => WRITE.map(str::to_owned).to_vec(),
            _ => vec![verb],
        })
        .collect();
    let groups = column();
    if groups == "url" {
        return json!({"verbs": verbs, "nonResourceURLs": list(column())});
    }
    let groups: Vec<String> = list(groups)
        .into_iter()
        .map(|group| if group == "core" { String::new() } else { group })
        .collect();
    let mut rule = json!({"verbs": verbs, "apiGroups": groups, "resources": list(column())});
    let names = column();
    if !names.is_empty() {
        rule["resourceNames"] = json!(list(names));
    }
    rule
}

/// `group NAME`, `user NAME` or `sa NAMESPACE NAME`.
fn subject(line: &str) -> Value {
    let (kind, name) = line.split_once(' ').unwrap_or((line, ""));
    match kind {
        "sa" => {
            let (namespace, name) = name.split_once(' ').unwrap_or(("", name));
            json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
        }
        "user" => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        _ => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
    }
}

fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({"apiVersion": API, "kind": kind, "metadata": {"name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {AUTO_UPDATE: "true"}}});
    if !namespace.is_empty() {
        meta::set(&mut object, "namespace", namespace);
    }
    object
}

fn role(kind: &str, namespace: &str, name: &str, lines: &[&str]) -> Value {
    let mut role = object(kind, namespace, name);
    role["rules"] = lines.iter().map(|line| rule(line)).collect();
    role
}

fn binding(kind: &str, namespace: &str, name: &str, role: &str, subjects: &[&str]) -> Value {
    let mut binding = object(kind, namespace, name);
    let role_kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
    binding["roleRef"] = json!({"apiGroup": GROUP, "kind": role_kind, "name": role});
    binding["subjects"] = subjects.iter().map(|line| subject(line)).collect();
    binding
}

fn label(object: &mut Value, part_of: &str) {
    meta::map_mut(object)["labels"][format!("{GROUP}/aggregate-to-{part_of}")] = json!("true");
}

/// The lines of an aggregated role: those of its parts, each once.
fn sum(name: &str) -> Vec<&'static str> {
    if let Some((_, lines)) = aggregated_roles::ROLES.iter().find(|(role, _)| *role == name) {
        return lines.to_vec();
    }
    let parts = SUMS.iter().find(|(role, _)| *role == name).map_or(&[][..], |(_, parts)| parts);
    let mut lines: Vec<&'static str> = Vec::new();
    for line in parts.iter().flat_map(|part| sum(part)) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

fn aggregated() -> Vec<Value> {
    let mut all = Vec::new();
    for (name, lines) in aggregated_roles::ROLES {
        let mut part = role("ClusterRole", "", name, lines);
        label(&mut part, name.trim_start_matches("system:aggregate-to-"));
        all.push(part);
    }
    for (name, _) in SUMS {
        let mut whole = role("ClusterRole", "", name, &sum(name));
        let key = format!("{GROUP}/aggregate-to-{name}");
        whole["aggregationRule"] =
            json!({"clusterRoleSelectors": [{"matchLabels": {key: "true"}}]});
        match name {
            "edit" => label(&mut whole, "admin"),
            "view" => label(&mut whole, "edit"),
            _ => {}
        }
        all.push(whole);
    }
    all
}

/// Plural and body of each, bindings last.
fn objects() -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    let roles = cluster_roles::ROLES.iter().chain(controller_roles::ROLES);
    all.extend(roles.map(|(name, lines)| ("clusterroles", role("ClusterRole", "", name, lines))));
    all.extend(aggregated().into_iter().map(|role| ("clusterroles", role)));
    let roles = namespaced::ROLES.iter();
    all.extend(roles.map(|(space, name, lines)| ("roles", role("Role", space, name, lines))));
    all.extend(BINDINGS.iter().map(|(name, subjects)| {
        ("clusterrolebindings", binding("ClusterRoleBinding", "", name, name, subjects))
    }));
    all.extend(controller_roles::ROLES.iter().map(|(name, _)| {
        let account =
            format!("sa kube-system {}", name.trim_start_matches(controller_roles::PREFIX));
        ("clusterrolebindings", binding("ClusterRoleBinding", "", name, name, &[&account]))
    }));
    all.extend(namespaced::BINDINGS.iter().map(|(space, name, role, subjects)| {
        ("rolebindings", binding("RoleBinding", space, name, role, subjects))
    }));
    all
}

/// What an object that is there lacks of `wanted`, added; nothing is taken away.
fn complete(present: &Value, wanted: &Value) -> Value {
    let mut new = present.clone();
    for field in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][field].as_object().into_iter().flatten() {
            let map = meta::object_mut(meta::map_mut(&mut new).entry(field).or_insert(Value::Null));
            map.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    if let Some(rules) = wanted.get("rules") {
        let read = |value: &Value| -> Vec<PolicyRule> {
            serde_json::from_value(value.clone()).unwrap_or_default()
        };
        let missing = rbac::missing(&read(&present["rules"]), &read(rules));
        append(
            &mut new,
            "rules",
            missing.iter().filter_map(|rule| serde_json::to_value(rule).ok()),
        );
        if new.get("aggregationRule").is_none_or(Value::is_null)
            && let Some(rule) = wanted.get("aggregationRule")
        {
            new["aggregationRule"] = rule.clone();
        }
    }
    if let Some(subjects) = wanted.get("subjects").and_then(Value::as_array) {
        let have = present["subjects"].as_array().cloned().unwrap_or_default();
        append(&mut new, "subjects", subjects.iter().filter(|one| !have.contains(one)).cloned());
    }
    new
}

fn append(object: &mut Value, field: &str, items: impl Iterator<Item = Value>) {
    let items: Vec<Value> = items.collect();
    if items.is_empty() {
        return;
    }
    let mut all = object[field].as_array().cloned().unwrap_or_default();
    all.extend(items);
    object[field] = json!(all);
}

/// Whether an administrator wants this object left alone.
fn is_frozen(present: &Value) -> bool {
    meta::annotation(present, AUTO_UPDATE) == Some("false")
}

impl Server {
    /// Makes the roles and bindings that are missing and completes those that are there.
    pub(crate) async fn bootstrap_policy(&self) {
        let (bindings, roles): (Vec<_>, Vec<_>) =
            objects().into_iter().partition(|(plural, _)| plural.ends_with("bindings"));
        for objects in [roles, bindings] {
            let work = futures::stream::iter(objects);
            work.for_each_concurrent(WRITES_AT_ONCE, |(plural, body)| {
                self.ensure_policy(plural, body)
            })
            .await;
        }
    }

    async fn ensure_policy(&self, plural: &'static str, body: Value) {
        let name = meta::name(&body).to_owned();
        if let Err(status) = self.try_ensure_policy(plural, body).await {
            tracing::error!(plural, name, error = %status.message, "cannot bring the policy up to date");
        }
    }

    async fn try_ensure_policy(&self, plural: &str, body: Value) -> Result<(), Status> {
        let (namespace, name) = (meta::namespace(&body), meta::name(&body));
        let Some(present) = self.caches.place(GROUP, plural).get(namespace, name) else {
            return self.ensure(plural, body).await;
        };
        let present = present.to_value();
        if is_frozen(&present) {
            return Ok(());
        }
        let call = self.own_call(GROUP, "v1", plural, namespace, name)?;
        if body.get("roleRef").is_some_and(|role| *role != present["roleRef"]) {
            // A binding's role never changes: it is made anew.
            self.delete(&call, &crate::delete::DeleteOptions::default()).await?;
            return self.ensure(plural, body).await;
        }
        if complete(&present, &body) == present {
            return Ok(());
        }
        let options =
            WriteOptions { manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
        let change = |present: &Value| Ok(complete(present, &body));
        self.update(&call, Part::Main, &options, change).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tables_are_well_formed() {
        let all = objects();
        let mut seen = BTreeSet::new();
        for (plural, object) in &all {
            let key = (*plural, meta::namespace(object).to_owned(), meta::name(object).to_owned());
            assert!(seen.insert(key.clone()), "{key:?} twice");
            for rule in object["rules"].as_array().into_iter().flatten() {
                let rule: PolicyRule = serde_json::from_value(rule.clone()).unwrap();
                assert!(rule.resources.is_some() != rule.non_resource_urls.is_some(), "{rule:?}");
                assert!(!rule.verbs.iter().any(String::is_empty), "{rule:?}");
            }
            if let Some(role) = object.get("roleRef") {
                let plural = if role["kind"] == "Role" { "roles" } else { "clusterroles" };
                let name = role["name"].as_str().unwrap().to_owned();
                assert!(
                    seen.contains(&(plural, meta::namespace(object).to_owned(), name.clone())),
                    "{name}"
                );
            }
        }
        assert!(all.len() > 120, "{}", all.len());
    }

    #[test]
    fn lines_become_rules() {
        assert_eq!(
            rule("read,create core,apps pods,deployments a"),
            json!({
            "verbs": ["get", "list", "watch", "create"], "apiGroups": ["", "apps"],
            "resources": ["pods", "deployments"], "resourceNames": ["a"]})
        );
        assert_eq!(
            rule("get url /api,/apis"),
            json!({"verbs": ["get"], "nonResourceURLs": ["/api", "/apis"]})
        );
    }

    #[test]
    fn owners_may_what_editors_and_viewers_may() {
        let (admin, edit, view) = (sum("admin"), sum("edit"), sum("view"));
        assert!(view.iter().all(|line| edit.contains(line)));
        assert!(edit.iter().all(|line| admin.contains(line)));
        assert!(admin.len() > edit.len() && edit.len() > view.len());
    }

    #[test]
    fn only_what_is_missing_is_added() {
        let wanted = role("ClusterRole", "", "r", &["get core pods", "get apps deployments"]);
        let mut present = role("ClusterRole", "", "r", &["* core *", "get x y"]);
        present["metadata"]["labels"] = json!({"mine": "yes"});
        let new = complete(&present, &wanted);
        let expected: Vec<Value> =
            ["* core *", "get x y", "get apps deployments"].map(rule).to_vec();
        assert_eq!(new["rules"], json!(expected));
        assert_eq!(new["metadata"]["labels"]["mine"], "yes");
        assert_eq!(complete(&new, &wanted), new);
    }
}
