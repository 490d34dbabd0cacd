//! The kernel's state, owned: what was applied, what changes, whether it is still there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use linux::conntrack::Conntrack;
use linux::netlink::{NetlinkError, SysctlError, set_sysctl};
use linux::nft::{Batch, CommitError, Family, Nftables, ObservedTable, Operation, TableId};
use netplan::service::{FamilyPlan, Plan};

use crate::config::Config;
use crate::rules::{self, Layout};
use crate::stale;

/// The kernel could not be brought to a plan.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The kernel's rules are out of reach.
    #[error("cannot reach the kernel's packet rules")]
    Reach(#[source] NetlinkError),
    /// The kernel refused the rules.
    #[error("cannot apply the rules of Services")]
    Apply(#[source] CommitError),
    /// The rules could not be read back.
    #[error("cannot read back the rules of Services")]
    Observe(#[source] NetlinkError),
    /// Stale UDP flows could not be forgotten.
    #[error("cannot forget UDP flows to endpoints that are gone")]
    Forget(#[source] NetlinkError),
    /// A kernel setting could not be made.
    #[error("cannot prepare the kernel for node ports on loopback addresses")]
    Setting(#[source] SysctlError),
}

/// The proxy's share of one network namespace.
#[derive(Debug)]
pub struct Proxy {
    nft: Nftables,
    conntrack: Conntrack,
    layouts: Vec<Layout>,
    applied: Option<Plan>,
    node_addresses: Vec<IpAddr>,
}

impl Proxy {
    /// Takes hold of the network namespace of the calling thread; changes no rules yet.
    pub fn open(config: &Config) -> Result<Self, ProxyError> {
        if config.localhost_node_ports {
            set_sysctl("ipv4/conf/all/route_localnet", "1").map_err(ProxyError::Setting)?;
        }
        let mut nft = Nftables::open().map_err(ProxyError::Reach)?;
        let mut layouts = vec![Layout::ipv4(config)];
        let ipv6 = Layout::ipv6(config);
        // A kernel without IPv6 has no such tables; one that has them takes an empty one.
        let mut probe = Batch::new();
        probe.push(&ipv6.table, Operation::AddTable);
        match nft.commit(&probe) {
            Ok(()) => layouts.push(ipv6),
            Err(error) => tracing::info!(%error, "no IPv6 Services on this kernel"),
        }
        let conntrack = Conntrack::open().map_err(ProxyError::Reach)?;
        Ok(Self { nft, conntrack, layouts, applied: None, node_addresses: Vec::new() })
    }

    /// The number by which a [`linux::nft::Monitor`] tells this proxy's changes from others'.
    pub fn port(&self) -> u32 {
        self.nft.port()
    }

    /// The proxy's tables.
    pub fn tables(&self) -> Vec<TableId> {
        self.layouts.iter().map(|layout| layout.table.clone()).collect()
    }

    /// The node's own addresses, by which UDP flows to node ports are known.
    pub fn set_node_addresses(&mut self, addresses: Vec<IpAddr>) {
        self.node_addresses = addresses;
    }

    /// What the kernel was brought to.
    pub fn applied(&self) -> Option<&Plan> {
        self.applied.as_ref()
    }

    /// Brings the kernel to `plan`, touching only what changed since the last plan; the first time, and
    /// when the kernel refuses the difference, everything. Returns whether anything was changed.
    pub fn apply(&mut self, plan: Plan) -> Result<bool, ProxyError> {
        let old = self.applied.take();
        let changed = match &old {
            Some(old) => self.apply_difference(old, &plan)?,
            None => self.replace(&plan)?,
        };
        let before = old.unwrap_or_default();
        let forgotten = self.forget_stale(&before, &plan);
        self.applied = Some(plan);
        forgotten?;
        Ok(changed)
    }

    /// Brings the kernel to the last plan anew, whatever is there.
    pub fn repair(&mut self) -> Result<(), ProxyError> {
        let Some(plan) = self.applied.take() else { return Ok(()) };
        let outcome = self.replace(&plan);
        self.applied = Some(plan);
        outcome.map(|_| ())
    }

    /// Whether the kernel still has what was applied, by the number of rules and elements.
    pub fn is_intact(&mut self) -> Result<bool, ProxyError> {
        let Some(plan) = &self.applied else { return Ok(true) };
        for layout in &self.layouts {
            let mut batch = Batch::new();
            rules::replace(&mut batch, layout, family_of(plan, layout));
            let observed = self.nft.observe(&layout.table).map_err(ProxyError::Observe)?;
            if observed.as_ref() != Some(&expected(&batch)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes every rule of a proxy from the network namespace of the calling thread, whether one runs or
    /// not.
    pub fn remove() -> Result<(), ProxyError> {
        let mut nft = Nftables::open().map_err(ProxyError::Reach)?;
        for family in [Family::Ipv4, Family::Ipv6] {
            let mut batch = Batch::new();
            batch.remove_table(&rules::table(family));
            match nft.commit(&batch) {
                // A kernel without IPv6 refuses to hear of its table, which is as good as removed.
                Err(error) if family == Family::Ipv6 => tracing::debug!(%error, "no IPv6 rules"),
                outcome => outcome.map_err(ProxyError::Apply)?,
            }
        }
        Ok(())
    }

    /// Removes every rule of the proxy.
    pub fn reset(&mut self) -> Result<(), ProxyError> {
        let mut batch = Batch::new();
        for layout in &self.layouts {
            batch.remove_table(&layout.table);
        }
        self.applied = None;
        self.nft.commit(&batch).map_err(ProxyError::Apply)
    }

    fn apply_difference(&mut self, old: &Plan, new: &Plan) -> Result<bool, ProxyError> {
        let mut batch = Batch::new();
        for layout in &self.layouts {
            rules::change(&mut batch, layout, family_of(old, layout), family_of(new, layout));
        }
        if batch.is_empty() {
            return Ok(false);
        }
        match self.nft.commit(&batch) {
            Ok(()) => Ok(true),
            Err(error) => {
                tracing::warn!(%error, "the rules are not as they were left; replacing all");
                self.replace(new)
            }
        }
    }

    fn replace(&mut self, plan: &Plan) -> Result<bool, ProxyError> {
        let mut batch = Batch::new();
        for layout in &self.layouts {
            rules::replace(&mut batch, layout, family_of(plan, layout));
        }
        self.nft.commit(&batch).map_err(ProxyError::Apply)?;
        Ok(true)
    }

    fn forget_stale(&mut self, old: &Plan, new: &Plan) -> Result<(), ProxyError> {
        if !stale::may_have_stale_flows(old, new) {
            return Ok(());
        }
        let addresses = &self.node_addresses;
        let forgotten = self
            .conntrack
            .forget(|flow| stale::is_stale(flow, old, new, addresses))
            .map_err(ProxyError::Forget)?;
        if forgotten > 0 {
            tracing::debug!(forgotten, "forgot stale UDP flows");
        }
        Ok(())
    }
}

fn family_of<'a>(plan: &'a Plan, layout: &Layout) -> &'a FamilyPlan {
    if layout.is_ipv4() { &plan.ipv4 } else { &plan.ipv6 }
}

/// What a table must look like after `batch`, which makes it anew.
fn expected(batch: &Batch) -> ObservedTable {
    let mut table = ObservedTable::default();
    let mut elements: BTreeMap<String, usize> = BTreeMap::new();
    for (_, operation) in batch.operations() {
        match operation {
            Operation::AddChain(chain) => {
                table.chains.entry(chain.name.clone()).or_default().is_base = chain.base.is_some();
            }
            Operation::AddRule(chain, _) => {
                table.chains.entry(chain.clone()).or_default().rules += 1;
            }
            Operation::AddSet(set) => {
                *elements.entry(set.name.clone()).or_default() += set.elements.len();
            }
            Operation::AddElements(set, added) => {
                *elements.entry(set.clone()).or_default() += added.len();
            }
            // Making a table anew deletes and flushes nothing that it adds.
            Operation::AddTable
            | Operation::DeleteTable
            | Operation::FlushChain(_)
            | Operation::DeleteChain(_)
            | Operation::DeleteSet(_)
            | Operation::DeleteElements(..) => {}
        }
    }
    table.sets = elements;
    table
}
