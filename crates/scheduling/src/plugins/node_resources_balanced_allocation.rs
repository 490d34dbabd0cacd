//! NodeResourcesBalancedAllocation: better where CPU and memory are used up evenly.

use super::{Row, node_resources_fit::Counted};
use crate::{
    config::{BalancedArguments, ProfileConfig},
    framework::{Cycle, NodeScore, Plugin, ScorePlugin},
    limits::NODE_SCORE_MAX,
    node::{NodeInfo, Slot},
    pod::PodInfo,
    profile::ProfileError,
};

pub(super) const ROW: Row = Row {
    name: "NodeResourcesBalancedAllocation",
    weight: 1,
    build: |config| Ok(Box::new(Balanced::new(config)?)),
};

#[derive(Debug)]
struct Balanced {
    resources: Vec<Counted>,
}

impl Balanced {
    fn new(config: &ProfileConfig) -> Result<Self, ProfileError> {
        let arguments: BalancedArguments = config.arguments(ROW.name)?;
        let resources = arguments.resources.iter().map(|item| Counted::named(&item.name)).collect();
        Ok(Self { resources })
    }
}

impl Plugin for Balanced {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn score(&self) -> Option<&dyn ScorePlugin> {
        Some(self)
    }
}

impl ScorePlugin for Balanced {
    fn prepare<'a>(
        &'a self,
        cycle: Cycle<'a>,
        _feasible: &[Slot],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        Some(Box::new(Score { resources: &self.resources, pod: cycle.pod }))
    }
}

#[derive(Debug)]
struct Score<'a> {
    resources: &'a [Counted],
    pod: &'a PodInfo,
}

impl Score<'_> {
    fn fractions(&self, node: &NodeInfo) -> impl Iterator<Item = f64> {
        let counted =
            self.resources.iter().filter(|resource| !resource.is_unwanted(&self.pod.requests));
        counted.filter_map(move |resource| {
            let capacity = resource.of(&node.allocatable);
            let requested =
                resource.of(&node.requested).saturating_add(resource.of(&self.pod.requests));
            (capacity != 0).then(|| (requested as f64 / capacity as f64).min(1.0))
        })
    }
}

impl NodeScore for Score<'_> {
    /// One minus the standard deviation of the used shares.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float becomes the nearest whole number there is, as upstream's does"
    )]
    fn score(&self, node: &NodeInfo) -> i64 {
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        let (mut low, mut high) = (1.0_f64, 0.0_f64);
        for fraction in self.fractions(node) {
            count += 1.0;
            sum += fraction;
            squares += fraction * fraction;
            low = low.min(fraction);
            high = high.max(fraction);
        }
        let deviation = if count < 2.0 {
            0.0
        } else if count == 2.0 {
            (high - low) / 2.0
        } else {
            (squares / count - (sum / count) * (sum / count)).max(0.0).sqrt()
        };
        ((1.0 - deviation) * NODE_SCORE_MAX as f64) as i64
    }
}
