//! `cargo xtask gen`: writes the tables that are generated from public facts, or checks them for drift.
//!
//! One function per table; each returns text for one checked-in file. Nothing is written by hand in
//! those files, and nothing outside them is generated.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

mod protobuf;
mod schema;

/// Arguments of `cargo xtask gen`.
#[derive(Debug, Args)]
pub(crate) struct GenArguments {
    /// Table to generate; all of them when absent.
    table: Option<Table>,
    /// Only compare with the checked-in files; fails when they differ.
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Table {
    /// Schemas of the built-in kinds.
    Schema,
    /// Protobuf field numbers of the built-in kinds.
    Protobuf,
}

impl Table {
    fn path(self) -> &'static str {
        match self {
            Self::Schema => "crates/schema/src/builtin/definitions.txt",
            Self::Protobuf => "crates/codec/src/protobuf/messages.txt",
        }
    }

    fn generate(self) -> Result<String> {
        match self {
            Self::Schema => schema::generate(),
            Self::Protobuf => protobuf::generate(),
        }
    }
}

/// Generates, then writes or compares.
pub(crate) fn run(arguments: &GenArguments) -> Result<()> {
    let tables = match arguments.table {
        Some(table) => vec![table],
        None => vec![Table::Schema, Table::Protobuf],
    };
    for table in tables {
        let text = table.generate().with_context(|| format!("generating {table:?}"))?;
        let path = workspace().join(table.path());
        if arguments.check { compare(&path, &text)? } else { write(&path, &text)? }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn compare(path: &Path, text: &str) -> Result<()> {
    let current =
        fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    if current != text {
        bail!("{} is out of date: run `cargo xtask gen`", path.display());
    }
    Ok(())
}

/// The root of the repository.
fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or_else(|| manifest.to_path_buf(), Path::to_path_buf)
}
