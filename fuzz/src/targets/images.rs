//! Archives of images: whole files, layers under a good manifest, and manifests with configurations.

use std::path::Path;

use images::{Digest, Store};
use serde_json::json;

use super::{USUAL, choice, halves, joined};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "images",
    seeds: || {
        let layer = layer();
        let config = config(&Digest::of(&layer));
        let manifest = json!({"schemaVersion": 2, "config": {"digest": CONFIG, "size": 1},
            "layers": [{"digest": Digest::of(&layer).to_string(), "mediaType": "application/vnd.oci.image.layer.v1.tar"}]});
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let _grown = std::io::Write::write_all(&mut packed, &layer);
        vec![
            [&[0][..], &archive(&layer)].concat(),
            [&[1][..], &layer].concat(),
            [&[1][..], &packed.finish().unwrap_or_default()].concat(),
            [&[2][..], &joined(manifest.to_string(), config)].concat(),
        ]
    },
    words: &[
        "ustar",
        ".wh.",
        ".wh..wh..opq",
        "../",
        "0000644",
        "\"layers\":[",
        "\"diff_ids\":[",
        "sha256:",
        "PaxHeaders",
    ],
    test_mutations: 100,
    run,
    ..USUAL
};

/// Stands for the digest of the configuration, which only the target knows.
const CONFIG: &str = "CONFIG-DIGEST";

fn entry(tar: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    if kind.is_symlink() || kind.is_hard_link() {
        let _fits = header.set_link_name("etc/hosts");
    }
    let _grown = tar.append_data(&mut header, name, content);
}

fn finished(tar: tar::Builder<Vec<u8>>) -> Vec<u8> {
    tar.into_inner().unwrap_or_default()
}

fn layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    entry(&mut tar, "etc", tar::EntryType::Directory, b"");
    entry(&mut tar, "etc/hosts", tar::EntryType::Regular, b"127.0.0.1 localhost\n");
    entry(&mut tar, "etc/link", tar::EntryType::Symlink, b"");
    entry(&mut tar, "etc/hard", tar::EntryType::Link, b"");
    entry(&mut tar, "etc/.wh.gone", tar::EntryType::Regular, b"");
    entry(&mut tar, "a/fifo", tar::EntryType::Fifo, b"");
    finished(tar)
}

fn config(layer: &Digest) -> String {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    json!({"architecture": architecture, "os": "linux", "config": {"Env": ["A=b"], "Cmd": ["/a"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.to_string()]}})
    .to_string()
}

/// What `docker save` makes of one layer.
fn archive(layer: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let manifest = json!([{"Config": "config.json", "RepoTags": ["a:1"], "Layers": ["layer.tar"]}]);
    entry(&mut tar, "layer.tar", tar::EntryType::Regular, layer);
    entry(&mut tar, "config.json", tar::EntryType::Regular, config(&Digest::of(layer)).as_bytes());
    entry(&mut tar, "manifest.json", tar::EntryType::Regular, manifest.to_string().as_bytes());
    finished(tar)
}

/// An OCI archive of one manifest.
fn oci(manifest: &[u8], config: &[u8]) -> Vec<u8> {
    let config_digest = Digest::of(config);
    let manifest = String::from_utf8_lossy(manifest).replace(CONFIG, config_digest.as_str());
    let digest = Digest::of(manifest.as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [{"digest": digest.to_string(), "size": manifest.len()}]});
    let mut tar = tar::Builder::new(Vec::new());
    let layer = layer();
    let blobs = [manifest.as_bytes(), config, &layer];
    for blob in blobs {
        let name = format!("blobs/sha256/{}", Digest::of(blob).hex());
        entry(&mut tar, &name, tar::EntryType::Regular, blob);
    }
    entry(&mut tar, "index.json", tar::EntryType::Regular, index.to_string().as_bytes());
    finished(tar)
}

fn run(input: &[u8]) {
    let (choice, body) = choice(input);
    let (first, second) = halves(body);
    let archive = match choice % 3 {
        0 => body.to_vec(),
        1 => archive(body),
        _ => oci(first, second),
    };
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::Builder::new()
        .prefix("fuzz-images")
        .tempdir_in(parent)
        .expect("a folder can be made");
    let file = folder.path().join("archive.tar");
    std::fs::write(&file, archive).expect("a file can be written");
    let store = Store::open(folder.path().join("store")).expect("an empty store opens");
    if let Ok(records) = images::import(&store, &file, None) {
        for record in records {
            let _folders = store.layer_directories(&record);
        }
    }
}
