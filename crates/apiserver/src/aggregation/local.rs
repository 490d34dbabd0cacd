//! `APIService` objects for the groups that this server serves itself, which tell clients of the
//! aggregation layer that they are there, and in which order.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::meta;
use api::resource::Resource;
use api::status::Status;
use serde_json::{Value, json};

use super::{GROUP, PLURAL};
use crate::call::WriteOptions;
use crate::delete::DeleteOptions;
use crate::handle::text;
use crate::server::Server;
use crate::write::Part;

/// Marks objects that are made and removed here.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Value of the mark for groups that are there from the start.
const ON_START: &str = "onstart";
/// Value of the mark for groups of definitions.
const FOLLOWED: &str = "true";
/// Priorities of the groups of definitions.
const CUSTOM: (i64, i64) = (1000, 100);

/// Upstream's priorities of the groups it knows.
const GROUPS: [(&str, i64); 23] = [
    // The layer's own is shown first, and has no object.
    (GROUP, 30_000),
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 16_900),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
    ("internal.apiserver.k8s.io", 16_000),
    ("resource.k8s.io", 15_900),
    ("storagemigration.k8s.io", 15_800),
];
/// Of groups that are built in but newer than the list.
const OTHER_GROUP: i64 = 15_000;

/// Priority of a group of our own and, within that, of a version.
pub(crate) fn priority(group: &str, version: &str, custom: bool) -> (i64, i64) {
    if custom {
        return CUSTOM;
    }
    let of_group = GROUPS.iter().find(|(known, _)| *known == group);
    let of_group = of_group.map_or(OTHER_GROUP, |(_, priority)| *priority);
    let of_version = match version {
        "v1" if group.is_empty() => 1,
        version if version.contains("alpha") => 9,
        version if version.contains("beta") => 12,
        version => 15 * version.trim_start_matches('v').parse::<i64>().unwrap_or(1),
    };
    (of_group, of_version)
}

fn object(group: &str, version: &str, mark: &str) -> Value {
    let (of_group, of_version) = priority(group, version, mark == FOLLOWED);
    let mut spec = json!({"version": version, "groupPriorityMinimum": of_group,
        "versionPriority": of_version});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "APIService", "spec": spec,
        "metadata": {"name": format!("{version}.{group}"), "labels": {MANAGED: mark}}})
}

impl Server {
    /// Registers the built-in groups, then follows the definitions, forever.
    pub(super) async fn register_local(self: &Arc<Self>) {
        let mut changes = self.registry.changes();
        changes.borrow_and_update();
        let built_in = self.local_groups(false);
        let made = built_in.into_values().map(|object| async {
            let name = meta::name(&object).to_owned();
            if let Err(status) = self.ensure(PLURAL, object).await {
                tracing::error!(name, error = %status.message, "cannot register a group of our own");
            }
        });
        futures::future::join_all(made).await;
        let mut objects = self.caches.place(GROUP, PLURAL).subscribe();
        loop {
            changes.borrow_and_update();
            objects.borrow_and_update();
            if let Err(status) = self.follow_definitions().await {
                tracing::debug!(%status, "the groups of definitions are not settled");
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                changed = objects.changed() => if changed.is_err() { return },
            }
        }
    }

    /// The objects of our own groups by name: the built-in ones, or those of definitions.
    fn local_groups(&self, custom: bool) -> BTreeMap<String, Value> {
        let table = self.registry.table();
        let mark = if custom { FOLLOWED } else { ON_START };
        let mut objects = BTreeMap::new();
        let shown = |row: &&Arc<Resource>| table.is_custom(row) == custom && row.group != GROUP;
        for row in table.rows.iter().filter(shown) {
            let object = object(&row.group, &row.version, mark);
            objects.entry(meta::name(&object).to_owned()).or_insert(object);
        }
        objects
    }

    /// Makes what definitions have added, and removes what went with them.
    async fn follow_definitions(&self) -> Result<(), Status> {
        let wanted = self.local_groups(true);
        let have = self.caches.place(GROUP, PLURAL).list("", |_| true);
        for old in have.iter().filter(|object| object.label(MANAGED) == Some(FOLLOWED)) {
            if !wanted.contains_key(&*old.name) {
                let call = self.own_call(GROUP, "v1", PLURAL, "", &old.name)?;
                match self.delete(&call, &DeleteOptions::default()).await {
                    Err(status) if status.code != 404 => return Err(status),
                    _ => {}
                }
            }
        }
        for (name, object) in wanted {
            match have.iter().find(|old| *old.name == *name) {
                None => self.ensure(PLURAL, object).await?,
                Some(old) if old.label(MANAGED) == Some(FOLLOWED) => {
                    self.keep_spec(&old.to_value(), &object).await?;
                }
                // Somebody else has registered the group.
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Puts back what somebody has changed in an object of ours.
    async fn keep_spec(&self, old: &Value, wanted: &Value) -> Result<(), Status> {
        if old.get("spec") == wanted.get("spec") {
            return Ok(());
        }
        let call = self.own_call(GROUP, "v1", PLURAL, "", text(wanted, "/metadata/name"))?;
        let options =
            WriteOptions { manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
        let change = |old: &Value| {
            let mut new = old.clone();
            new["spec"] = wanted["spec"].clone();
            Ok(new)
        };
        self.update(&call, Part::Main, &options, change).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_upstreams() {
        assert_eq!(
            object("apps", "v1", ON_START),
            json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": "v1.apps", "labels": {MANAGED: "onstart"}},
                "spec": {"group": "apps", "version": "v1", "groupPriorityMinimum": 17_800,
                    "versionPriority": 15}})
        );
        let core = object("", "v1", ON_START);
        assert_eq!(text(&core, "/metadata/name"), "v1.");
        assert_eq!(core["spec"]["versionPriority"], 1);
        assert_eq!(priority("autoscaling", "v2", false), (17_500, 30));
        assert_eq!(priority("stable.example.com", "v2", true), (1000, 100));
    }
}
