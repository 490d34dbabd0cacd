//! ImageLocality: better where large images already are, unless only few nodes have them.

use super::Row;
use crate::{
    framework::{Cycle, NodeScore, Plugin, ScorePlugin},
    limits::{IMAGE_BYTES_MIN, IMAGE_BYTES_PER_CONTAINER_MAX, NODE_SCORE_MAX},
    node::{NodeInfo, Slot},
};

pub(super) const ROW: Row =
    Row { name: "ImageLocality", weight: 1, build: |_| Ok(Box::new(ImageLocality)) };

#[derive(Debug)]
struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn score(&self) -> Option<&dyn ScorePlugin> {
        Some(self)
    }
}

impl ScorePlugin for ImageLocality {
    fn prepare<'a>(
        &'a self,
        cycle: Cycle<'a>,
        _feasible: &[Slot],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let nodes = cycle.snapshot.node_count().max(1) as f64;
        let images: Vec<_> = cycle
            .pod
            .images
            .iter()
            .filter_map(|image| match cycle.snapshot.nodes_with_image(image) {
                0 => None,
                having => Some((image.as_str(), f64::from(having) / nodes)),
            })
            .collect();
        let containers = i64::try_from(cycle.pod.images.len()).unwrap_or(i64::MAX);
        (!images.is_empty()).then(|| Box::new(Score { images, containers }) as Box<dyn NodeScore>)
    }
}

#[derive(Debug)]
struct Score<'a> {
    /// Images that any node has, and the share of nodes that do.
    images: Vec<(&'a str, f64)>,
    containers: i64,
}

impl NodeScore for Score<'_> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float becomes the nearest whole number there is, as upstream's does"
    )]
    fn score(&self, node: &NodeInfo) -> i64 {
        let present = self.images.iter().filter_map(|(image, spread)| {
            node.images.get(*image).map(|size| (*size as f64 * spread) as i64)
        });
        let highest = IMAGE_BYTES_PER_CONTAINER_MAX.saturating_mul(self.containers.max(1));
        let sum = present.sum::<i64>().clamp(IMAGE_BYTES_MIN, highest);
        let scaled = i128::from(NODE_SCORE_MAX) * i128::from(sum - IMAGE_BYTES_MIN)
            / i128::from(highest - IMAGE_BYTES_MIN);
        i64::try_from(scaled).unwrap_or(NODE_SCORE_MAX)
    }
}
