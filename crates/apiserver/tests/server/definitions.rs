//! Definitions of kinds: from the first object to the last.

use serde_json::{Value, json};

use crate::bench::{Bench, admin};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const FOOS: &str = "/apis/a.b/v1/namespaces/default/foos";

fn definition() -> Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({"metadata": {"name": "foos.a.b"}, "spec": {"group": "a.b", "scope": "Namespaced",
        "names": {"plural": "foos", "kind": "Foo"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": schema}}]}})
}

#[tokio::test]
async fn a_definition_goes_with_its_objects() {
    let bench = Bench::start().await;
    let user = admin();
    let made = bench.ask(&user, &format!("POST {DEFINITIONS}"), definition()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let served = bench.until(&user, &format!("GET {FOOS}"), |answer| answer.code == 200).await;
    assert_eq!(served.json()["items"], json!([]));
    let path = format!("{DEFINITIONS}/foos.a.b");
    let shown = bench.ask(&user, &format!("GET {path}"), Value::Null).await.json();
    assert_eq!(shown["metadata"].get("finalizers"), None, "what lives is held by nothing");
    let foo = json!({"apiVersion": "a.b/v1", "kind": "Foo", "metadata": {"name": "f"}});
    let made = bench.ask(&user, &format!("POST {FOOS}"), foo.clone()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let mut unnamed = foo;
    unnamed["x"] = json!(1);
    let refused = bench.ask(&user, &format!("PUT {FOOS}/f"), unnamed).await;
    assert_eq!(
        refused.code,
        422,
        "custom resources are replaced at a revision: {}",
        refused.text()
    );
    let going = bench.ask(&user, &format!("DELETE {path}"), Value::Null).await.json();
    assert_eq!(
        going["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );
    bench.until(&user, &format!("GET {path}"), |answer| answer.code == 404).await;
    bench.until(&user, &format!("GET {FOOS}"), |answer| answer.code == 404).await;
    let again = bench.ask(&user, &format!("POST {DEFINITIONS}"), definition()).await;
    assert_eq!(again.code, 201, "{}", again.text());
    let served = bench.until(&user, &format!("GET {FOOS}"), |answer| answer.code == 200).await;
    assert_eq!(served.json()["items"], json!([]), "the objects are gone too");
}
