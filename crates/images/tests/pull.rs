//! Pulling from a registry that behaves, and from some that do not.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::time::Duration;

use images::{
    Credentials, Error, ImageRecord, PullOptions, Puller, Reference, RegistryOptions, Store,
};
use support::{Answer, Layer, Registry, assert_empty, gzip, store, zstd};

fn layers() -> Vec<Vec<u8>> {
    (0..6)
        .map(|number| {
            Layer::default().file(&format!("file-{number}"), &number.to_string()).finish()
        })
        .collect()
}

async fn pull(store: &Store, name: &Reference) -> Result<ImageRecord, Error> {
    pull_as(store, name, Credentials::Anonymous).await
}

async fn pull_as(
    store: &Store,
    name: &Reference,
    credentials: Credentials,
) -> Result<ImageRecord, Error> {
    let options = RegistryOptions {
        silence_timeout: Duration::from_millis(400),
        connect_timeout: Duration::from_millis(400),
        ..RegistryOptions::default()
    };
    Puller::new(store.clone(), options).pull(name, &PullOptions { credentials }).await
}

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_by_digest() {
    let (_directory, store) = store();
    let registry = Registry::start().await;
    let layers = layers();
    let mut blobs: Vec<_> = layers.iter().map(|layer| gzip(layer)).collect();
    blobs[1] = zstd(&layers[1]);
    blobs[2] = layers[2].clone();
    let digest = registry.image("team/app", "v1", &layers, &blobs);
    let name = registry.name("team/app:v1");
    let record = pull(&store, &name).await.unwrap();
    assert_eq!(record.tags, [name.to_string()]);
    assert_eq!(record.digests, [format!("{}/team/app@{digest}", registry.address)]);
    for (number, directory) in store.layer_directories(&record).iter().rev().enumerate() {
        let text = std::fs::read_to_string(directory.join(format!("file-{number}"))).unwrap();
        assert_eq!(text, number.to_string());
    }
    let before = registry.requests.lock().unwrap().len();
    let again = pull(&store, &registry.name(&format!("team/app@{digest}"))).await.unwrap();
    assert_eq!(again.id, record.id);
    let requests = registry.requests.lock().unwrap()[before..].join(" ");
    assert_eq!(requests.matches("/blobs/").count(), 1, "only the configuration: {requests}");
    let leftovers = std::fs::read_dir(store.root().join("ingest")).unwrap().count();
    assert_eq!(leftovers, 0);
}

#[tokio::test]
async fn an_index_leads_to_the_manifest_for_this_machine() {
    let (_directory, store) = store();
    let registry = Registry::start().await;
    let layers = layers();
    let manifest = registry.image("app", "one", &layers, &layers);
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let entry = |digest: &str, architecture: &str| {
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1,
            "platform": {"os": "linux", "architecture": architecture},
        })
    };
    let other = images::Digest::of(b"other");
    let index = |entries: Vec<serde_json::Value>| serde_json::json!({"schemaVersion": 2, "manifests": entries});
    let kind = "application/vnd.oci.image.index.v1+json";
    let good = index(vec![entry(other.as_str(), "s390x"), entry(manifest.as_str(), architecture)]);
    let digest = registry.manifest("app", "many", kind, &good);
    let record = pull(&store, &registry.name("app:many")).await.unwrap();
    assert_eq!(record.digests, [format!("{}/app@{digest}", registry.address)]);
    registry.manifest("app", "none", kind, &index(vec![entry(other.as_str(), "s390x")]));
    let error = pull(&store, &registry.name("app:none")).await.unwrap_err();
    assert!(matches!(error, Error::NoPlatform(_)), "{error}");
}

#[tokio::test]
async fn credentials_open_the_door() {
    let (_directory, store) = store();
    let registry = Registry::start().await;
    registry.require("me", "secret");
    registry.image("app", "v1", &layers(), &layers());
    let name = registry.name("app:v1");
    let basic = |password: &str| Credentials::Basic {
        username: "me".to_owned(),
        password: password.to_owned(),
    };
    for bad in [Credentials::Anonymous, basic("wrong")] {
        let error = pull_as(&store, &name, bad).await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");
        assert_empty(&store);
    }
    pull_as(&store, &name, basic("secret")).await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_and_who_is_not_there() {
    let (_directory, store) = store();
    let registry = Registry::start().await;
    let error = pull(&store, &registry.name("nothing:v1")).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchImage { .. }), "{error:?}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let name = format!("{address}/app:v1").parse().unwrap();
    let error = pull(&store, &name).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_empty(&store);
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_given_up() {
    let layers = layers();
    for part in ["manifests/v1", "layer"] {
        let (_directory, store) = store();
        let registry = Registry::start().await;
        registry.image("app", "v1", &layers, &layers);
        let path = match part {
            "layer" => format!("/v2/app/blobs/{}", images::Digest::of(&layers[3])),
            part => format!("/v2/app/{part}"),
        };
        registry.answer(&path, Answer::Silence);
        let error = pull(&store, &registry.name("app:v1")).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert_empty(&store);
    }
}

#[tokio::test]
async fn lies_are_found_out_and_leave_nothing() {
    let layers = layers();
    let (good, bad) = (&layers[3], Layer::default().file("evil", "x").finish());
    // A blob that is not what its digest says.
    let (_directory, store) = store();
    let registry = Registry::start().await;
    registry.image("app", "v1", &layers, &layers);
    let path = format!("/v2/app/blobs/{}", images::Digest::of(good));
    registry.answer(&path, Answer::Bytes("application/octet-stream", bad.clone()));
    let error = pull(&store, &registry.name("app:v1")).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. } | Error::BadAnswer { .. }), "{error:?}");
    assert_empty(&store);
    // A layer that is not what the configuration says.
    let mut blobs = layers.clone();
    blobs[3] = bad;
    registry.image("app", "v2", &layers, &blobs);
    let error = pull(&store, &registry.name("app:v2")).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");
    assert_empty(&store);
    // A manifest that is not the one asked for.
    let digest = registry.image("app", "v3", &layers, &layers);
    let other = serde_json::json!({"schemaVersion": 2});
    let path = format!("/v2/app/manifests/{digest}");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    registry.answer(&path, Answer::Bytes(kind, other.to_string().into_bytes()));
    let error = pull(&store, &registry.name(&format!("app@{digest}"))).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. } | Error::BadAnswer { .. }), "{error:?}");
    // A layer that climbs out.
    let evil = Layer::default().symlink("l", "/tmp").file("l/keelson-evil", "x").finish();
    registry.image("app", "v4", std::slice::from_ref(&evil), std::slice::from_ref(&evil));
    let error = pull(&store, &registry.name("app:v4")).await.unwrap_err();
    assert!(matches!(error, Error::Layer { .. }), "{error:?}");
    assert!(!std::path::Path::new("/tmp/keelson-evil").exists());
    // Not JSON at all.
    let path = "/v2/app/manifests/v5";
    registry.answer(path, Answer::Bytes(kind, b"<html>".to_vec()));
    let error = pull(&store, &registry.name("app:v5")).await.unwrap_err();
    assert!(matches!(error, Error::BadAnswer { .. }), "{error:?}");
    assert_empty(&store);
}
