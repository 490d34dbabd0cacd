//! Names, removal, garbage, imports and built images.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::fs;

use images::build::{Content, ImageFile, ImageSettings, build, write_docker_archive};
use images::{Digest, Store, import};
use support::{Layer, assert_empty, config, docker_archive, gzip, store, zstd};

fn layers() -> Vec<Vec<u8>> {
    vec![
        Layer::default().file("base", "base").finish(),
        Layer::default().file("top", "top").finish(),
    ]
}

fn import_as(store: &Store, tag: &str, layers: &[Vec<u8>]) -> images::ImageRecord {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    docker_archive(&path, tag, layers);
    import(store, &path, None).unwrap().remove(0)
}

#[test]
fn images_are_found_by_all_their_names() {
    let (_directory, store) = store();
    let record = import_as(&store, "app:1", &layers());
    assert_eq!(record.id, Digest::of(&config(&layers())));
    assert_eq!(record.user(), "5:6");
    for name in [
        "app:1",
        "docker.io/library/app:1",
        record.id.as_str(),
        record.id.hex(),
        &record.id.hex()[..12],
    ] {
        assert_eq!(store.resolve(name).unwrap().unwrap().id, record.id, "{name}");
    }
    for name in ["app", "other:1", &"0".repeat(64)] {
        assert_eq!(store.resolve(name).unwrap(), None, "{name}");
    }
    assert!(store.resolve("BAD name").is_err());
    // Another process sees it too.
    assert!(Store::open(store.root()).unwrap().resolve("app:1").unwrap().is_some());
}

#[test]
fn a_name_moves_to_the_newest_image() {
    let (_directory, store) = store();
    let old = import_as(&store, "app:1", &layers()[..1]);
    let new = import_as(&store, "app:1", &layers());
    assert_eq!(store.resolve("app:1").unwrap().unwrap().id, new.id);
    assert!(store.resolve(old.id.as_str()).unwrap().unwrap().tags.is_empty());
    import_as(&store, "app:2", &layers());
    let both = store.resolve(new.id.as_str()).unwrap().unwrap();
    assert_eq!(both.tags.len(), 2);
    assert!(store.remove("app:1").unwrap());
    assert_eq!(store.resolve("app:2").unwrap().unwrap().tags.len(), 1);
}

#[test]
fn layers_stay_as_long_as_somebody_needs_them() {
    let (_directory, store) = store();
    let both = import_as(&store, "both:1", &layers());
    let base = import_as(&store, "base:1", &layers()[..1]);
    assert_eq!(both.chain[0], base.chain[0]);
    assert!(store.usage().unwrap().inodes >= 2);
    store.hold("container", &both).unwrap();
    assert!(store.remove("both:1").unwrap());
    assert!(store.layer_directories(&both).iter().all(|path| path.is_dir()));
    store.release("container").unwrap();
    assert_eq!(store.collect_garbage().unwrap(), 1);
    assert!(store.layer_directories(&base)[0].is_dir());
    assert!(store.remove(base.id.as_str()).unwrap());
    assert!(!store.remove("base:1").unwrap());
    assert_empty(&store);
}

#[test]
fn what_a_dead_process_left_is_removed() {
    let (_directory, store) = store();
    let left = store.root().join("ingest/ingest-1-0/layers/x");
    fs::create_dir_all(left).unwrap();
    fs::write(store.root().join("holds/ingest-1-0"), "[]").unwrap();
    assert_empty(&Store::open(store.root()).unwrap());
}

