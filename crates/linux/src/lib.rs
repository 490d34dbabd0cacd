//! The kernel.

pub mod conntrack;
pub mod netlink;
pub mod nft;
