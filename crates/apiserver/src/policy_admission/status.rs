//! Keeps the status of ValidatingAdmissionPolicies: which version of it has been looked at, and what was
//! doubtful about its types.

use std::sync::Arc;

use api::meta;
use api::status::Status;
use serde_json::{Value, json};

use super::{GROUP, types};
use crate::call::WriteOptions;
use crate::server::Server;
use crate::write::Part;

const PLURAL: &str = "validatingadmissionpolicies";
/// How long the loop rests after a failure before it looks at everything again.
const RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
/// The owner of the status, upstream's controller.
const MANAGER: &str = "validatingadmissionpolicy-status";

impl Server {
    /// Follows the policies for as long as the server runs.
    pub(crate) fn start_policy_status(self: &Arc<Self>) {
        let mut changes = self.caches.place(GROUP, PLURAL).subscribe();
        let server = Arc::clone(self);
        self.scope.spawn_until_cancelled("status of admission policies", async move {
            loop {
                changes.borrow_and_update();
                if !server.note_policies().await {
                    server.clock.sleep(RETRY_PAUSE).await;
                } else if changes.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// One look at all policies; whether everything succeeded.
    async fn note_policies(&self) -> bool {
        let mut healthy = true;
        for policy in self.caches.place(GROUP, PLURAL).list("", |_| true) {
            let policy = policy.to_value();
            if !is_behind(&policy) {
                continue;
            }
            if let Err(status) = self.note_policy(&policy).await {
                tracing::warn!(name = meta::name(&policy), %status, "a policy's status is not kept");
                healthy = false;
            }
        }
        healthy
    }

    async fn note_policy(&self, policy: &Value) -> Result<(), Status> {
        let mut call = self.own_call(GROUP, "v1", PLURAL, "", meta::name(policy))?;
        "status".clone_into(&mut call.info.subresource);
        let options = WriteOptions { manager: MANAGER.to_owned(), ..WriteOptions::default() };
        let change = |old: &Value| {
            let mut new = old.clone();
            if is_behind(old) {
                let status = meta::object_mut(meta::child_mut(&mut new, "status"));
                status.insert("observedGeneration".to_owned(), meta::generation(old).into());
                status.insert("typeChecking".to_owned(), self.type_checking(old));
            }
            Ok(new)
        };
        match self.update(&call, Part::Status, &options, change).await {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }

    fn type_checking(&self, policy: &Value) -> Value {
        let warnings = types::warnings(policy, &self.registry.table());
        if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) }
    }
}

/// Whether the policy has changed since its status was noted.
fn is_behind(policy: &Value) -> bool {
    let observed = policy.pointer("/status/observedGeneration").and_then(Value::as_i64);
    meta::generation(policy) > observed.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_looked_at_once_per_generation() {
        let cases = [
            (json!({"metadata": {"generation": 1}}), true),
            (json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 1}}), true),
            (json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 2}}), false),
        ];
        for (policy, expected) in cases {
            assert_eq!(is_behind(&policy), expected, "{policy}");
        }
    }
}
