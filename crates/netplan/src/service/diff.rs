//! What changed between two plans, so that applying a plan touches nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::plan::{FamilyPlan, FrontEnd, Handling, StickyGroup};

/// The way from one plan of a family to another. What changed is in both `removed` and `added`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyChange<'a> {
    /// Cluster addresses that are gone.
    pub cluster_ips_removed: Vec<IpAddr>,
    /// Cluster addresses that are new.
    pub cluster_ips_added: Vec<IpAddr>,
    /// Front ends as they were.
    pub front_ends_removed: Vec<(FrontEnd, &'a Handling)>,
    /// Front ends as they shall be.
    pub front_ends_added: Vec<(FrontEnd, &'a Handling)>,
    /// Sticky groups as they were.
    pub sticky_removed: Vec<(&'a Arc<str>, &'a StickyGroup)>,
    /// Sticky groups as they shall be.
    pub sticky_added: Vec<(&'a Arc<str>, &'a StickyGroup)>,
    /// Endpoints that left this node.
    pub local_endpoints_removed: Vec<IpAddr>,
    /// Endpoints that are new on this node.
    pub local_endpoints_added: Vec<IpAddr>,
}

impl FamilyChange<'_> {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == FamilyChange::default()
    }
}

/// The way from `old` to `new`.
pub fn diff<'a>(old: &'a FamilyPlan, new: &'a FamilyPlan) -> FamilyChange<'a> {
    let (front_ends_removed, front_ends_added) = diff_maps(&old.front_ends, &new.front_ends);
    let (sticky_removed, sticky_added) = diff_maps(&old.sticky_groups, &new.sticky_groups);
    FamilyChange {
        cluster_ips_removed: missing(&old.cluster_ips, &new.cluster_ips),
        cluster_ips_added: missing(&new.cluster_ips, &old.cluster_ips),
        front_ends_removed: front_ends_removed
            .into_iter()
            .map(|(key, value)| (*key, value))
            .collect(),
        front_ends_added: front_ends_added.into_iter().map(|(key, value)| (*key, value)).collect(),
        sticky_removed,
        sticky_added,
        local_endpoints_removed: missing(&old.local_endpoints, &new.local_endpoints),
        local_endpoints_added: missing(&new.local_endpoints, &old.local_endpoints),
    }
}

fn missing(of: &BTreeSet<IpAddr>, from: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    of.difference(from).copied().collect()
}

type Entries<'a, K, V> = Vec<(&'a K, &'a V)>;

fn diff_maps<'a, K: Ord, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> (Entries<'a, K, V>, Entries<'a, K, V>) {
    let removed = old.iter().filter(|(key, value)| new.get(key) != Some(value)).collect();
    let added = new.iter().filter(|(key, value)| old.get(key) != Some(value)).collect();
    (removed, added)
}
