//! Keeping logs small: a log that has grown too long is moved aside, the oldest go, all but the newest
//! of those moved aside are compressed.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cri::{ContainerFilter, ContainerState};

use crate::limits::{LOG_BYTES_MAX, LOG_FILES_MAX, LOG_ROTATION_PERIOD};
use crate::shared::Shared;

/// Looks at the logs of running containers for as long as the kubelet runs.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        shared.clock.sleep(LOG_ROTATION_PERIOD).await;
        let filter =
            ContainerFilter { state: Some(ContainerState::Running), ..ContainerFilter::default() };
        let containers = match shared.runtime.list_containers(&filter).await {
            Ok(containers) => containers,
            Err(error) => {
                tracing::debug!(%error, "cannot list containers for the rotation of their logs");
                continue;
            }
        };
        for container in containers {
            if let Err(error) = rotate_if_long(&shared, &container.id).await {
                tracing::warn!(container = %container.id, %error, "cannot rotate a log");
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RotateError {
    #[error(transparent)]
    Runtime(#[from] cri::Error),
    #[error(transparent)]
    File(#[from] std::io::Error),
}

async fn rotate_if_long(shared: &Shared, id: &str) -> Result<(), RotateError> {
    let path = shared.runtime.container_status(id).await?.log_path;
    let path = PathBuf::from(path);
    let Ok(metadata) = std::fs::metadata(&path) else { return Ok(()) };
    if metadata.len() < LOG_BYTES_MAX {
        return Ok(());
    }
    let stamp = shared.clock.now().strftime("%Y%m%d-%H%M%S").to_string();
    let rotated = path.with_file_name(format!(
        "{}.{stamp}",
        path.file_name().unwrap_or_default().to_string_lossy()
    ));
    std::fs::rename(&path, &rotated)?;
    if let Err(error) = shared.runtime.reopen_container_log(id).await {
        // The runtime still writes to the file that was moved: it goes back.
        std::fs::rename(&rotated, &path)?;
        return Err(error.into());
    }
    let tidying = tokio::task::spawn_blocking(move || tidy(&path));
    tidying.await.map_err(std::io::Error::other)??;
    Ok(())
}

/// The files of a log: itself and those moved aside, oldest first.
pub(crate) fn files_of(path: &Path) -> Vec<PathBuf> {
    let mut files = moved_aside(path);
    if path.exists() {
        files.push(path.to_owned());
    }
    files
}

fn moved_aside(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(entries) = path.parent().and_then(|parent| std::fs::read_dir(parent).ok()) else {
        return Vec::new();
    };
    let prefix = format!("{name}.");
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

/// Removes what is too old and compresses all but the newest.
fn tidy(path: &Path) -> std::io::Result<()> {
    let mut files = moved_aside(path);
    let kept = LOG_FILES_MAX - 1;
    while files.len() > kept {
        std::fs::remove_file(files.remove(0))?;
    }
    // The newest may still be read by someone who follows.
    files.pop();
    for file in files.iter().filter(|file| file.extension().is_none_or(|it| it != "gz")) {
        compress(file)?;
    }
    Ok(())
}

fn compress(path: &Path) -> std::io::Result<()> {
    let target = PathBuf::from(format!("{}.gz", path.display()));
    let part = PathBuf::from(format!("{}.tmp", path.display()));
    let mut source = std::fs::File::open(path)?;
    let file = std::fs::File::create(&part)?;
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    let mut buffer = vec![0; crate::limits::LOG_CHUNK_BYTES];
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        encoder.write_all(&buffer[..read])?;
    }
    encoder.finish()?;
    std::fs::rename(&part, &target)?;
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_all_but_the_newest_are_compressed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        for day in 1..=6 {
            std::fs::write(format!("{}.2026010{day}-000000", path.display()), "x").unwrap();
        }
        std::fs::write(&path, "now").unwrap();
        tidy(&path).unwrap();
        let names: Vec<String> = files_of(&path)
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        let expected = [
            "0.log.20260103-000000.gz",
            "0.log.20260104-000000.gz",
            "0.log.20260105-000000.gz",
            "0.log.20260106-000000",
            "0.log",
        ];
        assert_eq!(names, expected);
    }
}
