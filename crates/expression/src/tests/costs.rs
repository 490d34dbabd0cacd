//! Rules in, estimates out: `costs.txt` has what upstream computes for them.

use schema::Schema;
use serde_json::Value as Json;

use crate::{Environment, Program, Shape};

/// A schema of the table, as its rules see it.
struct Section {
    environment: Environment,
    occurrences: u64,
    stated_occurrences: u64,
}

/// Reads `occurrences [resource] [optional] {schema}`.
fn section(line: &str) -> Section {
    let (words, schema) = line.split_at(line.find('{').expect("a schema"));
    let json: Json = serde_json::from_str(schema).expect("JSON");
    let schema = Schema::from_openapi(&json).expect("readable");
    let has = |word| words.split(' ').any(|own| own == word);
    let shape = Shape::of_schema(&schema, has("resource"), "selfType").expect("a shape");
    let old = if has("optional") { shape.clone().optional() } else { shape.clone() };
    Section {
        occurrences: shape.occurrences_max(),
        stated_occurrences: words.split(' ').next().and_then(|n| n.parse().ok()).expect("a number"),
        environment: Environment::new().with("self", shape).with("oldSelf", old),
    }
}

/// What is wrong with the estimate of a rule, if anything.
fn fault(section: &Section, line: &str) -> Option<String> {
    let (cost, rule) = line.split_once(' ').expect("a cost and a rule");
    let expected: u64 = cost.parse().expect("a number");
    match Program::compile(&section.environment, rule) {
        Ok(program) if program.cost().max == expected => None,
        Ok(program) => Some(format!("{rule}: {}, expected {expected}", program.cost().max)),
        Err(error) => Some(format!("{rule}: {error}")),
    }
}

#[test]
fn rules_cost_what_upstream_computes() {
    let mut faults = Vec::new();
    let mut current: Option<Section> = None;
    let lines = include_str!("costs.txt").lines();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(rest) = line.strip_prefix("schema ") {
            let next = section(rest);
            assert_eq!(next.occurrences, next.stated_occurrences, "{line}");
            current = Some(next);
        } else {
            faults.extend(fault(current.as_ref().expect("a schema before"), line));
        }
    }
    assert!(faults.is_empty(), "{} differ\n{}", faults.len(), faults.join("\n"));
}
