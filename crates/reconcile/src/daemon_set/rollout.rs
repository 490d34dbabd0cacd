//! Replacing pods of an old template, within what may be missing or doubled.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Plan, View, should_run};
use crate::deployment::scaling::share;
use crate::pods;

/// The pods of one node: of the present and of an old template.
struct OnNode {
    node: String,
    new: Option<Arc<Pod>>,
    old: Option<Arc<Pod>>,
    runs: bool,
}

impl View<'_> {
    fn strategy(&self) -> (bool, Option<&IntOrString>, Option<&IntOrString>) {
        let strategy = self.snapshot.set.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let rolls = strategy.and_then(|s| s.type_.as_deref()) != Some("OnDelete");
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        (rolls, surge, rolling.and_then(|rolling| rolling.max_unavailable.as_ref()))
    }

    pub(crate) fn allows_surge(&self) -> bool {
        let (rolls, surge, _) = self.strategy();
        rolls && share(surge, 1, true) > 0
    }

    pub(crate) fn roll(&self, plan: &mut Plan) {
        let (rolls, surge, unavailable) = self.strategy();
        if !rolls {
            return;
        }
        let meant = |node: &&Arc<_>| should_run(self.snapshot.set, node).0;
        let desired = self.snapshot.nodes.iter().filter(meant).count();
        let desired = i32::try_from(desired).unwrap_or(i32::MAX);
        let surge = share(surge, desired, true);
        let unavailable = match unavailable {
            Some(unavailable) => share(Some(unavailable), desired, true),
            None => i32::from(surge == 0),
        };
        if surge == 0 {
            self.replace(unavailable.max(1), plan);
        } else {
            self.surge(surge, desired, plan);
        }
    }

    /// Every node that is meant or has pods; `None` for one with too many, which is put right first.
    fn on_nodes(&self) -> Vec<Option<OnNode>> {
        let mut all = Vec::new();
        for node in self.snapshot.nodes {
            let name = node.metadata.name.clone().unwrap_or_default();
            let runs = should_run(self.snapshot.set, node).0;
            let own = match self.by_node.get(&name) {
                Some(own) => own.as_slice(),
                None if runs => &[],
                None => continue,
            };
            let lives = own.iter().filter(|pod| !pods::is_deleting(pod));
            let (new, old): (Vec<_>, Vec<_>) = lives.cloned().partition(|pod| self.is_updated(pod));
            let fits = new.len() <= 1 && old.len() <= 1;
            let (new, old) = (new.into_iter().next(), old.into_iter().next());
            all.push(fits.then_some(OnNode { node: name, new, old, runs }));
        }
        all
    }

    fn replace(&self, most: i32, plan: &mut Plan) {
        let (mut missing, mut candidates) = (0, Vec::new());
        for on_node in self.on_nodes() {
            let Some(OnNode { new, old, .. }) = on_node else {
                missing += 1;
                continue;
            };
            match (new, old) {
                (None, Some(old)) if !self.is_available(&old) => {
                    // It is missed already: replacing it costs nothing.
                    missing += 1;
                    plan.delete.push(old);
                }
                (None, Some(old)) => candidates.push(old),
                (Some(new), None) => missing += i32::from(!self.is_available(&new)),
                _ => missing += 1,
            }
        }
        let room = usize::try_from(most - missing).unwrap_or(0);
        plan.delete.extend(candidates.into_iter().take(room));
    }

    fn surge(&self, most: i32, desired: i32, plan: &mut Plan) {
        let (mut doubled, mut available) = (0, 0);
        let (mut candidates, mut leaving) = (Vec::new(), Vec::new());
        for on_node in self.on_nodes() {
            let Some(OnNode { node, new, old, runs }) = on_node else {
                doubled += 1;
                continue;
            };
            let serving = old.as_ref().or(new.as_ref());
            available += i32::from(serving.is_some_and(|pod| self.is_available(pod)));
            match (new, old) {
                (_, None) => {}
                (None, Some(old)) => match (self.is_available(&old), runs) {
                    (false, false) => plan.delete.push(old),
                    (false, true) => plan.create.push(node),
                    (true, false) => leaving.push(old),
                    (true, true) => candidates.push(node),
                },
                (Some(new), Some(old)) if self.is_available(&new) => plan.delete.push(old),
                (Some(_), Some(_)) => doubled += 1,
            }
        }
        let spare = usize::try_from(available - desired).unwrap_or(0);
        plan.delete.extend(leaving.into_iter().take(spare));
        let room = usize::try_from(most - doubled).unwrap_or(0);
        plan.create.extend(candidates.into_iter().take(room));
    }
}
