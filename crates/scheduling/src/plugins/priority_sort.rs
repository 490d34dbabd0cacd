//! PrioritySort: more important pods leave the queue first, then those that came first.

use std::cmp::Ordering;

use k8s_openapi::jiff::Timestamp;

use super::Row;
use crate::framework::Plugin;

pub(super) const ROW: Row =
    Row { name: "PrioritySort", weight: 0, build: |_| Ok(Box::new(PrioritySort)) };

#[derive(Debug)]
struct PrioritySort;

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        ROW.name
    }
}

/// The order of the queue; `Less` is tried earlier.
pub fn order(left: (i32, Timestamp), right: (i32, Timestamp)) -> Ordering {
    right.0.cmp(&left.0).then(left.1.cmp(&right.1))
}
