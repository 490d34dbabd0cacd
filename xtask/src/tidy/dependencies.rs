//! What may come into the tree, as `deny.toml` says it: licences, sources and packages that are banned. Held here too, so
//! that it holds where cargo-deny is not installed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::process::{cargo, output, root};

/// The only place that packages come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The part of `deny.toml` that is held here.
#[derive(Debug, Default)]
struct Rules {
    licenses: BTreeSet<String>,
    /// Expressions of packages whose manifests have none.
    clarified: BTreeMap<String, String>,
    banned: BTreeSet<String>,
}

impl Rules {
    fn read() -> Self {
        let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
        let (mut rules, mut section, mut list, mut package) =
            (Self::default(), String::new(), String::new(), String::new());
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let (key, value) = line.split_once(" = ").unwrap_or(("", line));
            if line.starts_with('[') && key.is_empty() {
                section = line.trim_matches(['[', ']']).to_owned();
                continue;
            }
            if !key.is_empty() && !line.starts_with('{') {
                key.clone_into(&mut list);
            }
            match (section.as_str(), list.as_str()) {
                ("licenses", "allow") => rules.licenses.extend(quoted(value)),
                ("licenses.clarify", "crate") => package = quoted(value).unwrap(),
                ("licenses.clarify", "expression") => {
                    rules.clarified.insert(package.clone(), quoted(value).unwrap());
                }
                ("bans", "deny") if line.starts_with('{') => rules.banned.extend(quoted(line)),
                _ => {}
            }
        }
        rules
    }
}

/// The first text in quotation marks.
fn quoted(line: &str) -> Option<String> {
    line.split('"').nth(1).map(str::to_owned)
}

/// What is compiled here: packages for other systems need not be downloaded.
fn packages() -> Vec<Value> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let text = output(
        cargo()
            .args(["metadata", "--format-version", "1", "--offline"])
            .args(["--filter-platform", &platform]),
    );
    let metadata: Value = serde_json::from_str(&text.unwrap()).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether some way of choosing leaves only allowed licences: `(MIT OR Apache-2.0) AND Unicode-3.0`. Older manifests write
/// `/` for `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut words = words.as_slice();
    any_of(&mut words, allowed) && words.is_empty()
}

fn any_of(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut result = all_of(words, allowed);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        result |= all_of(words, allowed);
    }
    result
}

fn all_of(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut result = one(words, allowed);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        result &= one(words, allowed);
    }
    result
}

fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let result = any_of(words, allowed);
            let closed = words.first() == Some(&")");
            *words = words.get(1..).unwrap_or_default();
            result && closed
        }
        [license, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(&format!("{license} WITH {exception}"))
        }
        [license, rest @ ..] => {
            *words = rest;
            allowed.contains(*license)
        }
        [] => false,
    }
}

#[test]
fn licenses_are_on_the_list() {
    let rules = Rules::read();
    assert!(rules.licenses.len() > 5 && rules.banned.len() > 1, "{rules:?}");
    let offends = |package: &Value| {
        let name = package["name"].as_str().unwrap();
        let given = package["license"].as_str().map(str::to_owned);
        let license = given.or_else(|| rules.clarified.get(name).cloned()).unwrap_or_default();
        (!is_allowed(&license, &rules.licenses)).then(|| format!("{name}: `{license}`"))
    };
    super::assert_none(
        "licences in deny.toml only",
        packages().iter().filter_map(offends).collect(),
    );
}

#[test]
fn packages_come_from_the_registry_and_none_is_banned() {
    let rules = Rules::read();
    let offends = |package: &Value| {
        let name = package["name"].as_str().unwrap();
        let elsewhere = package["source"].as_str().is_some_and(|source| source != REGISTRY);
        (elsewhere || rules.banned.contains(name)).then(|| format!("{name}: {}", package["source"]))
    };
    super::assert_none("no such packages", packages().iter().filter_map(offends).collect());
}

#[test]
fn expressions_are_read_as_their_authors_mean_them() {
    let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception", "ISC"].map(str::to_owned).into();
    let cases = [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0-only AND MIT", false),
        ("(GPL-3.0-only OR MIT) AND ISC", true),
        ("MIT AND (GPL-3.0-only OR Zlib)", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("(MIT", false),
        ("", false),
    ];
    for (expression, expected) in cases {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}
