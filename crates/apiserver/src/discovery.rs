//! Discovery: which groups, versions and resources there are, read from the table.

use std::sync::Arc;

use api::resource::{Names, Resource};
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::aggregation::{self, Remote};
use crate::registry::Table;
use crate::server::Server;

/// What `/version` says: clients parse it as a release.
pub fn version() -> Value {
    json!({
        "major": "1", "minor": "37",
        "emulationMajor": "1", "emulationMinor": "37",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "36",
        "gitVersion": "v1.37.0+keelson",
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2026-11-21T00:00:00Z",
        "goVersion": "go1.25.0",
        "compiler": "rustc",
        "platform": format!("linux/{}", go_architecture()),
    })
}

/// The architecture in Go's terms, as images and node labels use them.
pub fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn names(names: &Names) -> Vec<&str> {
    names.iter().collect()
}

/// `/api`.
pub fn api_versions(server: &Server) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [
            {"clientCIDR": "0.0.0.0/0", "serverAddress": server.config.advertise.to_string()}
        ],
    })
}

/// Groups of lower priority are not built in.
const EXTENSION_PRIORITY_MAX: i64 = 10_000;

/// The order in which versions are preferred: GA before beta before alpha, higher before lower.
pub(crate) fn version_rank(version: &str) -> (u8, u32, u32) {
    let digits = |text: &str| -> u32 {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text[..end].parse().unwrap_or(0)
    };
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    let major = digits(rest);
    for (stage, rank) in [("beta", 2), ("alpha", 1)] {
        if let Some((_, minor)) = rest.split_once(stage) {
            return (rank, major, digits(minor));
        }
    }
    (3, major, 0)
}

/// Groups with their versions, those that other servers serve among them, by priority.
fn sorted_groups(server: &Server, table: &Table) -> Vec<(String, Vec<String>)> {
    // By group and version: priorities, and the place in the table.
    let mut places: Vec<(&str, &str, (i64, i64))> = Vec::new();
    for row in table.rows.iter().filter(|row| !row.group.is_empty()) {
        if !places.iter().any(|(group, version, _)| *group == row.group && *version == row.version)
        {
            let priority = aggregation::priority(&row.group, &row.version, table.is_custom(row));
            places.push((&row.group, &row.version, priority));
        }
    }
    let remotes = server.aggregation.remotes();
    for remote in remotes.iter().filter(|remote| !remote.group.is_empty()) {
        let (group, version) = (remote.group.as_str(), remote.version.as_str());
        places.retain(|(have, other, _)| !(*have == group && *other == version));
        places.push((group, version, remote.priorities));
    }
    sort_places(places)
}

/// Groups by their highest priority, of equal ones the built-in in their order and the others by name;
/// versions by theirs, of equal ones as their names are preferred.
fn sort_places(mut places: Vec<(&str, &str, (i64, i64))>) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, i64)> = Vec::new();
    for (group, _, (priority, _)) in &places {
        match groups.iter_mut().find(|(have, _)| have == group) {
            Some((_, have)) => *have = (*have).max(*priority),
            None => groups.push(((*group).to_owned(), *priority)),
        }
    }
    let by_name = |group: &str| if group.contains('.') { group.to_owned() } else { String::new() };
    groups.sort_by_key(|(group, priority)| {
        let name = if *priority > EXTENSION_PRIORITY_MAX { String::new() } else { by_name(group) };
        (std::cmp::Reverse(*priority), name)
    });
    places.sort_by_key(|(_, version, (_, priority))| {
        std::cmp::Reverse((*priority, version_rank(version)))
    });
    let versions_of = |group: &str| {
        let of_group = places.iter().filter(|(have, _, _)| *have == group);
        of_group.map(|(_, version, _)| (*version).to_owned()).collect()
    };
    groups.into_iter().map(|(group, _)| (group.clone(), versions_of(&group))).collect()
}

fn group_json(group: &str, versions: &[String]) -> Value {
    let entry = |version: &String| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let entries: Vec<Value> = versions.iter().map(entry).collect();
    json!({"name": group, "versions": entries, "preferredVersion": entries.first()})
}

/// `/apis`.
pub fn api_groups(server: &Server) -> Value {
    let table = server.registry.table();
    let groups: Vec<Value> = sorted_groups(server, &table)
        .iter()
        .map(|(group, versions)| group_json(group, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
pub fn api_group(server: &Server, group: &str) -> Option<Value> {
    let table = server.registry.table();
    let groups = sorted_groups(server, &table);
    let (group, versions) = groups.iter().find(|(have, _)| have == group)?;
    let mut out = group_json(group, versions);
    out["kind"] = json!("APIGroup");
    out["apiVersion"] = json!("v1");
    Some(out)
}

fn rows_of<'a>(table: &'a Table, group: &str, version: &str) -> Vec<&'a Arc<Resource>> {
    let mut rows: Vec<_> =
        table.rows.iter().filter(|row| row.group == group && row.version == version).collect();
    rows.sort_by(|a, b| a.plural.cmp(&b.plural));
    rows
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub fn api_resources(server: &Server, group: &str, version: &str) -> Option<Value> {
    let table = server.registry.table();
    let rows = rows_of(&table, group, version);
    let group_version = rows.first()?.api_version();
    let mut resources = Vec::new();
    for row in rows {
        resources.push(resource_json(row));
        for sub in &row.subresources {
            let kind = if sub.kind.is_empty() { &*row.kind } else { sub.kind };
            let mut entry = json!({
                "name": format!("{}/{}", row.plural, sub.name), "singularName": "",
                "namespaced": row.is_namespaced(), "kind": kind, "verbs": sub.verbs,
            });
            if !sub.version.is_empty() {
                entry["group"] = json!(sub.group);
                entry["version"] = json!(sub.version);
            }
            resources.push(entry);
        }
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": group_version, "resources": resources,
    }))
}

