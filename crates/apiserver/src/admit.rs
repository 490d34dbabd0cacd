//! Admission as the write pipeline sees it: the pure plugins first, then whoever must be asked.

mod escalation;
mod quota;
mod reinvocation;

use std::sync::Arc;
use std::time::Duration;

use admission::{Lookup, Operation, PLUGINS, Request, User};
use api::meta;
use api::object::Object;
use api::status::Status;
use authz::Attributes;
use serde_json::json;

use crate::call::Call;
use crate::server::Server;

pub(crate) use quota::QuotaLocks;
pub(crate) use reinvocation::Rounds;

impl Lookup for Server {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.caches.place(group, plural).get(namespace, name)
    }

    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Object>> {
        self.caches.place(group, plural).list(namespace, |_| true)
    }

    fn may(
        &self,
        user: &User,
        verb: &str,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> bool {
        let asked = Attributes {
            user: &user.name,
            groups: &user.groups,
            extra: Some(&user.extra),
            verb,
            is_resource: true,
            group,
            version: "*",
            resource: plural,
            namespace,
            name,
            ..Attributes::default()
        };
        self.authorize(&asked).is_ok()
    }
}

/// How long a new pod waits for its account, which a controller makes in a new namespace.
const ACCOUNT_WAIT_MAX: Duration = Duration::from_secs(2);
/// The account of pods that name none.
const DEFAULT_ACCOUNT: &str = "default";

impl Server {
    pub(crate) async fn admit_mutating(
        &self,
        call: &Call,
        request: &mut Request<'_>,
    ) -> Result<(), Status> {
        let verdict = self.mutate(call, request).await;
        // Warnings and annotations are of those who are refused, too.
        self.pass_on_notes(call, request);
        verdict
    }

    async fn mutate(&self, call: &Call, request: &mut Request<'_>) -> Result<(), Status> {
        request.random = self.random_number();
        self.await_surroundings(request).await?;
        let mut rounds = Rounds::default();
        self.mutate_once(call, request, &mut rounds).await?;
        if rounds.again {
            // What policies and webhooks changed may concern the plugins and those called before.
            rounds.is_second = true;
            self.mutate_once(call, request, &mut rounds).await?;
        }
        Ok(())
    }

    async fn mutate_once(
        &self,
        call: &Call,
        request: &mut Request<'_>,
        rounds: &mut Rounds,
    ) -> Result<(), Status> {
        for plugin in PLUGINS {
            plugin.mutate(request, self)?;
        }
        note_requester(request);
        self.apply_policies(call, request, rounds).await?;
        self.ask_mutating(call, request, rounds).await
    }

    pub(crate) async fn admit_validating(
        &self,
        call: &Call,
        request: &mut Request<'_>,
    ) -> Result<(), Status> {
        let verdict = self.validate(call, request).await;
        self.pass_on_notes(call, request);
        verdict
    }

    async fn validate(&self, call: &Call, request: &mut Request<'_>) -> Result<(), Status> {
        for plugin in PLUGINS {
            plugin.validate(request, self)?;
        }
        self.refuse_escalation(request)?;
        self.check_policies(call, request).await?;
        self.ask_validating(call, request).await?;
        self.charge_quotas(call, request).await
    }

    fn random_number(&self) -> u64 {
        let mut random = self.random.lock();
        let half = |random: &mut clock::Random| random.below(u32::MAX as usize) as u64;
        half(&mut random) << 32 | half(&mut random)
    }

    /// What a new object needs around it may be on its way: a namespace written through another server,
    /// the account that a controller makes.
    async fn await_surroundings(&self, request: &Request<'_>) -> Result<(), Status> {
        let namespace = request.namespace;
        if request.operation != Operation::Create || namespace.is_empty() {
            return Ok(());
        }
        if self.caches.place("", "namespaces").get("", namespace).is_none() {
            self.fresh().await?;
        }
        let is_pod = request.is("", "pods")
            && self.caches.place("", "namespaces").get("", namespace).is_some();
        let account = api::pointer::at(&request.object, "/spec/serviceAccountName")
            .and_then(|name| name.as_str());
        let account = account.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_ACCOUNT);
        if is_pod && account == DEFAULT_ACCOUNT {
            self.await_account(namespace, account).await;
        }
        Ok(())
    }

    async fn await_account(&self, namespace: &str, name: &str) {
        let accounts = self.caches.place("", "serviceaccounts");
        if accounts.get(namespace, name).is_some() {
            return;
        }
        let mut changes = accounts.subscribe();
        let arrives = async {
            while accounts.get(namespace, name).is_none() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // When it does not come, the plugin says so.
        let _came = Box::pin(tokio::time::timeout(ACCOUNT_WAIT_MAX, arrives)).await;
    }

    fn pass_on_notes(&self, call: &Call, request: &mut Request<'_>) {
        for warning in request.warnings.drain(..) {
            call.warn(warning);
        }
        for (key, value) in request.annotations.drain(..) {
            call.annotate(&key, value);
        }
    }
}

/// A signing request says who made it: never the client's word for it.
fn note_requester(request: &mut Request<'_>) {
    const FIELDS: [&str; 4] = ["username", "uid", "groups", "extra"];
    let ours = request.is("certificates.k8s.io", "certificatesigningrequests");
    if !ours || !matches!(request.operation, Operation::Create | Operation::Update) {
        return;
    }
    let user = request.user;
    let known = match request.old.map(|old| &old["spec"]) {
        Some(spec) => FIELDS.map(|field| spec[field].clone()),
        None => [json!(user.name), json!(user.uid), json!(user.groups), json!(user.extra)],
    };
    let spec = meta::object_mut(meta::child_mut(&mut request.object, "spec"));
    for (field, value) in FIELDS.into_iter().zip(known) {
        let empty = value.is_null() || value == "" || value == json!({}) || value == json!([]);
        if empty {
            spec.remove(field);
        } else {
            spec.insert(field.to_owned(), value);
        }
    }
}
