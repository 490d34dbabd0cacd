//! Layers, images and a registry, made up as a test wants them.

#![allow(dead_code, unreachable_pub, reason = "every test file uses another part")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use images::{Digest, Store};
use tar::{EntryType, Header};

/// A layer that is written entry by entry, with names that `tar` itself would refuse.
#[derive(Default)]
pub struct Layer(Vec<u8>);

impl Layer {
    fn entry(mut self, kind: EntryType, path: &str, mode: u32, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        let raw = header.as_old_mut();
        raw.name[..path.len()].copy_from_slice(path.as_bytes());
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000_000);
        if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path, 0o644, "", content.as_bytes())
    }

    pub fn file_with_mode(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Regular, path, mode, "", b"x")
    }

    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, mode, "", b"")
    }

    pub fn symlink(self, path: &str, to: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, to, b"")
    }

    pub fn hard_link(self, path: &str, to: &str) -> Self {
        self.entry(EntryType::Link, path, 0o644, to, b"")
    }

    pub fn device(self, path: &str) -> Self {
        self.entry(EntryType::Char, path, 0o666, "", b"")
    }

    /// Extended attributes of the next entry.
    pub fn xattr(self, key: &str, value: &[u8]) -> Self {
        let mut record = Vec::new();
        let tail = [b" SCHILY.xattr.", key.as_bytes(), b"=", value, b"\n"].concat();
        let mut length = tail.len() + 1;
        while length.to_string().len() + tail.len() != length {
            length = length.to_string().len() + tail.len();
        }
        record.extend_from_slice(length.to_string().as_bytes());
        record.extend_from_slice(&tail);
        self.entry(EntryType::XHeader, "pax", 0o644, "", &record)
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

pub fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    serde_json::to_vec(&serde_json::json!({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/run"], "User": "5:6"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }))
    .unwrap()
}

/// A store in a directory of its own.
pub fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    (directory, store)
}

/// Nothing of an image is left.
pub fn assert_empty(store: &Store) {
    for name in ["layers", "ingest", "holds", "records"] {
        let entries: Vec<_> = std::fs::read_dir(store.root().join(name))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        assert!(entries.is_empty(), "{entries:?}");
    }
    assert_eq!(store.usage().unwrap(), images::StoreUsage::default());
}

/// A docker-archive with one image of these layers.
pub fn docker_archive(path: &Path, tag: &str, layers: &[Vec<u8>]) {
    let config = config(layers);
    let names: Vec<String> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": [tag], "Layers": names}
    ]);
    let mut archive = tar::Builder::new(std::fs::File::create(path).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes).unwrap();
    };
    add("config.json", &config);
    for (name, layer) in names.iter().zip(layers) {
        add(name, layer);
    }
    add("manifest.json", manifest.to_string().as_bytes());
    archive.finish().unwrap();
}

/// What a registry answers to one path.
#[derive(Clone)]
pub enum Answer {
    Bytes(&'static str, Vec<u8>),
    Silence,
}

/// A registry in this process.
pub struct Registry {
    pub address: SocketAddr,
    pub answers: Arc<Mutex<HashMap<String, Answer>>>,
    pub requests: Arc<Mutex<Vec<String>>>,
    credentials: Arc<Mutex<Option<String>>>,
}

impl Registry {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Self {
            address: listener.local_addr().unwrap(),
            answers: Arc::default(),
            requests: Arc::default(),
            credentials: Arc::default(),
        };
        let answers = Arc::clone(&registry.answers);
        let requests = Arc::clone(&registry.requests);
        let credentials = Arc::clone(&registry.credentials);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answers, requests) = (Arc::clone(&answers), Arc::clone(&requests));
                let credentials = Arc::clone(&credentials);
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let wanted = credentials.lock().unwrap().clone();
                        requests.lock().unwrap().push(request.uri().path().to_owned());
                        let answer = answers.lock().unwrap().get(request.uri().path()).cloned();
                        respond(request, answer, wanted)
                    });
                    let server = hyper::server::conn::http1::Builder::new();
                    server.serve_connection(TokioIo::new(stream), service).await
                });
            }
        });
        registry
    }

    pub fn require(&self, user: &str, password: &str) {
        use base64::Engine;
        let text = format!("{user}:{password}");
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        *self.credentials.lock().unwrap() = Some(format!("Basic {encoded}"));
    }

    pub fn answer(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub fn name(&self, rest: &str) -> images::Reference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    pub fn blob(&self, repository: &str, bytes: &[u8]) -> serde_json::Value {
        let digest = Digest::of(bytes);
        let path = format!("/v2/{repository}/blobs/{digest}");
        self.answer(&path, Answer::Bytes("application/octet-stream", bytes.to_vec()));
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest.as_str(),
            "size": bytes.len(),
        })
    }

    /// Puts an image there; answers the digest of its manifest.
    pub fn image(
        &self,
        repository: &str,
        tag: &str,
        layers: &[Vec<u8>],
        blobs: &[Vec<u8>],
    ) -> Digest {
        let config = self.blob(repository, &config(layers));
        let blobs: Vec<_> = blobs.iter().map(|blob| self.blob(repository, blob)).collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": blobs,
        });
        self.manifest(repository, tag, "application/vnd.oci.image.manifest.v1+json", &manifest)
    }

    pub fn manifest(
        &self,
        repository: &str,
        tag: &str,
        kind: &'static str,
        manifest: &serde_json::Value,
    ) -> Digest {
        let bytes = serde_json::to_vec(manifest).unwrap();
        let digest = Digest::of(&bytes);
        for name in [tag, digest.as_str()] {
            let path = format!("/v2/{repository}/manifests/{name}");
            self.answer(&path, Answer::Bytes(kind, bytes.clone()));
        }
        digest
    }
}

async fn respond(
    request: Request<Incoming>,
    answer: Option<Answer>,
    credentials: Option<String>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let plain = |status, kind: &str, bytes: Vec<u8>| {
        let builder = Response::builder().status(status).header("content-type", kind);
        builder.body(Full::new(Bytes::from(bytes))).unwrap()
    };
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    if credentials.is_some() && given != credentials.as_deref() {
        let mut response = plain(
            StatusCode::UNAUTHORIZED,
            "application/json",
            br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#.to_vec(),
        );
        let challenge = "Basic realm=\"test\"".parse().unwrap();
        response.headers_mut().insert("www-authenticate", challenge);
        return Ok(response);
    }
    if request.uri().path() == "/v2/" {
        return Ok(plain(StatusCode::OK, "application/json", b"{}".to_vec()));
    }
    Ok(match answer {
        Some(Answer::Bytes(kind, bytes)) => plain(StatusCode::OK, kind, bytes),
        Some(Answer::Silence) => std::future::pending().await,
        None => plain(
            StatusCode::NOT_FOUND,
            "application/json",
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#.to_vec(),
        ),
    })
}
