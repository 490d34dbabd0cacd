//! Figures in the text format that monitoring systems read, under upstream's names.

use std::fmt::Write as _;

use cri::PodSandboxStats;
use podlife::pod;
use podlife::probe::ProbeKind;

use super::RequestError;
use super::stats::{identity, pod_stats};
use crate::Kubelet;
use crate::node::machine;

/// Text in the making.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> &mut Self {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) -> &mut Self {
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _infallible = writeln!(self.0, "{name}{labels} {value}");
        self
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// `/metrics`: the kubelet itself.
pub(super) fn own(kubelet: &Kubelet) -> String {
    let mut page = Page::default();
    let workers = kubelet.shared.registry.all();
    let statuses: Vec<_> = workers.iter().map(|it| it.status.lock().clone()).collect();
    let running = statuses.iter().filter(|it| it.phase.as_deref() == Some("Running")).count();
    let containers = statuses
        .iter()
        .flat_map(|it| it.container_statuses.iter().flatten())
        .filter(|it| it.state.as_ref().is_some_and(|state| state.running.is_some()))
        .count();
    let name = "kubelet_running_pods";
    page.family(name, "gauge", "Number of pods that have a running pod sandbox");
    page.sample(name, &[], running as f64);
    let name = "kubelet_running_containers";
    page.family(name, "gauge", "Number of containers currently running");
    page.sample(name, &[("container_state", "running")], containers as f64);
    let name = "kubelet_node_name";
    page.family(name, "gauge", "The node's name. The count is always 1.");
    page.sample(name, &[("node", &kubelet.shared.config.node_name)], 1.0);
    let name = "kubelet_desired_pods";
    page.family(name, "gauge", "The number of pods the kubelet is being instructed to run.");
    page.sample(name, &[("static", "")], kubelet.shared.pods.len() as f64);
    page.0
}

/// `/metrics/probes`: verdicts of probes.
pub(super) fn probes(kubelet: &Kubelet) -> String {
    let mut page = Page::default();
    let name = "prober_probe_total";
    page.family(name, "gauge", "Present verdict of a probe for a container.");
    for signals in kubelet.shared.registry.all() {
        let Some(pod) = signals.pod.lock().clone() else { continue };
        let status = signals.status.lock().clone();
        let probes = signals.probes.lock().clone();
        for container in status.container_statuses.iter().flatten() {
            let id = container.container_id.as_deref().unwrap_or_default();
            let id = id.split_once("://").map_or(id, |(_, id)| id);
            for kind in ProbeKind::ALL {
                let Some(verdict) = probes.get(id, kind) else { continue };
                let labels = [
                    ("container", container.name.as_str()),
                    ("namespace", pod::namespace(&pod)),
                    ("pod", pod::name(&pod)),
                    ("pod_uid", pod::uid(&pod)),
                    ("probe_type", kind.text()),
                    ("result", if verdict { "successful" } else { "failed" }),
                ];
                page.sample(name, &labels, 1.0);
            }
        }
    }
    page.0
}

/// `/metrics/resource`: what autoscalers and `kubectl top` are fed from.
pub(super) async fn resource(kubelet: &Kubelet) -> Result<String, RequestError> {
    let stats = pod_stats(kubelet).await?;
    let mut page = Page::default();
    node_resources(kubelet, &mut page);
    let families = [
        (
            "container_cpu_usage_seconds_total",
            "counter",
            "Cumulative cpu time consumed by the container in core-seconds",
        ),
        (
            "container_memory_working_set_bytes",
            "gauge",
            "Current working set of the container in bytes",
        ),
    ];
    for (name, kind, help) in families {
        page.family(name, kind, help);
        for pod in &stats {
            let [pod_name, namespace, _] = identity(pod);
            for container in &pod.containers {
                let labels = [
                    ("container", container.attributes.metadata.name.as_str()),
                    ("namespace", namespace.as_str()),
                    ("pod", pod_name.as_str()),
                ];
                let value = if kind == "counter" {
                    container.cpu.as_ref().and_then(|it| it.usage_core_nano_seconds).map(seconds)
                } else {
                    container
                        .memory
                        .as_ref()
                        .and_then(|it| it.working_set_bytes)
                        .map(|it| it as f64)
                };
                if let Some(value) = value {
                    page.sample(name, &labels, value);
                }
            }
        }
    }
    pod_resources(&stats, &mut page);
    let name = "resource_scrape_error";
    page.family(
        name,
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );
    page.sample(name, &[], 0.0);
    Ok(page.0)
}

fn node_resources(kubelet: &Kubelet, page: &mut Page) {
    let name = "node_cpu_usage_seconds_total";
    page.family(name, "counter", "Cumulative cpu time consumed by the node in core-seconds");
    if let Some(nanos) = machine::cpu_nanos() {
        page.sample(name, &[], seconds(nanos));
    }
    let name = "node_memory_working_set_bytes";
    page.family(name, "gauge", "Current working set of the node in bytes");
    if let Ok(available) = machine::memory_available() {
        page.sample(name, &[], (kubelet.shared.place.node.memory_bytes - available) as f64);
    }
}

