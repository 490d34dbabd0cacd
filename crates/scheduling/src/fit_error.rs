//! Why no node will do, counted per reason, in the words that users and tools know.

use std::{collections::BTreeSet, fmt};

use crate::{
    framework::{Reason, Rejection},
    node::Slot,
};

/// What became of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NodeStatus {
    /// Not looked at.
    #[default]
    Unseen,
    /// Looked at and found good.
    Fits,
    /// Rejected; removing pods may help.
    Unschedulable,
    /// Rejected; removing pods cannot help.
    Unresolvable,
}

/// The outcome over all nodes.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// Number of nodes in the cluster.
    pub nodes: usize,
    /// Plugins that rejected the pod or a node: their hints decide when to try again.
    pub plugins: BTreeSet<&'static str>,
    /// The reason when the pod was rejected before any node was looked at.
    pub pod_rejection: Option<String>,
    reasons: Vec<(Reason, usize)>,
    statuses: Vec<NodeStatus>,
    seen: usize,
    /// What holds for nodes that nobody looked at.
    unseen_reason: Option<Reason>,
}

impl Diagnosis {
    pub(crate) fn new(nodes: usize, slots: usize) -> Self {
        Self { nodes, statuses: vec![NodeStatus::Unseen; slots], ..Self::default() }
    }

    pub(crate) fn add(&mut self, slot: Slot, rejection: &Rejection) {
        self.statuses[slot.index()] = if rejection.unresolvable {
            NodeStatus::Unresolvable
        } else {
            NodeStatus::Unschedulable
        };
        self.seen += 1;
        for reason in &rejection.reasons {
            match self.reasons.iter_mut().find(|(known, _)| known == reason) {
                Some((_, count)) => *count += 1,
                None => self.reasons.push((reason.clone(), 1)),
            }
        }
    }

    pub(crate) fn set_unseen_reason(&mut self, reason: Reason) {
        self.unseen_reason = Some(reason);
    }

    pub(crate) fn set_fits(&mut self, slot: Slot) {
        self.statuses[slot.index()] = NodeStatus::Fits;
    }

    pub(crate) fn status(&self, slot: Slot) -> NodeStatus {
        self.statuses.get(slot.index()).copied().unwrap_or_default()
    }

    /// Number of nodes that were rejected one by one.
    pub(crate) fn rejected(&self) -> usize {
        self.seen
    }

    /// Counts and reasons, sorted as text, in one sentence; empty without any.
    fn histogram(&self) -> String {
        let mut counts = self.reasons.clone();
        let unseen = self.nodes.saturating_sub(self.seen);
        if let Some(reason) = self.unseen_reason.as_ref().filter(|_| unseen > 0) {
            match counts.iter_mut().find(|(known, _)| known == reason) {
                Some((_, count)) => *count += unseen,
                None => counts.push((reason.clone(), unseen)),
            }
        }
        let mut lines: Vec<String> =
            counts.iter().map(|(reason, count)| format!("{count} {}", reason.as_str())).collect();
        lines.sort();
        lines.join(", ")
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "0/{} nodes are available:", self.nodes)?;
        match &self.pod_rejection {
            Some(message) => write!(formatter, " {message}."),
            None => match self.histogram() {
                histogram if histogram.is_empty() => Ok(()),
                histogram => write!(formatter, " {histogram}."),
            },
        }
    }
}

/// No node will do.
#[derive(Clone, Debug, thiserror::Error)]
pub struct FitError {
    /// Why.
    pub diagnosis: Diagnosis,
    /// What preemption had to say.
    pub preemption: String,
}

impl fmt::Display for FitError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.diagnosis)?;
        if !self.preemption.is_empty() {
            write!(formatter, " {}", self.preemption)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_and_sorted_as_text() {
        let mut diagnosis = Diagnosis::new(12, 12);
        for slot in 0..10 {
            diagnosis.add(Slot(slot), &Rejection::unschedulable("Insufficient cpu"));
        }
        let two = Rejection {
            unresolvable: false,
            reasons: vec!["Insufficient cpu".into(), "Too many pods".into()],
        };
        diagnosis.add(Slot(10), &two);
        diagnosis.add(
            Slot(11),
            &Rejection::unresolvable("node(s) had untolerated taint {k: v}".to_owned()),
        );
        let error = FitError { diagnosis, preemption: String::new() };
        assert_eq!(
            error.to_string(),
            "0/12 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint {k: v}, \
             11 Insufficient cpu."
        );
    }

    #[test]
    fn a_rejected_pod_is_not_counted_per_node() {
        let mut diagnosis = Diagnosis::new(3, 3);
        diagnosis.pod_rejection =
            Some("pod has unbound immediate PersistentVolumeClaims".to_owned());
        let preemption =
            "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
        let error = FitError { diagnosis, preemption: preemption.to_owned() };
        assert_eq!(
            error.to_string(),
            "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. \
             preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        );
    }
}
