//! Amounts of resources as integers, and what a pod asks for.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod},
    apimachinery::pkg::api::resource,
};

use crate::{
    limits::{UNREQUESTED_MEMORY_BYTES, UNREQUESTED_MILLI_CPU},
    quantity::{Quantity, QuantityError},
};

type List = BTreeMap<String, resource::Quantity>;

/// Amounts of resources; everything not named is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU in thousandths of a core.
    pub milli_cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Local ephemeral storage in bytes.
    pub ephemeral_storage: i64,
    /// Number of pods; only nodes have it.
    pub pods: i64,
    /// Extended resources, huge pages and the like, sorted by name.
    pub scalars: Vec<(Arc<str>, i64)>,
}

impl Resources {
    /// Reads an API resource list.
    pub fn of(list: &List) -> Result<Self, QuantityError> {
        let mut resources = Self::default();
        for (name, quantity) in list {
            let quantity = Quantity::of(quantity)?;
            match name.as_str() {
                "cpu" => resources.milli_cpu = quantity.milli_value(),
                "memory" => resources.memory = quantity.value(),
                "ephemeral-storage" => resources.ephemeral_storage = quantity.value(),
                "pods" => resources.pods = quantity.value(),
                name if is_scalar(name) => resources.set_scalar(name, quantity.value()),
                _ => {}
            }
        }
        Ok(resources)
    }

    /// The amount of the scalar resource `name`.
    pub fn scalar(&self, name: &str) -> i64 {
        self.scalar_index(name).map_or(0, |index| self.scalars[index].1)
    }

    /// Whether the scalar resource `name` is listed, even with zero.
    pub fn has_scalar(&self, name: &str) -> bool {
        self.scalar_index(name).is_ok()
    }

    /// Adds `other`, saturating.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes `other` away.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    /// Raises every amount to at least that of `other`.
    pub fn raise_to(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    /// Whether nothing at all is asked for.
    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0
            && self.memory == 0
            && self.ephemeral_storage == 0
            && self.scalars.is_empty()
    }

    fn scalar_index(&self, name: &str) -> Result<usize, usize> {
        self.scalars.binary_search_by(|(candidate, _)| (**candidate).cmp(name))
    }

    fn set_scalar(&mut self, name: &str, amount: i64) {
        match self.scalar_index(name) {
            Ok(index) => self.scalars[index].1 = amount,
            Err(index) => self.scalars.insert(index, (Arc::from(name), amount)),
        }
    }

    fn combine(&mut self, other: &Self, with: fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            match self.scalar_index(name) {
                Ok(index) => self.scalars[index].1 = with(self.scalars[index].1, *amount),
                Err(index) => self.scalars.insert(index, (Arc::clone(name), with(0, *amount))),
            }
        }
    }
}

/// Whether `name` is counted as a plain number: extended resources, huge pages, prefixed native ones.
pub(crate) fn is_scalar(name: &str) -> bool {
    name.starts_with("hugepages-")
        || name.starts_with("attachable-volumes-")
        || name.contains('/') && !name.starts_with("requests.")
}

/// Whether `name` is an extended resource, which configuration may tell the fit plugin to ignore.
pub(crate) fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// What a pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodRequests {
    /// As written, which is what must fit.
    pub(crate) requests: Resources,
    /// With a floor for containers that name no CPU or memory, which is what scores.
    pub(crate) scored: Resources,
}

impl PodRequests {
    /// Containers and sidecars together, or the largest moment of initialisation when that is more; pod
    /// level requests replace the sum; overhead comes on top.
    pub(crate) fn of(pod: &Pod) -> Result<Self, QuantityError> {
        Ok(Self { requests: pod_requests(pod, false)?, scored: pod_requests(pod, true)? })
    }
}

fn pod_requests(pod: &Pod, floor: bool) -> Result<Resources, QuantityError> {
    let Some(spec) = &pod.spec else { return Ok(Resources::default()) };
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&container_requests(container, pod, floor)?);
    }
    let mut sidecars = Resources::default();
    let mut initial = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut requests = container_requests(container, pod, floor)?;
        if container.restart_policy.as_deref() == Some("Always") {
            total.add(&requests);
            sidecars.add(&requests);
            initial.raise_to(&sidecars);
        } else {
            requests.add(&sidecars);
            initial.raise_to(&requests);
        }
    }
    total.raise_to(&initial);
    if let Some(list) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        replace_with_pod_level(&mut total, list)?;
    }
    if let Some(overhead) = &spec.overhead {
        total.add(&Resources::of(overhead)?);
    }
    Ok(total)
}

