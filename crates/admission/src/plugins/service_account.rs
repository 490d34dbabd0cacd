//! `ServiceAccount`: every pod runs as an account, and finds a token for it in its containers.

use std::sync::Arc;

use api::status::Status;
use serde_json::{Value, json};

use crate::{Lookup, Operation, Plugin, Request, pods, tree};

/// See the module's text.
#[derive(Debug)]
pub struct ServiceAccount;

const DEFAULT: &str = "default";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour, and seven seconds by which such tokens are told from others.
const TOKEN_SECONDS: i64 = 3607;
const ENFORCE_ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";
/// Letters of generated names: none that make words or are mistaken for others.
const SUFFIX_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.is("", "pods") {
            return Ok(());
        }
        if pods::is_mirror(&request.object) {
            return check_mirror(request);
        }
        let spec = tree::make(&mut request.object, "spec");
        if tree::text(spec, "/serviceAccountName").is_empty() {
            spec["serviceAccountName"] = json!(DEFAULT);
        }
        let account = account(request, cluster)?;
        let random = request.random;
        let spec = tree::make(&mut request.object, "spec");
        if automounts(&account, spec) {
            mount_token(spec, random);
        }
        if tree::list(spec, "/imagePullSecrets").is_empty() {
            let secrets = tree::list(&account, "/imagePullSecrets");
            let names = secrets.iter().map(|secret| json!({"name": tree::text(secret, "/name")}));
            spec["imagePullSecrets"] = names.collect();
        }
        Ok(())
    }

    fn validate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        if !request.about("", "pods") {
            return Ok(());
        }
        match (request.operation, request.subresource) {
            (Operation::Create, "") if pods::is_mirror(&request.object) => check_mirror(request),
            (Operation::Create, "") => check_secrets(request, cluster, false),
            (Operation::Update, "ephemeralcontainers") => check_secrets(request, cluster, true),
            _ => Ok(()),
        }
    }
}

fn check_mirror(request: &Request<'_>) -> Result<(), Status> {
    let spec = request.object.get("spec").unwrap_or(&Value::Null);
    if !tree::text(spec, "/serviceAccountName").is_empty() {
        return Err(request.forbid("a mirror pod may not reference service accounts"));
    }
    if !pods::secret_names(spec).is_empty() {
        return Err(request.forbid("a mirror pod may not reference secrets"));
    }
    let sources = tree::list(spec, "/volumes")
        .iter()
        .flat_map(|volume| tree::list(volume, "/projected/sources"));
    if sources.into_iter().any(|source| tree::at(source, "/serviceAccountToken").is_some()) {
        return Err(
            request.forbid("a mirror pod may not use ServiceAccountToken volume projections")
        );
    }
    Ok(())
}

fn account(request: &Request<'_>, cluster: &dyn Lookup) -> Result<Arc<Value>, Status> {
    let (namespace, pod) = (request.namespace, &request.object);
    let name = tree::text(pod, "/spec/serviceAccountName");
    if name.is_empty() {
        let pod = api::meta::name(pod);
        return Err(
            request.forbid(format!("no service account specified for pod {namespace}/{pod}"))
        );
    }
    let found = cluster.get("", "serviceaccounts", namespace, name).ok_or_else(|| {
        request.forbid(format!("error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"))
    })?;
    Ok(found.tree())
}

fn automounts(account: &Value, spec: &Value) -> bool {
    let pods_own = tree::flag(spec, "/automountServiceAccountToken");
    pods_own.or_else(|| tree::flag(account, "/automountServiceAccountToken")).unwrap_or(true)
}

fn mount_token(spec: &mut Value, random: u64) {
    let present = tree::list(spec, "/volumes").iter().map(|volume| tree::text(volume, "/name"));
    let present =
        present.into_iter().find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let name = present.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", suffix(random)));
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mounts = tree::make_list(container, "volumeMounts");
            if !mounts.iter().any(|mount| tree::text(mount, "/mountPath") == MOUNT_PATH) {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
                mounted = true;
            }
        }
    }
    if mounted && present.is_none() {
        tree::make_list(spec, "volumes").push(token_volume(&name));
    }
}

