//! `keelson recover`: a damaged store is made usable again, up to the last good commit.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::config::DATA_DIR;

/// `keelson recover`.
#[derive(Debug, Args)]
pub(crate) struct RecoverArguments {
    /// Folder for all state
    #[arg(long, short = 'd', default_value = DATA_DIR)]
    data_dir: PathBuf,
}

/// Repairs the store of a server that does not run, and says what was lost.
///
/// # Errors
/// There is no store, it is in use, or it cannot be repaired.
pub(crate) fn run(arguments: &RecoverArguments) -> anyhow::Result<()> {
    let path = arguments.data_dir.join("store");
    if !path.join("data").try_exists().with_context(|| format!("look at {}", path.display()))? {
        bail!("there is no store in {}", arguments.data_dir.display());
    }
    let report = store::embedded::recover(&path)
        .with_context(|| format!("recover the store in {}", path.display()))?;
    if report.lost.is_empty() {
        print(&format!("nothing is damaged; the newest revision is {}", report.revision));
        return Ok(());
    }
    for lost in &report.lost {
        print(&format!("lost: {lost}"));
    }
    for kept in &report.kept_aside {
        print(&format!("kept: {}", kept.display()));
    }
    print(&format!("the store goes on at revision {}", report.revision));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what was found is the data of this command")]
fn print(line: &str) {
    println!("{line}");
}
