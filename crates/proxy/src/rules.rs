//! From a plan to nf_tables, so that a packet's way is a fixed number of lookups however many Services
//! there are.
//!
//! Each family has a table of its own. Front ends are keys of a few shared maps:
//!
//! - `services`: the chain that a front end's connections go to;
//! - `services-inside`: the same for those that pods and the node make, where that differs;
//! - `endpoints`, `endpoints-inside`: front end and number to endpoint;
//! - `masquerade`, `short-circuit`: front ends whose connections get the node's address;
//! - `refused`, `firewalls`: front ends that refuse, and those that let only some in.
//!
//! All front ends with the same number of endpoints share one chain `pick-N`, so that a Service comes, goes
//! and changes by elements alone. Only Services with session affinity have chains and sets of their own.
//! A node port's key has the address zero.

mod elements;
mod fixed;
mod parts;
mod pick;
mod sticky;

use linux::nft::{Batch, Family, Operation, TableId};
use netplan::service::{FamilyPlan, diff};

pub(crate) use parts::Layout;
use pick::Pick;

/// The proxy's table of a family.
pub(crate) fn table(family: Family) -> TableId {
    TableId::new(family, "keelson-proxy")
}

/// Appends everything that makes `plan` true in a table that need not exist.
pub(crate) fn replace(batch: &mut Batch, layout: &Layout, plan: &FamilyPlan) {
    batch.replace_table(&layout.table);
    fixed::add(batch, layout);
    change(batch, layout, &FamilyPlan::default(), plan);
}

/// Appends what leads from `old` to `new`.
pub(crate) fn change(batch: &mut Batch, layout: &Layout, old: &FamilyPlan, new: &FamilyPlan) {
    let change = diff(old, new);
    if change.is_empty() {
        return;
    }
    let (old_picks, new_picks) = (Pick::all_of(old), Pick::all_of(new));
    // What is referred to comes first and goes last. Elements follow rules, because the kernel walks a
    // map's elements whenever a rule begins to refer to it.
    for pick in new_picks.difference(&old_picks) {
        pick.add(batch, layout);
    }
    let sticky = sticky::Change::between(old, new, &change);
    sticky.add(batch, layout);
    elements::add_firewalls(batch, layout, &change);
    elements::change(batch, layout, &change);
    elements::delete_firewalls(batch, layout, new, &change);
    sticky.delete(batch, layout);
    for pick in old_picks.difference(&new_picks) {
        delete_chain(batch, layout, &pick.name());
    }
}

fn delete_chain(batch: &mut Batch, layout: &Layout, chain: &str) {
    batch.push(&layout.table, Operation::FlushChain(chain.to_owned()));
    batch.push(&layout.table, Operation::DeleteChain(chain.to_owned()));
}

#[cfg(test)]
mod tests;
