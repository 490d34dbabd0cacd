//! Imports images from files: docker-archive (`docker save`), OCI archive, and OCI layout directories.
//!
//! Every digest that the archive states is checked. Not here: registries ([`crate::pull`]).

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::digest::HashingReader;
use crate::layer::{chain_ids, unpack_into};
use crate::limits::{ARCHIVE_IMAGES_MAX, CONFIG_BYTES_MAX, LAYER_BYTES_MAX, MANIFEST_BYTES_MAX};
use crate::manifest::{Config, Descriptor, DockerImage, Document, Manifest, choose_platform};
use crate::store::Ingest;
use crate::{Digest, Error, ImageRecord, Reference, Store};

mod source;

use source::Source;

/// The annotation under which containerd keeps an image's whole name.
const ANNOTATION_NAME: &str = "io.containerd.image.name";
/// The annotation of the OCI specification: a tag, or a whole name.
const ANNOTATION_REF: &str = "org.opencontainers.image.ref.name";
/// An index may hold indexes, but not for ever.
const INDEX_DEPTH_MAX: usize = 3;

/// Imports all images of the archive or layout at `path`. `name` is given to the image when there is only
/// one; without it the archive's own names count, and an image without a name gets none. Blocks.
pub fn import(
    store: &Store,
    path: &Path,
    name: Option<&Reference>,
) -> Result<Vec<ImageRecord>, Error> {
    let scratch = Ingest::begin(store, &[])?;
    let source = Source::open(path, scratch.directory())?;
    let images = find_images(&source)?;
    if images.is_empty() {
        return Err(Error::Archive("holds no image for this machine".to_owned()));
    }
    if images.len() > ARCHIVE_IMAGES_MAX {
        return Err(Error::Archive(format!("holds more than {ARCHIVE_IMAGES_MAX} images")));
    }
    let only = images.len() == 1;
    let images = images.into_iter().map(|mut image| {
        if let Some(name) = name.filter(|_| only) {
            image.tags = vec![name.to_string()];
        }
        import_image(store, &source, image)
    });
    images.collect()
}

/// An image of an archive: where its parts are.
struct Found {
    tags: Vec<String>,
    manifest: Option<Digest>,
    config: String,
    config_digest: Option<Digest>,
    layers: Vec<FoundLayer>,
}

struct FoundLayer {
    path: String,
    digest: Option<Digest>,
}

fn find_images(source: &Source) -> Result<Vec<Found>, Error> {
    if source.has("manifest.json") {
        return find_docker_images(source);
    }
    if source.has("index.json") {
        return find_oci_images(source);
    }
    Err(Error::Archive("neither manifest.json nor index.json".to_owned()))
}

fn find_docker_images(source: &Source) -> Result<Vec<Found>, Error> {
    let bytes = source.read("manifest.json", MANIFEST_BYTES_MAX)?;
    let images: Vec<DockerImage> =
        serde_json::from_slice(&bytes).map_err(Error::json("manifest.json"))?;
    let found = images.into_iter().map(|image| {
        let tags = image.repo_tags.unwrap_or_default();
        let tags = tags.iter().map(|tag| Ok(tag.parse::<Reference>()?.to_string()));
        let layers = image.layers.into_iter().map(|path| FoundLayer { path, digest: None });
        Ok(Found {
            tags: tags.collect::<Result<_, Error>>()?,
            manifest: None,
            config: image.config,
            config_digest: None,
            layers: layers.collect(),
        })
    });
    found.collect()
}

fn find_oci_images(source: &Source) -> Result<Vec<Found>, Error> {
    let index = Document::parse(&source.read("index.json", MANIFEST_BYTES_MAX)?)?;
    let mut by_digest: HashMap<Digest, usize> = HashMap::new();
    let mut found: Vec<Found> = Vec::new();
    for entry in &index.manifests {
        let tags = names_of(entry);
        if let Some(index) = by_digest.get(&entry.digest) {
            found[*index].tags.extend(tags);
            continue;
        }
        let Some((digest, manifest)) = find_manifest(source, entry, 0)? else { continue };
        by_digest.insert(entry.digest.clone(), found.len());
        found.push(from_manifest(tags, digest, &manifest));
    }
    Ok(found)
}

