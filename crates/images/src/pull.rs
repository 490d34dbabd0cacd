//! Pulls images from registries.
//!
//! Layers are downloaded side by side and unpacked in order while later ones still arrive; every digest is
//! checked, every size and silence is bounded. Not here: deciding whether to pull, and back-off (the
//! kubelet's business).

use std::path::PathBuf;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use crate::digest::Hasher;
use crate::layer::{chain_ids, unpack_into};
use crate::limits::{
    CONFIG_BYTES_MAX, CONNECT_TIMEOUT, LAYER_BYTES_MAX, LAYER_DOWNLOADS_MAX, PULLS_MAX,
    SILENCE_TIMEOUT,
};
use crate::manifest::{Config, Descriptor, Document, Manifest, choose_platform};
use crate::store::Ingest;
use crate::{Digest, Error, ImageRecord, Reference, Store};

mod registry;

use registry::Registry;

/// Who pulls.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// A user.
    Basic {
        /// Name.
        username: String,
        /// Password or identity token.
        password: String,
    },
    /// Sent as it is.
    Bearer(String),
}

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Registries (`host[:port]`) that are asked over plain HTTP; those on this machine always are.
    pub plain_http: Vec<String>,
    /// PEM certificates that are trusted besides the system's.
    pub extra_certificates: Vec<Vec<u8>>,
    /// How long a registry may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a registry may stay silent.
    pub silence_timeout: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            plain_http: Vec::new(),
            extra_certificates: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT,
            silence_timeout: SILENCE_TIMEOUT,
        }
    }
}

/// What one pull may differ in.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// Who pulls.
    pub credentials: Credentials,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { username, .. } => write!(f, "Basic({username})"),
            Self::Bearer(_) => f.write_str("Bearer"),
        }
    }
}

/// Pulls images into a store.
#[derive(Debug)]
pub struct Puller {
    store: Store,
    options: RegistryOptions,
    pulls: Semaphore,
}

impl Puller {
    /// A puller into `store`.
    pub fn new(store: Store, options: RegistryOptions) -> Self {
        Self { store, options, pulls: Semaphore::new(PULLS_MAX) }
    }

    /// Pulls `name`. An image whose manifest is known already is not downloaded again.
    pub async fn pull(
        &self,
        name: &Reference,
        options: &PullOptions,
    ) -> Result<ImageRecord, Error> {
        let _permit = self.pulls.acquire().await.map_err(|e| Error::Internal(e.to_string()))?;
        let registry = Registry::connect(name, &self.options, &options.credentials)?;
        let (digest, manifest) = find_manifest(&registry, name).await?;
        let config_bytes = registry.blob_bytes(&manifest.config, CONFIG_BYTES_MAX).await?;
        let config = Config::parse(&config_bytes)?;
        if config.diff_ids.len() != manifest.layers.len() {
            return Err(registry.bad("manifest and configuration differ in layers"));
        }
        if let Some(layer) = manifest.layers.iter().find(|layer| layer.size > LAYER_BYTES_MAX) {
            return Err(registry.bad(format!("layer {} is too large", layer.digest)));
        }
        let chain = chain_ids(&config.diff_ids);
        let ingest = blocking({
            let (store, chain) = (self.store.clone(), chain.clone());
            move || Ingest::begin(&store, &chain)
        })
        .await?;
        let ingest = self.fetch_layers(&registry, ingest, &manifest, &config, &chain).await?;
        let layers: u64 = manifest.layers.iter().map(|layer| layer.size).sum();
        let record = ImageRecord {
            id: config.id,
            tags: name.digest().is_none().then(|| name.tagged()).flatten().into_iter().collect(),
            digests: vec![name.with_digest(&digest)],
            size: layers + config_bytes.len() as u64,
            chain,
            config: config.parsed,
            pinned: false,
            stored_at: jiff::Timestamp::now().as_second(),
        };
        blocking(move || ingest.commit(record)).await
    }

    /// Downloads what is missing, a few layers ahead of the one that is being unpacked.
    async fn fetch_layers(
        &self,
        registry: &Registry,
        mut ingest: Ingest,
        manifest: &Manifest,
        config: &Config,
        chain: &[Digest],
    ) -> Result<Ingest, Error> {
        let directory = ingest.directory().to_owned();
        let missing: Vec<usize> =
            (0..chain.len()).filter(|index| !ingest.has_layer(&chain[*index])).collect();
        let downloads = missing.into_iter().map(|index| {
            let path = directory.join(format!("blob-{index}"));
            let layer = &manifest.layers[index];
            async move { download(registry, layer, path).await.map(|path| (index, path)) }
        });
        let mut downloads = futures::stream::iter(downloads).buffered(LAYER_DOWNLOADS_MAX);
        while let Some((index, path)) = downloads.try_next().await? {
            let (chain, diff_id) = (chain.to_vec(), config.diff_ids[index].clone());
            ingest = blocking(move || {
                let blob = std::fs::File::open(&path).map_err(Error::io("open", &path))?;
                unpack_into(&ingest, &chain, index, &diff_id, blob)?;
                std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                Ok(ingest)
            })
            .await?;
        }
        Ok(ingest)
    }
}

/// Follows an index to the manifest for this machine. The digest is that of what the name means, so that
/// `name@digest` in a pod's status can be pulled on every machine.
async fn find_manifest(registry: &Registry, name: &Reference) -> Result<(Digest, Manifest), Error> {
    let (bytes, digest) = registry.manifest(None).await?;
    if let Some(expected) = name.digest()
        && *expected != digest
    {
        let what = "manifest".to_owned();
        return Err(Error::Digest { what, expected: expected.clone(), found: digest });
    }
    let document = Document::parse(&bytes).map_err(|error| registry.bad(error.to_string()))?;
    if document.config.is_some() {
        let manifest = document.manifest().ok_or_else(|| registry.bad("no manifest"))?;
        return Ok((digest, manifest));
    }
    let chosen =
        choose_platform(&document.manifests).ok_or_else(|| Error::NoPlatform(name.to_string()))?;
    let (bytes, found) = registry.manifest(Some(&chosen.digest)).await?;
    if found != chosen.digest {
        let what = "manifest".to_owned();
        return Err(Error::Digest { what, expected: chosen.digest.clone(), found });
    }
    let document = Document::parse(&bytes).map_err(|error| registry.bad(error.to_string()))?;
    let manifest = document.manifest().ok_or_else(|| registry.bad("an index within an index"))?;
    Ok((digest, manifest))
}

async fn download(
    registry: &Registry,
    layer: &Descriptor,
    path: PathBuf,
) -> Result<PathBuf, Error> {
    let mut file = tokio::fs::File::create(&path).await.map_err(Error::io("create", &path))?;
    let mut stream = registry.blob(layer).await?;
    let mut hasher = Hasher::default();
    let mut length = 0;
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(|error| registry.stream_error(&error))?;
        length += bytes.len() as u64;
        if length > layer.size {
            return Err(registry.bad(format!("layer {} is longer than it says", layer.digest)));
        }
        hasher.update(&bytes);
        file.write_all(&bytes).await.map_err(Error::io("write", &path))?;
    }
    file.flush().await.map_err(Error::io("write", &path))?;
    let found = hasher.finish();
    if found != layer.digest {
        let what = "layer".to_owned();
        return Err(Error::Digest { what, expected: layer.digest.clone(), found });
    }
    Ok(path)
}

/// Runs file system work on a thread where waiting is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::Internal(error.to_string())))
}
