//! The table as a whole: held against what v1.32 serves, and against itself.

use std::collections::BTreeSet;

use super::*;
use crate::resource::Names;

/// One line per resource: group, version, plural, singular, kind, scope, verbs, short names, categories, and
/// the subresources as `name=kind=verbs`.
const DISCOVERY: &str = include_str!("testdata/discovery-v1.32.txt");

fn joined(names: &Names) -> String {
    let text: Vec<&str> = names.iter().collect();
    if text.is_empty() { "-".to_owned() } else { text.join(",") }
}

fn sorted(names: impl Iterator<Item = String>) -> String {
    names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}

fn describe_subresources(row: &Resource) -> BTreeSet<String> {
    let line = |sub: &crate::resource::Subresource| {
        let kind = if sub.kind.is_empty() { &row.kind } else { sub.kind };
        let prefix = if sub.version.is_empty() {
            String::new()
        } else {
            format!("{}/{}/", sub.group, sub.version)
        };
        let verbs = sorted(sub.verbs.iter().map(|&verb| verb.to_owned()));
        format!("{}={prefix}{kind}={verbs}", sub.name)
    };
    row.subresources.iter().map(line).collect()
}

fn describe(row: &Resource) -> (String, BTreeSet<String>) {
    let mut verbs = sorted(row.verbs.iter().map(str::to_owned));
    if verbs == "create,delete,deletecollection,get,list,patch,update,watch" {
        "all".clone_into(&mut verbs);
    }
    let head = format!(
        "{} {} {} {} {} {:?} {verbs} {} {}",
        if row.group.is_empty() { "core" } else { &row.group },
        row.version,
        row.plural,
        row.singular,
        row.kind,
        row.scope,
        joined(&row.short_names),
        joined(&row.categories),
    );
    (head, describe_subresources(row))
}

#[test]
fn everything_that_upstream_serves_is_in_the_table() {
    let have: Vec<_> = all().iter().map(|row| describe(row)).collect();
    for line in DISCOVERY.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let head = words[..9].join(" ");
        let subresources: BTreeSet<String> = words[9..].iter().map(|&s| s.to_owned()).collect();
        let found = have.iter().find(|(text, _)| *text == head);
        let near: Vec<_> = have.iter().filter(|(text, _)| text.contains(words[2])).collect();
        let (_, described) = found.unwrap_or_else(|| panic!("no row {head:?}, but {near:?}"));
        assert_eq!(*described, subresources, "subresources of {head}");
    }
}

#[test]
fn rows_are_unique_and_their_storage_form_is_a_row() {
    let key = |row: &Resource| format!("{}/{}", row.api_version(), row.plural);
    let keys: BTreeSet<String> = all().iter().map(|row| key(row)).collect();
    assert_eq!(keys.len(), all().len());
    for row in all() {
        let storage = format!("{}/{}", row.storage_api_version(), row.storage_plural);
        assert!(keys.contains(&storage), "{} is stored as {storage}", key(row));
        assert!(
            version_place(&row.group, &row.version).1 < usize::MAX,
            "{} has no place",
            key(row)
        );
    }
}
