//! `KubeSchedulerConfiguration` (`kubescheduler.config.k8s.io/v1`) as far as the scheduler itself reads it.
//!
//! Connection and leader election settings belong to whoever starts the scheduler and are skipped here.

use std::{sync::Arc, time::Duration};

use scheduling::{Profile, ProfileError, config::ProfileConfig};
use serde::Deserialize;

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file has another shape.
    #[error("cannot read the scheduler configuration")]
    Shape(#[source] serde_json::Error),
    /// A profile makes no sense.
    #[error("scheduler profile {name:?}")]
    Profile {
        /// The profile.
        name: String,
        /// What is wrong with it.
        #[source]
        source: ProfileError,
    },
    /// Two profiles have one name.
    #[error("two scheduler profiles are called {0:?}")]
    Twice(String),
    /// Something that upstream has and this scheduler does not.
    #[error("scheduler configuration: {0} are not supported")]
    Unsupported(&'static str),
}

/// A checked configuration; cheap to clone.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) profiles: Vec<Arc<Profile>>,
    pub(crate) backoff_min: Duration,
    pub(crate) backoff_max: Duration,
}

impl Default for Config {
    /// One profile, `default-scheduler`.
    fn default() -> Self {
        Self {
            profiles: vec![Arc::new(Profile::default())],
            backoff_min: BACKOFF_MIN,
            backoff_max: BACKOFF_MAX,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    percentage_of_nodes_to_score: Option<usize>,
    pod_initial_backoff_seconds: Option<u64>,
    pod_max_backoff_seconds: Option<u64>,
    profiles: Vec<ProfileConfig>,
    extenders: Vec<serde_json::Value>,
}

impl Config {
    /// Reads the configuration file, already turned into JSON values.
    pub fn read(file: serde_json::Value) -> Result<Self, ConfigError> {
        let file: File = serde_json::from_value(file).map_err(ConfigError::Shape)?;
        if !file.extenders.is_empty() {
            return Err(ConfigError::Unsupported("extenders"));
        }
        let mut configs = file.profiles;
        if configs.is_empty() {
            configs.push(ProfileConfig::default());
        }
        let mut profiles: Vec<Arc<Profile>> = Vec::new();
        for mut config in configs {
            if config.percentage_of_nodes_to_score.is_none() {
                config.percentage_of_nodes_to_score = file.percentage_of_nodes_to_score;
            }
            let name = config.scheduler_name.clone();
            if profiles.iter().any(|profile| profile.name == name) {
                return Err(ConfigError::Twice(name));
            }
            let profile = Profile::new(&config);
            let profile = profile.map_err(|source| ConfigError::Profile { name, source })?;
            profiles.push(Arc::new(profile));
        }
        let seconds = |seconds: Option<u64>, default| seconds.map_or(default, Duration::from_secs);
        let backoff_min = seconds(file.pod_initial_backoff_seconds, BACKOFF_MIN);
        let backoff_max = seconds(file.pod_max_backoff_seconds, BACKOFF_MAX).max(backoff_min);
        Ok(Self { profiles, backoff_min, backoff_max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_of_upstream_is_read() {
        let config = Config::read(json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
            "clientConnection": {"kubeconfig": "/x"}, "leaderElection": {"leaderElect": true},
            "podInitialBackoffSeconds": 2,
            "profiles": [{"schedulerName": "default-scheduler"}, {"schedulerName": "packing",
                "pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}]}],
        }))
        .unwrap();
        assert_eq!(config.profiles.len(), 2);
        assert_eq!(config.backoff_min, Duration::from_secs(2));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let error = |value| Config::read(value).unwrap_err().to_string();
        let twice = json!({"profiles": [{"schedulerName": "a"}, {"schedulerName": "a"}]});
        assert_eq!(error(twice), "two scheduler profiles are called \"a\"");
        let extenders = json!({"extenders": [{"urlPrefix": "http://x"}]});
        assert_eq!(error(extenders), "scheduler configuration: extenders are not supported");
        assert_eq!(error(json!({"profiles": 1})), "cannot read the scheduler configuration");
    }
}
