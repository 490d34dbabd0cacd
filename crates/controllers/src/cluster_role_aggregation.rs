//! Keeps the rules of aggregated ClusterRoles.

use client::{Change, WorkQueue, run_workers};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Patch, PatchParams};
use reconcile::cluster_role_aggregation::decide;
use serde_json::json;

use crate::Context;
use crate::kinds::{name_of, not_found};

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<()> = WorkQueue::new();
    let roles = context.client.informer::<ClusterRole>();
    let adding = queue.clone();
    roles.on_change(move |change| {
        // Only rules and labels matter, and an update that leaves both alone is common.
        let matters = match change {
            Change::Updated { old, new } => {
                old.rules != new.rules
                    || old.metadata.labels != new.metadata.labels
                    || old.aggregation_rule != new.aggregation_rule
            }
            _ => true,
        };
        if matters {
            adding.add(());
        }
    });
    let client = context.client.clone();
    run_workers(&context.scope, "cluster role aggregation", 1, &queue, move |()| {
        let (client, roles) = (client.clone(), roles.clone());
        async move {
            roles.synced().await;
            let all = roles.list();
            let api = client.all::<ClusterRole>();
            for role in &all {
                let Some(rules) = decide(role, &all) else { continue };
                let patch = Patch::Merge(json!({"rules": rules}));
                match api.patch(&name_of(&**role), &PatchParams::default(), &patch).await {
                    Err(error) if !not_found(&error) => return Err(error),
                    _ => {}
                }
            }
            Ok(client::Outcome::Done)
        }
    });
}
