//! Every namespace has a service account `default`.

use client::{Change, Outcome, WorkQueue, run_workers};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;

use crate::Context;
use crate::kinds::{already_exists, is_active, name_of, namespace_gone};
use crate::limits::WORKERS;

const NAME: &str = "default";

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<String> = WorkQueue::new();
    let namespaces = context.client.informer::<Namespace>();
    let accounts = context.client.informer::<ServiceAccount>();
    let adding = queue.clone();
    namespaces.on_change(move |change| adding.add(name_of(&**change.object())));
    let adding = queue.clone();
    accounts.on_change(move |change| {
        if let Change::Deleted(account) = change
            && account.metadata.name.as_deref() == Some(NAME)
        {
            adding.add(account.metadata.namespace.clone().unwrap_or_default());
        }
    });
    let client = context.client.clone();
    run_workers(&context.scope, "service account controller", WORKERS, &queue, move |namespace| {
        let (client, namespaces, accounts) = (client.clone(), namespaces.clone(), accounts.clone());
        async move {
            accounts.synced().await;
            let active = namespaces.get("", &namespace).is_some_and(|n| is_active(&n));
            if !active || accounts.get(&namespace, NAME).is_some() {
                return Ok(Outcome::Done);
            }
            let account = ServiceAccount {
                metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
                ..ServiceAccount::default()
            };
            let api = client.namespaced::<ServiceAccount>(&namespace);
            match api.create(&PostParams::default(), &account).await {
                Err(error) if !already_exists(&error) && !namespace_gone(&error) => Err(error),
                _ => Ok(Outcome::Done),
            }
        }
    });
}
