//! Charging quotas: the sums are written before the object is, so that no two writers spend the same room.

use std::future::Future;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::pin::Pin;

use admission::{Request, quota};
use api::object::Object;
use api::status::Status;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::call::{Call, WriteOptions};
use crate::server::Server;
use crate::write::Part;

/// Namespaces that charge at the same time; others wait for one another.
const LOCKS: usize = 64;

/// One writer of quotas per namespace: without it, many at once would only meet each other's writes.
pub(crate) struct QuotaLocks([Mutex<()>; LOCKS]);

impl Default for QuotaLocks {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl QuotaLocks {
    fn of(&self, namespace: &str) -> &Mutex<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(namespace);
        let at = usize::try_from(hash % LOCKS as u64).unwrap_or(0);
        &self.0[at]
    }
}

impl Server {
    /// Charges the quotas of the request's namespace, or refuses.
    pub(super) async fn charge_quotas(
        &self,
        call: &Call,
        request: &Request<'_>,
    ) -> Result<(), Status> {
        if !quota::applies(request) {
            return Ok(());
        }
        let quotas = self.caches.place("", "resourcequotas");
        if quotas.list(request.namespace, |_| true).is_empty() {
            return Ok(());
        }
        let _one_writer = self.quota_locks.of(request.namespace).lock().await;
        let quotas: Vec<Value> = quotas
            .list(request.namespace, |_| true)
            .iter()
            .map(|quota| Object::to_value(quota))
            .collect();
        let charges = quota::charges(request, &quotas)?;
        if request.dry_run {
            return Ok(());
        }
        for charge in charges {
            self.charge(call, request, &charge.quota).await?;
        }
        Ok(())
    }

    /// Boxed, because a write of a quota's status is itself admitted.
    fn charge<'a>(
        &'a self,
        call: &'a Call,
        request: &'a Request<'_>,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), Status>> + Send + 'a>> {
        Box::pin(async move {
            let mut own = self.own_call("", "v1", "resourcequotas", request.namespace, name)?;
            "status".clone_into(&mut own.info.subresource);
            let change = |present: &Value| {
                // Judged again: another server may have written in between.
                let charges = quota::charges(request, std::slice::from_ref(present))?;
                let mut new = present.clone();
                if let Some(charge) = charges.into_iter().next() {
                    new["status"]["used"] = charge.used;
                }
                Ok(new)
            };
            let options =
                WriteOptions { manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
            match self.update(&own, Part::Status, &options, change).await {
                Err(status) if status.code == 404 && status.details.kind == "resourcequotas" => {
                    Ok(())
                }
                other => other.map(|_| ()),
            }
            .inspect_err(|status| {
                tracing::debug!(
                    quota = name,
                    user = call.user.name,
                    why = status.message,
                    "not charged"
                );
            })
        })
    }
}
