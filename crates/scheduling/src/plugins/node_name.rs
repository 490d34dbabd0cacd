//! NodeName: a pod that names its node goes there or nowhere.

use super::Row;
use crate::{
    event::Event,
    framework::{Cycle, FilterPlugin, NodeFilter, Plugin, Prepared, Rejection},
    node::NodeInfo,
    pod::PodInfo,
};

pub(super) const ROW: Row = Row { name: "NodeName", weight: 0, build: |_| Ok(Box::new(NodeName)) };

const REASON: &str = "node(s) didn't match the requested node name";

#[derive(Debug)]
struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn filter(&self) -> Option<&dyn FilterPlugin> {
        Some(self)
    }

    fn wakes(&self, event: &Event<'_>, _pod: &PodInfo) -> bool {
        matches!(event, Event::Node(change) if change.is_added())
    }
}

impl FilterPlugin for NodeName {
    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        Ok(match cycle.pod.node_name() {
            None => Prepared::Skip,
            Some(name) => Prepared::Check(Box::new(Check(name))),
        })
    }
}

#[derive(Debug)]
struct Check<'a>(&'a str);

impl NodeFilter for Check<'_> {
    fn check(&self, node: &NodeInfo, rejection: &mut Rejection) -> bool {
        node.name() == self.0 || rejection.reject_for_good(REASON)
    }
}
