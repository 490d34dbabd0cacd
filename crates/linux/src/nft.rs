//! nf_tables without the `nft` program: a typed ruleset, encoded into one atomic netlink batch.
//!
//! [`Batch`] collects operations, [`Nftables::commit`] hands them to the kernel, which carries out all or
//! none of them; a refusal names the object. Not here: what the rules should say, which is decided by
//! `netplan` and the components.

mod batch;
mod constants;
mod encode;
mod expression;
mod model;
mod monitor;
mod observe;

pub use batch::{Batch, CommitError, Nftables, Operation};
pub use expression::{
    ConntrackKey, DynamicOperation, Expression, FibResult, MetaKey, NatKind, PayloadBase, Register,
    RejectWith,
};
pub use model::{
    BaseChain, Chain, ChainKind, Element, Family, Field, Hook, Key, Policy, Rule, Set, SetData,
    TableId, Value, Verdict, interval_elements,
};
pub use monitor::{ForeignChange, Monitor};
pub use observe::{ObservedChain, ObservedElement, ObservedTable};
