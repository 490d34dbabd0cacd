//! Finding out what the node's status says.

use std::collections::BTreeMap;

use cri::{ImageFilter, NETWORK_READY, RUNTIME_READY};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use podlife::node::NodeInputs;
use podlife::quantity;

use super::machine;
use crate::shared::Shared;

/// Asks machine and runtime.
pub(crate) async fn gather(shared: &Shared) -> NodeInputs {
    let config = &shared.config;
    let mut not_ready = Vec::new();
    let (version, handlers) = runtime_state(shared, &mut not_ready).await;
    let capacity = machine::capacity(&config.root, config.pods_max, &shared.place.node);
    let allocatable = allocatable(&capacity, &config.reserved);
    let mut addresses: Vec<(String, String)> =
        shared.host_ips.iter().map(|ip| ("InternalIP".to_owned(), ip.clone())).collect();
    addresses.push(("Hostname".to_owned(), config.node_name.clone()));
    let pressure = shared.pressure.lock().clone();
    NodeInputs {
        addresses,
        capacity,
        allocatable,
        info: machine::system_info(&config.version, &version),
        port: i32::from(config.port),
        images: images(shared).await,
        handlers,
        not_ready,
        memory_pressure: pressure.memory,
        disk_pressure: pressure.disk,
        pid_pressure: pressure.pids,
    }
}

async fn runtime_state(
    shared: &Shared,
    not_ready: &mut Vec<String>,
) -> (cri::Version, Vec<cri::RuntimeHandler>) {
    let version = match shared.runtime.version().await {
        Ok(version) => version,
        Err(error) => {
            not_ready.push(format!("container runtime is down: {error}"));
            return Default::default();
        }
    };
    let status = match shared.runtime.status().await {
        Ok(status) => status,
        Err(error) => {
            not_ready.push(format!(
                "container runtime status check may not have completed yet: {error}"
            ));
            return (version, Vec::new());
        }
    };
    for (kind, title) in
        [(RUNTIME_READY, "container runtime"), (NETWORK_READY, "container runtime network")]
    {
        match status.condition(kind) {
            Some(condition) if condition.status => {}
            Some(condition) => not_ready.push(format!(
                "{title} not ready: {kind}=false reason:{} message:{}",
                condition.reason, condition.message
            )),
            None => not_ready.push(format!("{title} not ready: {kind} is not known")),
        }
    }
    (version, status.runtime_handlers)
}

fn allocatable(
    capacity: &BTreeMap<String, Quantity>,
    reserved: &BTreeMap<String, Quantity>,
) -> BTreeMap<String, Quantity> {
    let mut allocatable = capacity.clone();
    for (name, amount) in reserved {
        let Some(have) = allocatable.get_mut(name) else { continue };
        *have = if name == "cpu" {
            Quantity(format!("{}m", (quantity::milli(have) - quantity::milli(amount)).max(0)))
        } else {
            Quantity((quantity::value(have) - quantity::value(amount)).max(0).to_string())
        };
    }
    // Pages set aside for huge ones are no ordinary memory.
    let huge: i64 = capacity
        .iter()
        .filter(|(name, _)| name.starts_with("hugepages-"))
        .map(|(_, amount)| quantity::value(amount))
        .sum();
    if huge > 0
        && let Some(memory) = allocatable.get_mut("memory")
    {
        *memory = Quantity((quantity::value(memory) - huge).max(0).to_string());
    }
    allocatable
}

async fn images(shared: &Shared) -> Vec<(Vec<String>, i64)> {
    let listed = match shared.images.list_images(&ImageFilter::default()).await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::debug!(%error, "cannot list images");
            return Vec::new();
        }
    };
    let named = listed.into_iter().map(|image| {
        let names: Vec<String> = image.repo_digests.into_iter().chain(image.repo_tags).collect();
        (names, i64::try_from(image.size).unwrap_or(i64::MAX))
    });
    named.filter(|(names, _)| !names.is_empty()).collect()
}
