//! NodeResourcesFit: what the pod asks for must be free on the node; how much is left scores.

use std::sync::Arc;

use super::Row;
use crate::{
    config::{FitArguments, ProfileConfig, ScoringType, ShapePoint},
    event::Event,
    framework::{
        Cycle, FilterPlugin, NodeFilter, NodeScore, Plugin, Prepared, Rejection, ScorePlugin,
    },
    limits::{NODE_SCORE_MAX, SHAPE_SCORE_MAX},
    node::{NodeInfo, Slot},
    pod::PodInfo,
    profile::ProfileError,
    resources::{Resources, is_extended},
};

pub(super) const ROW: Row =
    Row { name: "NodeResourcesFit", weight: 1, build: |config| Ok(Box::new(Fit::new(config)?)) };

#[derive(Debug)]
struct Fit {
    ignored: Vec<String>,
    ignored_groups: Vec<String>,
    strategy: ScoringType,
    resources: Vec<(Counted, i64)>,
    shape: Vec<ShapePoint>,
}

/// A resource that scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Cpu,
    Memory,
    EphemeralStorage,
    Scalar(Arc<str>),
}

impl Counted {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "cpu" => Self::Cpu,
            "memory" => Self::Memory,
            "ephemeral-storage" => Self::EphemeralStorage,
            name => Self::Scalar(Arc::from(name)),
        }
    }

    /// What `amounts` holds of it.
    pub(super) fn of(&self, amounts: &Resources) -> i64 {
        match self {
            Self::Cpu => amounts.milli_cpu,
            Self::Memory => amounts.memory,
            Self::EphemeralStorage => amounts.ephemeral_storage,
            Self::Scalar(name) => amounts.scalar(name),
        }
    }

    /// Whether it does not count because the pod asks for none of it.
    pub(super) fn is_unwanted(&self, requests: &Resources) -> bool {
        matches!(self, Self::Scalar(_)) && self.of(requests) == 0
    }
}

impl Fit {
    fn new(config: &ProfileConfig) -> Result<Self, ProfileError> {
        let arguments: FitArguments = config.arguments(ROW.name)?;
        let strategy = arguments.scoring_strategy;
        let shape =
            strategy.requested_to_capacity_ratio.map(|ratio| ratio.shape).unwrap_or_default();
        let rising = shape.windows(2).all(|pair| pair[0].utilization < pair[1].utilization);
        let bounded = shape.iter().all(|point| {
            (0..=100).contains(&point.utilization) && (0..=SHAPE_SCORE_MAX).contains(&point.score)
        });
        let missing = strategy.r#type == ScoringType::RequestedToCapacityRatio && shape.is_empty();
        if missing || !rising || !bounded {
            return Err(ProfileError::Arguments {
                plugin: ROW.name.to_owned(),
                problem: "the shape needs points of rising utilization from 0 to 100 with scores \
                          from 0 to 10"
                    .to_owned(),
            });
        }
        let resources = strategy.resources.iter();
        Ok(Self {
            ignored: arguments.ignored_resources,
            ignored_groups: arguments.ignored_resource_groups,
            strategy: strategy.r#type,
            resources: resources
                .map(|item| (Counted::named(&item.name), item.weight.max(1)))
                .collect(),
            shape,
        })
    }

    fn ignores(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or_default();
        is_extended(name)
            && (self.ignored.iter().any(|ignored| ignored == name)
                || self.ignored_groups.iter().any(|ignored| ignored == group))
    }
}

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn filter(&self) -> Option<&dyn FilterPlugin> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn ScorePlugin> {
        Some(self)
    }

    fn wakes(&self, event: &Event<'_>, pod: &PodInfo) -> bool {
        match event {
            Event::AssignedPod(change) => match (change.old, change.new) {
                (Some(_), None) => true,
                (Some(old), Some(new)) => shrinks(&old.requests, &new.requests, &pod.requests),
                _ => false,
            },
            Event::WaitingPod(change) => {
                let (Some(old), Some(new)) = (change.old, change.new) else { return false };
                new.uid == pod.uid && shrinks(&old.requests, &new.requests, &old.requests)
            }
            Event::Node(change) => {
                let Some(new) = change.new else { return false };
                let allocatable = |node: &k8s_openapi::api::core::v1::Node| {
                    let list = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
                    list.and_then(|list| Resources::of(list).ok()).unwrap_or_default()
                };
                let new = allocatable(new);
                let fits = new.pods >= 1 && !shrinks(&pod.requests, &new, &pod.requests);
                fits && change.old.is_none_or(|old| grows(&allocatable(old), &new, &pod.requests))
            }
            _ => false,
        }
    }
}

/// Whether `after` has less than `before` of something that `wanted` asks for.
fn shrinks(before: &Resources, after: &Resources, wanted: &Resources) -> bool {
    let less = |wanted: i64, before: i64, after: i64| wanted > 0 && after < before;
    less(wanted.milli_cpu, before.milli_cpu, after.milli_cpu)
        || less(wanted.memory, before.memory, after.memory)
        || less(wanted.ephemeral_storage, before.ephemeral_storage, after.ephemeral_storage)
        || wanted
            .scalars
            .iter()
            .any(|(name, amount)| less(*amount, before.scalar(name), after.scalar(name)))
}

/// Whether `after` has more than `before` of something that `wanted` asks for, or of pods.
fn grows(before: &Resources, after: &Resources, wanted: &Resources) -> bool {
    after.pods > before.pods || shrinks(after, before, wanted)
}

