//! Authorization against the roles and bindings as they are now.

use std::sync::Arc;

use api::object::Object;
use authz::{Attributes, rbac};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use serde::de::DeserializeOwned;

use crate::cache::{Cache, Caches};

const GROUP: &str = "rbac.authorization.k8s.io";

/// See the module's text.
pub(crate) struct Policy {
    cluster_roles: Arc<Cache>,
    cluster_role_bindings: Arc<Cache>,
    roles: Arc<Cache>,
    role_bindings: Arc<Cache>,
}

fn typed<K: DeserializeOwned + Send + Sync + 'static>(object: &Arc<Object>) -> Option<Arc<K>> {
    object.typed::<K>().ok()
}

impl Policy {
    pub(crate) fn new(caches: Arc<Caches>) -> Self {
        Self {
            cluster_roles: caches.place(GROUP, "clusterroles"),
            cluster_role_bindings: caches.place(GROUP, "clusterrolebindings"),
            roles: caches.place(GROUP, "roles"),
            role_bindings: caches.place(GROUP, "rolebindings"),
        }
    }

    /// Whether the request is allowed; else why not, in upstream's words.
    pub(crate) fn authorize(&self, asked: &Attributes<'_>) -> Result<(), String> {
        if asked.groups.iter().any(|group| group == rbac::SUPERUSERS) {
            return Ok(());
        }
        let allowed = self.visit(asked.user, asked.groups, asked.namespace, &mut |rule| {
            rbac::allows(rule, asked)
        });
        if allowed { Ok(()) } else { Err(String::new()) }
    }

    /// All rules that a user has in a namespace (or, when it is empty, in the whole cluster).
    pub(crate) fn rules(&self, user: &str, groups: &[String], namespace: &str) -> Vec<PolicyRule> {
        let mut rules = Vec::new();
        self.visit(user, groups, namespace, &mut |rule| {
            rules.push(rule.clone());
            false
        });
        rules
    }

    /// The rules of a role that a binding refers to.
    pub(crate) fn rules_of(&self, role: &RoleRef, namespace: &str) -> Option<Vec<PolicyRule>> {
        match role.kind.as_str() {
            "ClusterRole" => {
                let object = self.cluster_roles.get("", &role.name)?;
                Some(typed::<ClusterRole>(&object)?.rules.clone().unwrap_or_default())
            }
            "Role" => {
                let object = self.roles.get(namespace, &role.name)?;
                Some(typed::<Role>(&object)?.rules.clone().unwrap_or_default())
            }
            _ => None,
        }
    }

    /// Shows the user's rules one by one until `enough` says so; whether it did.
    fn visit(
        &self,
        user: &str,
        groups: &[String],
        namespace: &str,
        enough: &mut dyn FnMut(&PolicyRule) -> bool,
    ) -> bool {
        let applies = |subjects: Option<&Vec<Subject>>, namespace: &str| {
            let subjects = subjects.map(Vec::as_slice).unwrap_or_default();
            subjects.iter().any(|subject| rbac::is_subject(subject, user, groups, namespace))
        };
        for object in self.cluster_role_bindings.list("", |_| true) {
            let Some(binding) = typed::<ClusterRoleBinding>(&object) else { continue };
            if applies(binding.subjects.as_ref(), "")
                && self.visit_role(&binding.role_ref, "", enough)
            {
                return true;
            }
        }
        if namespace.is_empty() {
            return false;
        }
        for object in self.role_bindings.list(namespace, |_| true) {
            let Some(binding) = typed::<RoleBinding>(&object) else { continue };
            if applies(binding.subjects.as_ref(), namespace)
                && self.visit_role(&binding.role_ref, namespace, enough)
            {
                return true;
            }
        }
        false
    }

    fn visit_role(
        &self,
        role: &RoleRef,
        namespace: &str,
        enough: &mut dyn FnMut(&PolicyRule) -> bool,
    ) -> bool {
        let rules = |rules: &Option<Vec<PolicyRule>>, enough: &mut dyn FnMut(&PolicyRule) -> bool| {
            rules.iter().flatten().any(enough)
        };
        match role.kind.as_str() {
            "ClusterRole" => {
                let role = self.cluster_roles.get("", &role.name);
                let role = role.as_ref().and_then(typed::<ClusterRole>);
                role.is_some_and(|role| rules(&role.rules, enough))
            }
            "Role" => {
                let role = self.roles.get(namespace, &role.name);
                let role = role.as_ref().and_then(typed::<Role>);
                role.is_some_and(|role| rules(&role.rules, enough))
            }
            _ => false,
        }
    }
}
