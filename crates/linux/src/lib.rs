//! The kernel.

pub mod cgroup;
pub mod conntrack;
pub mod directory;
pub mod disk_usage;
pub mod folder_watch;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod overlay;
pub mod process;
pub mod requirements;
