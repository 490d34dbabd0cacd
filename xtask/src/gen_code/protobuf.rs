//! The table of protobuf messages, from the `.proto` files in the crate `k8s-rs-pb`.

use anyhow::{Result, bail};

/// Renders the table.
pub(super) fn generate() -> Result<String> {
    bail!("not available")
}
