//! Fluent builders of nodes and pods for tests, benchmarks and simulations.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{
        Affinity, Container, ContainerImage, ContainerPort, Node, NodeAffinity, NodeSelector,
        NodeSelectorRequirement, NodeSelectorTerm, NodeSpec, NodeStatus,
        PersistentVolumeClaimVolumeSource, Pod, PodAffinity, PodAffinityTerm, PodAntiAffinity,
        PodSchedulingGate, PodSpec, PodStatus, PreferredSchedulingTerm, ResourceRequirements,
        Taint, Toleration, TopologySpreadConstraint, Volume, WeightedPodAffinityTerm,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, OwnerReference, Time},
    },
    jiff::Timestamp,
};

use crate::PodInfo;

type List = BTreeMap<String, Quantity>;

fn list(pairs: &[(&str, &str)]) -> List {
    let quantity = |text: &str| Quantity(text.to_owned());
    pairs.iter().map(|(name, amount)| ((*name).to_owned(), quantity(amount))).collect()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A selector of exactly these labels.
pub fn selector(pairs: &[(&str, &str)]) -> LabelSelector {
    LabelSelector { match_labels: Some(labels(pairs)), match_expressions: None }
}

/// Starts a node that is named and labelled with its hostname and has room for 110 pods.
pub fn node(name: &str) -> NodeBuilder {
    let mut node = Node::default();
    node.metadata.name = Some(name.to_owned());
    let builder = NodeBuilder { node };
    builder.label("kubernetes.io/hostname", name).capacity(&[("pods", "110")])
}

/// A node in the making.
#[derive(Clone, Debug)]
pub struct NodeBuilder {
    node: Node,
}

impl NodeBuilder {
    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        let labels = self.node.metadata.labels.get_or_insert_default();
        labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds the zone label.
    pub fn zone(self, zone: &str) -> Self {
        self.label("topology.kubernetes.io/zone", zone)
    }

    /// Adds to what pods may use.
    pub fn capacity(mut self, amounts: &[(&str, &str)]) -> Self {
        let status = self.node.status.get_or_insert_with(NodeStatus::default);
        status.allocatable.get_or_insert_default().append(&mut list(amounts));
        self
    }

    /// Adds a taint.
    pub fn taint(mut self, key: &str, value: &str, effect: &str) -> Self {
        let spec = self.node.spec.get_or_insert_with(NodeSpec::default);
        spec.taints.get_or_insert_default().push(Taint {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            effect: effect.to_owned(),
            time_added: None,
        });
        self
    }

    /// Cordons the node.
    pub fn cordoned(mut self) -> Self {
        self.node.spec.get_or_insert_with(NodeSpec::default).unschedulable = Some(true);
        self
    }

    /// Adds an image.
    pub fn image(mut self, name: &str, bytes: i64) -> Self {
        let status = self.node.status.get_or_insert_with(NodeStatus::default);
        status
            .images
            .get_or_insert_default()
            .push(ContainerImage { names: Some(vec![name.to_owned()]), size_bytes: Some(bytes) });
        self
    }

    /// The node.
    pub fn finish(self) -> Arc<Node> {
        Arc::new(self.node)
    }
}

/// Starts a pod without containers in the namespace `default`; its UID is its name.
pub fn pod(name: &str) -> PodBuilder {
    let mut pod = Pod { spec: Some(PodSpec::default()), ..Pod::default() };
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.namespace = Some("default".to_owned());
    pod.metadata.uid = Some(name.to_owned());
    PodBuilder { pod }
}

/// A pod in the making.
#[derive(Clone, Debug)]
pub struct PodBuilder {
    pod: Pod,
}

impl PodBuilder {
    fn spec(&mut self) -> &mut PodSpec {
        self.pod.spec.get_or_insert_with(PodSpec::default)
    }

    fn affinity(&mut self) -> &mut Affinity {
        self.spec().affinity.get_or_insert_with(Affinity::default)
    }

    /// Puts the pod in another namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.pod.metadata.namespace = Some(namespace.to_owned());
        self
    }

    /// Adds labels.
    pub fn labels(mut self, pairs: &[(&str, &str)]) -> Self {
        self.pod.metadata.labels.get_or_insert_default().append(&mut labels(pairs));
        self
    }

    /// Adds a container.
    pub fn container(mut self, image: &str, requests: &[(&str, &str)]) -> Self {
        let name = format!("c{}", self.spec().containers.len());
        let container = container(&name, image, requests);
        self.spec().containers.push(container);
        self
    }

    /// Adds a container that asks for CPU and memory.
    pub fn requests(self, cpu: &str, memory: &str) -> Self {
        self.container("image", &[("cpu", cpu), ("memory", memory)])
    }

    /// Adds an init container.
    pub fn init(mut self, cpu: &str, memory: &str) -> Self {
        let container = container("init", "image", &[("cpu", cpu), ("memory", memory)]);
        self.spec().init_containers.get_or_insert_default().push(container);
        self
    }

    /// Adds a sidecar.
    pub fn sidecar(mut self, cpu: &str, memory: &str) -> Self {
        let mut container = container("sidecar", "image", &[("cpu", cpu), ("memory", memory)]);
        container.restart_policy = Some("Always".to_owned());
        self.spec().init_containers.get_or_insert_default().push(container);
        self
    }

    /// Sets the overhead of the pod's sandbox.
    pub fn overhead(mut self, cpu: &str, memory: &str) -> Self {
        self.spec().overhead = Some(list(&[("cpu", cpu), ("memory", memory)]));
        self
    }

    /// Sets requests for the pod as a whole.
    pub fn pod_level(mut self, cpu: &str, memory: &str) -> Self {
        let requests = Some(list(&[("cpu", cpu), ("memory", memory)]));
        self.spec().resources =
            Some(ResourceRequirements { requests, ..ResourceRequirements::default() });
        self
    }

    /// Adds a container with a host port.
    pub fn host_port(mut self, address: &str, protocol: &str, port: i32) -> Self {
        let mut container = container(&format!("port-{port}"), "image", &[]);
        container.ports = Some(vec![ContainerPort {
            container_port: port,
            host_port: Some(port),
            host_ip: Some(address.to_owned()),
            protocol: Some(protocol.to_owned()),
            name: None,
        }]);
        self.spec().containers.push(container);
        self
    }

    /// Sets the priority.
    pub fn priority(mut self, priority: i32) -> Self {
        self.spec().priority = Some(priority);
        self
    }

    /// Forbids preemption on the pod's behalf.
    pub fn never_preempts(mut self) -> Self {
        self.spec().preemption_policy = Some("Never".to_owned());
        self
    }

    /// Binds the pod.
    pub fn on(mut self, node: &str) -> Self {
        self.spec().node_name = Some(node.to_owned());
        self
    }

    /// Sets when the kubelet took the pod on.
    pub fn started(mut self, at: Timestamp) -> Self {
        self.pod.status.get_or_insert_with(PodStatus::default).start_time = Some(Time(at));
        self
    }

    /// Marks the pod as leaving.
    pub fn terminating(mut self, since: Timestamp) -> Self {
        self.pod.metadata.deletion_timestamp = Some(Time(since));
        self
    }

    /// Sets the node that room is made on.
    pub fn nominated(mut self, node: &str) -> Self {
        let status = self.pod.status.get_or_insert_with(PodStatus::default);
        status.nominated_node_name = Some(node.to_owned());
        self
    }

    /// Adds a toleration.
    pub fn tolerates(mut self, key: &str, operator: &str, value: &str, effect: &str) -> Self {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let toleration = Toleration {
            key: given(key),
            operator: given(operator),
            value: given(value),
            effect: given(effect),
            toleration_seconds: None,
        };
        self.spec().tolerations.get_or_insert_default().push(toleration);
        self
    }

    /// Adds a scheduling gate.
    pub fn gate(mut self, name: &str) -> Self {
        let gate = PodSchedulingGate { name: name.to_owned() };
        self.spec().scheduling_gates.get_or_insert_default().push(gate);
        self
    }

    /// Demands a node label.
    pub fn node_selector(mut self, key: &str, value: &str) -> Self {
        let selector = self.spec().node_selector.get_or_insert_default();
        selector.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds an alternative demand on node labels.
    pub fn node_affinity(mut self, key: &str, operator: &str, values: &[&str]) -> Self {
        let term = node_term(key, operator, values, false);
        self.required_node_terms().push(term);
        self
    }

    /// Adds an alternative demand on the node's name.
    pub fn node_names(mut self, names: &[&str]) -> Self {
        let term = node_term("metadata.name", "In", names, true);
        self.required_node_terms().push(term);
        self
    }

    fn required_node_terms(&mut self) -> &mut Vec<NodeSelectorTerm> {
        let affinity = self.affinity().node_affinity.get_or_insert_with(NodeAffinity::default);
        let required = affinity
            .required_during_scheduling_ignored_during_execution
            .get_or_insert_with(NodeSelector::default);
        &mut required.node_selector_terms
    }

    /// Prefers nodes with a label.
    pub fn prefers_node(mut self, weight: i32, key: &str, value: &str) -> Self {
        let preference = node_term(key, "In", &[value], false);
        let affinity = self.affinity().node_affinity.get_or_insert_with(NodeAffinity::default);
        let preferred = &mut affinity.preferred_during_scheduling_ignored_during_execution;
        preferred.get_or_insert_default().push(PreferredSchedulingTerm { preference, weight });
        self
    }

    /// Must share `topology` with pods that have these labels.
    pub fn near(mut self, topology: &str, pairs: &[(&str, &str)]) -> Self {
        let affinity = self.affinity().pod_affinity.get_or_insert_with(PodAffinity::default);
        let required = &mut affinity.required_during_scheduling_ignored_during_execution;
        required.get_or_insert_default().push(pod_term(topology, pairs));
        self
    }

    /// Must not share `topology` with pods that have these labels.
    pub fn apart(mut self, topology: &str, pairs: &[(&str, &str)]) -> Self {
        let affinity =
            self.affinity().pod_anti_affinity.get_or_insert_with(PodAntiAffinity::default);
        let required = &mut affinity.required_during_scheduling_ignored_during_execution;
        required.get_or_insert_default().push(pod_term(topology, pairs));
        self
    }

    /// Likes to share `topology` with pods that have these labels; dislikes it with a negative weight.
    pub fn likes(mut self, weight: i32, topology: &str, pairs: &[(&str, &str)]) -> Self {
        let term = WeightedPodAffinityTerm {
            pod_affinity_term: pod_term(topology, pairs),
            weight: weight.abs(),
        };
        let affinity = self.affinity();
        let preferred = if weight < 0 {
            let apart = affinity.pod_anti_affinity.get_or_insert_with(PodAntiAffinity::default);
            &mut apart.preferred_during_scheduling_ignored_during_execution
        } else {
            let near = affinity.pod_affinity.get_or_insert_with(PodAffinity::default);
            &mut near.preferred_during_scheduling_ignored_during_execution
        };
        preferred.get_or_insert_default().push(term);
        self
    }

    /// Adds a spread constraint; `action` is `DoNotSchedule` or `ScheduleAnyway`.
    pub fn spread(self, skew: i32, topology: &str, action: &str, pairs: &[(&str, &str)]) -> Self {
        self.spread_constraint(TopologySpreadConstraint {
            max_skew: skew,
            topology_key: topology.to_owned(),
            when_unsatisfiable: action.to_owned(),
            label_selector: Some(selector(pairs)),
            ..TopologySpreadConstraint::default()
        })
    }

    /// Adds a spread constraint.
    pub fn spread_constraint(mut self, constraint: TopologySpreadConstraint) -> Self {
        self.spec().topology_spread_constraints.get_or_insert_default().push(constraint);
        self
    }

    /// Mounts a claim.
    pub fn claim(self, name: &str) -> Self {
        let source =
            PersistentVolumeClaimVolumeSource { claim_name: name.to_owned(), read_only: None };
        self.volume(Volume {
            name: name.to_owned(),
            persistent_volume_claim: Some(source),
            ..Volume::default()
        })
    }

    /// Mounts a volume.
    pub fn volume(mut self, volume: Volume) -> Self {
        self.spec().volumes.get_or_insert_default().push(volume);
        self
    }

    /// Sets the controller.
    pub fn owner(mut self, api_version: &str, kind: &str, name: &str) -> Self {
        self.pod.metadata.owner_references.get_or_insert_default().push(OwnerReference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
            controller: Some(true),
            block_owner_deletion: None,
        });
        self
    }

    /// The pod.
    pub fn finish(self) -> Pod {
        self.pod
    }

    /// The pod, parsed.
    pub fn info(self) -> Arc<PodInfo> {
        Arc::new(PodInfo::new(Arc::new(self.pod)))
    }
}

fn container(name: &str, image: &str, requests: &[(&str, &str)]) -> Container {
    let requests = (!requests.is_empty()).then(|| list(requests));
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        resources: Some(ResourceRequirements { requests, ..ResourceRequirements::default() }),
        ..Container::default()
    }
}

fn node_term(key: &str, operator: &str, values: &[&str], field: bool) -> NodeSelectorTerm {
    let requirement = vec![NodeSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: Some(values.iter().map(ToString::to_string).collect()),
    }];
    if field {
        NodeSelectorTerm { match_fields: Some(requirement), match_expressions: None }
    } else {
        NodeSelectorTerm { match_expressions: Some(requirement), match_fields: None }
    }
}

fn pod_term(topology: &str, pairs: &[(&str, &str)]) -> PodAffinityTerm {
    PodAffinityTerm {
        topology_key: topology.to_owned(),
        label_selector: Some(selector(pairs)),
        ..PodAffinityTerm::default()
    }
}
