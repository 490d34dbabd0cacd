//! The kernel.

pub mod conntrack;
pub mod netlink;
pub mod nft;
pub mod cgroup;
pub mod mount;
pub mod namespace;
pub mod overlay;
pub mod process;
