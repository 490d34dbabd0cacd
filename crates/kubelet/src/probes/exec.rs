//! Probing with a command.

use std::time::Duration;

use cri::{ExecSyncRequest, RuntimeService};
use k8s_openapi::api::core::v1::{Container, ExecAction};
use podlife::env;
use podlife::probe::Outcome;

use crate::limits::PROBE_OUTPUT_BYTES_MAX;

/// The command of a probe. Of the variables only those with a value of their own are put in: upstream knows no
/// others here, and has an empty text for those that come from elsewhere.
pub(crate) fn command(action: &ExecAction, container: &Container) -> Vec<String> {
    let value = |name: &str| {
        let known = container.env.iter().flatten().rev().find(|variable| variable.name == name);
        known.map(|variable| variable.value.clone().unwrap_or_default())
    };
    action.command.iter().flatten().map(|text| env::expand(text, value)).collect()
}

pub(crate) async fn run(
    runtime: &dyn RuntimeService,
    container_id: &str,
    cmd: Vec<String>,
    timeout: Duration,
) -> Outcome {
    let text = cmd.join(" ");
    let request = ExecSyncRequest {
        container_id: container_id.to_owned(),
        cmd,
        timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
    };
    match runtime.exec_sync(&request).await {
        Ok(answer) if answer.exit_code == 0 => Outcome::Success,
        Ok(answer) => {
            let mut output = answer.stdout;
            output.extend_from_slice(&answer.stderr);
            output.truncate(PROBE_OUTPUT_BYTES_MAX);
            Outcome::Failure(String::from_utf8_lossy(&output).into_owned())
        }
        Err(error) if error.is_deadline_exceeded() => Outcome::Failure(format!(
            "command timed out: {text:?} timed out after {}",
            podlife::backoff::go_duration(timeout)
        )),
        Err(error) => Outcome::unknown(error.rpc_text()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_knows_the_variables_that_have_values() {
        let container: Container = serde_json::from_value(json!({"name": "c", "env": [
            {"name": "PORT", "value": "1"}, {"name": "PORT", "value": "80"},
            {"name": "FROM", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}))
        .unwrap();
        let texts = ["nc", "$(PORT)", "a$(FROM)b", "$$(PORT)", "$(OTHER)"].map(str::to_owned);
        let action = ExecAction { command: Some(texts.into()) };
        assert_eq!(command(&action, &container), ["nc", "80", "ab", "$(PORT)", "$(OTHER)"]);
    }
}
