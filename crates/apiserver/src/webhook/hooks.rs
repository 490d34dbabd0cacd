//! The webhooks of a configuration, read and compiled once per version of it.

use std::time::Duration;

use api::status::Status;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::rules::Criteria;
use crate::handle::text;
use crate::policy_admission::{Conditions, environment};

const TIMEOUT_SECONDS_DEFAULT: u64 = 10;
const TIMEOUT_SECONDS_MAX: u64 = 30;

/// All webhooks of a configuration, in order.
#[derive(Debug)]
pub(super) struct Hooks {
    /// The configuration's name.
    pub(super) name: String,
    pub(super) list: Vec<Hook>,
}

/// One webhook.
#[derive(Debug)]
pub(super) struct Hook {
    /// Its name, as messages show it.
    pub(super) name: String,
    /// Its part of the configuration.
    pub(super) config: Value,
    /// What must hold of a request that its rules match.
    pub(super) conditions: Conditions,
}

impl<'de> Deserialize<'de> for Hooks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(&Value::deserialize(deserializer)?))
    }
}

impl Hooks {
    fn of(configuration: &Value) -> Self {
        let hooks = configuration.get("webhooks").and_then(Value::as_array);
        Self {
            name: api::meta::name(configuration).to_owned(),
            list: hooks.into_iter().flatten().map(Hook::of).collect(),
        }
    }
}

impl Hook {
    fn of(config: &Value) -> Self {
        let conditions = config.get("matchConditions").unwrap_or(&Value::Null);
        Self {
            name: text(config, "/name").to_owned(),
            config: config.clone(),
            conditions: Conditions::compile(conditions, &environment::for_conditions(false)),
        }
    }

    /// What it applies to.
    pub(super) fn criteria(&self) -> Criteria<'_> {
        Criteria {
            config: &self.config,
            rules: self.config.get("rules").unwrap_or(&Value::Null),
            excluded: &Value::Null,
            empty_matches: false,
        }
    }

    /// Whether failures to ask it are passed over.
    pub(super) fn ignores_failures(&self) -> bool {
        text(&self.config, "/failurePolicy") == "Ignore"
    }

    /// How long it may take.
    pub(super) fn timeout(&self) -> Duration {
        let seconds = self.config.get("timeoutSeconds").and_then(Value::as_u64);
        Duration::from_secs(
            seconds.unwrap_or(TIMEOUT_SECONDS_DEFAULT).clamp(1, TIMEOUT_SECONDS_MAX),
        )
    }

    /// What follows from a failure to ask it.
    pub(super) fn failed(&self, why: &str) -> Result<Option<Value>, Status> {
        if self.ignores_failures() {
            tracing::info!(webhook = self.name, why, "a webhook failed and is ignored");
            return Ok(None);
        }
        Err(Status::internal(format!(
            "failed calling webhook \"{}\": failed to call webhook: {why}",
            self.name
        )))
    }
}
