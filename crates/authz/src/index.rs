//! Who has which rules where: bindings by subject, made once per change and asked on every request.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, PolicyRule, RoleBinding, RoleRef, Subject};

use crate::rbac;
use crate::{Attributes, Decision};

/// The rules of a role, or why they cannot be had, in upstream's words.
pub type RulesOrFault = Result<Arc<[PolicyRule]>, Arc<str>>;

/// Where the rules of roles are.
pub trait Roles {
    /// The rules of a cluster role.
    fn cluster_role(&self, name: &str) -> Option<Arc<[PolicyRule]>>;
    /// The rules of a role.
    fn role(&self, namespace: &str, name: &str) -> Option<Arc<[PolicyRule]>>;
}

/// What one binding gives to one subject.
#[derive(Clone, Debug)]
struct Grant {
    /// The rules, or what is missing.
    rules: RulesOrFault,
    /// `ClusterRoleBinding "a" of ClusterRole "b" to User "c"`.
    why: Arc<str>,
}

#[derive(Debug, Default)]
struct Grants {
    everywhere: Vec<Grant>,
    within: HashMap<Box<str>, Vec<Grant>>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Index {
    users: HashMap<Box<str>, Grants>,
    groups: HashMap<Box<str>, Grants>,
}

/// Where a role is: its namespace, and its kind and name.
type Place = (Box<str>, Box<str>);

/// The rules of the roles met so far: many bindings share one role.
struct Known<'a> {
    roles: &'a dyn Roles,
    rules: RefCell<HashMap<Place, RulesOrFault>>,
}

impl Known<'_> {
    fn rules_of(&self, role: &RoleRef, namespace: &str) -> RulesOrFault {
        let place = if role.kind == "Role" { namespace } else { "" };
        let key = (place.into(), format!("{} {}", role.kind, role.name).into());
        let mut rules = self.rules.borrow_mut();
        rules.entry(key).or_insert_with(|| rules_of(role, namespace, self.roles)).clone()
    }
}

impl Index {
    /// Builds the index.
    pub fn build<'a>(
        everywhere: impl IntoIterator<Item = &'a ClusterRoleBinding>,
        within: impl IntoIterator<Item = &'a RoleBinding>,
        roles: &dyn Roles,
    ) -> Self {
        let mut index = Self::default();
        let roles = &Known { roles, rules: RefCell::default() };
        for binding in everywhere {
            let what = ("ClusterRoleBinding", binding.metadata.name.as_deref().unwrap_or_default());
            index.add(what, "", &binding.role_ref, binding.subjects.as_deref(), roles);
        }
        for binding in within {
            let namespace = binding.metadata.namespace.as_deref().unwrap_or_default();
            let name = binding.metadata.name.as_deref().unwrap_or_default();
            let name = format!("{name}/{namespace}");
            let what = ("RoleBinding", name.as_str());
            index.add(what, namespace, &binding.role_ref, binding.subjects.as_deref(), roles);
        }
        index
    }

    fn add(
        &mut self,
        binding: (&str, &str),
        namespace: &str,
        role: &RoleRef,
        subjects: Option<&[Subject]>,
        roles: &Known<'_>,
    ) {
        let rules = roles.rules_of(role, namespace);
        for subject in subjects.unwrap_or_default() {
            let (map, key) = match subject.kind.as_str() {
                "User" => (&mut self.users, subject.name.clone()),
                "Group" => (&mut self.groups, subject.name.clone()),
                "ServiceAccount" => match account_user(subject, namespace) {
                    Some(user) => (&mut self.users, user),
                    None => continue,
                },
                _ => continue,
            };
            let shown =
                match subject.namespace.as_deref().filter(|_| subject.kind == "ServiceAccount") {
                    Some(namespace) => format!("{}/{namespace}", subject.name),
                    None => subject.name.clone(),
                };
            let (kind, name) = binding;
            let why = format!(
                "{kind} \"{name}\" of {} \"{}\" to {} \"{shown}\"",
                role.kind, role.name, subject.kind
            );
            let grant = Grant { rules: rules.clone(), why: why.into() };
            let grants = map.entry(key.into()).or_default();
            if namespace.is_empty() {
                grants.everywhere.push(grant);
            } else {
                grants.within.entry(namespace.into()).or_default().push(grant);
            }
        }
    }

    /// Shows all grants of a user that hold in a namespace (or, when it is empty, in the cluster) until
    /// `enough` says so; the grant that did.
    fn visit<'a>(
        &'a self,
        user: &str,
        groups: &[String],
        namespace: &str,
        enough: &mut dyn FnMut(&'a Grant) -> bool,
    ) -> Option<&'a Grant> {
        let own = self.users.get(user);
        let theirs = groups.iter().filter_map(|group| self.groups.get(group.as_str()));
        let all: Vec<&Grants> = own.into_iter().chain(theirs).collect();
        let everywhere = all.iter().flat_map(|grants| &grants.everywhere);
        let within = all.iter().filter_map(|grants| grants.within.get(namespace)).flatten();
        everywhere.chain(within).find(|grant| enough(grant))
    }

    /// Answers a question.
    pub fn decide(&self, asked: &Attributes<'_>) -> Decision {
        let mut faults = BTreeSet::new();
        let found = self.visit(
            asked.user,
            asked.groups,
            asked.namespace,
            &mut |grant| match &grant.rules {
                Ok(rules) => rules.iter().any(|rule| rbac::allows(rule, asked)),
                Err(fault) => {
                    faults.insert(Arc::clone(fault));
                    false
                }
            },
        );
        match found {
            Some(grant) => Decision::Allow(format!("RBAC: allowed by {}", grant.why)),
            None => Decision::NoOpinion(describe(&faults)),
        }
    }

    /// All rules that a user has in a namespace (or, when it is empty, in the whole cluster), and what
    /// could not be found out.
    pub fn rules(
        &self,
        user: &str,
        groups: &[String],
        namespace: &str,
    ) -> (Vec<PolicyRule>, Vec<String>) {
        let (mut rules, mut faults) = (Vec::new(), Vec::new());
        self.visit(user, groups, namespace, &mut |grant| {
            match &grant.rules {
                Ok(more) => rules.extend(more.iter().cloned()),
                Err(fault) => faults.push(fault.to_string()),
            }
            false
        });
        (rules, faults)
    }
}

