//! The table: one file per kind, one row per served version.

mod config_map;

use std::sync::{Arc, LazyLock};

use crate::resource::Resource;

/// Every built-in resource, in the order of discovery. Adding a kind is one file and one line here.
static ALL: LazyLock<Vec<Arc<Resource>>> = LazyLock::new(|| {
    let files: &[fn() -> Vec<Resource>] = &[config_map::rows];
    files.iter().flat_map(|rows| rows()).map(Arc::new).collect()
});

/// Every built-in resource, in the order of discovery.
pub fn all() -> &'static [Arc<Resource>] {
    &ALL
}
