//! Collects the descriptions of the built-in fields for the OpenAPI documents.
//!
//! They are read from the source of the crate `k8s-openapi`, which the workspace depends on, and packed into
//! one compressed file, so that neither this repository nor the program's code carries them. Without that
//! source the documents have no descriptions, and nothing else changes.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use flate2::{Compression, write::DeflateEncoder};
use serde_json::Value;

const CRATE: &str = "k8s-openapi";
const TYPES: &str = "src/v1_37";

/// Definition and field (empty for the definition itself) to text.
type Descriptions = BTreeMap<(String, String), String>;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let mut found = Descriptions::new();
    match source() {
        Some(folder) => read_folder(&folder.join(TYPES), &mut found)?,
        None => println!("cargo::warning={CRATE} not found: OpenAPI documents lack descriptions"),
    }
    let mut text = String::new();
    for ((definition, field), description) in &found {
        let description = description.replace('\n', "\u{1e}");
        text.push_str(&format!("{definition}\u{1f}{field}\u{1f}{description}\n"));
    }
    let folder = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("no OUT_DIR"))?;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes())?;
    fs::write(Path::new(&folder).join("descriptions.deflate"), encoder.finish()?)
}

/// Where cargo keeps the crate's source.
fn source() -> Option<PathBuf> {
    in_registry().or_else(in_metadata).filter(|folder| folder.join(TYPES).is_dir())
}

/// The usual place: below cargo's home, under the version in the lock file.
fn in_registry() -> Option<PathBuf> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    let lock =
        manifest.ancestors().map(|folder| folder.join("Cargo.lock")).find(|p| p.is_file())?;
    let lock = fs::read_to_string(lock).ok()?;
    let package =
        lock.split("[[package]]").find(|p| p.contains(&format!("name = \"{CRATE}\"\n")))?;
    let version = package.lines().find_map(|line| line.strip_prefix("version = \""))?;
    let name = format!("{CRATE}-{}", version.trim_end_matches('"'));
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))?;
    let registries = fs::read_dir(home.join("registry/src")).ok()?;
    registries.flatten().map(|entry| entry.path().join(&name)).find(|path| path.is_dir())
}

/// Any other place, such as vendored sources: cargo knows.
fn in_metadata() -> Option<PathBuf> {
    let output = Command::new(env::var_os("CARGO")?)
        .args(["metadata", "--format-version", "1", "--offline"])
        .current_dir(env::var_os("CARGO_MANIFEST_DIR")?)
        .output()
        .ok()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).ok()?;
    let package =
        metadata["packages"].as_array()?.iter().find(|package| package["name"] == CRATE)?;
    Path::new(package["manifest_path"].as_str()?).parent().map(Path::to_path_buf)
}

fn read_folder(folder: &Path, found: &mut Descriptions) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_folder(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            read_type(&fs::read_to_string(&path)?, found);
        }
    }
    Ok(())
}

/// Reads one generated file: the `JsonSchema` part has one line per fact, at fixed depths.
fn read_type(text: &str, found: &mut Descriptions) {
    let (mut definition, mut field) = (String::new(), String::new());
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        let line = line.trim_start();
        if depth == 8 && line.starts_with("\"io.k8s.") {
            definition =
                line.trim_start_matches('"').split('"').next().unwrap_or_default().to_owned();
            field.clear();
        } else if depth == 16 && line.starts_with('"') && line.contains("\": ") {
            field = line.trim_start_matches('"').split('"').next().unwrap_or_default().to_owned();
        } else if let Some(literal) = description(line, depth)
            && !definition.is_empty()
        {
            let key = (definition.clone(), field_at(depth, &field));
            found.entry(key).or_insert_with(|| unescape(literal));
        }
    }
}

fn field_at(depth: usize, field: &str) -> String {
    if depth == 12 { String::new() } else { field.to_owned() }
}

/// The literal in a line that states a description.
fn description(line: &str, depth: usize) -> Option<&str> {
    if depth == 12 || depth == 20 {
        let plain = line.strip_prefix("\"description\": \"").and_then(|l| l.strip_suffix("\","));
        let inserted = line
            .split_once("insert(\"description\".into(), \"")
            .and_then(|(_, rest)| rest.strip_suffix("\".into());"));
        return plain.or(inserted);
    }
    None
}

/// Undoes the escapes of a Rust string literal, as far as generated code has them.
fn unescape(literal: &str) -> String {
    let mut out = String::with_capacity(literal.len());
    let mut characters = literal.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('0') => out.push('\0'),
            Some('u') => {
                let digits: String =
                    characters.by_ref().skip(1).take_while(|c| *c != '}').collect();
                out.extend(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}
