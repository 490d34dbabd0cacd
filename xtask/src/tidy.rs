//! Rules of the tree that no lint knows, as tests. Not here: format and lints (`verify`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::process::{output, program, root};

mod dependencies;
mod layers;

/// A file longer than this is split, unless it is on the list of old sins.
const FILE_LINES_MAX: usize = 800;

/// Every Rust file that the repository holds, with its text, without what a program wrote.
fn sources() -> Vec<(String, String)> {
    let list = output(program("git").args(["ls-files", "--", "*.rs"])).unwrap();
    let read = |path: &str| std::fs::read_to_string(root().join(path)).ok();
    let files = list.lines().filter_map(|path| Some((path.to_owned(), read(path)?)));
    let written = |text: &str| text.lines().take(5).any(|line| line.contains("@generated"));
    files.filter(|(_, text)| !written(text)).collect()
}

/// The production part of a file: what is before its tests.
fn production(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

fn assert_none(rule: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

#[test]
fn every_file_says_what_it_is() {
    let silent = |(path, text): (String, String)| (!text.starts_with("//!")).then_some(path);
    assert_none("open with `//!`", sources().into_iter().filter_map(silent).collect());
}

#[test]
fn nothing_is_left_for_later() {
    // Written in pieces, so that this file does not find itself.
    let words = [
        concat!("todo", "!("),
        concat!("unimplement", "ed!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
    ];
    let mut offenders = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) || skips(line) {
                offenders.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("finish it or leave it out", offenders);
}

/// Whether a line keeps a test from running, other than one that only its parent or a measurement starts.
fn skips(line: &str) -> bool {
    let reasons = ["runs only inside", "runs only as the child", "a measurement"];
    line.trim_start().starts_with(concat!("#[ign", "ore"))
        && !reasons.iter().any(|reason| line.contains(reason))
}

#[test]
fn no_file_names_a_folder_of_one_machine() {
    let folders =
        [concat!("/wo", "rk/main"), concat!("/wo", "rk/shared"), concat!("/wo", "rk/upstream")];
    let list = output(program("git").args(["ls-files"])).unwrap();
    let offends = |path: &&str| {
        std::fs::read_to_string(root().join(path))
            .is_ok_and(|text| folders.iter().any(|folder| text.contains(folder)))
    };
    assert_none(
        "no path of one machine",
        list.lines().filter(offends).map(str::to_owned).collect(),
    );
}

#[test]
fn files_stay_short() {
    let list: PathBuf = root().join("xtask").join("long_files.txt");
    let allowed: BTreeMap<String, usize> = std::fs::read_to_string(&list)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(lines, path)| (path.to_owned(), lines.parse().unwrap()))
        .collect();
    let mut long = BTreeMap::new();
    for (path, text) in sources() {
        let lines = production(&text).lines().count();
        if lines > FILE_LINES_MAX {
            long.insert(path, lines);
        }
    }
    let grown = |(path, lines): (&String, &usize)| {
        let most = allowed.get(path).copied().unwrap_or(FILE_LINES_MAX);
        (*lines > most).then(|| format!("{path}: {lines} lines, at most {most}"))
    };
    assert_none("split these files", long.iter().filter_map(grown).collect());
    let shrunk: String = long.iter().map(|(path, lines)| format!("{lines} {path}\n")).collect();
    expect_test::expect_file![list].assert_eq(&shrunk);
}