/// Writes an OCI layout with one image under a name.
fn oci_layout(root: &std::path::Path, layers: &[Vec<u8>], blobs: &[Vec<u8>]) -> Digest {
    let directory = root.join("blobs/sha256");
    fs::create_dir_all(&directory).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(directory.join(digest.hex()), bytes).unwrap();
        serde_json::json!({"mediaType": "x", "digest": digest.as_str(), "size": bytes.len()})
    };
    let blobs: Vec<_> = blobs.iter().map(|blob| put(blob)).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "config": put(&config(layers)), "layers": blobs,
    });
    let mut entry = put(manifest.to_string().as_bytes());
    let digest = entry["digest"].as_str().unwrap().parse().unwrap();
    entry["annotations"] =
        serde_json::json!({"io.containerd.image.name": "docker.io/library/oci:1"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(root.join("index.json"), index.to_string()).unwrap();
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    digest
}

#[test]
fn oci_layouts_and_archives_are_imported() {
    let source = tempfile::tempdir().unwrap();
    let layers = layers();
    let root = source.path().join("layout");
    let manifest = oci_layout(&root, &layers, &[gzip(&layers[0]), zstd(&layers[1])]);
    let archive = source.path().join("oci.tar");
    let mut builder = tar::Builder::new(fs::File::create(&archive).unwrap());
    builder.append_dir_all(".", &root).unwrap();
    builder.finish().unwrap();
    let compressed = source.path().join("oci.tar.zst");
    fs::write(&compressed, zstd(&fs::read(&archive).unwrap())).unwrap();
    for path in [root, archive, compressed] {
        let (_directory, store) = store();
        let record = import(&store, &path, None).unwrap().remove(0);
        assert_eq!(record.tags, ["docker.io/library/oci:1"]);
        assert_eq!(record.digests, [format!("docker.io/library/oci@{manifest}")]);
        let top = &store.layer_directories(&record)[0];
        assert_eq!(fs::read_to_string(top.join("top")).unwrap(), "top");
        assert!(store.resolve(&record.digests[0]).unwrap().is_some());
        let renamed = import(&store, &path, Some(&"mine:2".parse().unwrap())).unwrap().remove(0);
        assert!(renamed.tags.contains(&"docker.io/library/mine:2".to_owned()));
    }
}

#[test]
fn a_layout_with_a_false_blob_is_refused() {
    let source = tempfile::tempdir().unwrap();
    let layers = layers();
    oci_layout(source.path(), &layers, &layers);
    for layer in [&layers[1], &config(&layers)] {
        let path = source.path().join("blobs/sha256").join(Digest::of(layer).hex());
        let good = fs::read(&path).unwrap();
        fs::write(&path, [&good[..], b"\0"].concat()).unwrap();
        let (_directory, store) = store();
        let error = import(&store, source.path(), None).unwrap_err();
        assert!(matches!(error, images::Error::Digest { .. }), "{error}");
        assert_empty(&store);
        fs::write(&path, good).unwrap();
    }
}

#[test]
fn an_image_is_built_from_files() {
    let (directory, store) = store();
    let host = directory.path().join("program");
    fs::write(&host, "#!program").unwrap();
    let file = |path: &str, mode, content| ImageFile { path: path.to_owned(), mode, content };
    let files = [
        file("/bin/program", 0o755, Content::HostFile(host)),
        file("etc/motd", 0o600, Content::Bytes(b"hi".to_vec())),
        file("tmp", 0o1777, Content::Directory),
        file("bin/alias", 0, Content::Symlink("program".to_owned())),
    ];
    let settings = ImageSettings {
        entrypoint: vec!["/bin/program".to_owned()],
        exposed_ports: vec!["8080/tcp".to_owned()],
        pinned: true,
        ..ImageSettings::default()
    };
    let name = "hello:1".parse().unwrap();
    let record = build(&store, &name, &files, &settings).unwrap();
    assert_eq!(build(&store, &name, &files, &settings).unwrap().id, record.id);
    let root = &store.layer_directories(&record)[0];
    assert_eq!(fs::read_to_string(root.join("bin/alias")).unwrap(), "#!program");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(root.join("tmp")).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::metadata(root.join("etc/motd")).unwrap().uid(), 0);
    let archive = directory.path().join("hello.tar");
    write_docker_archive(&archive, &name, &files, &settings).unwrap();
    let (_other_directory, other) = support::store();
    assert_eq!(import(&other, &archive, None).unwrap().remove(0).id, record.id);
}
