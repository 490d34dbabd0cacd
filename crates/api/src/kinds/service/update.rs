//! Changing a Service: what is kept, what goes with the old type, and what may not change.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{is_external, is_headless, is_type, needs_health_check};
use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::tree;

fn needs_address(service: &Value) -> bool {
    !is_type(service, "ExternalName")
}

fn needs_node_port(service: &Value) -> bool {
    let allocates = tree::at(service, "/spec/allocateLoadBalancerNodePorts");
    let is_allocating = allocates.is_none_or(|flag| flag != &json!(false));
    is_type(service, "NodePort") || (is_type(service, "LoadBalancer") && is_allocating)
}

fn node_ports(service: &Value) -> Vec<i64> {
    tree::list(service, "/spec/ports").iter().map(|port| tree::count(port, "/nodePort")).collect()
}

/// Fills in addresses and ports that were allocated before and that the updater left out.
pub(super) fn keep_allocated(new: &mut Value, old: &Value) {
    if needs_address(old) && needs_address(new) {
        if tree::text(new, "/spec/clusterIP").is_empty() {
            tree::restore(tree::make(new, "spec"), &old["spec"], "clusterIP");
        }
        let is_same = tree::text(new, "/spec/clusterIP") == tree::text(old, "/spec/clusterIP");
        if is_same && tree::list(new, "/spec/clusterIPs").is_empty() {
            tree::restore(tree::make(new, "spec"), &old["spec"], "clusterIPs");
        }
        if is_same && tree::list(new, "/spec/ipFamilies").is_empty() {
            tree::restore(tree::make(new, "spec"), &old["spec"], "ipFamilies");
        }
        if tree::at(new, "/spec/ipFamilyPolicy").is_none() {
            tree::restore(tree::make(new, "spec"), &old["spec"], "ipFamilyPolicy");
        }
    }
    if needs_node_port(old) && needs_node_port(new) {
        keep_node_ports(new, old);
    }
    if needs_health_check(old) && needs_health_check(new) {
        let port = tree::count(old, "/spec/healthCheckNodePort");
        tree::fill_zero(tree::make(new, "spec"), "healthCheckNodePort", port);
    }
}

fn keep_node_ports(new: &mut Value, old: &Value) {
    let (before, after) = (node_ports(old), node_ports(new));
    let mut used: BTreeSet<i64> =
        after.into_iter().filter(|port| *port != 0 && before.contains(port)).collect();
    tree::each(tree::make(new, "spec"), "ports", |port| {
        if tree::count(port, "/nodePort") != 0 {
            return;
        }
        let name = tree::text(port, "/name").to_owned();
        let had = tree::list(old, "/spec/ports").iter().find(|p| tree::text(p, "/name") == name);
        let number = had.map_or(0, |port| tree::count(port, "/nodePort"));
        if number != 0 && used.insert(number) {
            tree::set(port, "nodePort", number);
        }
    });
}

/// Keeps `clusterIP` and the first of `clusterIPs` the same, whichever of the two the client knows.
pub(super) fn normalize_addresses(new: &mut Value, old: Option<&Value>) {
    let one = tree::text(new, "/spec/clusterIP").to_owned();
    let many = tree::list(new, "/spec/clusterIPs").to_vec();
    let spec = tree::make(new, "spec");
    let Some(old) = old else {
        if !one.is_empty() && many.is_empty() {
            tree::set(spec, "clusterIPs", json!([one]));
        }
        return;
    };
    let old_one = tree::text(old, "/spec/clusterIP");
    let are_same = many == tree::list(old, "/spec/clusterIPs");
    if one != old_one && are_same {
        // Only the old field changed: the client does not know the new one.
        if one.is_empty() {
            tree::remove(spec, "clusterIPs");
        } else {
            tree::set(spec, "clusterIPs", json!([one]));
        }
    } else if !one.is_empty() && one == old_one && many.is_empty() {
        // The new field was cleared while the old one stayed.
        tree::remove(spec, "clusterIP");
    }
}

/// Removes what belongs to the old type alone, where the updater left it as it was.
pub(super) fn drop_fields_of_old_type(new: &mut Value, old: &Value) {
    let is_unchanged =
        |new: &Value, field: &str| tree::same_at(new, old, &format!("/spec/{field}"));
    let mut gone: Vec<&str> = Vec::new();
    if needs_address(old) && !needs_address(new) {
        let fields: &[&str] = match is_unchanged(new, "clusterIPs") {
            true => &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"],
            false => &["ipFamilies", "ipFamilyPolicy"],
        };
        gone.extend(fields);
    }
    if needs_health_check(old) && !needs_health_check(new) {
        gone.push("healthCheckNodePort");
    }
    if is_type(old, "LoadBalancer") && !is_type(new, "LoadBalancer") {
        gone.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if is_external(old) && !is_external(new) {
        gone.push("externalTrafficPolicy");
    }
    // A load balancer that is told to go without keeps those that it has.
    let may_have_node_ports =
        |service: &Value| is_type(service, "NodePort") || is_type(service, "LoadBalancer");
    let drop_node_ports =
        may_have_node_ports(old) && !may_have_node_ports(new) && node_ports(old) == node_ports(new);
    gone.retain(|field| is_unchanged(new, field));
    let spec = tree::make(new, "spec");
    for field in gone {
        tree::remove(spec, field);
    }
    if drop_node_ports {
        tree::each(spec, "ports", |port| drop(tree::remove(port, "nodePort")));
    }
}

/// Faults of the change itself.
pub(super) fn validate(new: &Value, old: &Value) -> Vec<Error> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    if needs_address(new) && needs_address(old) {
        if !(is_headless(new) && is_headless(old)) {
            list_change(&spec, old, "clusterIPs", "clusterIP", &mut faults);
        }
        if !is_headless(new) && !is_headless(old) {
            list_change(&spec, old, "ipFamilies", "ipFamily", &mut faults);
        }
    }
    if is_type(new, "LoadBalancer")
        && is_type(old, "LoadBalancer")
        && !tree::same_at(new, old, "/spec/loadBalancerClass")
    {
        faults.invalid(&spec.get("loadBalancerClass"), "may not change once set");
    }
    if needs_health_check(old)
        && needs_health_check(new)
        && !tree::same_at(new, old, "/spec/healthCheckNodePort")
    {
        faults.forbidden(&spec.get("healthCheckNodePort"), "field is immutable");
    }
    faults.0
}

/// The first address and family stay; a second may come, and go with a policy that says so.
fn list_change(spec: &At<'_>, old: &Value, field: &str, one: &str, faults: &mut Faults) {
    let at = spec.get(field);
    let new = tree::texts(spec.value, &format!("/{field}"));
    let old = tree::texts(old, &format!("/spec/{field}"));
    let place = |index: usize| At { value: at.value, path: at.path.index(index) };
    if new.len() == old.len() {
        for index in (0..new.len()).filter(|&index| new[index] != old[index]) {
            faults.invalid(&place(index), "may not change once set");
        }
        return;
    }
    if new.is_empty() {
        faults.invalid(&place(0), format!("primary {one} can not be unset"));
    } else if old.first().is_some_and(|before| *before != new[0]) {
        faults.invalid(&place(0), "may not change once set");
    }
    let policy = spec.get("ipFamilyPolicy");
    if old.len() > new.len() && new.len() == 1 && policy.text() != "SingleStack" {
        faults.invalid(
            &policy,
            format!("must be set to 'SingleStack' when releasing the secondary {one}"),
        );
    }
}
