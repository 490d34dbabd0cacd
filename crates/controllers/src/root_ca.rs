//! Every namespace has a ConfigMap `kube-root-ca.crt` with which pods check the API server.

use std::collections::BTreeMap;

use client::{Outcome, WorkQueue, run_workers};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;

use crate::Context;
use crate::kinds::{already_exists, is_active, name_of, namespace_gone};
use crate::limits::WORKERS;

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";

fn wanted(pem: &str) -> ConfigMap {
    let note = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            annotations: Some(BTreeMap::from([(
                "kubernetes.io/description".to_owned(),
                note.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), pem.to_owned())])),
        ..ConfigMap::default()
    }
}

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<String> = WorkQueue::new();
    let namespaces = context.client.informer::<Namespace>();
    let maps = context.client.informer_of::<ConfigMap>(
        client::WatchScope::all::<ConfigMap>().fields(format!("metadata.name={NAME}")),
    );
    let adding = queue.clone();
    namespaces.on_change(move |change| adding.add(name_of(&**change.object())));
    let adding = queue.clone();
    maps.on_change(move |change| {
        adding.add(change.object().metadata.namespace.clone().unwrap_or_default());
    });
    let (client, pem) = (context.client.clone(), context.config.root_ca_pem.clone());
    run_workers(&context.scope, "root CA publisher", WORKERS, &queue, move |namespace| {
        let (client, maps, wanted) = (client.clone(), maps.clone(), wanted(&pem));
        let active = namespaces.get("", &namespace).is_some_and(|n| is_active(&n));
        async move {
            maps.synced().await;
            let present = maps.get(&namespace, NAME);
            if !active || present.as_ref().is_some_and(|map| map.data == wanted.data) {
                return Ok(Outcome::Done);
            }
            let api = client.namespaced::<ConfigMap>(&namespace);
            let written = match present {
                None => api.create(&PostParams::default(), &wanted).await,
                Some(_) => api.replace(NAME, &PostParams::default(), &wanted).await,
            };
            match written {
                Err(error) if !already_exists(&error) && !namespace_gone(&error) => Err(error),
                _ => Ok(Outcome::Done),
            }
        }
    });
}
