//! What an earlier kubelet left behind: directories, mounts, logs and control groups of pods that
//! neither the API nor the runtime knows any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use podlife::cgroup;
use podlife::pod;
use podlife::qos::Class;

use crate::shared::Shared;
use crate::volumes;

/// Removes it, once both sides are known.
pub(crate) async fn run(shared: Arc<Shared>) {
    shared.pods.synced().await;
    let known: Vec<String> =
        shared.pods.list().iter().map(|pod| pod::uid(pod).to_owned()).collect();
    let is_known =
        |uid: &str| known.iter().any(|it| it == uid) || shared.registry.get(uid).is_some();
    let mut directories = Vec::new();
    for path in entries(&shared.config.root.join("pods")) {
        if !is_known(&name_of(&path)) {
            directories.push(path);
        }
    }
    for path in entries(&shared.config.pod_logs()) {
        let name = name_of(&path);
        let uid = name.rsplit('_').next().unwrap_or_default();
        if !uid.is_empty() && !is_known(uid) {
            directories.push(path);
        }
    }
    let removing = tokio::task::spawn_blocking(move || {
        for path in directories {
            if let Err(error) = volumes::tear_down(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove what a pod left behind");
            }
        }
    });
    if let Err(error) = removing.await {
        tracing::warn!(%error, "cannot remove what pods left behind");
    }
    remove_dead_links(&shared.config.container_logs());
    remove_groups(&shared, is_known);
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Links to logs that are gone.
fn remove_dead_links(directory: &Path) {
    for link in entries(directory) {
        let is_dead = link.symlink_metadata().is_ok_and(|it| it.is_symlink()) && !link.exists();
        if is_dead && let Err(error) = std::fs::remove_file(&link) {
            tracing::debug!(link = %link.display(), %error, "cannot remove a dead link to a log");
        }
    }
}

fn remove_groups(shared: &Shared, is_known: impl Fn(&str) -> bool) {
    let Some(cgroups) = &shared.cgroups else { return };
    let prefix = &shared.config.cgroup_prefix;
    for class in [Class::Guaranteed, Class::Burstable, Class::BestEffort] {
        let Ok(group) = cgroups.group(&cgroup::of_class(prefix, class)) else { continue };
        let all = group.directories().into_iter().flat_map(|directory| entries(&directory));
        let mut uids: Vec<String> = all
            .filter(|path| path.is_dir())
            .filter_map(|path| name_of(&path).strip_prefix("pod").map(str::to_owned))
            .filter(|uid| !is_known(uid))
            .collect();
        uids.sort();
        uids.dedup();
        for uid in uids {
            let path = cgroup::of_pod(prefix, class, &uid);
            // One with processes in it is somebody's still, and stays.
            if let Err(error) = cgroups.group(&path).and_then(|group| group.remove()) {
                tracing::debug!(path, %error, "cannot remove the group of a pod that is gone");
            }
        }
    }
}
