//! A scheduler name with its plugins, weights and arguments.

use crate::{
    config::{PluginSet, ProfileConfig},
    event::Event,
    framework::{Plugin, Rejection},
    plugins::REGISTRY,
    pod::PodInfo,
};

/// Why a profile cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No plugin has that name.
    #[error("there is no scheduler plugin {0:?}")]
    UnknownPlugin(String),
    /// The arguments of a plugin make no sense.
    #[error("arguments of scheduler plugin {plugin:?}: {problem}")]
    Arguments {
        /// The plugin.
        plugin: String,
        /// What is wrong.
        problem: String,
    },
}

#[derive(Debug)]
struct Enabled {
    plugin: Box<dyn Plugin>,
    /// 0 when the plugin does not score in this profile.
    weight: i64,
    filters: bool,
}

/// A configured set of plugins.
#[derive(Debug)]
pub struct Profile {
    /// The `schedulerName` that pods ask for.
    pub name: String,
    percentage_of_nodes_to_score: usize,
    plugins: Vec<Enabled>,
    preempts: bool,
}

impl Default for Profile {
    fn default() -> Self {
        match Self::new(&ProfileConfig::default()) {
            Ok(profile) => profile,
            Err(error) => unreachable!("the default profile is one of the tests: {error}"),
        }
    }
}

impl Profile {
    /// Makes a profile from configuration.
    pub fn new(config: &ProfileConfig) -> Result<Self, ProfileError> {
        for name in config.plugin_names() {
            if name != "*" && !REGISTRY.iter().any(|row| row.name == name) {
                return Err(ProfileError::UnknownPlugin(name.to_owned()));
            }
        }
        let mut plugins = Vec::new();
        for row in REGISTRY {
            let point = |set: &PluginSet| {
                set.allows(row.name, config.plugins.multi_point.allows(row.name, true))
            };
            let filters = point(&config.plugins.filter) && point(&config.plugins.pre_filter);
            let scores = point(&config.plugins.score) && point(&config.plugins.pre_score);
            let other = point(&config.plugins.pre_enqueue) && point(&config.plugins.post_filter);
            if !filters && !scores && !other {
                continue;
            }
            let weight = config.plugins.score.weight(row.name);
            let weight = weight.or_else(|| config.plugins.multi_point.weight(row.name));
            plugins.push(Enabled {
                plugin: (row.build)(config)?,
                weight: if scores { weight.unwrap_or(row.weight) } else { 0 },
                filters,
            });
        }
        let preempts = plugins.iter().any(|enabled| {
            enabled.plugin.preempts()
                && config.plugins.post_filter.allows(enabled.plugin.name(), true)
        });
        Ok(Self {
            name: config.scheduler_name.clone(),
            percentage_of_nodes_to_score: config
                .percentage_of_nodes_to_score
                .unwrap_or_default()
                .min(100),
            plugins,
            preempts,
        })
    }

    /// The plugins that filter, in order.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &dyn Plugin> {
        self.plugins.iter().filter(|enabled| enabled.filters).map(|enabled| &*enabled.plugin)
    }

    /// The plugins that score, with their weights.
    pub(crate) fn scorers(&self) -> impl Iterator<Item = (&dyn Plugin, i64)> {
        self.plugins
            .iter()
            .filter(|enabled| enabled.weight > 0)
            .map(|enabled| (&*enabled.plugin, enabled.weight))
    }

    pub(crate) fn percentage_of_nodes_to_score(&self) -> usize {
        self.percentage_of_nodes_to_score
    }

    pub(crate) fn preempts(&self) -> bool {
        self.preempts
    }

    /// Whether `pod` may be queued; otherwise which plugin holds it back and why.
    pub fn admit(&self, pod: &PodInfo) -> Result<(), (&'static str, Rejection)> {
        let mut plugins = self.plugins.iter().map(|enabled| &enabled.plugin);
        plugins.try_for_each(|plugin| plugin.admit(pod).map_err(|no| (plugin.name(), no)))
    }

    /// Whether `event` may change the mind of one of `rejected_by` about `pod`.
    pub fn wakes<'n>(
        &self,
        rejected_by: impl IntoIterator<Item = &'n &'static str>,
        event: &Event<'_>,
        pod: &PodInfo,
    ) -> bool {
        rejected_by.into_iter().any(|name| {
            let plugin = self.plugins.iter().find(|enabled| enabled.plugin.name() == *name);
            plugin.is_some_and(|enabled| enabled.plugin.wakes(event, pod))
        })
    }
}
