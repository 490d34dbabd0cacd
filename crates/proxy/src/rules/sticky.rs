//! Session affinity: a chain for each group, and for each endpoint a chain and a set of clients.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use linux::nft::{
    Batch, Chain, DynamicOperation, Element, Expression, Field, Key, Operation, Rule, Set, SetData,
    Verdict,
};
use netplan::service::{FamilyChange, FamilyPlan, StickyGroup};

use super::delete_chain;
use super::parts::{ENDPOINT, KEY, Layout, goto};
use crate::limits::AFFINITY_CLIENTS_MAX;

/// An endpoint that remembers its clients; shared by the groups of a Service port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Keeper {
    service: Arc<str>,
    endpoint: SocketAddr,
    timeout_seconds: u32,
}

impl Keeper {
    fn all_of(plan: &FamilyPlan) -> BTreeSet<Self> {
        plan.sticky_groups.values().flat_map(Self::of_group).collect()
    }

    fn of_group(group: &StickyGroup) -> impl Iterator<Item = Self> {
        group.endpoints.iter().map(|endpoint| Self {
            service: group.service.clone(),
            endpoint: *endpoint,
            timeout_seconds: group.timeout_seconds,
        })
    }

    /// The timeout is part of the name: a set's cannot be changed.
    fn name(&self, prefix: &str) -> String {
        let address = self.endpoint.ip().to_string().replace(':', ".");
        let (port, timeout) = (self.endpoint.port(), self.timeout_seconds);
        format!("{prefix}-{}-{address}/{port}-{timeout}s", plain(&self.service))
    }

    fn chain(&self) -> String {
        self.name("endpoint")
    }

    fn set(&self) -> String {
        self.name("affinity")
    }

    fn add(&self, batch: &mut Batch, layout: &Layout) {
        let timeout = Duration::from_secs(u64::from(self.timeout_seconds.max(1)));
        let key = vec![layout.address_field()];
        let set = Set::dynamic(self.set(), key, SetData::None, timeout, AFFINITY_CLIENTS_MAX);
        batch.push(&layout.table, Operation::AddSet(set));
        batch.push(&layout.table, Operation::AddChain(Chain::regular(self.chain())));
        let remember = vec![
            layout.source(KEY),
            Expression::Dynamic {
                operation: DynamicOperation::Update,
                set: self.set(),
                key: KEY,
                data: None,
                timeout: Some(timeout),
            },
        ];
        let address = Key::new().address(self.endpoint.ip()).as_bytes().to_vec();
        let port = ENDPOINT.after(address.len());
        let forward = vec![
            Expression::Constant { value: address, into: ENDPOINT },
            Expression::Constant { value: self.endpoint.port().to_be_bytes().to_vec(), into: port },
            layout.to_endpoint(),
        ];
        // A full set takes nobody in: the second rule serves who is not remembered.
        for expressions in [[remember, forward.clone()].concat(), forward] {
            batch.push(&layout.table, Operation::AddRule(self.chain(), Rule::new(expressions)));
        }
    }

    fn delete_set(&self, batch: &mut Batch, layout: &Layout) {
        batch.push(&layout.table, Operation::DeleteSet(self.set()));
    }
}

/// The chain of a sticky group.
pub(super) fn chain_of(group: &str) -> String {
    format!("sticky-{}", plain(group))
}

/// Names in the form that `nft` can read back.
fn plain(name: &str) -> String {
    name.replace(':', "/")
}

/// What changes in sticky groups.
pub(super) struct Change<'a> {
    keepers_new: Vec<Keeper>,
    keepers_gone: Vec<Keeper>,
    groups_new: &'a [(&'a Arc<str>, &'a StickyGroup)],
    groups_gone: Vec<&'a Arc<str>>,
}

impl<'a> Change<'a> {
    pub(super) fn between(
        old: &FamilyPlan,
        new: &FamilyPlan,
        change: &'a FamilyChange<'a>,
    ) -> Self {
        let unchanged = change.sticky_added.is_empty() && change.sticky_removed.is_empty();
        let keepers = |plan| if unchanged { BTreeSet::new() } else { Keeper::all_of(plan) };
        let (before, after) = (keepers(old), keepers(new));
        let removed = change.sticky_removed.iter().map(|(name, _)| *name);
        Self {
            keepers_new: after.difference(&before).cloned().collect(),
            keepers_gone: before.difference(&after).cloned().collect(),
            groups_new: &change.sticky_added,
            groups_gone: removed.filter(|name| !new.sticky_groups.contains_key(*name)).collect(),
        }
    }

    pub(super) fn add(&self, batch: &mut Batch, layout: &Layout) {
        for keeper in &self.keepers_new {
            keeper.add(batch, layout);
        }
        for (name, group) in self.groups_new {
            add_group(batch, layout, &chain_of(name), group);
        }
    }

    pub(super) fn delete(&self, batch: &mut Batch, layout: &Layout) {
        for name in &self.groups_gone {
            delete_chain(batch, layout, &chain_of(name));
        }
        for keeper in &self.keepers_gone {
            delete_chain(batch, layout, &keeper.chain());
            keeper.delete_set(batch, layout);
        }
    }
}

fn add_group(batch: &mut Batch, layout: &Layout, chain: &str, group: &StickyGroup) {
    let mut push = |operation| batch.push(&layout.table, operation);
    push(Operation::AddChain(Chain::regular(chain)));
    push(Operation::FlushChain(chain.to_owned()));
    let mut choices = Vec::new();
    for (number, keeper) in (0_u32..).zip(Keeper::of_group(group)) {
        let known = vec![
            layout.source(KEY),
            Expression::InSet { set: keeper.set(), register: KEY },
            goto(&keeper.chain()),
        ];
        push(Operation::AddRule(chain.to_owned(), Rule::new(known)));
        let to = Verdict::Goto(keeper.chain());
        choices.push(Element::verdict(Key::new().number(number), to));
    }
    let modulus = u32::try_from(choices.len()).unwrap_or(u32::MAX);
    let choices = Set::map("", vec![Field::Number], SetData::Verdict, choices);
    let choose = vec![
        Expression::Random { modulus, into: KEY },
        Expression::OwnVerdictMap { map: choices, register: KEY },
    ];
    push(Operation::AddRule(chain.to_owned(), Rule::new(choose)));
}
