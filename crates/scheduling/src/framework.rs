//! What a plugin is: small traits by extension point, and the words they answer in.
//!
//! A plugin is configured once per profile. For each pod it is asked once to prepare, and what it hands
//! back is then asked about many nodes; that is where the time goes, so nothing there allocates.

use std::{fmt::Debug, sync::Arc};

use k8s_openapi::jiff::Timestamp;

use crate::{
    event::Event,
    node::{NodeInfo, Slot},
    pod::PodInfo,
    snapshot::Snapshot,
};

/// Why a node, or all of them, will not do; the text is what users see and tools count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// One of upstream's fixed texts.
    Text(&'static str),
    /// A text made for the pod or node, shared by all that give it.
    Shared(Arc<str>),
}

impl Reason {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl From<&'static str> for Reason {
    fn from(text: &'static str) -> Self {
        Self::Text(text)
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self::Shared(Arc::from(text))
    }
}

impl From<&Arc<str>> for Reason {
    fn from(text: &Arc<str>) -> Self {
        Self::Shared(Arc::clone(text))
    }
}

/// A plugin's no, for one node or for the whole pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// Whether removing other pods could not change the answer.
    pub unresolvable: bool,
    /// Why; at least one once rejected.
    pub reasons: Vec<Reason>,
}

impl Rejection {
    /// A no that removing other pods may turn into a yes.
    pub fn unschedulable(reason: impl Into<Reason>) -> Self {
        Self { unresolvable: false, reasons: vec![reason.into()] }
    }

    /// A no that stays.
    pub fn unresolvable(reason: impl Into<Reason>) -> Self {
        Self { unresolvable: true, reasons: vec![reason.into()] }
    }

    /// Adds a reason that removing other pods may take away. Answers `false`, the word for a rejected node.
    pub fn reject(&mut self, reason: impl Into<Reason>) -> bool {
        self.reasons.push(reason.into());
        false
    }

    /// Adds a reason that stays. Answers `false`.
    pub fn reject_for_good(&mut self, reason: impl Into<Reason>) -> bool {
        self.unresolvable = true;
        self.reject(reason)
    }

    pub(crate) fn clear(&mut self) {
        self.unresolvable = false;
        self.reasons.clear();
    }

    /// All reasons in one text.
    pub fn message(&self) -> String {
        self.reasons.iter().map(Reason::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// Everything a plugin may look at while one pod is placed.
#[derive(Clone, Copy, Debug)]
pub struct Cycle<'a> {
    /// The cluster.
    pub snapshot: &'a Snapshot,
    /// The pod to place.
    pub pod: &'a PodInfo,
    /// The time, for pods that have not started yet.
    pub now: Timestamp,
}

/// What a filter makes of a pod before it sees nodes.
#[derive(Debug)]
pub enum Prepared<'a> {
    /// Has no opinion on this pod.
    Skip,
    /// Wants to look at every node.
    Check(Box<dyn NodeFilter + 'a>),
    /// Knows that only these nodes can do, and wants to look at them.
    CheckOnly(Vec<String>, Box<dyn NodeFilter + 'a>),
}

/// A configured plugin.
pub trait Plugin: Debug + Send + Sync {
    /// The name under which configuration and events know it.
    fn name(&self) -> &'static str;

    /// Whether a pod may be queued at all.
    fn admit(&self, _pod: &PodInfo) -> Result<(), Rejection> {
        Ok(())
    }

    /// The plugin as a filter, if it is one.
    fn filter(&self) -> Option<&dyn FilterPlugin> {
        None
    }

    /// The plugin as a scorer, if it is one.
    fn score(&self) -> Option<&dyn ScorePlugin> {
        None
    }

    /// Whether pods that nothing else can help are to be helped by removing others.
    fn preempts(&self) -> bool {
        false
    }

    /// Whether `event` may let `pod`, which this plugin rejected, be placed.
    fn wakes(&self, _event: &Event<'_>, _pod: &PodInfo) -> bool {
        false
    }
}

/// Extension point: says which nodes will not do.
pub trait FilterPlugin {
    /// Looks at the pod and the cluster once.
    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection>;
}

/// A filter that is ready for nodes.
pub trait NodeFilter: Debug {
    /// Whether `node` will do; if not, the reasons are added to `rejection`.
    fn check(&self, node: &NodeInfo, rejection: &mut Rejection) -> bool;

    /// Takes note that `pod` came to `node` (`change` 1) or left it (`change` -1), while a preemption or
    /// a nomination is being thought through. The node's own sums are kept by the caller.
    fn update(&mut self, _pod: &PodInfo, _node: &NodeInfo, _change: i64) {}
}

/// Extension point: says which nodes are better.
pub trait ScorePlugin {
    /// Looks at the pod and the nodes that will do once; `None` for no opinion.
    fn prepare<'a>(
        &'a self,
        cycle: Cycle<'a>,
        feasible: &[Slot],
    ) -> Option<Box<dyn NodeScore + 'a>>;
}

/// A scorer that is ready for nodes.
pub trait NodeScore: Debug {
    /// How good `node` is; any scale.
    fn score(&self, node: &NodeInfo) -> i64;

    /// Brings the scores of all nodes to 0 to [`NODE_SCORE_MAX`](crate::limits::NODE_SCORE_MAX).
    fn normalize(&self, _nodes: &[Slot], _scores: &mut [i64]) {}
}

/// Stretches scores so that the best is the maximum; `reverse` when less is better.
pub(crate) fn normalize_to_max(scores: &mut [i64], reverse: bool) {
    use crate::limits::NODE_SCORE_MAX;
    let highest = scores.iter().copied().max().unwrap_or_default().max(0);
    for score in scores {
        *score = match (highest, reverse) {
            (0, false) => continue,
            (0, true) => NODE_SCORE_MAX,
            (_, false) => NODE_SCORE_MAX * *score / highest,
            (_, true) => NODE_SCORE_MAX - NODE_SCORE_MAX * *score / highest,
        };
    }
}
