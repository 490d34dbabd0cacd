//! Nobody makes a policy read parameters that he may not read himself: a check on writes of policies and
//! bindings.

use admission::User;
use api::field::{Error, Path};
use authz::{Attributes, rbac};
use serde_json::Value;

use super::{GROUP, check};
use crate::call::Call;
use crate::handle::text;
use crate::server::Server;

impl Server {
    /// What only the server can find wrong with an object that is otherwise sound: expressions that do not
    /// compile, and parameters that the user may not read.
    pub(crate) fn check_admission_kinds(
        &self,
        call: &Call,
        new: &Value,
        old: Option<&Value>,
        faults: &mut Vec<Error>,
    ) {
        let resource = &call.resource;
        if resource.group != GROUP {
            return;
        }
        faults.extend(check::expressions(&resource.group, &resource.plural, new, old));
        let is_superuser = call.user.groups.iter().any(|group| group == rbac::SUPERUSERS);
        if !faults.is_empty() || is_superuser {
            return;
        }
        let (field, verdict) = match &*resource.plural {
            "validatingadmissionpolicies" | "mutatingadmissionpolicies" => {
                ("paramKind", self.may_use_kind(call, new, old))
            }
            "validatingadmissionpolicybindings" => {
                let policies = "validatingadmissionpolicies";
                ("paramRef", self.may_use_params(call, policies, new, old))
            }
            "mutatingadmissionpolicybindings" => {
                let policies = "mutatingadmissionpolicies";
                ("paramRef", self.may_use_params(call, policies, new, old))
            }
            _ => return,
        };
        if let Err(why) = verdict {
            faults.push(Error::forbidden(&Path::new("spec").child(field), why));
        }
    }

    fn may_use_kind(&self, call: &Call, new: &Value, old: Option<&Value>) -> Result<(), String> {
        let Some(kind) = part(new, "/spec/paramKind") else { return Ok(()) };
        if old.and_then(|old| part(old, "/spec/paramKind")) == Some(kind) {
            return Ok(());
        }
        let asked = Asked { verb: "get", name: "*", namespace: "*" };
        let (place, _) = self.place_of(Some(kind));
        if self.may_read(&call.user, &asked, &place) {
            return Ok(());
        }
        Err(format!(
            "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
            shown(&call.user),
            text(kind, "/kind"),
            text(kind, "/apiVersion")
        ))
    }

    fn may_use_params(
        &self,
        call: &Call,
        policies: &str,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<(), String> {
        let Some(reference) = part(new, "/spec/paramRef") else { return Ok(()) };
        let name = text(new, "/spec/policyName");
        let same = |old: &Value| {
            part(old, "/spec/paramRef") == Some(reference) && text(old, "/spec/policyName") == name
        };
        if old.is_some_and(same) {
            return Ok(());
        }
        let policy = self.caches.place(GROUP, policies).get("", name);
        let policy = policy.map(|policy| policy.to_value());
        let kind = policy.as_ref().and_then(|policy| part(policy, "/spec/paramKind"));
        let verb = if text(reference, "/name").is_empty() { "list" } else { "get" };
        let (own_name, namespace) = (text(reference, "/name"), text(reference, "/namespace"));
        let asked = Asked { verb, name: own_name, namespace };
        let (place, is_known) = self.place_of(kind);
        if self.may_read(&call.user, &asked, &place) {
            return Ok(());
        }
        let user = shown(&call.user);
        let all = format!(
            "to determine minimum required permissions and user {user} does not have \"{verb}\" permission for all groups, versions and resources"
        );
        Err(match kind {
            _ if policy.is_none() => format!("unable to get policy {name} {all}"),
            Some(kind) if !is_known => format!(
                "unable to resolve paramKind &ParamKind{{APIVersion:{},Kind:{},}} {all}",
                text(kind, "/apiVersion"),
                text(kind, "/kind")
            ),
            _ => format!(
                "user {user} does not have \"{verb}\" permission on the object referenced by paramRef"
            ),
        })
    }

    /// Group, version and plural of a kind as far as they are known; `*` for the rest. And whether the kind
    /// is served.
    fn place_of(&self, kind: Option<&Value>) -> ([String; 3], bool) {
        let any = || "*".to_owned();
        let Some(kind) = kind else { return ([any(), any(), any()], true) };
        let api_version = text(kind, "/apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let table = self.registry.table();
        let row = table.find_kind(group, version, text(kind, "/kind"));
        let plural = row.map_or_else(any, |row| row.plural.to_string());
        ([group.to_owned(), version.to_owned(), plural], row.is_some())
    }

    fn may_read(&self, user: &User, asked: &Asked<'_>, place: &[String; 3]) -> bool {
        let [group, version, resource] = place;
        let attributes = Attributes {
            user: &user.name,
            groups: &user.groups,
            extra: Some(&user.extra),
            verb: asked.verb,
            is_resource: true,
            group,
            version,
            resource,
            namespace: asked.namespace,
            name: asked.name,
            ..Attributes::default()
        };
        self.authorize(&attributes).is_ok()
    }
}

struct Asked<'a> {
    verb: &'a str,
    name: &'a str,
    namespace: &'a str,
}

fn part<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    object.pointer(pointer).filter(|part| part.is_object())
}

/// A user as upstream's messages write him.
fn shown(user: &User) -> String {
    let extra: Vec<String> =
        user.extra.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    format!("&{{{} {} [{}] map[{}]}}", user.name, user.uid, user.groups.join(" "), extra.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_shown_as_upstream_does() {
        let user = User {
            name: "alice".to_owned(),
            groups: vec!["a".to_owned(), "b".to_owned()],
            ..User::default()
        };
        assert_eq!(shown(&user), "&{alice  [a b] map[]}");
    }
}
