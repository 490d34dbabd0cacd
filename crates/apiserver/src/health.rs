//! `/healthz`, `/livez` and `/readyz`: is the server well, and in what.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::STORE_CHECK_MAX;
use crate::metrics::head;
use crate::request::Query;
use crate::respond::{Answer, text_answer};
use crate::server::Server;

/// What is done before the server answers at all, by upstream's names: it is done when anyone can ask.
const DONE_AT_START: [&str; 22] = [
    "ping",
    "log",
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/storage-readiness",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
];
/// Checks that ask the store.
const STORE: [&str; 2] = ["etcd", "etcd-readiness"];
/// Whether the server has begun to end.
const SHUTDOWN: &str = "shutdown";
/// Whether memory has been filled from the store; it is before the server answers.
const SYNCED: &str = "informer-sync";

/// The checks behind a path; `readyz` has some of its own.
pub(crate) fn checks(kind: &str) -> Vec<&'static str> {
    let mut checks: Vec<&str> = DONE_AT_START.to_vec();
    checks.insert(2, STORE[0]);
    if kind == "readyz" {
        checks.insert(3, STORE[1]);
        checks.extend([SYNCED, SHUTDOWN]);
    }
    checks
}

/// What has come of the checks so far, by kind and name.
#[derive(Debug, Default)]
pub(crate) struct Outcomes(Mutex<BTreeMap<(String, &'static str), Outcome>>);

#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    successes: u64,
    failures: u64,
    is_well: bool,
}

impl Outcomes {
    fn note(&self, kind: &str, findings: &[Finding]) {
        let mut outcomes = self.0.lock();
        for finding in findings.iter().filter(|finding| !finding.excluded) {
            let outcome = outcomes.entry((kind.to_owned(), finding.name)).or_default();
            outcome.is_well = finding.well;
            let count = if finding.well { &mut outcome.successes } else { &mut outcome.failures };
            *count += 1;
        }
    }

    /// `/metrics/slis`.
    pub(crate) fn render(&self) -> String {
        let outcomes = self.0.lock().clone();
        let mut out = String::new();
        let name = "kubernetes_healthcheck";
        let help = "[STABLE] This metric records the result of a single healthcheck.";
        head(&mut out, name, "gauge", help);
        for ((kind, check), outcome) in &outcomes {
            let well = u8::from(outcome.is_well);
            let _written = writeln!(out, "{name}{{name=\"{check}\",type=\"{kind}\"}} {well}");
        }
        let name = "kubernetes_healthchecks_total";
        let help = "[STABLE] This metric records the results of all healthcheck.";
        head(&mut out, name, "counter", help);
        for ((kind, check), outcome) in &outcomes {
            for (status, count) in [("error", outcome.failures), ("success", outcome.successes)] {
                if count > 0 {
                    let labels = format!("name=\"{check}\",status=\"{status}\",type=\"{kind}\"");
                    let _written = writeln!(out, "{name}{{{labels}}} {count}");
                }
            }
        }
        out
    }
}

/// Answers one of the three paths, or what is below it: `name` is then a check's. `None` when there is none.
pub(crate) async fn answer(
    server: &Arc<Server>,
    kind: &str,
    name: &str,
    query: &Query,
) -> Option<Answer> {
    let known = checks(kind);
    let asked = match name {
        "" => known.clone(),
        name => vec![*known.iter().find(|known| **known == name)?],
    };
    let is_one = !name.is_empty();
    let excluded: Vec<&str> = query.all("exclude").filter(|name| !name.is_empty()).collect();
    let wants_store = asked.iter().any(|name| STORE.contains(name) && !excluded.contains(name));
    let store_is_well = !wants_store || store_answers(server).await;
    let is_well = |name: &str| match name {
        SHUTDOWN => !server.scope.is_cancelled(),
        name if STORE.contains(&name) => store_is_well,
        _ => true,
    };
    let results: Vec<Finding> = asked
        .into_iter()
        .map(|name| Finding { name, well: is_well(name), excluded: excluded.contains(&name) })
        .collect();
    server.health.note(kind, &results);
    let unknown: Vec<&str> = excluded.into_iter().filter(|name| !known.contains(name)).collect();
    let (code, text) = report(kind, &results, &unknown, is_one, query.get("verbose").is_some());
    let mut answer = text_answer(code, text);
    let nosniff = http::HeaderValue::from_static("nosniff");
    answer.headers_mut().insert("x-content-type-options", nosniff);
    Some(answer)
}

/// What came of a check.
struct Finding {
    name: &'static str,
    well: bool,
    excluded: bool,
}

/// Code and text, as upstream writes them.
fn report(
    kind: &str,
    findings: &[Finding],
    unknown: &[&str],
    is_one: bool,
    verbose: bool,
) -> (u16, String) {
    let well = findings.iter().all(|finding| finding.well || finding.excluded);
    if well && (is_one || !verbose) {
        return (200, "ok".to_owned());
    }
    if is_one {
        return (500, "internal server error: health check failed\n".to_owned());
    }
    let mut text = String::new();
    for Finding { name, well, excluded } in findings {
        text.push_str(&match (excluded, well) {
            (true, _) => format!("[+]{name} excluded: ok\n"),
            (false, true) => format!("[+]{name} ok\n"),
            (false, false) => format!("[-]{name} failed: reason withheld\n"),
        });
    }
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(|name| format!("{name:?}")).collect();
        let names = names.join(",");
        text.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {names}\n"
        ));
    }
    text.push_str(&format!("{kind} check {}\n", if well { "passed" } else { "failed" }));
    (if well { 200 } else { 500 }, text)
}

async fn store_answers(server: &Server) -> bool {
    let asked = tokio::time::timeout(STORE_CHECK_MAX, server.store.revision()).await;
    match asked {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store is not well");
            false
        }
        Err(_) => {
            tracing::warn!("the store does not answer");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_read_as_upstreams() {
        let finding = |name, well, excluded| Finding { name, well, excluded };
        let cases = [
            (vec![finding("ping", true, false)], true, true, (200, "ok")),
            (
                vec![finding("etcd", false, false)],
                true,
                true,
                (500, "internal server error: health check failed\n"),
            ),
            (
                vec![finding("ping", true, false), finding("etcd", true, false)],
                false,
                false,
                (200, "ok"),
            ),
            (
                vec![finding("ping", true, false), finding("etcd", true, false)],
                false,
                true,
                (200, "[+]ping ok\n[+]etcd ok\nlivez check passed\n"),
            ),
            (
                vec![finding("ping", true, false), finding("etcd", false, false)],
                false,
                false,
                (500, "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n"),
            ),
            (
                vec![finding("ping", true, false), finding("etcd", false, true)],
                false,
                true,
                (200, "[+]ping ok\n[+]etcd excluded: ok\nlivez check passed\n"),
            ),
        ];
        for (findings, is_one, verbose, (code, text)) in cases {
            let reported = report("livez", &findings, &[], is_one, verbose);
            assert_eq!(reported, (code, text.to_owned()));
        }
        let (_, text) = report("readyz", &[], &["nothing"], false, true);
        assert!(text.contains("no matches for \"nothing\""), "{text}");
    }

    #[test]
    fn readiness_asks_for_more() {
        assert!(!checks("livez").contains(&SHUTDOWN));
        assert!(checks("readyz").contains(&SHUTDOWN));
        assert_eq!(checks("healthz")[..3], ["ping", "log", "etcd"]);
    }
}
