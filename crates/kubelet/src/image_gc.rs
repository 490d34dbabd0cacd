//! Removing images that no container uses, when their disk gets full.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cri::{ContainerFilter, Image, ImageFilter, ImageSpec};
use jiff::Timestamp;
use podlife::eviction::usage::LayerDisk;

use crate::config::ImageCollection;
use crate::limits::{IMAGE_AGE_MIN, IMAGE_GC_PERIOD};
use crate::node::machine;
use crate::shared::Shared;

/// The file system that images are on.
pub(crate) async fn file_system(shared: &Shared) -> Option<PathBuf> {
    let info = shared.images.image_fs_info().await.ok()?;
    let first = info.image_filesystems.first()?;
    (!first.mountpoint.is_empty()).then(|| PathBuf::from(&first.mountpoint))
}

/// Whether images and layers have a disk of their own.
pub(crate) async fn layer_disk(shared: &Shared) -> LayerDisk {
    let device = |path: &Path| std::fs::metadata(path).map(|about| about.dev()).ok();
    let images = file_system(shared).await.and_then(|path| device(&path));
    // A place that cannot be looked at is another machine's, or not there yet.
    if images.is_some() && images != device(&shared.config.root) {
        LayerDisk::Apart
    } else {
        LayerDisk::Shared
    }
}

/// Looks at images for as long as the kubelet runs.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut last_used: HashMap<String, Timestamp> = HashMap::new();
    loop {
        shared.clock.sleep(IMAGE_GC_PERIOD).await;
        let Some(unused) = unused(&shared, &mut last_used).await else { continue };
        let Some(path) = file_system(&shared).await else { continue };
        let Ok(disk) = machine::disk(&path) else { continue };
        let mut to_free = to_free(&disk, &shared.config.image_collection);
        for image in unused {
            if to_free == 0 {
                break;
            }
            if remove(&shared, &image).await {
                to_free = to_free.saturating_sub(image.size);
            }
        }
    }
}

/// How many bytes of images should go.
fn to_free(disk: &machine::Disk, bounds: &ImageCollection) -> u64 {
    let used = disk.bytes_usable.saturating_sub(disk.bytes_free);
    let share = |percent: u8| disk.bytes_usable / 100 * u64::from(percent);
    // 100 turns the collection off, as upstream's does.
    if bounds.high_percent >= 100 || used < share(bounds.high_percent) {
        return 0;
    }
    used.saturating_sub(share(bounds.low_percent))
}

/// The images that no container uses and that have been there for a while, the longest unused first.
async fn unused(shared: &Shared, last_used: &mut HashMap<String, Timestamp>) -> Option<Vec<Image>> {
    let images = shared.images.list_images(&ImageFilter::default()).await.ok()?;
    let in_use = in_use(shared).await?;
    let now = shared.clock.now();
    last_used.retain(|id, _| images.iter().any(|image| image.id == *id));
    for image in &images {
        let used = in_use.contains(&image.id);
        let entry = last_used.entry(image.id.clone()).or_insert(now);
        if used {
            *entry = now;
        }
    }
    let age = |image: &Image| {
        let used = last_used.get(&image.id).copied().unwrap_or(now);
        Duration::try_from(now.duration_since(used)).unwrap_or_default()
    };
    let mut unused: Vec<Image> = images
        .iter()
        .filter(|image| !image.pinned && !in_use.contains(&image.id) && age(image) >= IMAGE_AGE_MIN)
        .cloned()
        .collect();
    unused.sort_by_key(|image| std::cmp::Reverse(age(image)));
    Some(unused)
}

async fn in_use(shared: &Shared) -> Option<Vec<String>> {
    let containers = shared.runtime.list_containers(&ContainerFilter::default()).await.ok()?;
    Some(
        containers.into_iter().flat_map(|it| [it.image_id, it.image_ref, it.image.image]).collect(),
    )
}

async fn remove(shared: &Shared, image: &Image) -> bool {
    match shared.images.remove_image(&ImageSpec::named(image.id.clone())).await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(image = %image.id, %error, "cannot remove an image");
            false
        }
    }
}

/// Removes every image that no container uses; how many.
pub(crate) async fn remove_unused(shared: &Shared) -> usize {
    let Ok(images) = shared.images.list_images(&ImageFilter::default()).await else { return 0 };
    let Some(in_use) = in_use(shared).await else { return 0 };
    let mut removed = 0;
    for image in images.iter().filter(|image| !image.pinned && !in_use.contains(&image.id)) {
        removed += usize::from(remove(shared, image).await);
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_go_from_the_high_mark_down_to_the_low_one() {
        let bounds = |high_percent, low_percent| ImageCollection { high_percent, low_percent };
        let disk = |free| machine::Disk {
            bytes: 2000,
            bytes_usable: 1000,
            bytes_free: free,
            ..machine::Disk::default()
        };
        for (free, high, low, freed) in
            [(151, 85, 80, 0), (150, 85, 80, 50), (0, 85, 80, 200), (0, 100, 80, 0)]
        {
            assert_eq!(to_free(&disk(free), &bounds(high, low)), freed, "{free} {high} {low}");
        }
    }
}
