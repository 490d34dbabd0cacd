//! NodePorts: two pods cannot have the same port of one host.

use super::Row;
use crate::{
    event::Event,
    framework::{Cycle, FilterPlugin, NodeFilter, Plugin, Prepared, Rejection},
    node::NodeInfo,
    pod::PodInfo,
    ports::HostPort,
};

pub(super) const ROW: Row =
    Row { name: "NodePorts", weight: 0, build: |_| Ok(Box::new(NodePorts)) };

const REASON: &str = "node(s) didn't have free ports for the requested pod ports";

#[derive(Debug)]
struct NodePorts;

fn conflict(wanted: &[HostPort], taken: &[HostPort]) -> bool {
    wanted.iter().any(|wanted| taken.iter().any(|taken| wanted.conflicts(taken)))
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn filter(&self) -> Option<&dyn FilterPlugin> {
        Some(self)
    }

    fn wakes(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        match event {
            Event::Node(change) => change.is_added(),
            Event::AssignedPod(change) => {
                change.deleted().is_some_and(|gone| conflict(&pod.ports, &gone.ports))
            }
            _ => false,
        }
    }
}

impl FilterPlugin for NodePorts {
    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        if cycle.pod.ports.is_empty() {
            return Ok(Prepared::Skip);
        }
        Ok(Prepared::Check(Box::new(Check(&cycle.pod.ports))))
    }
}

#[derive(Debug)]
struct Check<'a>(&'a [HostPort]);

impl NodeFilter for Check<'_> {
    fn check(&self, node: &NodeInfo, rejection: &mut Rejection) -> bool {
        let taken =
            node.pods_with_ports > 0 && node.pods.iter().any(|pod| conflict(self.0, &pod.ports));
        !taken || rejection.reject(REASON)
    }
}
