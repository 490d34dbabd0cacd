//! The direction of dependencies: every crate has a layer and uses lower layers only.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::process::{cargo, output, root};

/// The crates of each layer, from the bottom. The reasons are in ARCHITECTURE.md.
const LAYERS: [&[&str]; 6] = [
    &["clock", "task"],
    &["api", "codec", "cri", "expression", "patch", "schema"],
    &["admission", "authz", "netplan", "podlife", "reconcile", "scheduling"],
    &["client", "images", "linux", "store"],
    &["apiserver", "controllers", "dns", "kubelet", "podnet", "proxy", "runtime", "scheduler"],
    &["keelson"],
];
/// Formats may build on each other, in this direction only.
const WITHIN_A_LAYER: [(&str, &str); 6] = [
    ("codec", "api"),
    ("codec", "schema"),
    ("expression", "api"),
    ("expression", "schema"),
    ("patch", "api"),
    ("patch", "schema"),
];
/// Tools around the program: they may use everything, nothing may use them.
const FREE: [&str; 4] = ["bench", "cluster-tests", "fuzz", "xtask"];
/// What would make a decision depend on more than its arguments.
const IMPURE: [&str; 8] = ["client", "clock", "hyper", "kube", "linux", "nix", "rustix", "tokio"];
/// The layer whose crates only decide.
const PURE_LAYER: usize = 2;

/// Name → what it depends on (normal and build), and what only its tests depend on.
fn graph() -> BTreeMap<String, (Vec<String>, Vec<String>)> {
    let text =
        output(cargo().args(["metadata", "--format-version", "1", "--no-deps", "--offline"]));
    let metadata: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let names = |package: &Value, tests: bool| {
        let mut names: Vec<String> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| (dependency["kind"] == "dev") == tests)
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let packages = metadata["packages"].as_array().unwrap();
    let row = |package: &Value| {
        let name = package["name"].as_str().unwrap().to_owned();
        (name, (names(package, false), names(package, true)))
    };
    packages.iter().map(row).collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|crates| crates.contains(&name))
}

#[test]
fn dependencies_point_downwards() {
    let graph = graph();
    let mut offenders = Vec::new();
    for (name, (dependencies, _)) in &graph {
        if FREE.contains(&name.as_str()) {
            continue;
        }
        let Some(own) = layer(name) else {
            offenders.push(format!("{name} has no layer: add it to LAYERS and to ARCHITECTURE.md"));
            continue;
        };
        for used in dependencies.iter().filter(|used| graph.contains_key(*used)) {
            let excepted = WITHIN_A_LAYER.contains(&(name.as_str(), used.as_str()));
            if !excepted && layer(used).is_none_or(|lower| lower >= own) {
                offenders.push(format!("{name} (layer {own}) uses {used}"));
            }
        }
    }
    super::assert_none("dependencies point to lower layers only", offenders);
}

#[test]
fn decisions_are_pure() {
    let graph = graph();
    let mut offenders = Vec::new();
    for name in LAYERS[PURE_LAYER] {
        let Some((dependencies, _)) = graph.get(*name) else { continue };
        let impure = dependencies.iter().filter(|used| IMPURE.contains(&used.as_str()));
        offenders.extend(impure.map(|used| format!("{name} uses {used}")));
    }
    super::assert_none("layer 2 takes time, randomness and the world as arguments", offenders);
}

/// The graph of our own crates, so that a new edge shows in a review. `UPDATE_EXPECT=1` writes it.
#[test]
fn the_crate_graph_is_the_committed_one() {
    let graph = graph();
    let mut text = String::new();
    for (name, (dependencies, tests)) in &graph {
        let own = |names: &[String]| {
            let known = names.iter().filter(|name| graph.contains_key(*name));
            known.map(String::as_str).collect::<Vec<_>>().join(" ")
        };
        let place = layer(name).map_or_else(|| "-".to_owned(), |layer| layer.to_string());
        writeln!(text, "{place} {name}: {}", own(dependencies)).unwrap();
        if tests.iter().any(|name| graph.contains_key(name)) {
            writeln!(text, "  tests: {}", own(tests)).unwrap();
        }
    }
    expect_test::expect_file![root().join("xtask/crate_graph.txt")].assert_eq(&text);
}
