//! `cargo xtask compare`: one request after the other to our API server and to upstream's kube-apiserver, both fresh,
//! and what they answer differently. The requests are samples of most kinds, with one field made wrong at a time:
//! sent as new objects, and as changes of an object that is there. Nothing is stored but the samples.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use cluster_tests::wait_until;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use crate::process::{self, print, say};
use crate::servers;

mod answers;
mod cases;

use answers::{Answer, Difference};
use cases::{Case, Sample};

/// Requests under way at a time, to each of the two.
const REQUESTS: usize = 4;
/// How long the servers may take to make what every cluster has.
const ACCOUNTS_MAX: Duration = Duration::from_secs(60);
/// Differences of one answer that are written down.
const SHOWN: usize = 4;

/// `cargo xtask compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// Upstream's kube-apiserver
    #[arg(long)]
    kube_apiserver: PathBuf,
    /// The etcd for it
    #[arg(long, default_value = "etcd")]
    etcd: PathBuf,
    /// The program to compare [default: the release binary, built first]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Only these kinds
    kinds: Vec<String>,
}

/// Our server and upstream's.
struct Both {
    ours: kube::Client,
    theirs: kube::Client,
}

/// Runs the task.
///
/// # Errors
/// A server does not start or does not answer.
pub(crate) fn run(arguments: &CompareArguments) -> Result<()> {
    let binary = match &arguments.binary {
        Some(binary) => binary.canonicalize()?,
        None => process::release_binary()?,
    };
    let folder = process::root().join("target/compare");
    std::fs::create_dir_all(&folder).context("make a folder")?;
    let data = tempfile::Builder::new().prefix("servers-").tempdir_in(&folder)?;
    let ours = servers::keelson(&binary, &data.path().join("keelson"))?;
    let theirs = servers::upstream(
        &arguments.kube_apiserver,
        &arguments.etcd,
        &data.path().join("upstream"),
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let both = runtime.block_on(async {
        anyhow::Ok(Both {
            ours: servers::client(ours.kubeconfig()).await?,
            theirs: servers::client(theirs.kubeconfig()).await?,
        })
    })?;
    wait_until("both have the namespace and its accounts", ACCOUNTS_MAX, || {
        runtime.block_on(make_accounts(&both)).map_err(|error| format!("{error:#}"))
    });
    let samples = cases::samples(&arguments.kinds)?;
    let compared = runtime.block_on(compare(&both, &samples));
    ours.end()?;
    theirs.end()?;
    for (name, found) in compared? {
        let file = folder.join(format!("{name}.txt"));
        std::fs::write(&file, &found.text).with_context(|| file.display().to_string())?;
        print(
            &json!({"requests": name, "sent": found.sent, "answered_differently": found.different,
            "accepted_differently": found.accepted})
            .to_string(),
        );
        say(&format!("the differences are in {}", file.display()));
    }
    Ok(())
}

/// What came of many requests.
#[derive(Debug, Default)]
struct Found {
    sent: usize,
    different: usize,
    /// Of these, with another status code.
    accepted: usize,
    text: String,
}

/// Pods name these; nothing makes them while no controllers run.
async fn make_accounts(both: &Both) -> Result<()> {
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    for name in ["default", "sa"] {
        let (ours, theirs) =
            both.ask("POST", accounts, &[json!({"metadata": {"name": name}})]).await?;
        for answer in [ours, theirs] {
            if !matches!(answer.code, 201 | 409) {
                bail!("{}", answer.body);
            }
        }
    }
    Ok(())
}

async fn compare(both: &Both, samples: &[Sample]) -> Result<Vec<(&'static str, Found)>> {
    let new: Vec<Case> = samples.iter().flat_map(cases::creations).collect();
    let creations = send(both, new).await?;
    let stored: Vec<&Sample> = samples.iter().filter(|sample| sample.is_stored()).collect();
    for sample in &stored {
        let (ours, theirs) =
            both.ask("POST", &sample.path(), std::slice::from_ref(&sample.object)).await?;
        if (ours.code, theirs.code) != (201, 201) {
            bail!("{} cannot be made: {} and {}", sample.title(), ours.body, theirs.body);
        }
    }
    // The servers have a say in the status of some, which are read when all are made.
    let mut changed = Vec::new();
    for sample in stored {
        let (ours, theirs) = both.ask("GET", &sample.object_path(), &[]).await?;
        changed.extend(cases::updates(sample, &ours.body, &theirs.body));
    }
    Ok(vec![("creations", creations), ("updates", send(both, changed).await?)])
}

async fn send(both: &Both, cases: Vec<Case>) -> Result<Found> {
    let sent = cases.len();
    let answers =
        futures::stream::iter(cases.into_iter().enumerate()).map(|(place, case)| async move {
            let (ours, theirs) = both.ask(case.method, &case.path, &case.bodies).await?;
            anyhow::Ok((place, case.title, ours, theirs))
        });
    let answers: Vec<_> = answers.buffer_unordered(REQUESTS).try_collect().await?;
    let mut found = Found { sent, ..Found::default() };
    let mut by_place = BTreeMap::new();
    for (place, title, ours, theirs) in answers {
        let differences = answers::differences(&ours, &theirs);
        if differences.is_empty() {
            continue;
        }
        found.different += 1;
        found.accepted += usize::from(ours.code != theirs.code);
        by_place.insert(place, shown(&title, &ours, &theirs, &differences)?);
    }
    found.text = by_place.into_values().collect();
    Ok(found)
}

fn shown(
    title: &str,
    ours: &Answer,
    theirs: &Answer,
    differences: &[Difference],
) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "## {title}: upstream {}, here {}", theirs.code, ours.code)?;
    for difference in differences.iter().take(SHOWN) {
        let Difference { path, ours, theirs } = difference;
        writeln!(text, "  {path}\n    upstream {theirs}\n    here     {ours}")?;
    }
    Ok(text)
}

impl Both {
    /// Asks both: with the same body, with one for each, or without any.
    async fn ask(&self, method: &str, path: &str, bodies: &[Value]) -> Result<(Answer, Answer)> {
        let (first, second) = (bodies.first(), bodies.last());
        futures::try_join!(
            ask(&self.ours, method, path, first),
            ask(&self.theirs, method, path, second)
        )
    }
}

async fn ask(
    client: &kube::Client,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer> {
    let bytes = body.map(Value::to_string).unwrap_or_default().into_bytes();
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .body(kube::client::Body::from(bytes))?;
    // Upstream's server panics at some requests, which ends the connection.
    let Ok(answer) = client.send(request).await else { return Ok(Answer::default()) };
    let code = answer.status().as_u16();
    let warnings = answer.headers().get_all("warning").iter();
    let warnings = warnings.filter_map(|it| it.to_str().ok()).map(str::to_owned).collect();
    let bytes = answer.into_body().collect_bytes().await.context("read an answer")?;
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Ok(Answer { code, body, warnings })
}
