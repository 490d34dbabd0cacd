//! `cargo xtask verify` and `fix`: the rules that a program can hold.
//!
//! The rules of the tree itself (layers, file heads, lengths) are tests of this package, in `tidy`.

use anyhow::{Result, bail};

use crate::process::{cargo, run, say};

/// Checks everything, so that one run shows all that is wrong; writes nothing.
pub(crate) fn verify() -> Result<()> {
    let checks = [
        vec!["fmt", "--all", "--check"],
        vec!["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"],
        vec!["test", "--quiet", "--package", "xtask"],
    ];
    let mut failed = Vec::new();
    for check in &checks {
        if let Err(error) = run(cargo().args(check)) {
            failed.push(format!("{error:#}"));
        }
    }
    if !failed.is_empty() {
        bail!("{} of {} checks failed:\n{}", failed.len(), checks.len(), failed.join("\n"));
    }
    say("the tree is clean");
    Ok(())
}

/// Mends what can be mended without a person.
pub(crate) fn fix() -> Result<()> {
    run(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
    ]))?;
    run(cargo().args(["fmt", "--all"]))?;
    run(cargo().args(["test", "--quiet", "--package", "xtask"]).env("UPDATE_EXPECT", "1"))
}
