//! The elements of the shared maps: what each front end contributes, and what a change of it touches.

use std::collections::BTreeMap;

use linux::nft::{
    Batch, Chain, Element, Expression, Key, Operation, Rule, Set, Value, Verdict, interval_elements,
};
use netplan::service::{Action, FamilyChange, FamilyPlan, FrontEnd, Handling};

use super::parts::{KEY, Layout, hairpin};
use super::pick::Pick;
use super::{delete_chain, fixed, sticky};
use crate::limits::ELEMENTS_PER_OPERATION_MAX;

/// Elements by set and key.
type Elements = BTreeMap<(&'static str, Key), Option<Value>>;

/// Appends the elements that come and go between two plans.
pub(super) fn change(batch: &mut Batch, layout: &Layout, change: &FamilyChange<'_>) {
    let mut removed: Vec<(&'static str, Element)> = Vec::new();
    let mut added: Vec<(&'static str, Element)> = Vec::new();
    let mut before: BTreeMap<FrontEnd, Elements> = BTreeMap::new();
    for (front_end, handling) in &change.front_ends_removed {
        before.insert(*front_end, elements_of(layout, front_end, handling));
    }
    for (front_end, handling) in &change.front_ends_added {
        let after = elements_of(layout, front_end, handling);
        let was = before.remove(front_end).unwrap_or_default();
        for (place, value) in &was {
            if after.get(place) != Some(value) {
                removed.push(element(place.clone(), value.clone()));
            }
        }
        for (place, value) in after {
            if was.get(&place) != Some(&value) {
                added.push(element(place, value));
            }
        }
    }
    for (place, value) in before.into_values().flatten() {
        removed.push(element(place, value));
    }
    for address in &change.cluster_ips_removed {
        removed.push(("cluster-ips", fixed::cluster_ip(*address)));
    }
    for address in &change.cluster_ips_added {
        added.push(("cluster-ips", fixed::cluster_ip(*address)));
    }
    for address in &change.local_endpoints_removed {
        removed.push(("hairpin", hairpin(*address)));
    }
    for address in &change.local_endpoints_added {
        added.push(("hairpin", hairpin(*address)));
    }
    push_grouped(batch, layout, removed, Operation::DeleteElements);
    push_grouped(batch, layout, added, Operation::AddElements);
}

fn element((set, key): (&'static str, Key), value: Option<Value>) -> (&'static str, Element) {
    (set, Element { value, ..Element::of(key) })
}

/// One operation for each set, as far as operations may be long.
fn push_grouped(
    batch: &mut Batch,
    layout: &Layout,
    elements: Vec<(&'static str, Element)>,
    operation: impl Fn(String, Vec<Element>) -> Operation,
) {
    let mut by_set: BTreeMap<&'static str, Vec<Element>> = BTreeMap::new();
    for (set, element) in elements {
        by_set.entry(set).or_default().push(element);
    }
    for (set, elements) in by_set {
        for part in elements.chunks(ELEMENTS_PER_OPERATION_MAX) {
            batch.push(&layout.table, operation(set.to_owned(), part.to_vec()));
        }
    }
}

fn elements_of(layout: &Layout, front_end: &FrontEnd, handling: &Handling) -> Elements {
    let mut elements = Elements::new();
    let key = layout.key_of(front_end);
    let verdict = |verdict| Some(Value::Verdict(verdict));
    match &handling.outside {
        Action::Reject => {
            elements.insert(("refused", key.clone()), verdict(Verdict::Goto("reject".into())));
        }
        Action::Drop => {
            elements.insert(("refused", key.clone()), verdict(Verdict::Drop));
        }
        served => {
            forward(&mut elements, layout, front_end, served, false);
            if handling.masquerade {
                elements.insert(("masquerade", key.clone()), None);
            }
        }
    }
    if let Some(inside) = &handling.inside {
        forward(&mut elements, layout, front_end, inside, true);
        elements.insert(("short-circuit", key.clone()), None);
    }
    if handling.sources.is_some() {
        let chain = firewall_chain(front_end);
        elements.insert(("firewalls", key), verdict(Verdict::Goto(chain)));
    }
    elements
}

fn forward(
    elements: &mut Elements,
    layout: &Layout,
    front_end: &FrontEnd,
    action: &Action,
    inside: bool,
) {
    let chain = match action {
        Action::Balance(endpoints) => {
            let pick = Pick::of(front_end, inside, endpoints.len());
            for (number, endpoint) in (0_u32..).zip(endpoints.iter()) {
                let key = layout.key_of(front_end).number(number);
                let value = Key::new().address(endpoint.ip()).port(endpoint.port());
                elements.insert((pick.endpoints(), key), Some(Value::Data(value)));
            }
            pick.name()
        }
        Action::Sticky(group) => sticky::chain_of(group),
        Action::Reject | Action::Drop => return,
    };
    let map = if inside { "services-inside" } else { "services" };
    let verdict = Value::Verdict(Verdict::Goto(chain));
    elements.insert((map, layout.key_of(front_end)), Some(verdict));
}

fn firewall_chain(front_end: &FrontEnd) -> String {
    let address = front_end.address.map_or_else(String::new, |address| address.to_string());
    let (address, protocol) = (address.replace(':', "."), front_end.protocol);
    format!("firewall-{address}/{protocol}/{}", front_end.port)
}

/// Appends the chains of front ends that let only some in.
pub(super) fn add_firewalls(batch: &mut Batch, layout: &Layout, change: &FamilyChange<'_>) {
    for (front_end, handling) in &change.front_ends_added {
        let Some(sources) = &handling.sources else { continue };
        let chain = firewall_chain(front_end);
        let allowed = Set::ranges("", layout.address_field(), interval_elements(sources));
        let drop_others = vec![
            layout.source(KEY),
            Expression::NotInOwnSet { set: allowed, register: KEY },
            Expression::Verdict(Verdict::Drop),
        ];
        batch.push(&layout.table, Operation::AddChain(Chain::regular(chain.clone())));
        batch.push(&layout.table, Operation::FlushChain(chain.clone()));
        batch.push(&layout.table, Operation::AddRule(chain, Rule::new(drop_others)));
    }
}

/// Appends the end of those chains whose front ends let everybody in, or are gone.
pub(super) fn delete_firewalls(
    batch: &mut Batch,
    layout: &Layout,
    new: &FamilyPlan,
    change: &FamilyChange<'_>,
) {
    for (front_end, handling) in &change.front_ends_removed {
        let still = new.front_ends.get(front_end).is_some_and(|after| after.sources.is_some());
        if handling.sources.is_some() && !still {
            delete_chain(batch, layout, &firewall_chain(front_end));
        }
    }
}
