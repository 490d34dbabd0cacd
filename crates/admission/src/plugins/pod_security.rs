//! `PodSecurity`: the Pod Security Standards, chosen by labels of the namespace.
//!
//! The policy and its evaluation; what each check looks at is in [`checks`].

mod checks;
mod policy;

use std::collections::BTreeMap;

use api::object::Object;
use api::status::Status;
use serde_json::Value;

use self::checks::Findings;
use self::policy::{Level, Policy};
use crate::{Lookup, Operation, Plugin, Request, tree};

/// See the module's text.
#[derive(Debug)]
pub struct PodSecurity;

/// What the keys of our audit annotations begin with.
const PREFIX: &str = "pod-security.kubernetes.io/";
/// How many pods are looked at when a namespace becomes stricter.
const PODS_CHECKED_MAX: usize = 3000;
/// Subresources of pods that do not change what runs.
const IGNORED: [&str; 8] =
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];
/// Kinds with a pod template, and where it is.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "replicationcontrollers", "/spec/template"),
    ("", "podtemplates", "/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("batch", "jobs", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
];

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn validate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        if !matches!(request.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        if request.about("", "namespaces") {
            return check_namespace(request, cluster);
        }
        if request.about("", "pods") {
            return check_pod(request, cluster);
        }
        let resource = request.resource;
        let template = TEMPLATES
            .iter()
            .find(|(group, plural, _)| *group == resource.group && *plural == resource.plural);
        if let Some((_, _, pointer)) = template.filter(|_| request.subresource.is_empty()) {
            warn_of_template(request, cluster, pointer);
        }
        Ok(())
    }
}

fn policy_of(namespace: &str, cluster: &dyn Lookup) -> Option<Policy> {
    let namespace = cluster.get("", "namespaces", "", namespace)?;
    Some(Policy::read(|key| namespace.label(key)).0)
}

fn check_pod(request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
    if IGNORED.contains(&request.subresource) {
        return Ok(());
    }
    let Some(policy) = policy_of(request.namespace, cluster) else {
        let why = format!("failed to lookup namespace \"{}\"", request.namespace);
        return Err(Status::internal(why));
    };
    let unchanged = request.operation == Operation::Update
        && !changes_what_runs(&request.object, request.old_object());
    if unchanged {
        return Ok(());
    }
    request.annotate(format!("{PREFIX}enforce-policy"), policy.enforce.to_string());
    if policy.is_privileged() {
        return Ok(());
    }
    let findings = checks::evaluate(policy.enforce, &request.object);
    audit(request, &policy, None);
    if !findings.is_empty() {
        let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, detail(&findings));
        return Err(request.forbid(why));
    }
    warn(request, &policy, None);
    Ok(())
}

fn warn_of_template(request: &mut Request<'_>, cluster: &dyn Lookup, pointer: &str) {
    let Some(policy) = policy_of(request.namespace, cluster) else { return };
    if policy.warn.level == Level::Privileged && policy.audit.level == Level::Privileged {
        return;
    }
    if let Some(template) = tree::at(&request.object, pointer).cloned() {
        audit(request, &policy, Some(&template));
        warn(request, &policy, Some(&template));
    }
}

/// Notes for the audit log what the pod, or a template instead, has that the namespace wants noted.
fn audit(request: &mut Request<'_>, policy: &Policy, template: Option<&Value>) {
    let findings = checks::evaluate(policy.audit, template.unwrap_or(&request.object));
    if !findings.is_empty() {
        let text = format!("would violate PodSecurity \"{}\": {}", policy.audit, detail(&findings));
        request.annotate(format!("{PREFIX}audit-violations"), text);
    }
}

/// Warns of what the pod, or a template instead, has that the namespace warns of.
fn warn(request: &mut Request<'_>, policy: &Policy, template: Option<&Value>) {
    let findings = checks::evaluate(policy.warn, template.unwrap_or(&request.object));
    if !findings.is_empty() {
        let text = format!("would violate PodSecurity \"{}\": {}", policy.warn, detail(&findings));
        request.warnings.push(text);
    }
}