impl FilterPlugin for Fit {
    fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Result<Prepared<'a>, Rejection> {
        if let Some(problem) = &cycle.pod.problem {
            return Err(Rejection::unresolvable(problem.clone()));
        }
        let requests = &cycle.pod.requests;
        let scalars =
            requests.scalars.iter().filter(|(name, amount)| *amount > 0 && !self.ignores(name));
        let scalars = scalars.map(|(name, amount)| Scalar {
            name: Arc::clone(name),
            amount: *amount,
            message: Arc::from(format!("Insufficient {name}")),
        });
        Ok(Prepared::Check(Box::new(Check { requests, scalars: scalars.collect() })))
    }
}

#[derive(Debug)]
struct Scalar {
    name: Arc<str>,
    amount: i64,
    message: Arc<str>,
}

#[derive(Debug)]
struct Check<'a> {
    requests: &'a Resources,
    scalars: Vec<Scalar>,
}

impl NodeFilter for Check<'_> {
    fn check(&self, node: &NodeInfo, rejection: &mut Rejection) -> bool {
        let (free, taken) = (&node.allocatable, &node.requested);
        let fits = |wanted: i64, free: i64, taken: i64| {
            wanted <= 0 || wanted <= free.saturating_sub(taken)
        };
        let mut ok = true;
        let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
        if pods.saturating_add(1) > free.pods {
            ok = rejection.reject("Too many pods");
        }
        if !fits(self.requests.milli_cpu, free.milli_cpu, taken.milli_cpu) {
            ok = rejection.reject("Insufficient cpu");
        }
        if !fits(self.requests.memory, free.memory, taken.memory) {
            ok = rejection.reject("Insufficient memory");
        }
        if !fits(self.requests.ephemeral_storage, free.ephemeral_storage, taken.ephemeral_storage) {
            ok = rejection.reject("Insufficient ephemeral-storage");
        }
        for scalar in &self.scalars {
            if !fits(scalar.amount, free.scalar(&scalar.name), taken.scalar(&scalar.name)) {
                ok = rejection.reject(&scalar.message);
            }
        }
        ok
    }
}

impl ScorePlugin for Fit {
    fn prepare<'a>(
        &'a self,
        cycle: Cycle<'a>,
        _feasible: &[Slot],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        Some(Box::new(Score { fit: self, pod: cycle.pod }))
    }
}

#[derive(Debug)]
struct Score<'a> {
    fit: &'a Fit,
    pod: &'a PodInfo,
}

impl NodeScore for Score<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let (mut sum, mut weights) = (0, 0);
        for (resource, weight) in &self.fit.resources {
            if resource.is_unwanted(&self.pod.scored) {
                continue;
            }
            let capacity = resource.of(&node.allocatable);
            if capacity == 0 {
                continue;
            }
            let requested =
                resource.of(&node.requested_scored).saturating_add(resource.of(&self.pod.scored));
            let score = match self.fit.strategy {
                ScoringType::LeastAllocated => least(requested, capacity),
                ScoringType::MostAllocated => most(requested, capacity),
                ScoringType::RequestedToCapacityRatio => {
                    ratio(&self.fit.shape, requested, capacity)
                }
            };
            if score > 0 || self.fit.strategy != ScoringType::RequestedToCapacityRatio {
                sum += score * weight;
                weights += weight;
            }
        }
        match (weights, self.fit.strategy) {
            (0, _) => 0,
            (weights, ScoringType::RequestedToCapacityRatio) => (2 * sum + weights) / (2 * weights),
            (weights, _) => sum / weights,
        }
    }
}

/// `part` of `whole`, scaled to the best score; wide enough for exabytes.
fn share(part: i64, whole: i64) -> i64 {
    let scaled = i128::from(part) * i128::from(NODE_SCORE_MAX) / i128::from(whole.max(1));
    i64::try_from(scaled).unwrap_or(NODE_SCORE_MAX)
}

fn least(requested: i64, capacity: i64) -> i64 {
    if requested > capacity { 0 } else { share(capacity - requested, capacity) }
}

fn most(requested: i64, capacity: i64) -> i64 {
    share(requested.min(capacity), capacity)
}

fn ratio(shape: &[ShapePoint], requested: i64, capacity: i64) -> i64 {
    let utilization = if requested > capacity { 100 } else { share(requested, capacity) };
    let scaled = |point: &ShapePoint| point.score * (NODE_SCORE_MAX / SHAPE_SCORE_MAX);
    let Some(right) = shape.iter().position(|point| utilization <= point.utilization) else {
        return shape.last().map_or(0, scaled);
    };
    if right == 0 {
        return scaled(&shape[0]);
    }
    let (from, to) = (&shape[right - 1], &shape[right]);
    scaled(from)
        + (scaled(to) - scaled(from)) * (utilization - from.utilization)
            / (to.utilization - from.utilization)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_score_room_as_documented() {
        assert_eq!(least(250, 1000), 75);
        assert_eq!(least(1001, 1000), 0);
        assert_eq!(most(250, 1000), 25);
        assert_eq!(most(2000, 1000), 100);
        assert_eq!(least(0, i64::MAX), 100);
        let shape = [
            ShapePoint { utilization: 0, score: 0 },
            ShapePoint { utilization: 50, score: 10 },
            ShapePoint { utilization: 100, score: 2 },
        ];
        for (requested, expected) in [(0, 0), (25, 50), (50, 100), (75, 60), (100, 20), (101, 20)] {
            assert_eq!(ratio(&shape, requested, 100), expected, "{requested}");
        }
    }
}
