//! The part of `KubeSchedulerConfiguration` (`kubescheduler.config.k8s.io/v1`) that decisions depend on.

use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use serde::Deserialize;

/// One entry of `profiles`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProfileConfig {
    /// The `schedulerName` that pods ask for.
    pub scheduler_name: String,
    /// Fixed share of nodes to search, in percent; adaptive when absent or 0.
    pub percentage_of_nodes_to_score: Option<usize>,
    /// Which plugins run where.
    pub plugins: Plugins,
    /// Arguments by plugin.
    pub plugin_config: Vec<PluginConfig>,
}

impl Default for ProfileConfig {
    fn default() -> Self {
        Self {
            scheduler_name: "default-scheduler".to_owned(),
            percentage_of_nodes_to_score: None,
            plugins: Plugins::default(),
            plugin_config: Vec::new(),
        }
    }
}

impl ProfileConfig {
    /// The arguments of `plugin`, its defaults when none are given.
    pub(crate) fn arguments<T: Default + for<'d> Deserialize<'d>>(
        &self,
        plugin: &str,
    ) -> Result<T, crate::ProfileError> {
        let Some(config) = self.plugin_config.iter().find(|config| config.name == plugin) else {
            return Ok(T::default());
        };
        let mut arguments = config.args.clone();
        if let Some(object) = arguments.as_object_mut() {
            object.remove("apiVersion");
            object.remove("kind");
        }
        serde_json::from_value(arguments).map_err(|error| crate::ProfileError::Arguments {
            plugin: plugin.to_owned(),
            problem: error.to_string(),
        })
    }

    pub(crate) fn plugin_names(&self) -> impl Iterator<Item = &str> {
        let sets = self.plugins.all().into_iter();
        let named = sets.flat_map(|set| set.enabled.iter().chain(&set.disabled));
        let configured = self.plugin_config.iter().map(|config| config.name.as_str());
        named.map(|plugin| plugin.name.as_str()).chain(configured)
    }
}

/// Plugins by extension point.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Plugins {
    /// All points at once.
    pub multi_point: PluginSet,
    /// Before the queue.
    pub pre_enqueue: PluginSet,
    /// Order of the queue.
    pub queue_sort: PluginSet,
    /// Once per pod before filtering.
    pub pre_filter: PluginSet,
    /// Per node.
    pub filter: PluginSet,
    /// When no node will do.
    pub post_filter: PluginSet,
    /// Once per pod before scoring.
    pub pre_score: PluginSet,
    /// Per node that will do.
    pub score: PluginSet,
    /// When a node is chosen.
    pub reserve: PluginSet,
    /// Before binding, may wait.
    pub permit: PluginSet,
    /// Before binding, may act.
    pub pre_bind: PluginSet,
    /// Binding itself.
    pub bind: PluginSet,
    /// After binding.
    pub post_bind: PluginSet,
}

impl Plugins {
    fn all(&self) -> [&PluginSet; 13] {
        [
            &self.multi_point,
            &self.pre_enqueue,
            &self.queue_sort,
            &self.pre_filter,
            &self.filter,
            &self.post_filter,
            &self.pre_score,
            &self.score,
            &self.reserve,
            &self.permit,
            &self.pre_bind,
            &self.bind,
            &self.post_bind,
        ]
    }
}

/// Plugins switched on and off at one point.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PluginSet {
    /// On, beside the defaults.
    pub enabled: Vec<PluginName>,
    /// Off; `*` for all defaults.
    pub disabled: Vec<PluginName>,
}

impl PluginSet {
    pub(crate) fn allows(&self, name: &str, default: bool) -> bool {
        if self.enabled.iter().any(|plugin| plugin.name == name) {
            return true;
        }
        let off = self.disabled.iter().any(|plugin| plugin.name == name || plugin.name == "*");
        default && !off
    }

    pub(crate) fn weight(&self, name: &str) -> Option<i64> {
        self.enabled.iter().find(|plugin| plugin.name == name)?.weight.filter(|weight| *weight > 0)
    }
}

/// A plugin in a set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginName {
    /// Its name.
    pub name: String,
    /// How much its scores count.
    pub weight: Option<i64>,
}

/// Arguments of one plugin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginConfig {
    /// The plugin.
    pub name: String,
    /// Its arguments, read by the plugin.
    #[serde(default)]
    pub args: serde_json::Value,
}

/// Arguments of `NodeResourcesFit`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct FitArguments {
    /// Extended resources that somebody else accounts for.
    pub ignored_resources: Vec<String>,
    /// The same by the part before the slash.
    pub ignored_resource_groups: Vec<String>,
    /// How nodes are scored.
    pub scoring_strategy: ScoringStrategy,
}

/// How room on a node becomes a score.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ScoringStrategy {
    /// The kind.
    pub r#type: ScoringType,
    /// Which resources count, and how much.
    pub resources: Vec<WeightedResource>,
    /// The curve of `RequestedToCapacityRatio`.
    pub requested_to_capacity_ratio: Option<Ratio>,
}

impl Default for ScoringStrategy {
    fn default() -> Self {
        Self {
            r#type: ScoringType::LeastAllocated,
            resources: default_resources(),
            requested_to_capacity_ratio: None,
        }
    }
}

fn default_resources() -> Vec<WeightedResource> {
    ["cpu", "memory"].map(|name| WeightedResource { name: name.to_owned(), weight: 1 }).to_vec()
}

/// The kinds of scoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ScoringType {
    /// Empty nodes first.
    LeastAllocated,
    /// Full nodes first.
    MostAllocated,
    /// By a curve.
    RequestedToCapacityRatio,
}

/// A resource and its weight.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WeightedResource {
    /// The resource's name.
    pub name: String,
    /// Its weight, 1 when not given.
    #[serde(default = "one")]
    pub weight: i64,
}

fn one() -> i64 {
    1
}

/// A curve from utilisation to score.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ratio {
    /// Its corners, by rising utilisation.
    pub shape: Vec<ShapePoint>,
}

/// A corner of the curve.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShapePoint {
    /// Percent of capacity.
    pub utilization: i64,
    /// 0 to 10.
    pub score: i64,
}

/// Arguments of `NodeResourcesBalancedAllocation`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct BalancedArguments {
    /// Which resources are to be used evenly.
    pub resources: Vec<WeightedResource>,
}

impl Default for BalancedArguments {
    fn default() -> Self {
        Self { resources: default_resources() }
    }
}

/// Arguments of `InterPodAffinity`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct InterPodAffinityArguments {
    /// What a required term of a placed pod counts for the pod that it speaks of.
    pub hard_pod_affinity_weight: i64,
    /// Whether preferred terms of placed pods are left out for pods without any.
    pub ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodAffinityArguments {
    fn default() -> Self {
        Self { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

/// Arguments of `NodeAffinity`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NodeAffinityArguments {
    /// Affinity that every pod of the profile has besides its own.
    pub added_affinity: Option<NodeAffinity>,
}

/// Arguments of `PodTopologySpread`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SpreadArguments {
    /// Constraints of pods that have none, with `defaultingType: List`.
    pub default_constraints: Vec<TopologySpreadConstraint>,
    /// Where the default constraints come from.
    pub defaulting_type: DefaultingType,
}

/// Where default constraints come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum DefaultingType {
    /// Upstream's: softly over hosts and zones.
    #[default]
    System,
    /// The list in the arguments.
    List,
}
