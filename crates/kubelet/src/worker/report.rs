//! Reporting the status, the termination messages, and the probes' tasks.

use std::collections::BTreeMap;

use cri::{ContainerState, ContainerStatus};
use podlife::pod;
use podlife::probe::ProbeKind;
use podlife::status::{Inputs, generate};

use super::Worker;
use crate::hooks::HookRun;
use crate::messages;

impl Worker {
    /// Reports the status as it is now. What only says "not yet" may wait a little for what comes next.
    pub(super) fn publish(&mut self, settled: bool) {
        self.report(settled, false);
    }

    /// Reports the last status of all.
    pub(super) fn publish_end(&mut self) {
        self.report(true, true);
    }

    fn report(&mut self, settled: bool, is_over: bool) {
        if self.gone {
            return;
        }
        let hook_pending: Vec<String> = self
            .hooks
            .iter()
            .filter(|(_, run)| run.is_pending())
            .map(|(name, _)| name.clone())
            .collect();
        let last = self.signals.status.lock().clone();
        let status = {
            let probes = self.signals.probes.lock();
            generate(&Inputs {
                pod: &self.pod,
                last: &last,
                observed: &self.observed,
                probes: &probes,
                start_errors: &self.start_errors,
                messages: &self.messages,
                hook_pending: &hook_pending,
                verdict: self.verdict.as_ref(),
                resize: self.resize.as_ref(),
                is_over,
                host_ips: &self.shared.host_ips,
                runtime_name: &self.shared.runtime_name,
                now: self.now(),
            })
        };
        *self.signals.status.lock() = status.clone();
        let urgent = settled || status.phase.as_deref() != Some("Pending");
        self.shared.statuses.set(&self.pod, status, urgent);
    }

    /// Takes over the verdicts of the kubelet before this one: a container that it has reported as
    /// ready stays so until its probe says otherwise.
    pub(super) fn inherit_verdicts(&mut self) {
        let status = self.signals.status.lock().clone();
        let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let mut probes = self.signals.probes.lock();
        for reported in all {
            let id = reported.container_id.as_deref().unwrap_or_default();
            let Some((_, id)) = id.split_once("://") else { continue };
            if self.observed.running().all(|running| running.id != id) {
                continue;
            }
            if reported.started == Some(true) {
                probes.set(id, ProbeKind::Startup, true);
            }
            if reported.ready {
                probes.set(id, ProbeKind::Readiness, true);
            }
        }
    }

    /// Reads why containers ended, once for each.
    pub(super) fn read_messages(&mut self) {
        let ended = self
            .observed
            .containers
            .iter()
            .filter(|container| container.state == ContainerState::Exited)
            .filter(|container| !self.messages.contains_key(&container.id));
        let read: BTreeMap<String, String> =
            ended.map(|container| (container.id.clone(), messages::read(container))).collect();
        self.messages.extend(read);
    }

    /// Starts the probes of running containers and ends those of others.
    pub(super) fn follow_probes(&mut self, stopping: bool) {
        let running: Vec<ContainerStatus> = self.observed.running().cloned().collect();
        let ip = self.observed.ips().into_iter().next();
        let ip = match ip {
            Some(ip) => ip,
            None if pod::host_network(&self.pod) => {
                self.shared.host_ips.first().cloned().unwrap_or_default()
            }
            None => String::new(),
        };
        let pending = |name: &str| self.hooks.get(name).is_some_and(HookRun::is_pending);
        for status in running.iter().filter(|status| !pending(&status.metadata.name)) {
            let Some((reference, container)) = pod::find(&self.pod, &status.metadata.name) else {
                continue;
            };
            let place = crate::probes::Place {
                shared: &self.shared,
                signals: &self.signals,
                pod: &self.pod,
                reference,
                container: &container,
                status,
                pod_ip: &ip,
            };
            self.probes.follow(&place, stopping);
        }
    }
}
