//! Probing with a command.

use std::time::Duration;

use cri::{ExecSyncRequest, RuntimeService};
use podlife::probe::Outcome;

use crate::limits::PROBE_OUTPUT_BYTES_MAX;

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