fn resource_json(row: &Resource) -> Value {
    let mut out = json!({
        "name": row.plural, "singularName": row.singular, "namespaced": row.is_namespaced(),
        "kind": row.kind, "verbs": names(&row.verbs),
    });
    if !row.short_names.is_empty() {
        out["shortNames"] = json!(names(&row.short_names));
    }
    if !row.categories.is_empty() {
        out["categories"] = json!(names(&row.categories));
    }
    if !row.virtual_only {
        let hash =
            sha2::Sha256::digest(format!("{}/{}/{}", row.group, row.storage_version, row.kind));
        use base64::Engine as _;
        out["storageVersionHash"] =
            json!(base64::engine::general_purpose::STANDARD.encode(&hash[..8]));
    }
    out
}

/// `/api` and `/apis` in the aggregated form (KEP-3352); `core` chooses which of the two.
pub fn aggregated(server: &Server, core: bool, api_version: &str) -> Value {
    let table = server.registry.table();
    let groups = if core {
        vec![(String::new(), vec!["v1".to_owned()])]
    } else {
        sorted_groups(server, &table)
    };
    let remotes = server.aggregation.remotes();
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let shown = |version: &String| {
                let theirs = |r: &&Arc<Remote>| r.group == *group && r.version == *version;
                match remotes.iter().find(theirs) {
                    Some(remote) => remote.discovery(),
                    None => aggregated_version(&table, group, version),
                }
            };
            let versions: Vec<Value> = versions.iter().map(shown).collect();
            let mut metadata = json!({"creationTimestamp": null});
            if !group.is_empty() {
                metadata["name"] = json!(group);
            }
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{api_version}"),
        "metadata": {}, "items": items,
    })
}

fn aggregated_version(table: &Table, group: &str, version: &str) -> Value {
    let resources: Vec<Value> = rows_of(table, group, version)
        .into_iter()
        .map(|row| {
            let mut out = json!({
                "resource": row.plural,
                "responseKind": {"group": row.group, "version": row.version, "kind": row.kind},
                "scope": if row.is_namespaced() { "Namespaced" } else { "Cluster" },
                "singularResource": row.singular,
                "verbs": names(&row.verbs),
            });
            if !row.short_names.is_empty() {
                out["shortNames"] = json!(names(&row.short_names));
            }
            if !row.categories.is_empty() {
                out["categories"] = json!(names(&row.categories));
            }
            if !row.subresources.is_empty() {
                let entries: Vec<Value> =
                    row.subresources.iter().map(|sub| aggregated_subresource(row, sub)).collect();
                out["subresources"] = json!(entries);
            }
            out
        })
        .collect();
    json!({"version": version, "freshness": "Current", "resources": resources})
}

fn aggregated_subresource(row: &Resource, sub: &api::resource::Subresource) -> Value {
    let kind = if sub.kind.is_empty() { &*row.kind } else { sub.kind };
    let (group, version) = if sub.version.is_empty() {
        (&*row.group, &*row.version)
    } else {
        (sub.group, sub.version)
    };
    json!({
        "subresource": sub.name, "verbs": sub.verbs,
        "responseKind": {"group": group, "version": version, "kind": kind},
    })
}

/// An ETag of a document.
pub fn etag(document: &[u8]) -> String {
    format!("\"{}\"", hex_upper(&sha2::Sha512::digest(document)))
}

fn hex_upper(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_preferred_as_upstream_prefers_them() {
        let names = ["v1alpha1", "v2", "v1", "v1beta2", "v1beta10", "foo"];
        let places = names.map(|version| ("a.b", version, (1000, 100))).to_vec();
        let groups = sort_places(places);
        assert_eq!(groups[0].1, ["v2", "v1", "v1beta10", "v1beta2", "v1alpha1", "foo"]);
    }

    #[test]
    fn groups_are_shown_by_priority() {
        let groups = sort_places(vec![
            ("apps", "v1", (17_800, 15)),
            ("apiextensions.k8s.io", "v1", (16_700, 15)),
            ("admissionregistration.k8s.io", "v1", (16_700, 15)),
            ("z.example.com", "v1", (1000, 100)),
            ("b.example.com", "v1", (1000, 100)),
            ("wardle.example.com", "v1alpha1", (2000, 400)),
            ("wardle.example.com", "v1", (2000, 200)),
        ]);
        let names: Vec<&str> = groups.iter().map(|(group, _)| group.as_str()).collect();
        assert_eq!(
            names,
            [
                "apps",
                "apiextensions.k8s.io",
                "admissionregistration.k8s.io",
                "wardle.example.com",
                "b.example.com",
                "z.example.com"
            ]
        );
        assert_eq!(groups[3].1, ["v1alpha1", "v1"]);
    }
}
