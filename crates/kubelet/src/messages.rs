//! Why a container ended, in its own words: from the file it may write, or from the end of its log.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use cri::ContainerStatus;
use podlife::limits::{
    TERMINATION_LOG_BYTES_MAX, TERMINATION_LOG_LINES_MAX, TERMINATION_MESSAGE_BYTES_MAX,
};
use podlife::observed::{ANNOTATION_MESSAGE_PATH, ANNOTATION_MESSAGE_POLICY};

use crate::logs::format;

/// The message of a container that has ended; empty when it left none.
pub(crate) fn read(container: &ContainerStatus) -> String {
    let text = from_file(container);
    let falls_back = container
        .annotations
        .get(ANNOTATION_MESSAGE_POLICY)
        .is_some_and(|policy| policy == "FallbackToLogsOnError");
    if text.is_empty() && falls_back && container.exit_code != 0 {
        return from_log(Path::new(&container.log_path));
    }
    text
}

fn from_file(container: &ContainerStatus) -> String {
    let Some(path) = container.annotations.get(ANNOTATION_MESSAGE_PATH) else {
        return String::new();
    };
    let mount = container.mounts.iter().find(|mount| mount.container_path == *path);
    let Some(mount) = mount else { return String::new() };
    match tail(Path::new(&mount.host_path), TERMINATION_MESSAGE_BYTES_MAX) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => format!("Error on reading termination log {}: {error}", mount.host_path),
    }
}

fn tail(path: &Path, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn from_log(path: &Path) -> String {
    // Each line has a time and a stream in front; what is read more is cut off below.
    let read = TERMINATION_LOG_BYTES_MAX * 4;
    let Ok(bytes) = tail(path, read) else { return String::new() };
    let whole_file = bytes.len() < read;
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    if !whole_file && !lines.is_empty() {
        lines.remove(0);
    }
    let first = lines.len().saturating_sub(TERMINATION_LOG_LINES_MAX);
    let mut text = Vec::new();
    for line in &lines[first..] {
        if let Some(entry) = format::parse(line) {
            text.extend_from_slice(entry.content);
            if !entry.partial {
                text.push(b'\n');
            }
        }
    }
    let cut = text.len().saturating_sub(TERMINATION_LOG_BYTES_MAX);
    String::from_utf8_lossy(&text[cut..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_first_and_the_log_only_after_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        let (message, log) = (directory.path().join("m"), directory.path().join("0.log"));
        std::fs::write(&message, "").unwrap();
        let line = "2026-01-01T00:00:00.000000000Z stdout F";
        std::fs::write(&log, format!("{line} one\n{line} two\n")).unwrap();
        let mut container = ContainerStatus {
            exit_code: 1,
            log_path: log.display().to_string(),
            mounts: vec![cri::Mount {
                container_path: "/dev/termination-log".into(),
                host_path: message.display().to_string(),
                ..Default::default()
            }],
            ..Default::default()
        };
        container.annotations.insert(ANNOTATION_MESSAGE_PATH.into(), "/dev/termination-log".into());
        assert_eq!(read(&container), "");
        let policy = "FallbackToLogsOnError".to_owned();
        container.annotations.insert(ANNOTATION_MESSAGE_POLICY.into(), policy);
        assert_eq!(read(&container), "one\ntwo\n");
        container.exit_code = 0;
        assert_eq!(read(&container), "");
        std::fs::write(&message, "bye".repeat(2000)).unwrap();
        assert_eq!(read(&container).len(), TERMINATION_MESSAGE_BYTES_MAX);
    }
}
