//! Probes and lifecycle hooks.

use super::super::check::{At, Faults};
use crate::name;

/// `livenessProbe`, `readinessProbe` and `startupProbe` of a container.
pub(super) fn probes(container: &At<'_>, grace_seconds: Option<i64>, faults: &mut Faults) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.get(kind);
        if !probe.is_set() {
            continue;
        }
        check_probe(&probe, grace_seconds, faults);
        let grace = probe.get("terminationGracePeriodSeconds");
        if kind == "readinessProbe" {
            if grace.is_set() {
                faults.invalid(&grace, "must not be set for readinessProbes");
            }
        } else if probe.get("successThreshold").int().unwrap_or_default() != 1 {
            faults.invalid(&probe.get("successThreshold"), "must be 1");
        }
    }
}

fn check_probe(at: &At<'_>, grace_seconds: Option<i64>, faults: &mut Faults) {
    handler(at, grace_seconds, faults);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        faults.non_negative(&at.get(field));
    }
    faults.positive(&at.get("terminationGracePeriodSeconds"));
}

/// `lifecycle` of a container.
pub(super) fn lifecycle(at: &At<'_>, grace_seconds: Option<i64>, faults: &mut Faults) {
    for hook in ["postStart", "preStop"] {
        if at.get(hook).is_set() {
            handler(&at.get(hook), grace_seconds, faults);
        }
    }
    faults.optional_one_of(&at.get("stopSignal"), &SIGNALS);
}

/// Signals that may stop a container.
const SIGNALS: [&str; 34] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

fn handler(at: &At<'_>, grace_seconds: Option<i64>, faults: &mut Faults) {
    let mut found = 0;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let action = at.get(kind);
        if !action.is_set() {
            continue;
        }
        found += 1;
        if found > 1 {
            faults.forbidden(&action, "may not specify more than 1 handler type");
            continue;
        }
        match kind {
            "exec" if action.get("command").len() == 0 => {
                faults.required(&action.get("command"), "");
            }
            "httpGet" => http_get(&action, faults),
            "tcpSocket" | "grpc" => faults.port_number_or_name(&action.get("port")),
            "sleep" => sleep(&action, grace_seconds, faults),
            _ => {}
        }
    }
    if found == 0 {
        faults.required(at, "must specify a handler type");
    }
}

fn http_get(at: &At<'_>, faults: &mut Faults) {
    if at.get("path").is_zero() {
        faults.required(&at.get("path"), "");
    }
    faults.port_number_or_name(&at.get("port"));
    if !matches!(at.get("scheme").text(), "HTTP" | "HTTPS") {
        faults.not_supported(&at.get("scheme"), &["HTTP", "HTTPS"]);
    }
    for header in at.get("httpHeaders").items() {
        let own_name = header.get("name").text();
        if let Err(fault) = name::http_header(own_name) {
            faults.invalid_as(&at.get("httpHeaders"), own_name, fault);
        }
    }
}

fn sleep(at: &At<'_>, grace_seconds: Option<i64>, faults: &mut Faults) {
    let seconds = at.get("seconds").int().unwrap_or_default();
    if let Some(grace) = grace_seconds
        && !(0..=grace).contains(&seconds)
    {
        let text =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        faults.invalid_as(at, seconds, text);
    }
}
