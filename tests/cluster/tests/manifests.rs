//! The manifests folder: what its files say is applied and kept applied, and goes with them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cluster_tests::{Cluster, Kubectl, wait_until};

const MOST: Duration = Duration::from_secs(30);

fn write(cluster: &Cluster, file: &str, text: &str) {
    let folder = cluster.data_dir().join("manifests");
    std::fs::write(folder.join(file), text).unwrap();
}

fn remove(cluster: &Cluster, file: &str) {
    std::fs::remove_file(cluster.data_dir().join("manifests").join(file)).unwrap();
}

fn config_map(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{key: {value:?}}}\n"
    )
}

#[track_caller]
fn wait_value(kubectl: &Kubectl, name: &str, wanted: &str) {
    kubectl.wait_for("configmap", name, "{.data.key}", wanted, MOST);
}

#[track_caller]
fn wait_gone(kubectl: &Kubectl, resource: &str, name: &str) {
    wait_until(&format!("{resource} {name} is gone"), MOST, || {
        match kubectl.try_run(&["get", resource, name, "-o", "name"]) {
            Err(error) if error.contains("NotFound") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn files_are_applied_and_kept_applied() {
    let mut cluster = Cluster::new();
    let kubectl = cluster.kubectl();
    // The namespace is in a later file and the custom object's kind in the same one: both are waited for.
    let custom = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, namespace: shop}\nspec: {size: 3}\n---\n\
                  apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.example.com}\n\
                  spec:\n  group: example.com\n  scope: Namespaced\n  names: {plural: widgets, kind: Widget}\n  versions:\n  \
                  - name: v1\n    served: true\n    storage: true\n    schema: {openAPIV3Schema: {type: object, \
                  x-kubernetes-preserve-unknown-fields: true}}\n";
    write(&cluster, "a.yaml", custom);
    write(
        &cluster,
        "b.json",
        r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}"#,
    );
    write(&cluster, "c.yml", &format!("{}---\n{}", config_map("one", "1"), config_map("two", "2")));
    wait_value(&kubectl, "one", "1");
    wait_value(&kubectl, "two", "2");
    let shop = kubectl.namespace("shop");
    shop.wait_for("widget", "w", "{.spec.size}", "3", MOST);
    let manager = "{.metadata.managedFields[0].manager}/{.metadata.managedFields[0].operation}";
    kubectl.wait_for("configmap", "one", manager, "keelson-manifests/Apply", MOST);
    // What others do to the objects is undone.
    kubectl.run(&["patch", "configmap", "one", "-p", r#"{"data": {"key": "x", "more": "y"}}"#]);
    wait_value(&kubectl, "one", "1");
    kubectl.wait_for("configmap", "one", "{.data.more}", "y", MOST);
    kubectl.run(&["delete", "configmap", "two"]);
    wait_value(&kubectl, "two", "2");
    shop.run(&["delete", "widget", "w"]);
    shop.wait_for("widget", "w", "{.spec.size}", "3", MOST);
    // What files say anew is applied, what they no longer say is deleted.
    write(&cluster, "c.yml", &config_map("one", "changed"));
    wait_value(&kubectl, "one", "changed");
    wait_gone(&kubectl, "configmap", "two");
    // Also when nobody watched.
    cluster.stop_server().unwrap();
    remove(&cluster, "c.yml");
    cluster.start_server().unwrap();
    wait_gone(&kubectl, "configmap", "one");
    remove(&cluster, "a.yaml");
    remove(&cluster, "b.json");
    wait_gone(&kubectl, "namespace", "shop");
    wait_gone(&kubectl, "crd", "widgets.example.com");
}

#[test]
fn a_bad_file_is_named_and_stops_nothing() {
    let cluster = Cluster::new();
    let kubectl = cluster.kubectl();
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999}]}\n";
    let unknown = "apiVersion: v1\nkind: Service\nmetadata: {name: odd}\nspec: {colour: red}\n";
    let bad = format!("{}---\n{service}---\n{unknown}---\nkind: Pod\n", config_map("good", "1"));
    write(&cluster, "bad.yaml", &bad);
    write(&cluster, "broken.yaml", "a: [\n");
    write(&cluster, "later.yaml", &config_map("later", "1"));
    wait_value(&kubectl, "good", "1");
    wait_value(&kubectl, "later", "1");
    let wanted = [
        ("bad.yaml: document 2: ", "spec.ports[0].port: Invalid value: 99999"),
        ("bad.yaml: document 3: ", "spec.colour"),
        ("bad.yaml: document 4: ", "apiVersion: Required value"),
        ("broken.yaml: document 1: ", "line"),
    ];
    wait_until("an Event for each fault", MOST, || {
        let text = kubectl.try_run(&[
            "get",
            "events",
            "--field-selector",
            "reason=FailedManifest,involvedObject.name=node1",
            "-o",
            "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}",
        ])?;
        let is_told = |(place, why): &(&str, &str)| {
            text.lines().any(|line| line.starts_with(place) && line.contains(why))
        };
        if wanted.iter().all(is_told) { Ok(()) } else { Err(text) }
    });
    let log = cluster.log_text();
    for part in ["file=\"bad.yaml\"", "document=2", "field=\"spec.ports[0].port"] {
        assert!(log.contains(part), "no {part} in the log:\n{log}");
    }
    // What was applied of a file stays while the file cannot be understood, and it recovers when it is mended.
    write(&cluster, "later.yaml", "a: [\n");
    write(&cluster, "bad.yaml", &config_map("good", "2"));
    wait_value(&kubectl, "good", "2");
    wait_value(&kubectl, "later", "1");
}
