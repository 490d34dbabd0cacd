//! Nobody gives away rights that he does not have: the check on writes of roles and bindings.

use admission::{Operation, Request};
use api::status::Status;
use authz::{Attributes, rbac};
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef};
use serde_json::Value;

use crate::server::Server;

const GROUP: &str = "rbac.authorization.k8s.io";

impl Server {
    /// Refuses a role or binding that gives more than the user has, unless he may `escalate` or `bind`.
    pub(super) fn refuse_escalation(&self, request: &Request<'_>) -> Result<(), Status> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let ours = writes && request.resource.group == GROUP && request.subresource.is_empty();
        if !ours || request.user.groups.iter().any(|group| group == rbac::SUPERUSERS) {
            return Ok(());
        }
        let collected = request.operation == Operation::Update
            && admission::plugins::certificates::only_collectors_fields_differ(
                &request.object,
                request.old_object(),
            );
        if collected {
            return Ok(());
        }
        match &*request.resource.plural {
            "roles" | "clusterroles" => self.check_role(request),
            "rolebindings" | "clusterrolebindings" => self.check_binding(request),
            _ => Ok(()),
        }
    }

    fn check_role(&self, request: &Request<'_>) -> Result<(), Status> {
        let (new, old) = (&request.object, request.old_object());
        let unchanged = request.operation == Operation::Update
            && same(new, old, "rules")
            && same(new, old, "aggregationRule");
        let name = request.object_name();
        if unchanged || self.has_right(request, "escalate", &request.resource.plural, name) {
            return Ok(());
        }
        let rules = read_rules(new);
        self.confirm(request, &rules)?;
        let aggregates =
            |role: &Value| role.get("aggregationRule").is_some_and(|rule| !rule.is_null());
        if (aggregates(new) || aggregates(old)) && self.confirm(request, &everything()).is_err() {
            return Err(
                request.forbid("must have cluster-admin privileges to use the aggregationRule")
            );
        }
        Ok(())
    }

    fn check_binding(&self, request: &Request<'_>) -> Result<(), Status> {
        let (new, old) = (&request.object, request.old_object());
        if request.operation == Operation::Update
            && same(new, old, "roleRef")
            && same(new, old, "subjects")
        {
            return Ok(());
        }
        let role: RoleRef = serde_json::from_value(new["roleRef"].clone())
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let plural = if role.kind == "ClusterRole" { "clusterroles" } else { "roles" };
        if self.has_right(request, "bind", plural, &role.name) {
            return Ok(());
        }
        let rules = self
            .policy
            .rules_of(&role, request.namespace)
            .map_err(|why| Status::failure(404, "NotFound", &*why))?;
        self.confirm(request, &rules)
    }

    /// Whether the user has a right on a role in the request's namespace.
    fn has_right(&self, request: &Request<'_>, verb: &str, plural: &str, name: &str) -> bool {
        let asked = Attributes {
            user: &request.user.name,
            groups: &request.user.groups,
            extra: Some(&request.user.extra),
            verb,
            is_resource: true,
            group: GROUP,
            version: "*",
            resource: plural,
            namespace: request.namespace,
            name,
            ..Attributes::default()
        };
        self.authorize(&asked).is_ok()
    }

    fn confirm(&self, request: &Request<'_>, wanted: &[PolicyRule]) -> Result<(), Status> {
        let user = request.user;
        let (held, faults) =
            self.policy.rules_and_faults(&user.name, &user.groups, request.namespace);
        let missing = rbac::describe_missing(&held, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
        let mut why = format!(
            "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            groups.join(" "),
            missing.join("\n")
        );
        if !faults.is_empty() {
            why.push_str(&format!("; resolution errors: [{}]", faults.join(" ")));
        }
        Err(request.forbid(why))
    }
}

fn same(new: &Value, old: &Value, field: &str) -> bool {
    new.get(field).unwrap_or(&Value::Null) == old.get(field).unwrap_or(&Value::Null)
}

fn read_rules(role: &Value) -> Vec<PolicyRule> {
    let rules = role.get("rules").and_then(Value::as_array).into_iter().flatten();
    rules.filter_map(|rule| serde_json::from_value(rule.clone()).ok()).collect()
}

fn everything() -> [PolicyRule; 2] {
    let all = || vec!["*".to_owned()];
    [
        PolicyRule {
            verbs: all(),
            api_groups: Some(all()),
            resources: Some(all()),
            ..PolicyRule::default()
        },
        PolicyRule { verbs: all(), non_resource_urls: Some(all()), ..PolicyRule::default() },
    ]
}