fn names_of(entry: &Descriptor) -> Vec<String> {
    let name = entry.annotations.get(ANNOTATION_NAME);
    let reference = entry.annotations.get(ANNOTATION_REF).filter(|name| name.contains(['/', ':']));
    let name = name.or(reference).and_then(|name| name.parse::<Reference>().ok());
    name.map(|name| vec![name.to_string()]).unwrap_or_default()
}

/// Follows indexes to the manifest for this machine; `None` when there is none.
fn find_manifest(
    source: &Source,
    entry: &Descriptor,
    depth: usize,
) -> Result<Option<(Digest, Manifest)>, Error> {
    if depth > INDEX_DEPTH_MAX {
        return Err(Error::Archive("too many indexes within each other".to_owned()));
    }
    let bytes = read_blob(source, &entry.digest, MANIFEST_BYTES_MAX)?;
    let document = Document::parse(&bytes)?;
    if document.config.is_none() {
        let Some(chosen) = choose_platform(&document.manifests) else { return Ok(None) };
        return find_manifest(source, chosen, depth + 1);
    }
    Ok(document.manifest().map(|manifest| (entry.digest.clone(), manifest)))
}

fn from_manifest(tags: Vec<String>, digest: Digest, manifest: &Manifest) -> Found {
    let layers = manifest.layers.iter().map(|layer| FoundLayer {
        path: blob_path(&layer.digest),
        digest: Some(layer.digest.clone()),
    });
    Found {
        tags,
        manifest: Some(digest),
        config: blob_path(&manifest.config.digest),
        config_digest: Some(manifest.config.digest.clone()),
        layers: layers.collect(),
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn read_blob(source: &Source, digest: &Digest, limit: u64) -> Result<Vec<u8>, Error> {
    let bytes = source.read(&blob_path(digest), limit)?;
    check_digest("blob", digest, Digest::of(&bytes))?;
    Ok(bytes)
}

fn check_digest(what: &str, expected: &Digest, found: Digest) -> Result<(), Error> {
    if found == *expected {
        return Ok(());
    }
    Err(Error::Digest { what: what.to_owned(), expected: expected.clone(), found })
}

fn import_image(store: &Store, source: &Source, found: Found) -> Result<ImageRecord, Error> {
    let bytes = source.read(&found.config, CONFIG_BYTES_MAX)?;
    if let Some(expected) = &found.config_digest {
        check_digest("configuration", expected, Digest::of(&bytes))?;
    }
    let config = Config::parse(&bytes)?;
    config.check_platform()?;
    if config.diff_ids.len() != found.layers.len() {
        return Err(Error::Archive("manifest and configuration differ in layers".to_owned()));
    }
    let chain = chain_ids(&config.diff_ids);
    let ingest = Ingest::begin(store, &chain)?;
    let mut size = bytes.len() as u64;
    for (index, layer) in found.layers.iter().enumerate() {
        size += import_layer(&ingest, source, layer, &chain, index, &config.diff_ids[index])?;
    }
    let digests = found.manifest.iter().flat_map(|digest| {
        let names = found.tags.iter().filter_map(|tag| tag.parse::<Reference>().ok());
        names.map(move |name| name.with_digest(digest))
    });
    ingest.commit(ImageRecord {
        id: config.id,
        digests: digests.collect(),
        tags: found.tags,
        size,
        chain,
        config: config.parsed,
        pinned: false,
        stored_at: jiff::Timestamp::now().as_second(),
    })
}

/// Unpacks a layer unless it is there already; answers its size in the archive.
fn import_layer(
    ingest: &Ingest,
    source: &Source,
    layer: &FoundLayer,
    chain: &[Digest],
    index: usize,
    diff_id: &Digest,
) -> Result<u64, Error> {
    let (reader, size) = source.open_file(&layer.path)?;
    if ingest.has_layer(&chain[index]) {
        return Ok(size);
    }
    let mut reader = HashingReader::new(reader, LAYER_BYTES_MAX);
    unpack_into(ingest, chain, index, diff_id, reader.by_ref())?;
    let (found, _) = reader.finish().map_err(Error::io("read", PathBuf::from(&layer.path)))?;
    if let Some(expected) = &layer.digest {
        check_digest("layer", expected, found)?;
    }
    Ok(size)
}