fn pod_resources(stats: &[PodSandboxStats], page: &mut Page) {
    let name = "pod_cpu_usage_seconds_total";
    page.family(name, "counter", "Cumulative cpu time consumed by the pod in core-seconds");
    for pod in stats {
        let [pod_name, namespace, _] = identity(pod);
        if let Some(nanos) = pod.cpu.as_ref().and_then(|it| it.usage_core_nano_seconds) {
            page.sample(name, &[("namespace", &namespace), ("pod", &pod_name)], seconds(nanos));
        }
    }
    let name = "pod_memory_working_set_bytes";
    page.family(name, "gauge", "Current working set of the pod in bytes");
    for pod in stats {
        let [pod_name, namespace, _] = identity(pod);
        if let Some(bytes) = pod.memory.as_ref().and_then(|it| it.working_set_bytes) {
            page.sample(name, &[("namespace", &namespace), ("pod", &pod_name)], bytes as f64);
        }
    }
}

/// A figure of a container: its family, and how to read it.
type Figure = (&'static str, &'static str, fn(&cri::ContainerStats) -> Option<f64>);

const FIGURES: [Figure; 5] = [
    ("container_cpu_usage_seconds_total", "counter", |it| {
        it.cpu.as_ref()?.usage_core_nano_seconds.map(seconds)
    }),
    ("container_memory_usage_bytes", "gauge", |it| {
        it.memory.as_ref()?.usage_bytes.map(|it| it as f64)
    }),
    ("container_memory_working_set_bytes", "gauge", |it| {
        it.memory.as_ref()?.working_set_bytes.map(|it| it as f64)
    }),
    ("container_memory_rss", "gauge", |it| it.memory.as_ref()?.rss_bytes.map(|it| it as f64)),
    ("container_fs_usage_bytes", "gauge", |it| {
        it.writable_layer.as_ref()?.used_bytes.map(|it| it as f64)
    }),
];

/// `/metrics/cadvisor`: figures of containers and machine under cAdvisor's names.
pub(super) async fn cadvisor(kubelet: &Kubelet) -> Result<String, RequestError> {
    let stats = pod_stats(kubelet).await?;
    let mut page = Page::default();
    let node = &kubelet.shared.place.node;
    page.family("machine_cpu_cores", "gauge", "Number of logical CPU cores.");
    page.sample("machine_cpu_cores", &[], node.cpu_milli as f64 / 1000.0);
    page.family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    page.sample("machine_memory_bytes", &[], node.memory_bytes as f64);
    for (name, kind, read) in FIGURES {
        page.family(name, kind, "Figure of a container.");
        for pod in &stats {
            let [pod_name, namespace, uid] = identity(pod);
            for container in &pod.containers {
                let id = format!("/kubepods/pod{uid}/{}", container.attributes.id);
                let labels = [
                    ("container", container.attributes.metadata.name.as_str()),
                    ("id", id.as_str()),
                    ("name", container.attributes.id.as_str()),
                    ("namespace", namespace.as_str()),
                    ("pod", pod_name.as_str()),
                ];
                if let Some(value) = read(container) {
                    page.sample(name, &labels, value);
                }
            }
        }
    }
    network(&stats, &mut page);
    Ok(page.0)
}

fn network(stats: &[PodSandboxStats], page: &mut Page) {
    type Read = fn(&cri::NetworkInterfaceUsage) -> u64;
    let families: [(&str, Read); 4] = [
        ("container_network_receive_bytes_total", |it| it.rx_bytes),
        ("container_network_receive_errors_total", |it| it.rx_errors),
        ("container_network_transmit_bytes_total", |it| it.tx_bytes),
        ("container_network_transmit_errors_total", |it| it.tx_errors),
    ];
    for (name, read) in families {
        page.family(name, "counter", "Cumulative count of a pod's network interface.");
        for pod in stats {
            let [pod_name, namespace, _] = identity(pod);
            let Some(usage) = &pod.network else { continue };
            for interface in usage.default_interface.iter().chain(&usage.interfaces) {
                let labels = [
                    ("interface", interface.name.as_str()),
                    ("namespace", namespace.as_str()),
                    ("pod", pod_name.as_str()),
                ];
                page.sample(name, &labels, read(interface) as f64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_with_escaped_labels() {
        let mut page = Page::default();
        page.family("x", "gauge", "X.").sample("x", &[("a", "q\"\\")], 1.5).sample("x", &[], 2.0);
        assert_eq!(page.0, "# HELP x X.\n# TYPE x gauge\nx{a=\"q\\\"\\\\\"} 1.5\nx 2\n");
    }
}
