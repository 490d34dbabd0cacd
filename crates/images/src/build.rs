//! Makes an image out of files: one layer, owned by root, the same bytes for the same input.
//!
//! `examples/hello` is built this way from the program itself. Not here: Dockerfiles.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use oci_spec::image::{
    ConfigBuilder, ImageConfiguration, ImageConfigurationBuilder, RootFsBuilder,
};
use tar::{EntryType, Header};

use crate::digest::HashingReader;
use crate::layer::{chain_ids, unpack_into};
use crate::limits::LAYER_UNPACKED_BYTES_MAX;
use crate::manifest::{Config, DockerImage, host_platform};
use crate::store::Ingest;
use crate::{Digest, Error, ImageRecord, Reference, Store};

/// What a file of the image is made from.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The file of the host at this path.
    HostFile(PathBuf),
    /// An empty directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(String),
}

/// A file of the image.
#[derive(Clone, Debug)]
pub struct ImageFile {
    /// Path in the image, with or without a leading slash.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub content: Content,
}

/// How the image runs.
#[derive(Clone, Debug, Default)]
pub struct ImageSettings {
    /// Entry point.
    pub entrypoint: Vec<String>,
    /// Arguments of the entry point.
    pub cmd: Vec<String>,
    /// `NAME=value`s.
    pub env: Vec<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// `uid[:gid]` or names.
    pub user: Option<String>,
    /// `8080/tcp` and the like.
    pub exposed_ports: Vec<String>,
    /// Whether garbage collection spares the image.
    pub pinned: bool,
}

/// Makes the image and puts it into the store as `name`. Blocks.
pub fn build(
    store: &Store,
    name: &Reference,
    files: &[ImageFile],
    settings: &ImageSettings,
) -> Result<ImageRecord, Error> {
    let scratch = Ingest::begin(store, &[])?;
    let layer = scratch.directory().join("layer.tar");
    let (diff_id, size) = write_layer(&layer, files)?;
    let config = configuration(settings, &diff_id)?;
    let bytes = serde_json::to_vec(&config).map_err(Error::json("image configuration"))?;
    let config = Config::parse(&bytes)?;
    let chain = chain_ids(&config.diff_ids);
    let ingest = Ingest::begin(store, &chain)?;
    if !ingest.has_layer(&chain[0]) {
        let blob = File::open(&layer).map_err(Error::io("open", &layer))?;
        unpack_into(&ingest, &chain, 0, &diff_id, blob)?;
    }
    ingest.commit(ImageRecord {
        id: config.id,
        tags: vec![name.to_string()],
        digests: Vec::new(),
        size: size + bytes.len() as u64,
        chain,
        config: config.parsed,
        pinned: settings.pinned,
        stored_at: jiff::Timestamp::now().as_second(),
    })
}

/// Makes the image and writes it as a docker-archive to `path`. Blocks.
pub fn write_docker_archive(
    path: &Path,
    name: &Reference,
    files: &[ImageFile],
    settings: &ImageSettings,
) -> Result<(), Error> {
    let layer = path.with_extension("layer");
    let (diff_id, _) = write_layer(&layer, files)?;
    let config = configuration(settings, &diff_id)?;
    let config = serde_json::to_vec(&config).map_err(Error::json("image configuration"))?;
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let layer_name = format!("{}/layer.tar", diff_id.hex());
    let manifest = [DockerImage {
        config: config_name.clone(),
        repo_tags: Some(vec![name.to_string()]),
        layers: vec![layer_name.clone()],
    }];
    let manifest = serde_json::to_vec(&manifest).map_err(Error::json("manifest.json"))?;
    let write = || -> io::Result<()> {
        let mut archive = tar::Builder::new(BufWriter::new(File::create(path)?));
        append(&mut archive, "manifest.json", 0o644, manifest.len() as u64, &manifest[..])?;
        append(&mut archive, &config_name, 0o644, config.len() as u64, &config[..])?;
        let file = File::open(&layer)?;
        append(&mut archive, &layer_name, 0o644, file.metadata()?.len(), file)?;
        archive.into_inner()?.flush()
    };
    write().map_err(Error::io("write", path))?;
    std::fs::remove_file(&layer).map_err(Error::io("remove", layer))
}

/// Writes the layer's tar; answers its digest and length.
fn write_layer(path: &Path, files: &[ImageFile]) -> Result<(Digest, u64), Error> {
    let write = || -> io::Result<File> {
        let file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
        let mut archive = tar::Builder::new(BufWriter::new(file));
        for file in files {
            append_file(&mut archive, file)?;
        }
        let mut file =
            archive.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(file)
    };
    let file = write().map_err(Error::io("write layer", path))?;
    let reader = HashingReader::new(file, LAYER_UNPACKED_BYTES_MAX);
    reader.finish().map_err(Error::io("read layer", path))
}

fn append_file<W: Write>(archive: &mut tar::Builder<W>, file: &ImageFile) -> io::Result<()> {
    let path = file.path.trim_start_matches('/');
    match &file.content {
        Content::Bytes(bytes) => append(archive, path, file.mode, bytes.len() as u64, &bytes[..]),
        Content::HostFile(host) => {
            let host = File::open(host)?;
            append(archive, path, file.mode, host.metadata()?.len(), host)
        }
        Content::Directory => {
            let mut header = header(EntryType::Directory, file.mode, 0);
            archive.append_data(&mut header, path, io::empty())
        }
        Content::Symlink(to) => {
            let mut header = header(EntryType::Symlink, 0o777, 0);
            archive.append_link(&mut header, path, to)
        }
    }
}

fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    path: &str,
    mode: u32,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    archive.append_data(&mut header(EntryType::Regular, mode, size), path, content.take(size))
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn configuration(settings: &ImageSettings, diff_id: &Digest) -> Result<ImageConfiguration, Error> {
    const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut env = settings.env.clone();
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.insert(0, PATH.to_owned());
    }
    let mut config = ConfigBuilder::default().env(env);
    if !settings.entrypoint.is_empty() {
        config = config.entrypoint(settings.entrypoint.clone());
    }
    if !settings.cmd.is_empty() {
        config = config.cmd(settings.cmd.clone());
    }
    if !settings.exposed_ports.is_empty() {
        config = config.exposed_ports(settings.exposed_ports.clone());
    }
    if let Some(directory) = &settings.working_dir {
        config = config.working_dir(directory.clone());
    }
    if let Some(user) = &settings.user {
        config = config.user(user.clone());
    }
    let build = || {
        let rootfs = RootFsBuilder::default().diff_ids(vec![diff_id.to_string()]).build()?;
        ImageConfigurationBuilder::default()
            .os("linux")
            .architecture(host_platform().0)
            .config(config.build()?)
            .rootfs(rootfs)
            .build()
    };
    build().map_err(|error| Error::Internal(error.to_string()))
}