fn suffix(mut random: u64) -> String {
    let base = SUFFIX_LETTERS.len() as u64;
    let mut letter = || {
        let index = usize::try_from(random % base).unwrap_or_default();
        random /= base;
        char::from(SUFFIX_LETTERS[index])
    };
    (0..SUFFIX_LENGTH).map(|_| letter()).collect()
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

/// The account must be there; where it says so, only the secrets that it lists may be used.
fn check_secrets(
    request: &Request<'_>,
    cluster: &dyn Lookup,
    ephemeral: bool,
) -> Result<(), Status> {
    let account = account(request, cluster)?;
    let enforced = matches!(
        api::meta::annotation(&account, ENFORCE_ANNOTATION),
        Some("1" | "t" | "T" | "TRUE" | "true" | "True")
    );
    if !enforced {
        return Ok(());
    }
    let spec = request.object.get("spec").unwrap_or(&Value::Null);
    let lists: &[(&str, &str)] = if ephemeral {
        &[("ephemeral container", "/ephemeralContainers")]
    } else {
        &[("init container", "/initContainers"), ("container", "/containers")]
    };
    let own = if ephemeral { None } else { foreign_volume(&account, spec) };
    let fault = own
        .or_else(|| {
            lists.iter().find_map(|(what, list)| foreign_variable(&account, spec, what, list))
        })
        .or_else(|| if ephemeral { None } else { foreign_pull_secret(&account, spec) });
    fault.map_or(Ok(()), |fault| Err(request.forbid(fault)))
}

fn lists(account: &Value, list: &str, secret: &str) -> bool {
    tree::list(account, list).iter().any(|have| tree::text(have, "/name") == secret)
}

fn foreign_volume(account: &Value, spec: &Value) -> Option<String> {
    let volumes =
        tree::list(spec, "/volumes").iter().filter_map(|volume| tree::at(volume, "/secret"));
    let name = volumes.map(|secret| tree::text(secret, "/secretName"));
    let name = name.into_iter().find(|name| !lists(account, "/secrets", name))?;
    let account = api::meta::name(account);
    Some(format!(
        "volume with secret.secretName=\"{name}\" is not allowed because service account {account} does not reference that secret"
    ))
}

fn foreign_variable(account: &Value, spec: &Value, what: &str, list: &str) -> Option<String> {
    let owner = api::meta::name(account);
    for container in tree::list(spec, list) {
        let within = tree::text(container, "/name");
        for variable in tree::list(container, "/env") {
            let Some(key) = tree::at(variable, "/valueFrom/secretKeyRef") else { continue };
            let (secret, name) = (tree::text(key, "/name"), tree::text(variable, "/name"));
            if !lists(account, "/secrets", secret) {
                return Some(format!(
                    "{what} {within} with envVar {name} referencing secret.secretName=\"{secret}\" is not allowed because service account {owner} does not reference that secret"
                ));
            }
        }
        for source in tree::list(container, "/envFrom") {
            let Some(reference) = tree::at(source, "/secretRef") else { continue };
            let secret = tree::text(reference, "/name");
            if !lists(account, "/secrets", secret) {
                return Some(format!(
                    "{what} {within} with envFrom referencing secret.secretName=\"{secret}\" is not allowed because service account {owner} does not reference that secret"
                ));
            }
        }
    }
    None
}

fn foreign_pull_secret(account: &Value, spec: &Value) -> Option<String> {
    let owner = api::meta::name(account);
    let secrets = tree::list(spec, "/imagePullSecrets").iter().enumerate();
    let mut names = secrets.map(|(i, secret)| (i, tree::text(secret, "/name")));
    let (i, name) = names.find(|(_, name)| !lists(account, "/imagePullSecrets", name))?;
    Some(format!(
        "imagePullSecrets[{i}].name=\"{name}\" is not allowed because service account {owner} does not reference that imagePullSecret"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, Cluster};

    fn cluster() -> Cluster {
        let account = |name: &str, more: Value| {
            let mut account = json!({"metadata": {"name": name, "namespace": "n"}});
            for (key, value) in more.as_object().unwrap() {
                account[key] = value.clone();
            }
            account
        };
        Cluster::default()
            .with(
                "serviceaccounts",
                account("default", json!({"imagePullSecrets": [{"name": "pull"}]})),
            )
            .with(
                "serviceaccounts",
                account("quiet", json!({"automountServiceAccountToken": false})),
            )
            .with(
                "serviceaccounts",
                json!({"metadata": {"name": "strict", "namespace": "n",
                "annotations": {ENFORCE_ANNOTATION: "true"}}, "secrets": [{"name": "mine"}]}),
            )
    }

    fn pod(spec: Value) -> Case {
        Case::create("pods", json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec}))
    }

    #[test]
    fn a_pod_gets_the_default_account_and_its_token() {
        let spec = json!({"containers": [{"name": "a"},
            {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}]});
        let pod = pod(spec).admitted(&ServiceAccount, &cluster());
        let spec = &pod["spec"];
        assert_eq!(spec["serviceAccountName"], "default");
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]));
        assert_eq!(spec["volumes"][0]["name"], "kube-api-access-bbbbb");
        assert_eq!(
            spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
            3607
        );
        let mount =
            json!([{"name": "kube-api-access-bbbbb", "readOnly": true, "mountPath": MOUNT_PATH}]);
        assert_eq!(spec["containers"][0]["volumeMounts"], mount);
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_token_is_mounted_only_where_wanted() {
        for (spec, mounts) in [
            (json!({"containers": [{}]}), true),
            (json!({"containers": [{}], "serviceAccountName": "quiet"}), false),
            (
                json!({"containers": [{}], "serviceAccountName": "quiet", "automountServiceAccountToken": true}),
                true,
            ),
            (json!({"containers": [{}], "automountServiceAccountToken": false}), false),
        ] {
            let pod = pod(spec).admitted(&ServiceAccount, &cluster());
            assert_eq!(tree::at(&pod, "/spec/volumes").is_some(), mounts, "{pod}");
        }
    }

    #[test]
    fn refusals_are_upstreams() {
        let mirror = |spec: Value| {
            Case::create(
                "pods",
                json!({"metadata": {"name": "p", "namespace": "n",
                "annotations": {"kubernetes.io/config.mirror": "x"}}, "spec": spec}),
            )
        };
        let strict = |more: Value| {
            let mut spec =
                json!({"serviceAccountName": "strict", "automountServiceAccountToken": false});
            for (key, value) in more.as_object().unwrap() {
                spec[key] = value.clone();
            }
            pod(spec)
        };
        let cases = [
            (
                pod(json!({"serviceAccountName": "x"})),
                "error looking up service account n/x: serviceaccount \"x\" not found",
            ),
            (
                mirror(json!({"serviceAccountName": "default"})),
                "a mirror pod may not reference service accounts",
            ),
            (
                mirror(json!({"volumes": [{"secret": {"secretName": "s"}}]})),
                "a mirror pod may not reference secrets",
            ),
            (
                strict(json!({"volumes": [{"secret": {"secretName": "s"}}]})),
                "volume with secret.secretName=\"s\" is not allowed because service account strict does not reference that secret",
            ),
            (
                strict(
                    json!({"containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s"}}}]}]}),
                ),
                "container c with envVar E referencing secret.secretName=\"s\" is not allowed because service account strict does not reference that secret",
            ),
            (
                strict(json!({"imagePullSecrets": [{"name": "s"}]})),
                "imagePullSecrets[0].name=\"s\" is not allowed because service account strict does not reference that imagePullSecret",
            ),
        ];
        for (case, why) in cases {
            assert_eq!(
                case.refusal(&ServiceAccount, &cluster()),
                format!("pods \"p\" is forbidden: {why}")
            );
        }
        assert_eq!(mirror(json!({})).refusal(&ServiceAccount, &cluster()), "");
        assert_eq!(
            strict(json!({"volumes": [{"secret": {"secretName": "mine"}}]}))
                .refusal(&ServiceAccount, &cluster()),
            ""
        );
    }
}
