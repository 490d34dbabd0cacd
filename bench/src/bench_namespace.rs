//! The namespace that a workload has for itself.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client};

/// How long a namespace may take to come with its account, and to go.
const MOST: Duration = Duration::from_secs(300);

/// Makes a namespace with a name of its own and waits for its account, which pods need; or makes that as well,
/// where no controller does.
pub(crate) async fn create(client: &Client, api_only: bool) -> Result<String> {
    let metadata = ObjectMeta { generate_name: Some("bench-".to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let made = namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .context("create a namespace")?;
    let name = made.metadata.name.context("the namespace has no name")?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
    if api_only {
        let metadata = ObjectMeta { name: Some("default".to_owned()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        accounts.create(&PostParams::default(), &account).await.context("create an account")?;
    }
    let there = |account: Option<&ServiceAccount>| account.is_some();
    tokio::time::timeout(MOST, await_condition(accounts, "default", there))
        .await
        .context("the namespace's account does not come")??;
    Ok(name)
}

/// Deletes the namespace and waits until it is gone.
pub(crate) async fn delete(client: &Client, name: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = namespaces.get(name).await.context("get the namespace")?;
    let uid = namespace.metadata.uid.context("the namespace has no uid")?;
    namespaces.delete(name, &DeleteParams::default()).await.context("delete the namespace")?;
    tokio::time::timeout(MOST, await_condition(namespaces, name, conditions::is_deleted(&uid)))
        .await
        .context("the namespace does not go")??;
    Ok(())
}
