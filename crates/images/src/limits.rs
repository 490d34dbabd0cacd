//! Bounds of everything that comes from outside: a registry or an archive may be hostile.

use std::time::Duration;

/// Largest manifest or index, in bytes (the distribution specification asks registries for 4 MiB).
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Largest image configuration, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// Largest compressed layer, in bytes.
pub const LAYER_BYTES_MAX: u64 = 64 << 30;
/// Largest unpacked layer, in bytes.
pub const LAYER_UNPACKED_BYTES_MAX: u64 = 256 << 30;
/// Most entries of one layer.
pub const LAYER_ENTRIES_MAX: u64 = 4_000_000;
/// Most layers of one image: overlayfs takes 500 lower directories.
pub const LAYERS_MAX: usize = 480;
/// Layers that are downloaded at the same time for one image.
pub const LAYER_DOWNLOADS_MAX: usize = 4;
/// Images pulled at the same time.
pub const PULLS_MAX: usize = 8;
/// Most images of one archive.
pub const ARCHIVE_IMAGES_MAX: usize = 1024;
/// Longest path inside a layer, in bytes (the kernel's `PATH_MAX`).
pub const PATH_BYTES_MAX: usize = 4096;
/// Extended attributes of one file.
pub const XATTRS_MAX: usize = 64;
/// How long a registry may take to accept a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a registry may stay silent in the middle of an answer.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one request for a manifest may take as a whole.
pub const MANIFEST_TIMEOUT: Duration = Duration::from_secs(90);

const _: () = assert!(CONFIG_BYTES_MAX < LAYER_BYTES_MAX);
const _: () = assert!(LAYER_BYTES_MAX < LAYER_UNPACKED_BYTES_MAX);
