//! What rules, selectors and match policies admit, in tables.

use admission::{Operation, User};
use serde_json::json;

use super::*;
use crate::registry::Registry;
use crate::request::{Query, RequestInfo};

#[test]
fn resources_and_subresources_match_as_written() {
    let cases = [
        ("pods", "pods", "", true),
        ("pods", "pods", "status", false),
        ("pods/*", "pods", "status", true),
        ("*/status", "pods", "status", true),
        ("*", "pods", "", true),
        ("*/*", "pods", "exec", true),
        ("services", "pods", "", false),
    ];
    for (pattern, plural, sub, expected) in cases {
        let rule = json!({"resources": [pattern]});
        assert_eq!(resource_matches(&rule, plural, sub), expected, "{pattern} {plural}/{sub}");
    }
}

#[test]
fn an_empty_selector_selects_everything() {
    assert!(selector(None).matches(|_| None));
    let picky = selector(Some(&json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]})));
    assert!(!picky.matches(|_| None));
}

/// A request for an object of a resource, and where it is.
struct Case {
    call: Call,
    table: std::sync::Arc<Table>,
    object: Value,
    old: Option<Value>,
    namespace: NamespaceLabels,
    operation: Operation,
}

impl Case {
    fn new(group: &str, version: &str, plural: &str) -> Self {
        let table = Registry::default().table();
        let resource = table.find(group, version, plural).unwrap().clone();
        let namespace = if resource.is_namespaced() {
            NamespaceLabels::Of(json!({"team": "red"}))
        } else {
            NamespaceLabels::Outside
        };
        let call = Call {
            info: RequestInfo { name: "web".to_owned(), ..RequestInfo::default() },
            query: Query::default(),
            headers: http::HeaderMap::new(),
            user: User::default(),
            resource,
            warnings: parking_lot::Mutex::default(),
            record: None,
        };
        let object = json!({"metadata": {"name": "web", "labels": {"a": "b"}}});
        Self { call, table, object, old: None, namespace, operation: Operation::Create }
    }

    /// The version in which it matches; empty when it does not.
    fn version(&self, config: &Value) -> Result<String, String> {
        let null = Value::Null;
        let request = Request {
            operation: self.operation,
            resource: &self.call.resource,
            subresource: self.call.subresource(),
            namespace: "n",
            name: "web",
            user: &self.call.user,
            dry_run: false,
            object: self.object.clone(),
            old: self.old.as_ref(),
            options: &null,
            now: jiff::Timestamp::UNIX_EPOCH,
            random: 0,
            warnings: Vec::new(),
            annotations: Vec::new(),
        };
        let rules = |field| config.get(field).unwrap_or(&null);
        let criteria = Criteria {
            config,
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            empty_matches: true,
        };
        let (call, table, namespace) = (&self.call, &*self.table, &self.namespace);
        let subject = Subject { call, request: &request, table, namespace };
        let row = criteria.matched(&subject).map_err(|status| status.message)?;
        Ok(row.map(|row| row.api_version()).unwrap_or_default())
    }
}

fn rule(group: &str, version: &str, resource: &str) -> Value {
    json!({"operations": ["CREATE"], "apiGroups": [group], "apiVersions": [version], "resources": [resource]})
}

#[test]
fn rules_and_selectors_decide() {
    let own = rule("apps", "v1", "deployments");
    let named = |name: &str| {
        let mut rule = own.clone();
        rule["resourceNames"] = json!([name]);
        rule
    };
    let scoped = |scope: &str| {
        let mut rule = own.clone();
        rule["scope"] = json!(scope);
        rule
    };
    let cases = [
        (json!({}), "apps/v1"),
        (json!({"resourceRules": [own]}), "apps/v1"),
        (json!({"resourceRules": [rule("*", "*", "*")]}), "apps/v1"),
        (json!({"resourceRules": [rule("", "v1", "pods")]}), ""),
        (json!({"resourceRules": [named("web")]}), "apps/v1"),
        (json!({"resourceRules": [named("db")]}), ""),
        (json!({"resourceRules": [scoped("Namespaced")]}), "apps/v1"),
        (json!({"resourceRules": [scoped("Cluster")]}), ""),
        (json!({"resourceRules": [own], "excludeResourceRules": [named("web")]}), ""),
        (json!({"resourceRules": [own], "excludeResourceRules": [named("db")]}), "apps/v1"),
        (json!({"namespaceSelector": {"matchLabels": {"team": "red"}}}), "apps/v1"),
        (json!({"namespaceSelector": {"matchLabels": {"team": "blue"}}}), ""),
        (json!({"objectSelector": {"matchLabels": {"a": "b"}}}), "apps/v1"),
        (json!({"objectSelector": {"matchLabels": {"a": "c"}}}), ""),
    ];
    let case = Case::new("apps", "v1", "deployments");
    for (config, expected) in cases {
        assert_eq!(case.version(&config).unwrap(), expected, "{config}");
    }
}

#[test]
fn another_version_of_the_same_objects_matches_unless_it_must_be_exact() {
    let case = Case::new("autoscaling", "v2", "horizontalpodautoscalers");
    let rules = json!([rule("autoscaling", "v1", "horizontalpodautoscalers")]);
    let with = |policy: &str| case.version(&json!({"matchPolicy": policy, "resourceRules": rules}));
    assert_eq!(with("Equivalent").unwrap(), "autoscaling/v1");
    assert_eq!(with("Exact").unwrap(), "");
}

#[test]
fn an_object_that_is_gone_matches_by_what_it_was() {
    let mut case = Case::new("apps", "v1", "deployments");
    case.operation = Operation::Delete;
    case.old = Some(std::mem::take(&mut case.object));
    let without =
        json!({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}});
    assert_eq!(case.version(&without).unwrap(), "");
    assert_eq!(
        case.version(&json!({"objectSelector": {"matchLabels": {"a": "b"}}})).unwrap(),
        "apps/v1"
    );
}

#[test]
fn a_namespace_that_is_not_there_matters_to_selectors_only() {
    let mut case = Case::new("apps", "v1", "deployments");
    case.namespace = NamespaceLabels::Missing("n".to_owned());
    let picky = json!({"matchLabels": {"team": "red"}});
    assert_eq!(case.version(&json!({})).unwrap(), "apps/v1");
    assert_eq!(
        case.version(&json!({"namespaceSelector": picky})).unwrap_err(),
        "namespaces \"n\" not found"
    );
    let other = json!({"namespaceSelector": picky, "resourceRules": [rule("", "v1", "pods")]});
    assert_eq!(case.version(&other).unwrap(), "");
    let cluster = Case::new("", "v1", "nodes");
    assert_eq!(cluster.version(&json!({"namespaceSelector": picky})).unwrap(), "v1");
}
