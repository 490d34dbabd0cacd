//! A namespace that is being deleted is emptied, pods before what they use, and then let go.

use client::{Change, Client, Informer, Outcome, WorkQueue, run_workers};
use clock::Clock;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::PostParams;
use reconcile::namespace::{Findings, conditions};
use serde_json::Value;

use crate::Context;
use crate::dynamic::{self, DynamicError, Found};
use crate::kinds::{conflicts, name_of, namespace_of, not_found};
use crate::limits::{NAMESPACE_RETRY, WORKERS};

const FINALIZER: &str = "kubernetes";

pub(crate) fn start(context: &Context) {
    let queue: WorkQueue<String> = WorkQueue::new();
    let namespaces = context.client.informer::<Namespace>();
    let pods = context.client.informer::<Pod>();
    let adding = queue.clone();
    namespaces.on_change(move |change| {
        let namespace = change.object();
        if namespace.metadata.deletion_timestamp.is_some() && !matches!(change, Change::Deleted(_))
        {
            adding.add(name_of(&**namespace));
        }
    });
    // The last pod of a dying namespace is what the rest waits for.
    let (adding, known) = (queue.clone(), namespaces.clone());
    pods.on_change(move |change| {
        if let Change::Deleted(pod) = change {
            let namespace = namespace_of(&**pod);
            let dying = known.get("", &namespace);
            if dying.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
                adding.add(namespace);
            }
        }
    });
    let worker =
        Worker { client: context.client.clone(), clock: context.clock.clone(), namespaces };
    run_workers(&context.scope, "namespace controller", WORKERS, &queue, move |name| {
        let worker = worker.clone();
        async move { worker.reconcile(&name).await }
    });
}

#[derive(Clone)]
struct Worker {
    client: Client,
    clock: Clock,
    namespaces: Informer<Namespace>,
}

impl Worker {
    async fn reconcile(&self, name: &str) -> Result<Outcome, DynamicError> {
        let Some(namespace) = self.namespaces.get("", name) else { return Ok(Outcome::Done) };
        let spec = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
        let held = spec.is_some_and(|list| list.iter().any(|finalizer| finalizer == FINALIZER));
        if namespace.metadata.deletion_timestamp.is_none() || !held {
            return Ok(Outcome::Done);
        }
        let findings = self.empty(name).await?;
        if !self.report(&namespace, &findings).await? {
            return Ok(Outcome::After(NAMESPACE_RETRY));
        }
        if !findings.is_empty() {
            return Ok(Outcome::After(NAMESPACE_RETRY));
        }
        self.let_go(name).await
    }

    /// One round: delete everything, then see what is left.
    async fn empty(&self, name: &str) -> Result<Findings, DynamicError> {
        let kube = self.client.kube();
        let resources = dynamic::discover(&kube).await?;
        let mut findings = Findings::default();
        let deletable =
            |found: &&Found| found.namespaced && found.has("delete") && found.has("list");
        for found in resources.iter().filter(deletable) {
            let path = found.path(name, "");
            let left = dynamic::list_metadata(&kube, &path).await?;
            if left.is_empty() {
                continue;
            }
            if let Err(error) = self.delete_all(found, name, &left).await {
                findings.deletion_failures.push(error.text());
            }
            let left = dynamic::list_metadata(&kube, &path).await?;
            note_remaining(&mut findings, found, &left);
        }
        Ok(findings)
    }

    async fn delete_all(
        &self,
        found: &Found,
        namespace: &str,
        left: &[Value],
    ) -> Result<(), DynamicError> {
        let kube = self.client.kube();
        if found.has("deletecollection") {
            return dynamic::delete_collection(&kube, &found.path(namespace, "")).await;
        }
        for object in left {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            let path = found.path(namespace, text("name"));
            let deleted = dynamic::delete(&kube, &path, text("uid"), Some("Background")).await;
            if let Err(error) = deleted
                && error.code() != 404
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the conditions when they changed; `false` when someone else wrote first.
    async fn report(
        &self,
        namespace: &Namespace,
        findings: &Findings,
    ) -> Result<bool, DynamicError> {
        let status = namespace.status.clone().unwrap_or_default();
        let before = status.conditions.clone().unwrap_or_default();
        let after = conditions(findings, &before, self.clock.now());
        if before == after || (findings.is_empty() && before.is_empty()) {
            return Ok(true);
        }
        let mut fresh = namespace.clone();
        fresh.status.get_or_insert_default().conditions = Some(after);
        let api = self.client.all::<Namespace>();
        match api.replace_status(&name_of(namespace), &PostParams::default(), &fresh).await {
            Ok(_) => Ok(true),
            Err(error) if not_found(&error) => Ok(true),
            Err(error) if conflicts(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn let_go(&self, name: &str) -> Result<Outcome, DynamicError> {
        let Some(namespace) = self.namespaces.get("", name) else { return Ok(Outcome::Done) };
        let mut fresh = (*namespace).clone();
        if let Some(finalizers) = fresh.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        fresh.metadata.resource_version = None;
        let body = serde_json::to_vec(&fresh).map_err(kube::Error::SerdeError)?;
        let request = http::Request::put(format!("/api/v1/namespaces/{name}/finalize"))
            .header("content-type", "application/json")
            .body(body)?;
        match self.client.kube().request_text(request).await {
            Ok(_) => Ok(Outcome::Done),
            Err(error) if not_found(&error) => Ok(Outcome::Done),
            Err(error) => Err(error.into()),
        }
    }
}

fn note_remaining(findings: &mut Findings, found: &Found, left: &[Value]) {
    if left.is_empty() {
        return;
    }
    findings.remaining.push((format!("{}.{}", found.plural, found.group), left.len()));
    for object in left {
        for finalizer in object["metadata"]["finalizers"].as_array().into_iter().flatten() {
            let name = finalizer.as_str().unwrap_or_default();
            match findings.finalizers.iter_mut().find(|(have, _)| have == name) {
                Some((_, count)) => *count += 1,
                None => findings.finalizers.push((name.to_owned(), 1)),
            }
        }
    }
}