fn detail(findings: &Findings) -> String {
    let texts = findings.iter().map(|finding| match finding.detail.as_str() {
        "" => finding.reason.clone(),
        detail => format!("{} ({detail})", finding.reason),
    });
    Vec::from_iter(texts).join(", ")
}

/// Whether containers were added or their images changed: nothing else can be that the checks see.
fn changes_what_runs(new: &Value, old: &Value) -> bool {
    let images = |pod: &Value, list: &str| -> Vec<String> {
        let containers = tree::list(pod, list).iter();
        containers.map(|container| tree::text(container, "/image").to_owned()).collect()
    };
    for list in ["/spec/containers", "/spec/initContainers"] {
        if images(new, list) != images(old, list) {
            return true;
        }
    }
    tree::list(new, "/spec/ephemeralContainers").iter().any(|container| {
        let name = tree::text(container, "/name");
        let before = tree::list(old, "/spec/ephemeralContainers");
        let before = before.iter().find(|before| tree::text(before, "/name") == name);
        before.is_none_or(|before| tree::text(before, "/image") != tree::text(container, "/image"))
    })
}

fn check_namespace(request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
    if !request.subresource.is_empty() {
        return Ok(());
    }
    let (new, faults) = Policy::read(|key| api::meta::label(&request.object, key));
    let old = request.old_object();
    let (before, faults_before) = Policy::read(|key| api::meta::label(old, key));
    let updates = request.operation == Operation::Update;
    if !faults.is_empty() && (!updates || faults != faults_before) {
        return Err(Status::invalid("", "Namespace", request.object_name(), &faults));
    }
    let stricter = updates
        && new.enforce != before.enforce
        && new.enforce.level != Level::Privileged
        && !(new.enforce.version == before.enforce.version
            && new.enforce.level <= before.enforce.level);
    if stricter {
        let name = request.object_name().to_owned();
        let warnings = check_present_pods(&name, &new, cluster);
        request.warnings.extend(warnings);
    }
    Ok(())
}

/// Pods of which each stands for itself or is its controller's first come before their like.
fn by_importance(pods: Vec<Value>) -> Vec<Value> {
    let mut controllers = Vec::new();
    let (first, rest): (Vec<Value>, Vec<Value>) = pods.into_iter().partition(|pod| {
        let owners = tree::list(pod, "/metadata/ownerReferences");
        let owner = owners.iter().find(|owner| tree::flag(owner, "/controller") == Some(true));
        let Some(owner) = owner.map(|owner| tree::text(owner, "/uid").to_owned()) else {
            return true;
        };
        let is_new = !controllers.contains(&owner);
        controllers.push(owner);
        is_new
    });
    [first, rest].concat()
}

fn check_present_pods(namespace: &str, policy: &Policy, cluster: &dyn Lookup) -> Vec<String> {
    let pods = cluster.list("", "pods", namespace);
    let total = pods.len();
    let pods = by_importance(pods.iter().map(|pod| Object::to_value(pod)).collect());
    let mut violations: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_CHECKED_MAX) {
        let findings = checks::evaluate(policy.enforce, pod);
        if !findings.is_empty() {
            let reasons = Vec::from_iter(findings.into_iter().map(|finding| finding.reason));
            violations.entry(reasons.join(", ")).or_default().push(api::meta::name(pod).to_owned());
        }
    }
    let mut warnings = Vec::new();
    if total > PODS_CHECKED_MAX {
        warnings.push(format!("new PodSecurity enforce level only checked against the first {PODS_CHECKED_MAX} of {total} existing pods"));
    }
    if !violations.is_empty() {
        warnings.push(format!("existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{}\"", policy.enforce));
    }
    let mut lines: Vec<String> =
        violations.into_iter().map(|(reason, pods)| line(&reason, &pods)).collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

fn line(reason: &str, pods: &[String]) -> String {
    let first = pods.iter().min().map_or("", String::as_str);
    match pods.len() {
        0 | 1 => format!("{first}: {reason}"),
        2 => format!("{first} (and 1 other pod): {reason}"),
        many => format!("{first} (and {} other pods): {reason}", many - 1),
    }
}

#[cfg(test)]
mod tests;