fn replace_with_pod_level(total: &mut Resources, list: &List) -> Result<(), QuantityError> {
    let pod_level = Resources::of(list)?;
    if list.contains_key("cpu") {
        total.milli_cpu = pod_level.milli_cpu;
    }
    if list.contains_key("memory") {
        total.memory = pod_level.memory;
    }
    for (name, amount) in &pod_level.scalars {
        if name.starts_with("hugepages-") {
            total.set_scalar(name, *amount);
        }
    }
    Ok(())
}

fn container_requests(
    container: &Container,
    pod: &Pod,
    floor: bool,
) -> Result<Resources, QuantityError> {
    let list = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let mut requests = list.map(Resources::of).transpose()?.unwrap_or_default();
    if let Some(status) = status_of(pod, &container.name) {
        requests = during_resize(requests, status, pod)?;
    }
    if floor {
        let names = |name| list.is_some_and(|list| list.contains_key(name));
        if !names("cpu") {
            requests.milli_cpu = UNREQUESTED_MILLI_CPU;
        }
        if !names("memory") {
            requests.memory = UNREQUESTED_MEMORY_BYTES;
        }
    }
    Ok(requests)
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses];
    lists.into_iter().flatten().flatten().find(|status| status.name == container)
}

/// While a resize in place is under way the larger of old and new counts, and an infeasible one not at all.
fn during_resize(
    desired: Resources,
    status: &ContainerStatus,
    pod: &Pod,
) -> Result<Resources, QuantityError> {
    let actual = status.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let Some(actual) = actual.map(Resources::of).transpose()? else { return Ok(desired) };
    let allocated = status.allocated_resources.as_ref().map(Resources::of).transpose()?;
    let mut requests = if resize_is_infeasible(pod) { Resources::default() } else { desired };
    requests.raise_to(&actual);
    if let Some(allocated) = allocated {
        requests.raise_to(&allocated);
    }
    Ok(requests)
}

fn resize_is_infeasible(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    status.conditions.iter().flatten().any(|condition| {
        condition.type_ == "PodResizePending" && condition.reason.as_deref() == Some("Infeasible")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build;

    fn requests(pod: build::PodBuilder) -> (i64, i64) {
        let requests = PodRequests::of(&pod.finish()).unwrap().requests;
        (requests.milli_cpu, requests.memory)
    }

    #[test]
    fn a_pod_asks_for_its_largest_moment() {
        let pod = || build::pod("p");
        for (name, pod, expected) in [
            ("nothing", pod().container("a", &[]), (0, 0)),
            ("sum", pod().requests("1", "10").requests("500m", "5"), (1500, 15)),
            ("init is larger", pod().requests("1", "10").init("2", "5"), (2000, 10)),
            ("init is smaller", pod().requests("1", "10").init("500m", "5"), (1000, 10)),
            ("sidecar runs with all", pod().requests("1", "10").sidecar("1", "1"), (2000, 11)),
            (
                "sidecar before init",
                pod().requests("1", "1").sidecar("1", "1").init("3", "1"),
                (4000, 2),
            ),
            (
                "sidecar after init",
                pod().requests("1", "1").init("3", "1").sidecar("1", "1"),
                (3000, 2),
            ),
            ("overhead", pod().requests("1", "10").overhead("100m", "1"), (1100, 11)),
            ("pod level", pod().requests("1", "10").pod_level("3", "7"), (3000, 7)),
        ] {
            assert_eq!(requests(pod), expected, "{name}");
        }
    }

    #[test]
    fn silent_containers_are_scored_with_a_floor() {
        let pod = build::pod("p").container("a", &[]).container("b", &[("cpu", "0")]).finish();
        let requests = PodRequests::of(&pod).unwrap();
        assert_eq!(requests.requests, Resources::default());
        assert_eq!(requests.scored.milli_cpu, UNREQUESTED_MILLI_CPU);
        assert_eq!(requests.scored.memory, 2 * UNREQUESTED_MEMORY_BYTES);
    }

    #[test]
    fn scalars_add_and_raise() {
        let list = |pairs: &[(&str, &str)]| {
            let quantities = pairs.iter().map(|(name, amount)| {
                ((*name).to_owned(), resource::Quantity((*amount).to_owned()))
            });
            Resources::of(&quantities.collect()).unwrap()
        };
        let mut left = list(&[("example.com/gpu", "2"), ("hugepages-2Mi", "4Mi")]);
        left.add(&list(&[("example.com/gpu", "1"), ("example.com/a", "3")]));
        assert_eq!(left.scalar("example.com/gpu"), 3);
        assert_eq!(left.scalar("example.com/a"), 3);
        assert_eq!(left.scalar("absent"), 0);
        left.subtract(&list(&[("example.com/gpu", "3")]));
        assert_eq!(left.scalar("example.com/gpu"), 0);
        assert!(left.has_scalar("example.com/gpu"));
    }
}
