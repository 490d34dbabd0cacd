//! Resource quota: what an object uses up, which quotas count it, and whether they let it in.
//!
//! Decided here; the API server writes the new sums into the quotas' status before it commits the object,
//! and the quota controller counts again ([`recount`]) after deletions.

mod usage;

use std::collections::{BTreeMap, BTreeSet};

use api::quantity::Quantity;
use api::resource::Resource;
use api::status::Status;
use jiff::Timestamp;
use serde_json::{Map, Value};

use self::usage::{concerns, fits_scope, lacking};
pub use self::usage::{countable_name, usage};
use crate::{Operation, Request, pods, tree};

/// Amounts by resource name, as in a quota's `hard` and `used`.
pub type Amounts = BTreeMap<String, Quantity>;

/// Resources that no quota counts.
const IGNORED: [(&str, &str); 5] = [
    ("", "bindings"),
    ("", "componentstatuses"),
    ("", "events"),
    ("events.k8s.io", "events"),
    ("metrics.k8s.io", "pods"),
];

/// Whether quotas have a say in a request.
pub fn applies(request: &Request<'_>) -> bool {
    let resource = request.resource;
    let place = (&*resource.group, &*resource.plural);
    if request.namespace.is_empty() || !resource.is_namespaced() || IGNORED.contains(&place) {
        return false;
    }
    let updates_count = matches!(
        place,
        ("", "services" | "persistentvolumeclaims") | ("resource.k8s.io", "resourceclaims")
    );
    match (request.operation, request.subresource) {
        (Operation::Create, "") => true,
        (Operation::Update, "") => updates_count,
        (Operation::Update, "resize") => place == ("", "pods"),
        _ => false,
    }
}

/// What a quota's status says must be written: its name and the new `status.used`.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    /// Name of the quota.
    pub quota: String,
    /// The sums with the request's share.
    pub used: Value,
}

/// Puts a request to the quotas of its namespace.
///
/// # Errors
/// 403 with upstream's text: a quota is exceeded, its use is not known yet, or the pod does not say what the
/// quota bounds.
pub fn charges(request: &Request<'_>, quotas: &[Value]) -> Result<Vec<Charge>, Status> {
    let mut counting = Vec::new();
    for quota in quotas {
        if let Some(interesting) = interest(request, quota)? {
            counting.push((quota, interesting));
        }
    }
    if counting.is_empty() {
        return Ok(Vec::new());
    }
    let share = share(request);
    let mut charges = Vec::new();
    for (quota, _) in counting {
        charges.extend(charge(request, quota, &share)?);
    }
    Ok(charges)
}

/// The resources of a quota that the request's object has to do with; `None` when the quota does not
/// count it.
fn interest(request: &Request<'_>, quota: &Value) -> Result<Option<Vec<String>>, Status> {
    let resource = request.resource;
    let name = api::meta::name(quota);
    let hard = pods::amounts(quota.pointer("/status/hard"));
    let names: Vec<String> = hard.keys().filter(|name| concerns(resource, name)).cloned().collect();
    let in_scope = scopes(quota).iter().all(|scope| fits_scope(resource, &request.object, scope));
    if names.is_empty() || !in_scope {
        return Ok(None);
    }
    if let Some(fault) = lacking(resource, &request.object, &names) {
        return Err(request.forbid(format!("failed quota: {name}: {fault}")));
    }
    let used = pods::amounts(quota.pointer("/status/used"));
    if names.iter().any(|resource| !used.contains_key(resource)) {
        return Err(request
            .forbid(format!("status unknown for quota: {name}, resources: {}", names.join(","))));
    }
    Ok(Some(names))
}

/// The scopes of a quota, plain ones as selectors.
fn scopes(quota: &Value) -> Vec<Value> {
    let plain = tree::texts(quota, "/spec/scopes");
    let plain = plain.map(|scope| serde_json::json!({"scopeName": scope, "operator": "Exists"}));
    let selectors = tree::list(quota, "/spec/scopeSelector/matchExpressions");
    plain.chain(selectors.iter().cloned()).collect()
}

/// What the request adds to the sums, without zeros.
fn share(request: &Request<'_>) -> Amounts {
    let mut share = usage(request.resource, &request.object, request.now);
    if let (Operation::Update, Some(old)) = (request.operation, request.old) {
        for (name, before) in usage(request.resource, old, request.now) {
            if let Some(amount) = share.get_mut(&name) {
                *amount = *amount - before;
            }
        }
    }
    share.retain(|_, amount| *amount > Quantity::ZERO);
    share
}

fn charge(request: &Request<'_>, quota: &Value, share: &Amounts) -> Result<Option<Charge>, Status> {
    let hard = pods::amounts(quota.pointer("/status/hard"));
    let mut used = pods::amounts(quota.pointer("/status/used"));
    let before = used.clone();
    let (mut asked, mut had, mut limited) = (Vec::new(), Vec::new(), Vec::new());
    for (name, amount) in share {
        let Some(limit) = hard.get(name) else { continue };
        let have = used.get(name).copied().unwrap_or(Quantity::ZERO);
        if have + *amount > *limit {
            asked.push(format!("{name}={amount}"));
            had.push(format!("{name}={have}"));
            limited.push(format!("{name}={limit}"));
        }
        used.insert(name.clone(), have + *amount);
    }
    let name = api::meta::name(quota);
    if !asked.is_empty() {
        return Err(request.forbid(format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            asked.join(","),
            had.join(","),
            limited.join(",")
        )));
    }
    let charge = Charge { quota: name.to_owned(), used: to_json(&used) };
    Ok((used != before).then_some(charge))
}

/// Amounts as JSON.
pub fn to_json(amounts: &Amounts) -> Value {
    let map: Map<String, Value> =
        amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string().into())).collect();
    Value::Object(map)
}

/// What of a quota's hard limits is used by these objects: what the controller writes as `status.used`.
/// Every resource that the quota names is in the answer.
pub fn recount<'a>(
    quota: &Value,
    objects: impl IntoIterator<Item = (&'a Resource, &'a Value)>,
    now: Timestamp,
) -> Amounts {
    let hard: BTreeSet<String> = pods::amounts(quota.pointer("/spec/hard")).into_keys().collect();
    let scopes = scopes(quota);
    let mut used: Amounts = hard.iter().map(|name| (name.clone(), Quantity::ZERO)).collect();
    for (resource, object) in objects {
        if !scopes.iter().all(|scope| fits_scope(resource, object, scope)) {
            continue;
        }
        for (name, amount) in usage(resource, object, now) {
            if let Some(sum) = used.get_mut(&name) {
                *sum = *sum + amount;
            }
        }
    }
    used
}

#[cfg(test)]
mod tests;
