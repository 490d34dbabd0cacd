//! What the suite's JUnit reports say, as a table per SIG. Reads only what ginkgo writes; it is no XML library.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use regex::Regex;

/// How many characters of a message are kept.
const MESSAGE_CHARS_MAX: usize = 3000;

/// The outcome of one test.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Outcome {
    name: String,
    passed: bool,
    message: String,
}

/// All outcomes, of one or more reports.
#[derive(Debug, Default)]
pub(crate) struct Results {
    outcomes: Vec<Outcome>,
}

impl Results {
    /// Adds a report.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn read(&mut self, junit: &Path) -> Result<()> {
        let text =
            std::fs::read_to_string(junit).with_context(|| format!("read {}", junit.display()))?;
        self.outcomes.extend(parse(&text)?);
        Ok(())
    }

    /// How many failed.
    pub(crate) fn failed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| !outcome.passed).count()
    }

    fn passed(&self) -> usize {
        self.outcomes.len() - self.failed()
    }

    fn sigs(&self) -> BTreeMap<&str, Vec<&Outcome>> {
        let mut sigs: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
        for outcome in &self.outcomes {
            sigs.entry(sig(&outcome.name)).or_default().push(outcome);
        }
        sigs
    }

    /// The table, then the names of what failed.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from("| SIG | passed | failed |\n|---|---:|---:|\n");
        for (sig, outcomes) in self.sigs() {
            let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
            let _infallible = writeln!(text, "| {sig} | {} | {failed} |", outcomes.len() - failed);
        }
        let _infallible = writeln!(text, "| **all** | {} | {} |", self.passed(), self.failed());
        let failures: Vec<String> =
            self.failures().map(|outcome| format!("- {}", outcome.name)).collect();
        if !failures.is_empty() {
            let _infallible = write!(text, "\nFailed:\n\n{}\n", failures.join("\n"));
        }
        text
    }

    /// The page `docs/CONFORMANCE.md`.
    pub(crate) fn page(&self, took: Duration, nodes: u8) -> String {
        let minutes = took.as_secs().div_ceil(60);
        let nodes = if nodes == 1 { "one node" } else { "two nodes" };
        format!(
            "# Conformance\n\nWritten by `cargo xtask conformance --e2e FILE --images FOLDER`; do not edit.\n\n\
             {} of {} conformance tests pass. The run took {minutes} minutes on {nodes}.\n\n{}",
            self.passed(),
            self.outcomes.len(),
            self.table()
        )
    }

    /// What failed tests said.
    pub(crate) fn messages(&self) -> String {
        let texts =
            self.failures().map(|outcome| format!("=== {}\n{}\n", outcome.name, outcome.message));
        texts.collect::<Vec<_>>().join("\n")
    }

    fn failures(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| !outcome.passed)
    }
}

/// `[sig-apps] Job should …` → `apps`.
fn sig(name: &str) -> &str {
    name.strip_prefix("[sig-").and_then(|rest| rest.split(']').next()).unwrap_or("other")
}

fn parse(text: &str) -> Result<Vec<Outcome>> {
    let case = Regex::new(r"(?s)<testcase ([^>]*?)(/>|>(.*?)</testcase>)")?;
    let failure = Regex::new(
        r#"(?s)<(?:failure|error) [^>]*?message="([^"]*)"[^>]*>(.*?)</(?:failure|error)>"#,
    )?;
    let mut outcomes = Vec::new();
    for found in case.captures_iter(text) {
        let attributes = &found[1];
        let body = found.get(3).map_or("", |body| body.as_str());
        let status = attribute(attributes, "status")?;
        if status == "skipped" || status == "pending" {
            continue;
        }
        let name = attribute(attributes, "name")?;
        let passed = status == "passed";
        let Some(name) = bare(&name) else {
            // Set-up and tear-down count only when they fail.
            if !passed {
                outcomes.push(outcome(name, passed, body, &failure));
            }
            continue;
        };
        outcomes.push(outcome(name, passed, body, &failure));
    }
    Ok(outcomes)
}

fn outcome(name: String, passed: bool, body: &str, failure: &Regex) -> Outcome {
    let message = failure.captures(body).map(|found| format!("{}\n{}", &found[1], &found[2]));
    let message = unescape(&message.unwrap_or_default());
    Outcome { name, passed, message: message.chars().take(MESSAGE_CHARS_MAX).collect() }
}

/// The test's own name: without ginkgo's `[It]`, and without the labels after `[Conformance]`.
fn bare(name: &str) -> Option<String> {
    let name = name.strip_prefix("[It] ")?;
    let mark = "[Conformance]";
    let end = name.find(mark).map_or(name.len(), |start| start + mark.len());
    Some(name[..end].to_owned())
}

fn attribute(attributes: &str, name: &str) -> Result<String> {
    let pattern = Regex::new(&format!(r#"(?:^|\s){name}="([^"]*)""#))?;
    let value = pattern.captures(attributes).map(|found| unescape(&found[1]));
    value.with_context(|| format!("a test case has no {name}"))
}

fn unescape(text: &str) -> String {
    let named = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#xA;", "\n"),
        ("&#x9;", "\t"),
    ];
    let text = named.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    text.replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"<?xml version="1.0"?><testsuites><testsuite>
      <testcase name="[SynchronizedBeforeSuite]" classname="x" status="passed" time="1"/>
      <testcase name="[It] [sig-apps] Job runs &#34;it&#34; [Conformance] [sig-apps, Conformance]" classname="x" status="passed" time="2.5"><system-err>log</system-err></testcase>
      <testcase name="[It] [sig-node] Pods start [Conformance]" classname="x" status="failed" time="3"><failure message="no &lt;node&gt;" type="failed">at a.go:1</failure></testcase>
      <testcase name="[It] [sig-node] other" classname="x" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
    </testsuite></testsuites>"#;

    #[test]
    fn reports_become_tables() {
        let results = Results { outcomes: parse(REPORT).unwrap() };
        expect_test::expect![[r#"
            | SIG | passed | failed |
            |---|---:|---:|
            | apps | 1 | 0 |
            | node | 0 | 1 |
            | **all** | 1 | 1 |

            Failed:

            - [sig-node] Pods start [Conformance]
        "#]]
        .assert_eq(&results.table());
        assert_eq!(
            results.messages(),
            "=== [sig-node] Pods start [Conformance]\nno <node>\nat a.go:1\n"
        );
        assert_eq!(results.outcomes[0].name, "[sig-apps] Job runs \"it\" [Conformance]");
    }

    #[test]
    fn an_empty_report_has_no_tests() {
        assert!(parse("<testsuites></testsuites>").unwrap().is_empty());
    }
}
