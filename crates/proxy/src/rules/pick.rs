//! The shared chains that pick one of N endpoints of a front end at random.

use std::collections::BTreeSet;

use linux::nft::{Batch, Chain, Expression, Operation, Rule};
use netplan::service::{Action, FamilyPlan, FrontEnd, Handling};

use super::parts::{ENDPOINT, KEY, Layout};

/// A chain that picks one of `count` endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pick {
    /// For connections that pods and the node make.
    pub(super) inside: bool,
    /// The key is a node port.
    pub(super) node_port: bool,
    /// How many there are.
    pub(super) count: usize,
}

impl Pick {
    pub(super) fn of(front_end: &FrontEnd, inside: bool, count: usize) -> Self {
        Self { inside, node_port: front_end.address.is_none(), count }
    }

    /// Every chain that `plan` needs.
    pub(super) fn all_of(plan: &FamilyPlan) -> BTreeSet<Self> {
        plan.front_ends
            .iter()
            .flat_map(|(front_end, handling)| needed(front_end, handling))
            .collect()
    }

    pub(super) fn name(&self) -> String {
        let inside = if self.inside { "inside-" } else { "" };
        let node_port = if self.node_port { "node-port-" } else { "" };
        format!("{inside}{node_port}pick-{}", self.count)
    }

    pub(super) fn endpoints(&self) -> &'static str {
        if self.inside { "endpoints-inside" } else { "endpoints" }
    }

    pub(super) fn add(&self, batch: &mut Batch, layout: &Layout) {
        let number = layout.behind_key();
        let modulus = u32::try_from(self.count).unwrap_or(u32::MAX);
        let any = Expression::Random { modulus, into: number };
        // Between two lookups the map may have changed and be shorter; the first is always there.
        let first = Expression::Constant { value: vec![0; 4], into: number };
        batch.push(&layout.table, Operation::AddChain(Chain::regular(self.name())));
        for choice in [any, first] {
            let mut expressions = layout.load_key(self.node_port);
            expressions.push(choice);
            expressions.push(Expression::Map {
                map: self.endpoints().to_owned(),
                register: KEY,
                into: ENDPOINT,
            });
            expressions.push(layout.to_endpoint());
            batch.push(&layout.table, Operation::AddRule(self.name(), Rule::new(expressions)));
        }
    }
}

fn needed(front_end: &FrontEnd, handling: &Handling) -> impl Iterator<Item = Pick> {
    let count = |action: &Action| match action {
        Action::Balance(endpoints) => Some(endpoints.len()),
        Action::Sticky(_) | Action::Reject | Action::Drop => None,
    };
    let outside = count(&handling.outside).map(|count| Pick::of(front_end, false, count));
    let inside = handling.inside.as_ref().and_then(count);
    let inside = inside.map(|count| Pick::of(front_end, true, count));
    outside.into_iter().chain(inside)
}