fn describe(faults: &BTreeSet<Arc<str>>) -> String {
    let texts: Vec<&str> = faults.iter().map(|fault| &**fault).collect();
    match texts.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        many => format!("RBAC: [{}]", many.join(", ")),
    }
}

fn account_user(subject: &Subject, namespace: &str) -> Option<String> {
    let own = subject.namespace.as_deref().filter(|own| !own.is_empty()).unwrap_or(namespace);
    (!own.is_empty()).then(|| format!("system:serviceaccount:{own}:{}", subject.name))
}

/// The rules of the role that a binding in a namespace refers to.
///
/// # Errors
/// The role is not there, in upstream's words.
pub fn rules_of(role: &RoleRef, namespace: &str, roles: &dyn Roles) -> RulesOrFault {
    let missing =
        |kind: &str| format!("{kind}.rbac.authorization.k8s.io \"{}\" not found", role.name).into();
    match role.kind.as_str() {
        "ClusterRole" => roles.cluster_role(&role.name).ok_or_else(|| missing("clusterrole")),
        "Role" => roles.role(namespace, &role.name).ok_or_else(|| missing("role")),
        kind => Err(format!("unsupported role reference kind: \"{kind}\"").into()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    struct Two;

    impl Roles for Two {
        fn cluster_role(&self, name: &str) -> Option<Arc<[PolicyRule]>> {
            (name == "reader").then(|| reading("pods"))
        }

        fn role(&self, namespace: &str, name: &str) -> Option<Arc<[PolicyRule]>> {
            (namespace == "n" && name == "local").then(|| reading("secrets"))
        }
    }

    fn reading(resource: &str) -> Arc<[PolicyRule]> {
        Arc::from([PolicyRule {
            verbs: vec!["get".into()],
            api_groups: Some(vec![String::new()]),
            resources: Some(vec![resource.into()]),
            ..PolicyRule::default()
        }])
    }

    fn metadata(namespace: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some("b".into()),
            namespace: (!namespace.is_empty()).then(|| namespace.into()),
            ..ObjectMeta::default()
        }
    }

    fn role(kind: &str, name: &str) -> RoleRef {
        RoleRef { kind: kind.into(), name: name.into(), ..RoleRef::default() }
    }

    fn subject(kind: &str, name: &str) -> Option<Vec<Subject>> {
        Some(vec![Subject { kind: kind.into(), name: name.into(), ..Subject::default() }])
    }

    fn index() -> Index {
        let cluster = |role_name: &str, kind: &str, name: &str| ClusterRoleBinding {
            metadata: metadata(""),
            role_ref: role("ClusterRole", role_name),
            subjects: subject(kind, name),
        };
        let local = RoleBinding {
            metadata: metadata("n"),
            role_ref: role("Role", "local"),
            subjects: subject("ServiceAccount", "sa"),
        };
        let bindings = [cluster("reader", "Group", "devs"), cluster("gone", "User", "eve")];
        Index::build(&bindings, [&local], &Two)
    }

    fn decide(user: &str, groups: &[String], namespace: &str, resource: &str) -> Decision {
        index().decide(&Attributes {
            user,
            groups,
            verb: "get",
            is_resource: true,
            resource,
            namespace,
            ..Attributes::default()
        })
    }

    #[test]
    fn grants_hold_where_they_are_given() {
        let devs = ["devs".to_owned()];
        let nobody = Decision::NoOpinion(String::new());
        assert_eq!(
            decide("a", &devs, "any", "pods"),
            Decision::Allow("RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"reader\" to Group \"devs\"".into())
        );
        assert_eq!(decide("a", &[], "any", "pods"), nobody);
        let account = "system:serviceaccount:n:sa";
        assert!(matches!(decide(account, &[], "n", "secrets"), Decision::Allow(_)));
        assert_eq!(decide(account, &[], "m", "secrets"), nobody);
        assert_eq!(decide(account, &[], "", "secrets"), nobody);
    }

    #[test]
    fn missing_roles_are_named() {
        assert_eq!(
            decide("eve", &[], "n", "pods"),
            Decision::NoOpinion(
                "RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found".into()
            )
        );
    }
}
